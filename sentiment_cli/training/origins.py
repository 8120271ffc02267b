"""The finished runs that a training starts from, and which of them know what it is validated on."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from sentiment_cli import console
from sentiment_cli.config.schema import CORPORA, Experiment
from sentiment_cli.data.vocabulary import Vocabulary
from sentiment_cli.errors import DataError
from sentiment_cli.inference.artefact import open_artefact, open_files
from sentiment_cli.inference.runs import named_run, require_finished
from sentiment_cli.inference.weights import experiment_of, load_weights


class Origin(NamedTuple):
    """A model to start from: `key` is the setting that names its run."""

    key: str
    run: Path
    experiment: Experiment
    labels: tuple[str, ...]
    vocabulary: Vocabulary
    weights: dict[str, Tensor]


def origins_named(experiment: Experiment) -> dict[str, str]:
    """Return what `init_from` and `init_backward` name."""
    named = {"init_from": experiment.init_from, "init_backward": experiment.init_backward}
    return {key: name for key, name in named.items() if name is not None}


def load_origin(key: str, name: str) -> Origin:
    """Load the model of a finished run. Raises UsageError where there is none."""
    run = named_run(name)
    require_finished(run, f"{key}: ")
    artefact = open_artefact(run, task=None)
    weights = load_weights(artefact)
    for tensor_name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise DataError(f"{key} {run}: {tensor_name} holds numbers that are not finite", "sentiment runs list")
    return Origin(key, run, experiment_of(artefact), artefact.labels, artefact.vocabulary, weights)


def origin_hashes(experiment: Experiment) -> dict[str, str]:
    """Return what tells the models that a training starts from from others, by the setting that names each."""
    return {key: open_files(named_run(name)).sha256 for key, name in origins_named(experiment).items()}


def warn_of_known_labels(named: str, its: Experiment, own: Experiment) -> bool:
    """Warn, and say so, where a model has learnt the labels of rows that an experiment is validated on.

    It has them by heart, and passes them on: validation would be too kind to what starts or learns from it.
    """
    knows_labels = own.task == "classify" and (its.task == "classify" or its.model.language.label)
    draws_same_test = _test_rows(its) == _test_rows(own)
    is_held_out = not its.train.refit and draws_same_test and _held_out(its) == _held_out(own)
    if not knows_labels or its.data.source != own.data.source or is_held_out:
        return False
    why = "was refit on all labelled rows" if its.train.refit else "was validated on other rows"
    also = f"Rows of {own.data.source} that are drawn as test are among them, too: so are the test scores"
    console.warn(
        f"{named} {why}, so it has learnt the labels of rows that this experiment is validated on: the validation "
        "scores are too good to choose by. "
        + ("Test is not touched by it" if draws_same_test or _test_rows(own) is None else also)
    )
    return True


def _held_out(experiment: Experiment) -> dict[str, Any]:
    return experiment.data.valid.model_dump(exclude={"unsup_share"})


def _test_rows(experiment: Experiment) -> tuple[Any, ...] | None:
    """Return what says which of the labelled rows are test's; None where the source or a file brings test rows."""
    data = experiment.data
    if data.source in CORPORA or data.test is not None:
        return None
    return data.test_share, data.valid.by, data.valid.seed
