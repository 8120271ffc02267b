"""Digests of the rows that a model was trained on, and of its validation and test rows.

    RUN/rows/  learnt.uint64  valid.uint64  test.uint64  manifest.json

Each file holds the sorted digests of texts as normalised by `duplicates.normalise`. A copied, gzipped or respelled file
has the same digests, which do not reveal the texts. The rows that a model has learnt include those of its teachers and
of the runs it started from.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.data.corpus.duplicates import Hashes
from sentiment_cli.data.corpus.packed import Corpus, open_corpus
from sentiment_cli.errors import SentimentError
from sentiment_cli.runs.ensemble_model import SavedModel
from sentiment_cli.runs.files import EXPERIMENT, MODEL, ROWS
from sentiment_cli.runs.model_files import ENSEMBLE
from sentiment_cli.runs.saved_model import GRAPH, WEIGHTS, Artefact, open_files
from sentiment_cli.storage import store


class KnownRows(NamedTuple):
    """Sorted digests of the rows whose labels were trained on, and of those held out for validation and test."""

    learnt: Hashes
    valid: Hashes
    test: Hashes


def rows_of_corpus(corpus: Corpus, *, is_labelled: bool, is_refit: bool) -> KnownRows | None:
    """Return the known rows after training on a corpus; None for a corpus of an earlier version."""
    train, valid, test = (corpus.digests(split) for split in ("train", "valid", "test"))
    if train is None or valid is None or test is None:
        return None
    learnt = [train, *([valid] if is_refit else [])] if is_labelled else []
    return KnownRows(_union(learnt), _union([valid]), _union([test]))


def join_known(own: KnownRows, others: Sequence[KnownRows]) -> KnownRows:
    """Return `own` with the training rows of others added."""
    return own._replace(learnt=_union([own.learnt, *(other.learnt for other in others)]))


def write_known(run: Path, known: KnownRows) -> None:
    """Write the known rows of a run, once."""
    if store.is_there(run / ROWS):
        return
    with store.new_directory(run / ROWS) as draft:
        for name, hashes in known._asdict().items():
            draft.write(f"{name}.uint64", hashes.tobytes())


def read_known(path: Path, model: SavedModel) -> KnownRows | None:
    """Return the known rows of a model, from its run or from the cached data; None without either.

    `path` is a run, the model inside one, or a packed model, whose run is looked for.
    """
    run = home_of(path, model)
    if run is not None and store.is_there(run / ROWS):
        directory = store.open_directory(run / ROWS)
        return KnownRows(
            *(np.frombuffer(store.read_file(directory / f"{name}.uint64"), np.uint64) for name in KnownRows._fields)
        )
    found = [_from_cache(one) for one in model.models]
    known = [one for one in found if one is not None]
    if not known or len(known) < len(found):
        return None
    return KnownRows(*(_union([getattr(one, name) for one in known]) for name in KnownRows._fields))


def home_of(path: Path, model: SavedModel) -> Path | None:
    """Return the run directory of a model; None if its run is not present."""
    if (path / MODEL).is_dir():
        return path
    if path.name == MODEL and (path.parent / EXPERIMENT).is_file():
        return path.parent
    marks = _marks(model.files.entries)
    for experiment in sorted(runs_dir().glob(f"[!.]*/{EXPERIMENT}")):
        try:
            files = open_files(experiment.parent).entries
        except SentimentError:  # of a run that is damaged, or has no model yet
            continue
        if marks & _marks(files):
            return experiment.parent
    return None


def _marks(files: dict[str, dict[str, object]]) -> set[object]:
    """Return the hashes that no two models share: of weights, graphs and, as they hold losses, calibrations."""
    names = {WEIGHTS, GRAPH, "calibration.json", ENSEMBLE}
    return {entry["sha256"] for name, entry in files.items() if name in names}


def _from_cache(model: Artefact) -> KnownRows | None:
    settings = model.settings
    try:
        corpus = open_corpus(model.data_key, ())
    except SentimentError as error:
        console.warn(f"{error}")
        return None
    if corpus is None or settings.get("teacher", {}).get("run") or settings.get("init_from"):
        return None  # the cache does not hold the rows that other models learnt
    task, language = settings.get("task", "classify"), settings["model"].get("language", {})
    is_labelled = task == "classify" or bool(language.get("label"))
    return rows_of_corpus(corpus, is_labelled=is_labelled, is_refit=bool(settings["train"].get("refit")))


def _union(hashes: Sequence[NDArray[np.uint64]]) -> Hashes:
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *hashes]))
