"""A run's files, read for a report; nothing is trained, scored, prepared or downloaded."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
from numpy.typing import NDArray

from sentiment_cli.config.loader import experiment_from_values, experiment_values, load_experiment
from sentiment_cli.config.schema import CORPORA, PATH_KEYS, Experiment
from sentiment_cli.data.corpus.packed import open_corpus
from sentiment_cli.data.corpus.raw_texts import find_texts
from sentiment_cli.inference.predictor import likeliest
from sentiment_cli.runs import records
from sentiment_cli.runs.ensemble_model import is_ensemble
from sentiment_cli.runs.files import EXPERIMENT, METRICS_LOG, MODEL, scores_paths
from sentiment_cli.runs.ledger import count_openings
from sentiment_cli.runs.predictions import Predictions, how_to_score
from sentiment_cli.runs.saved_model import WEIGHTS
from sentiment_cli.runs.seals import warn_edited
from sentiment_cli.storage import store

_SPLITS = ("test", "valid", "train")  # the most telling first


@dataclass(frozen=True)
class Prepared:
    """Cached data of a run."""

    rows: dict[str, int]
    length_N: NDArray[np.int64]  # tokens of the training rows, before truncation
    n_entries: int
    texts: str  # the fingerprint of the texts


@dataclass(frozen=True)
class RunFiles:
    """A run's files; fields of missing files are None or empty."""

    path: Path
    experiment: Experiment  # of its files and folders the last part of the name only: a report is handed around
    summary: dict[str, Any]
    curves: list[dict[str, Any]]  # one row per evaluation, those of a refit left out
    changes: list[dict[str, Any]]
    scores: dict[str, dict[str, Any]]  # by split or data set, the most important first
    openings: int | None
    calibration: dict[str, Any] | None
    n_parameters: int | None
    n_bytes: int | None
    prepared: Prepared | None

    @property
    def status(self) -> str:
        return str(self.summary.get("status", "unfinished"))

    @property
    def classifies(self) -> bool:
        """Return whether the run is a classifier; other runs are pretraining."""
        return self.experiment.task == "classify"

    @property
    def is_linear(self) -> bool:
        """Return whether the model is linear: it has no epochs to choose from."""
        return self.classifies and self.experiment.model.kind == "linear"

    @property
    def members(self) -> dict[str, float]:
        """The members of an ensemble, and their weights; `experiment` is then the first one's."""
        return dict(self.summary.get("ensemble", {}).get("weights", {}))

    @property
    def main(self) -> str | None:
        """The split that the report describes in detail: test if it was scored."""
        return next(iter(self.scores), None)


class Mistake(NamedTuple):
    """A misclassified row; `text` is None if it is no longer cached."""

    id: str
    label: str
    said: str
    probability: float
    text: str | None


def read_run(path: Path) -> RunFiles:
    """Read a run's files. Raises IntegrityError for damage, UsageError for settings that this version does not know."""
    warn_edited(path)
    summary = records.read_summary(path)
    kept = {file.stem: records.read_scores(file, how_to_score(path, file.stem)) for file in scores_paths(path)}
    # The rest is of pairs of texts, or of rows that the model was trained on in the end.
    scores = {name: found for name, found in kept.items() if "accuracy" in found and not found.get("trained_on")}
    order = sorted(scores, key=lambda name: (_SPLITS.index(name) if name in _SPLITS else len(_SPLITS), name))
    record = records.read_record(path)
    has_model = (path / MODEL).is_dir()
    try:
        experiment = _without_folders(load_experiment(path / EXPERIMENT))
        records.check_validation(summary, path, experiment.task)
        return RunFiles(
            path=path,
            experiment=experiment,
            summary=summary,
            curves=[row for row in records.read_metrics(path / METRICS_LOG) if row.get("stage") != "refit"],
            changes=record.get("changes", []),
            scores={name: scores[name] for name in order},
            openings=count_openings(path, "test") or None,
            calibration=records.read_calibration(path / MODEL / "calibration.json"),
            n_parameters=_count_parameters(path) if has_model else None,
            n_bytes=sum(entry["size"] for entry in store.read_manifest(path / MODEL).values()) if has_model else None,
            prepared=_find_prepared(path) if has_model and experiment.task != "pairs" else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise store.IntegrityError(f"{path} holds a file that is damaged: {error!r:.200}") from error


def best_known(run: RunFiles) -> tuple[str, dict[str, Any]] | None:
    """Return the scores to lead with and their split: of test, else of another evaluation, else of training."""
    if run.main is not None:
        return run.main, run.scores[run.main]
    return ("valid", run.summary["valid"]) if run.summary.get("valid") else None


def labels_of(run: RunFiles) -> list[str]:
    """Return the labels of a classifier, in order; none where it has no scores."""
    known = best_known(run)
    return list(known[1].get("f1_per_label", ())) if known else []


def find_mistakes(run: RunFiles, split: str, answers: Predictions, most: int) -> list[Mistake]:
    """Return the mistakes that a run was surest of, with their texts where these are still prepared."""
    said_N, sure_N = likeliest(answers.probability_NC), answers.probability_NC.max(axis=1)
    wrong = np.flatnonzero(said_N != answers.label_N)
    wrong = wrong[np.argsort(-sure_N[wrong], kind="stable")][:most]
    texts = _texts_of(run, split, {answers.ids[row] for row in wrong})
    return [
        Mistake(
            id=answers.ids[row],
            label=answers.labels[answers.label_N[row]],
            said=answers.labels[said_N[row]],
            probability=float(sure_N[row]),
            text=texts.get(answers.ids[row]),
        )
        for row in wrong
    ]


def _texts_of(run: RunFiles, split: str, ids: set[str]) -> dict[str, str]:
    """Return the texts of some rows of a split of the data that the run was trained on, by id."""
    if run.prepared is None or split not in _SPLITS:
        return {}
    texts = find_texts(run.prepared.texts)
    if texts is None:
        return {}
    of = "test" if split == "test" and len(texts.rows("test")) else "train"
    known = texts.ids(of)
    is_wanted_N = np.array([name in ids for name in known], dtype=bool)
    found = [text for chunk in texts.read(of, is_wanted_N) for text in chunk]
    return dict(zip((known[row] for row in np.flatnonzero(is_wanted_N)), found, strict=True))


def _find_prepared(path: Path) -> Prepared | None:
    file = "1.model.json" if is_ensemble(path) else "model.json"
    key = store.read_json(path / MODEL / file)["data_key"]
    corpus = open_corpus(key, ("train", "valid"))
    if corpus is None:
        return None
    rows = {split: len(corpus.split(split).label_N) for split in corpus.directories}
    return Prepared(rows, corpus.split("train").length_N, len(corpus.vocabulary.entries), corpus.texts)


def _count_parameters(path: Path) -> int:
    """Return how many numbers the weights are."""
    total = 0
    for file in store.open_directory(path / MODEL).glob(f"*{WEIGHTS}"):  # an ensemble's are several
        with safetensors.safe_open(file, framework="numpy") as tensors:
            total += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total


def _without_folders(experiment: Experiment) -> Experiment:
    values = experiment_values(experiment)
    for *above, key in PATH_KEYS:
        settings = values
        for section in above:
            settings = settings[section]
        if settings[key] is not None and settings[key] not in CORPORA:
            settings[key] = Path(settings[key]).name or settings[key]
    for key in ("init_from", "init_backward"):
        if values[key] is not None:
            values[key] = Path(values[key]).name or values[key]
    values["teacher"]["run"] = [Path(name).name or name for name in values["teacher"]["run"]]
    return experiment_from_values(values)
