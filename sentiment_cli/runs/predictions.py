"""Stored predictions of a run: RUN/evaluation/NAME-predictions.jsonl, a line per row."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.corpus.packed import SPLITS
from sentiment_cli.runs.files import VALIDATION, predictions_name
from sentiment_cli.runs.records import ANSWER, parse_row
from sentiment_cli.runs.seals import write_result
from sentiment_cli.storage import store

_OUTPUTS = "outputs.json"
_FORMAT = 1


class Predictions(NamedTuple):
    """Predictions for rows: ids, true labels (as indices into `labels`) and the probability of each label."""

    labels: tuple[str, ...]
    ids: list[str]
    label_N: NDArray[np.int64]
    probability_NC: NDArray[np.float64]


def how_to_score(run: Path, name: str) -> str:
    """Return the command that writes the scores stored under `name`."""
    if name not in SPLITS:  # the file that was scored is not known by its name
        return f"sentiment runs show {shlex.quote(str(run))}"
    return f"sentiment eval {shlex.quote(str(run))} --split {name}"


def write_predictions(
    run: Path, name: str, ids: Iterable[str], true_labels: Iterable[str], said: Sequence[Mapping[str, Any]]
) -> None:
    """Write a line per row, in order: id, true label and prediction."""
    rows = zip(ids, true_labels, said, strict=True)
    lines = [json.dumps({"id": row_id, "label": label, **answer}) + "\n" for row_id, label, answer in rows]
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
    for n, row in enumerate(rows, 1):
        if row.get("probabilities", {}).keys() != place.keys() or row["label"] not in place:
            raise _damaged(path, f"line {n} has other labels than line 1, or none", hint)
    return Predictions(
        labels,
        [row["id"] for row in rows],
        np.array([place[row["label"]] for row in rows], dtype=np.int64),
        np.array([[row["probabilities"][label] for label in labels] for row in rows], dtype=np.float64),
    )


def _damaged(path: Path, why: str, hint: str) -> store.IntegrityError:
    return store.IntegrityError(f"{path} does not hold a probability per label and row: {why}", hint)


class ValidationOutputs(NamedTuple):
    """Outputs for validation rows: ids, group_N (equal within a movie, -1 for none), label_N as indices into `labels`.

    `logits` are logit_N or logit_NC as the model gives them, to be divided by its temperature. `texts` is the
    fingerprint of the data that the rows are of; None of a run that kept none.
    """

    labels: tuple[str, ...]
    ids: list[str]
    group_N: NDArray[np.int64]
    label_N: NDArray[np.int64]
    logits: NDArray[np.float64]
    texts: str | None = None

    def of_rows(self, ids: list[str]) -> "ValidationOutputs":
        """Return the same rows in the order of these ids."""
        place = {name: i for i, name in enumerate(self.ids)}
        row_N = np.array([place[name] for name in ids], dtype=np.int64)
        columns = self.group_N[row_N], self.label_N[row_N], self.logits[row_N]
        return ValidationOutputs(self.labels, ids, *columns, self.texts)


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
        )
    except (KeyError, TypeError, ValueError) as error:
        raise store.IntegrityError(f"{path} is damaged: {error!r}") from error
    n_labels, n_rows = len(kept.labels), len(kept.ids)
    shape = (n_rows,) if n_labels == 2 else (n_rows, n_labels)
    is_whole = kept.group_N.shape == kept.label_N.shape == (n_rows,) and kept.logits.shape == shape
    if not is_whole or len(set(kept.ids)) < n_rows or not np.isfinite(kept.logits).all():
        raise store.IntegrityError(f"{path} is damaged: its columns are not of {n_rows:,} rows with an id each")
    if n_rows and not 0 <= kept.label_N.min() <= kept.label_N.max() < n_labels:
        raise store.IntegrityError(f"{path} is damaged: it names labels that are none of {', '.join(kept.labels)}")
    return kept
