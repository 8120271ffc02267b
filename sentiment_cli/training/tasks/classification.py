"""The classification task: its data loader, loss and validation."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from sentiment_cli import console
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batching.batches import Batch, cut, plan_steps, rows_on
from sentiment_cli.data.batching.truncation import trained_lengths
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.evaluation.metrics import Scores
from sentiment_cli.evaluation.target_scores import score_outputs, truth_of
from sentiment_cli.inference.torch_model import count_batches, score_rows
from sentiment_cli.models.classifier import AnyClassifier, Classifier, build_classifier
from sentiment_cli.training.class_weights import class_weights
from sentiment_cli.training.gradients import Objective
from sentiment_cli.training.loader import BatchLoader, build_row_loader
from sentiment_cli.training.losses.objective import build_objective, has_terms
from sentiment_cli.training.state import TrainJob, TrainState
from sentiment_cli.training.tasks.companions import accompany, softened_labels
from sentiment_cli.training.tasks.cross_fitting import cross_fit, row_folds, taught_rows

CLASSIFICATION_SPLITS = ("train", "valid")


def build_model(experiment: Experiment, corpus: Corpus) -> AnyClassifier:
    """Build the classifier, with weights from torch's global random generator."""
    return build_classifier(experiment, corpus.vocabulary, len(corpus.labels))


def fit_wide_part(job: TrainJob, model: nn.Module) -> None:
    """Fit the linear models of a network's wide part."""
    if isinstance(model, Classifier) and model.wide is not None:
        with job.stop.at_once():
            cross_fit(job.experiment, job.corpus, is_refit=job.progress.refit).install(model.wide)


def build_review_loader(state: TrainState) -> BatchLoader:
    """Return the data loader of the labelled reviews, and of those with a teacher's soft labels or pseudo-labels.

    In the second training of train.refit it includes the validation reviews.
    """
    experiment, corpus, progress = state.job.experiment, state.job.corpus, state.job.progress
    settings, seed = experiment.train, experiment.seed
    packed, ids, truth_N = taught_rows(experiment, corpus, is_refit=progress.refit)
    if progress.refit:
        settings = settings.model_copy(update={"max_steps": progress.best.step})
    fold_N = row_folds(packed, experiment) if experiment.model.wide.use != "none" else None
    read_N = trained_lengths(packed.length_N, experiment.text)
    plan = plan_steps(read_N, settings, seed)
    if progress.refit:
        console.say(f"refit: {plan.n_steps:,} steps on all {len(packed.label_N):,} reviews, validation included")
    rows = rows_on(state.job.device, packed, experiment.data.target, len(corpus.labels))
    if smoothing := experiment.objective.stars.smoothing:
        truth_N = softened_labels(packed, len(corpus.labels), smoothing)
    if truth_N is not None:
        rows = rows._replace(label_N=truth_N.to(state.job.device))
    if fold_N is not None:
        rows = rows._replace(fold_N=torch.from_numpy(fold_N).to(state.job.device))
    if experiment.objective.stars.weight:
        rows = rows._replace(stars_N=torch.from_numpy(packed.stars_N).to(state.job.device))

    def batches(start: int) -> Iterator[Batch]:
        found = cut(plan, rows, read_N, experiment, start)
        return accompany(found, experiment, corpus, read_N, plan, start) if has_terms(experiment.objective) else found

    return build_row_loader(plan, batches, read_N, ids)


def build_loss(state: TrainState) -> Objective:
    """Return the loss function for the experiment's target, head and class weights."""
    experiment, corpus, progress = state.job.experiment, state.job.corpus, state.job.progress
    label_N = corpus.split("train").label_N
    if progress.refit:
        label_N = np.concatenate([label_N, corpus.split("valid").label_N])
    weight_CJ = class_weights(experiment, corpus, label_N)
    weights = None if weight_CJ is None else torch.from_numpy(weight_CJ).float().to(state.job.device)
    if not has_terms(experiment.objective):
        return build_objective(experiment, weights)
    count_V = np.bincount(corpus.split("train").ids_T, minlength=len(corpus.vocabulary.entries))
    share_V = torch.from_numpy(count_V / count_V.sum()).float().to(state.job.device)
    return build_objective(experiment, weights, share_V)


def validate_reviews(state: TrainState) -> Scores | None:
    """Score the validation rows, divided among the processes; return None for outputs that are not finite."""
    experiment, corpus, group = state.job.experiment, state.job.corpus, state.job.group
    valid = corpus.split("valid")
    rows = rows_on(state.job.device, valid)
    model = state.validated
    assert isinstance(model, AnyClassifier)
    batch_done = state.batch_callback(count_batches(valid.length_N, experiment.text))
    output = score_rows(
        model,
        rows,
        valid.length_N,
        experiment.text,
        first=group.rank,
        every=group.size,
        on_read=lambda n_tokens: batch_done(),
    )
    group.all_reduce_sum([torch.from_numpy(output)])
    if not np.isfinite(output).all():
        return None
    return score_outputs(output, truth_of(valid), corpus.labels, experiment.data.target)
