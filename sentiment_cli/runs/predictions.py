"""Stored predictions of a run: RUN/evaluation/NAME-predictions.jsonl, a line per row."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.corpus.packed import SPLITS
from sentiment_cli.data.corpus.targets import TargetName, as_binary, n_outputs
from sentiment_cli.runs.files import VALIDATION, predictions_name
from sentiment_cli.runs.records import ANSWER, parse_row
from sentiment_cli.runs.seals import write_result
from sentiment_cli.storage import store

_OUTPUTS = "outputs.json"
_FORMAT = 1


class Predictions(NamedTuple):
    """Predictions for rows: ids, true labels (as indices into `labels`) and the probability of each label.

    `said_N` is what was predicted, where that need not be the likeliest. Where rows have several labels, `truth_NC` and
    `said_NC` are the true and the predicted ones, and label_N is -1 throughout.
    """

    labels: tuple[str, ...]
    ids: list[str]
    label_N: NDArray[np.int64]
    probability_NC: NDArray[np.float64]
    said_N: NDArray[np.int64] | None = None
    truth_NC: NDArray[np.bool_] | None = None
    said_NC: NDArray[np.bool_] | None = None

    @property
    def predicted_N(self) -> NDArray[np.int64]:
        """What was predicted of each row; of several labels the likeliest."""
        if self.said_N is not None:
            return self.said_N
        return np.asarray(self.probability_NC.shape[1] - 1 - self.probability_NC[:, ::-1].argmax(axis=1))

    @property
    def is_right_N(self) -> NDArray[np.bool_]:
        """Which rows are predicted right; of several labels those of which all are."""
        if self.truth_NC is not None and self.said_NC is not None:
            return np.asarray((self.truth_NC == self.said_NC).all(axis=1))
        return np.asarray(self.predicted_N == self.label_N)

    def named(self, row: int) -> tuple[str, str]:
        """Return the true label and the predicted one, or all of either."""
        if self.truth_NC is not None and self.said_NC is not None:
            both = (self.truth_NC[row], self.said_NC[row])
            true, said = (", ".join(self.labels[i] for i in np.flatnonzero(of_row)) or "no label" for of_row in both)
            return true, said
        return self.labels[self.label_N[row]], self.labels[self.predicted_N[row]]


def how_to_score(run: Path, name: str) -> str:
    """Return the command that writes the scores stored under `name`."""
    if name not in SPLITS:  # the file that was scored is not known by its name
        return f"sentiment runs show {shlex.quote(str(run))}"
    return f"sentiment eval {shlex.quote(str(run))} --split {name}"


def write_predictions(
    run: Path, name: str, ids: Iterable[str], true_labels: Iterable[str | list[str]], said: Sequence[Mapping[str, Any]]
) -> None:
    """Write a line per row, in order: id, true label (or a list of several) and prediction."""
    rows = zip(ids, true_labels, said, strict=True)
    lines = [
        json.dumps({"id": row_id, "label" if isinstance(label, str) else "labels": label, **answer}) + "\n"
        for row_id, label, answer in rows
    ]
    write_result(run, predictions_name(name), "".join(lines).encode())


def read_predictions(run: Path, name: str) -> Predictions | None:
    """Return the stored predictions; None without any, or for star ratings, which have no probabilities.

    Raises IntegrityError for damage, with the command that writes the file anew.
    """
    path = run / predictions_name(name)
    if not store.is_there(path):
        return None
    hint = how_to_score(run, name)
    *lines, rest = store.read_file(path).split(b"\n")
    if rest or not lines:
        raise _damaged(path, "its last line is cut off", hint)
    try:
        rows = [parse_row(line, f"{path}, line {n}", ANSWER) for n, line in enumerate(lines, 1)]
    except store.IntegrityError as error:
        raise _damaged(path, str(error), hint) from error
    if "stars" in rows[0]:
        return None
    labels = tuple(rows[0].get("probabilities", ()))
    place = {label: i for i, label in enumerate(labels)}
    is_multilabel = "labels" in rows[0]
    for n, row in enumerate(rows, 1):
        named = row.get("labels", []) + row.get("predicted", []) if is_multilabel else [row.get("label")]
        is_alike = row.get("probabilities", {}).keys() == place.keys() and ("labels" in row) == is_multilabel
        if not is_alike or not set(named) <= place.keys():
            raise _damaged(path, f"line {n} has other labels than line 1, or none", hint)
    ids = [row["id"] for row in rows]
    probability_NC = np.array([[row["probabilities"][label] for label in labels] for row in rows], dtype=np.float64)
    if is_multilabel:
        sets = ([[label in row[key] for label in labels] for row in rows] for key in ("labels", "predicted"))
        truth_NC, said_NC = (np.array(one, dtype=np.bool_) for one in sets)
        return Predictions(labels, ids, np.full(len(ids), -1), probability_NC, None, truth_NC, said_NC)
    said_N = None
    if "predicted" in rows[0]:
        said_N = np.array([place.get(str(row.get("predicted")), -1) for row in rows], dtype=np.int64)
    label_N = np.array([place[row["label"]] for row in rows], dtype=np.int64)
    return Predictions(labels, ids, label_N, probability_NC, said_N)


def _damaged(path: Path, why: str, hint: str) -> store.IntegrityError:
    return store.IntegrityError(f"{path} does not hold a probability per label and row: {why}", hint)


class ValidationOutputs(NamedTuple):
    """Outputs for validation rows: ids, group_N (equal within a movie, -1 for none), label_N as indices into `labels`.

    Where rows have several labels, label_N numbers `sets_KC`. `logits` are logit_N or logit_NC as the model gives them,
    to be divided by its temperature. `texts` is the fingerprint of the data that the rows are of; None of a run that
    kept none.
    """

    labels: tuple[str, ...]
    ids: list[str]
    group_N: NDArray[np.int64]
    label_N: NDArray[np.int64]
    logits: NDArray[np.float64]
    texts: str | None = None
    target: TargetName = "label"
    sets_KC: NDArray[np.bool_] | None = None

    def of_rows(self, ids: list[str]) -> "ValidationOutputs":
        """Return the same rows in the order of these ids."""
        place = {name: i for i, name in enumerate(self.ids)}
        row_N = np.array([place[name] for name in ids], dtype=np.int64)
        columns = self.group_N[row_N], self.label_N[row_N], self.logits[row_N]
        return ValidationOutputs(self.labels, ids, *columns, self.texts, self.target, self.sets_KC)

    def as_binary(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return logits and labels, of several outputs a row each as a row of its own."""
        return as_binary(self.logits, self.label_N, self.target, self.sets_KC)


def save_validation(run: Path, kept: ValidationOutputs) -> None:
    """Write them into a run, in the place of earlier ones."""
    about = {
        "format": _FORMAT,
        "texts": kept.texts,
        "labels": kept.labels,
        "ids": kept.ids,
        "groups": kept.group_N.tolist(),
        "truth": kept.label_N.tolist(),
        "logits": kept.logits.tolist(),
    }
    if kept.target != "label":
        about["target"] = kept.target
    if kept.sets_KC is not None:
        about["sets"] = [np.flatnonzero(of_row).tolist() for of_row in kept.sets_KC]
    if store.is_there(run / VALIDATION):
        store.remove_directory(run / VALIDATION)
    with store.new_directory(run / VALIDATION) as draft:
        draft.write(_OUTPUTS, store.dump_json(about))


def load_validation(run: Path) -> ValidationOutputs | None:
    """Return the stored validation outputs; None without any. Raises IntegrityError for damage."""
    if not store.is_there(run / VALIDATION):
        return None
    path = store.open_directory(run / VALIDATION) / _OUTPUTS
    found = store.read_json(path)
    try:
        if found["format"] != _FORMAT:
            raise store.IntegrityError(f"{path} has format {found['format']!r}; this version reads {_FORMAT}")
        kept = ValidationOutputs(
            tuple(found["labels"]),
            list(found["ids"]),
            np.array(found["groups"], dtype=np.int64),
            np.array(found["truth"], dtype=np.int64),
            np.array(found["logits"], dtype=np.float64),
            found.get("texts"),
            found.get("target", "label"),
            _sets_of(found.get("sets"), len(found["labels"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise store.IntegrityError(f"{path} is damaged: {error!r}") from error
    n_labels, n_rows = len(kept.labels), len(kept.ids)
    n_logits, n_truths = n_outputs(kept.target, n_labels), n_labels if kept.sets_KC is None else len(kept.sets_KC)
    shape = (n_rows,) if n_logits == 1 else (n_rows, n_logits)
    is_whole = kept.group_N.shape == kept.label_N.shape == (n_rows,) and kept.logits.shape == shape
    if not is_whole or len(set(kept.ids)) < n_rows or not np.isfinite(kept.logits).all():
        raise store.IntegrityError(f"{path} is damaged: its columns are not of {n_rows:,} rows with an id each")
    if n_rows and not 0 <= kept.label_N.min() <= kept.label_N.max() < n_truths:
        raise store.IntegrityError(f"{path} is damaged: it names labels that are none of {', '.join(kept.labels)}")
    return kept


def _sets_of(sets: list[list[int]] | None, n_labels: int) -> NDArray[np.bool_] | None:
    if sets is None:
        return None
    return np.array([np.isin(np.arange(n_labels), of_row) for of_row in sets], dtype=np.bool_)
