"""Fine-tuning: load the runs that `init_from` names, and warn where they have seen the rows of validation or test."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from sentiment_cli import console
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.duplicates import is_among
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.errors import DataError
from sentiment_cli.inference.torch_model import experiment_of, load_weights
from sentiment_cli.runs.directory import find_model, named_run, require_finished
from sentiment_cli.runs.ensemble_model import open_model
from sentiment_cli.runs.known_rows import KnownRows, join_known, read_known, rows_of_corpus
from sentiment_cli.runs.saved_model import open_artefact, open_files


class PretrainedRun(NamedTuple):
    """A pretrained model; `key` is the setting that names its run."""

    key: str
    run: Path
    experiment: Experiment
    labels: tuple[str, ...]
    vocabulary: Vocabulary
    weights: dict[str, Tensor]


def pretrained_names(experiment: Experiment) -> dict[str, str]:
    """Return the names that `init_from` and `init_backward` are set to, by setting."""
    named = {"init_from": experiment.init_from, "init_backward": experiment.init_backward}
    return {key: name for key, name in named.items() if name is not None}


def load_pretrained(key: str, name: str) -> PretrainedRun:
    """Load the model of a finished run. Raises UsageError where it does not exist, DataError for NaN weights."""
    run = named_run(name)
    require_finished(run, f"{key}: ")
    artefact = open_artefact(run, task=None)
    weights = load_weights(artefact)
    for tensor_name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise DataError(f"{key} {run}: {tensor_name} holds numbers that are not finite", "sentiment runs list")
    return PretrainedRun(key, run, experiment_of(artefact), artefact.labels, artefact.vocabulary, weights)


def pretrained_hashes(experiment: Experiment) -> dict[str, str]:
    """Return the hash of each pretrained model, by the setting that names it."""
    return {key: open_files(named_run(name)).sha256 for key, name in pretrained_names(experiment).items()}


def known_rows(experiment: Experiment, corpus: Corpus) -> KnownRows | None:
    """Return the rows whose labels a training learns, with those of its teachers and pretrained models.

    Warns about leakage: where one of these has learnt the labels of validation or test rows, the scores are too good.
    Rows are compared by their texts, not by file names. Returns None for data that an earlier version prepared.
    """
    is_labelled = experiment.task == "classify" or experiment.model.language.label
    own = rows_of_corpus(corpus, is_labelled=is_labelled, is_refit=experiment.train.refit)
    if own is None:
        return None
    named = [*pretrained_names(experiment).items(), *(("teacher.run", name) for name in experiment.teacher.run)]
    others = []
    for key, name in named:
        path = find_model(name)
        known = read_known(path, open_model(path, "classify" if key == "teacher.run" else None))
        if known is None:
            console.say(f"{key}: which rows {path} was trained on is not known here, so they are not compared")
            continue
        others.append(known)
        if experiment.task == "classify":
            _warn_of_known_labels(f"{key} {path}", known, corpus)
    return join_known(own, others)


def _warn_of_known_labels(named: str, known: KnownRows, corpus: Corpus) -> None:
    train = corpus.digests("train")
    assert train is not None
    found = {}
    for split in ("valid", "test"):
        digest_N = corpus.digests(split)
        assert digest_N is not None
        is_known_N = is_among(digest_N, known.learnt) & ~is_among(digest_N, train)
        if is_known_N.any():
            found[split] = f"{int(is_known_N.sum()):,} of the {len(digest_N):,} {split} rows"
    if found:
        means = {
            "valid": "the validation scores are too good to choose by",
            "test": "the test scores are too good, too; `sentiment eval` gives them without these rows as well",
        }
        console.warn(
            f"{named} has learnt the labels of {' and of '.join(found.values())}: "
            + "; ".join(means[split] for split in found)
        )
