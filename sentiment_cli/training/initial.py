"""The model that training starts from: fresh, or with the weights of a finished run."""

from pathlib import Path

import torch

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus import Corpus
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.inference.artefact import Artefact, load_artefact
from sentiment_cli.inference.runs import named_run
from sentiment_cli.models.classifier import Classifier, build_classifier


def load_origin(experiment: Experiment) -> Artefact | None:
    """Load the model that `init_from` names. Raises UsageError where it names none."""
    if experiment.init_from is None:
        return None
    run = named_run(experiment.init_from)
    if not (run / "model").is_dir():
        raise UsageError(f"init_from: {run} holds no trained model", f"sentiment train --resume {run}")
    return load_artefact(run)


def first_model(experiment: Experiment, corpus: Corpus, origin: Artefact | None) -> Classifier:
    """Build the model with its first weights: of `origin`, or drawn from the experiment's seed.

    Raises UsageError where the origin has another vocabulary, other labels or other shapes, and DataError where its
    weights are not finite.
    """
    torch.manual_seed(experiment.seed)
    model = build_classifier(experiment, len(corpus.vocabulary.entries), corpus.vocabulary.unknown_id)
    if origin is None:
        return model
    run = Path(experiment.init_from or "")
    _check_same(run, "labels", origin.labels, corpus.labels)
    _check_same(run, "a vocabulary", origin.vocabulary.entries, corpus.vocabulary.entries)
    weights, own = origin.model.state_dict(), model.state_dict()
    _check_same(run, "tensors", sorted(weights), sorted(own))
    for name, tensor in weights.items():
        _check_same(run, f"{name} of shape", tuple(tensor.shape), tuple(own[name].shape))
        if not tensor.isfinite().all():
            raise DataError(f"init_from {run}: {name} holds numbers that are not finite", "sentiment runs list")
    model.load_state_dict(weights)
    return model


def _check_same(run: Path, what: str, theirs: object, ours: object) -> None:
    if theirs == ours:
        return
    if isinstance(theirs, list | tuple) and isinstance(ours, list | tuple) and max(len(theirs), len(ours)) > 8:
        place = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), None)
        first = "" if place is None else f", which first differ at {place}: {theirs[place]!r}, {ours[place]!r}"
        theirs, ours = f"of {len(theirs):,} entries", f"one of {len(ours):,}{first}"
    raise UsageError(
        f"init_from {run}: the run has {what} {theirs}, this experiment {ours}",
        f"sentiment train {named_run(str(run)) / 'experiment.yaml'} --set init_from={run}",
    )
