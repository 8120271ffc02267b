"""The stages of a linear training: scores on held-out rows or by cross-validation, then the model on all rows."""

import time
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.config.schema import Experiment, Text
from sentiment_cli.data.batching.batches import rows_on
from sentiment_cli.data.corpus.packed import Corpus, Packed, join_rows, select_rows
from sentiment_cli.data.corpus.splits import folds_of, is_by_group
from sentiment_cli.evaluation.metrics import Scores, cross_validated
from sentiment_cli.evaluation.target_scores import score_outputs, truth_of
from sentiment_cli.inference.torch_model import score_rows
from sentiment_cli.models.linear import LinearClassifier
from sentiment_cli.training.checkpoints import Best, TrainProgress, weights_of
from sentiment_cli.training.history import epoch_row
from sentiment_cli.training.tasks.linear import train_on


class Judged(NamedTuple):
    """Rows, their ids, logits of models that were not trained on them, and their scores; loss and speed of training."""

    rows: Packed
    ids: list[str]
    logits: NDArray[np.float64]
    scores: Scores
    train_loss: float
    tokens_per_second: float


def train_linear(model: LinearClassifier, experiment: Experiment, corpus: Corpus, progress: TrainProgress) -> Judged:
    """Train and validate; with train.refit train once more, on training and validation rows.

    Adds the scores, the rows of metrics.jsonl, tokens and seconds to `progress`; a step is one Newton step. Returns the
    rows that the scores are of: the validation rows, or with train.folds all rows.
    """
    validate = _hold_out if experiment.train.folds is None else _cross_validate
    judged = validate(model, experiment, corpus, progress)
    loss, rate = judged.train_loss, judged.tokens_per_second
    row = epoch_row(progress, judged.scores, experiment, train_loss=loss, lr=None, tokens_per_second=rate, is_best=True)
    progress.history.append(row)
    progress.best = Best(judged.scores, 1, progress.step, weights_of(model))
    if experiment.train.refit:
        progress.begin_refit()
        console.say("refit: on all reviews, validation included")
        rows, ids = join_rows(corpus.split("train"), corpus.split("valid")), corpus.ids("train") + corpus.ids("valid")
        loss, rate = train_on(model, rows, ids, experiment, corpus, progress)
        row = epoch_row(progress, None, experiment, train_loss=loss, lr=None, tokens_per_second=rate, is_best=False)
        progress.history.append(row)
    return judged


def _hold_out(model: LinearClassifier, experiment: Experiment, corpus: Corpus, progress: TrainProgress) -> Judged:
    """Train on the training rows, and score the validation rows."""
    valid = corpus.split("valid")
    loss, rate = train_on(model, corpus.split("train"), corpus.ids("train"), experiment, corpus, progress)
    logits = _outputs(model, valid, experiment.text, progress)
    scores = score_outputs(logits, truth_of(valid), corpus.labels, experiment.data.target)
    console.say(f"validation: accuracy {scores.accuracy:.2%}, loss {scores.loss:.4f}")
    return Judged(valid, corpus.ids("valid"), logits, scores, loss, rate)


def _cross_validate(model: LinearClassifier, experiment: Experiment, corpus: Corpus, progress: TrainProgress) -> Judged:
    """Score each fold of all rows by a model of the other folds.

    There are fewer folds than train.folds where there are fewer rows, or groups. Loss and speed are means.
    """
    rows = join_rows(corpus.split("train"), corpus.split("valid"))
    valid, most = experiment.data.valid, experiment.train.folds
    assert most is not None
    group_N = rows.group_N if is_by_group(rows.group_N, valid.by) else np.full_like(rows.group_N, -1)
    n_folds = min(most, len(set(group_N.tolist()) - {-1}) + int((group_N < 0).sum()))
    fold_N = folds_of(rows.label_N, rows.group_N, valid.by, n_folds, valid.seed)
    ids = corpus.ids("train") + corpus.ids("valid")
    logits, losses, rates = list[NDArray[np.float64]](), list[float](), list[float]()
    for fold in range(1, n_folds + 1):
        others = select_rows(rows, fold_N != fold)
        of_others = [name for name, own in zip(ids, fold_N, strict=True) if own != fold]
        loss, rate = train_on(model, others, of_others, experiment, corpus, progress, is_said=False)
        logits.append(_outputs(model, select_rows(rows, fold_N == fold), experiment.text, progress))
        losses.append(loss)
        rates.append(rate)
    in_place = np.argsort(np.argsort(fold_N, kind="stable"), kind="stable")
    logit = np.concatenate(logits)[in_place]
    scores = cross_validated(score_outputs(logit, truth_of(rows), corpus.labels, experiment.data.target), n_folds)
    console.say(
        f"cross-validation: {scores.n:,} rows in {n_folds} folds, accuracy {scores.accuracy:.2%} ± "
        f"{scores.accuracy_se:.2%} (standard error), loss {scores.loss:.4f}"
    )
    return Judged(rows, ids, logit, scores, float(np.mean(losses)), float(np.mean(rates)))


def _outputs(model: LinearClassifier, rows: Packed, text: Text, progress: TrainProgress) -> NDArray[np.float64]:
    began = time.monotonic()
    logits = score_rows(model, rows_on(torch.device("cpu"), rows), rows.length_N, text)
    progress.seconds["validate"] += time.monotonic() - began
    return logits
