"""What a run said of each row that it was scored on: RUN/evaluation/NAME-predictions.jsonl, a line per row."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.corpus.packed import SPLITS
from sentiment_cli.runs.records import ANSWER, parse_row
from sentiment_cli.runs.seals import write_result
from sentiment_cli.storage import store


class Answers(NamedTuple):
    """What a run said of rows: their ids, true labels (as places in `labels`) and the probability of each label."""

    labels: tuple[str, ...]
    ids: list[str]
    label_N: NDArray[np.int64]
    probability_NC: NDArray[np.float64]


def answers_path(run: Path, name: str) -> Path:
    """Return where the answers are, and what was scored under `name`: a split, or data of the user's own."""
    return run / "evaluation" / f"{name}-predictions.jsonl"


def how_to_score(run: Path, name: str) -> str:
    """Return the command that scores a run on what is kept under `name`."""
    if name not in SPLITS:  # the file that was scored is not known by its name
        return f"sentiment runs show {shlex.quote(str(run))}"
    return f"sentiment eval {shlex.quote(str(run))} --split {name}"


def write_answers(
    run: Path, name: str, ids: Iterable[str], true_labels: Iterable[str], said: Sequence[Mapping[str, Any]]
) -> None:
    """Write of each row its id, its true label and what was said of it, in order."""
    rows = zip(ids, true_labels, said, strict=True)
    lines = [json.dumps({"id": row_id, "label": label, **answer}) + "\n" for row_id, label, answer in rows]
    path = answers_path(run, name)
    write_result(run, str(path.relative_to(run)), "".join(lines).encode())


def read_answers(run: Path, name: str) -> Answers | None:
    """Read what a run said; None where it was not scored on these rows or gave no probabilities, as of star ratings.

    Raises IntegrityError for damage, with the command that writes the file anew.
    """
    path = answers_path(run, name)
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
    return Answers(
        labels,
        [row["id"] for row in rows],
        np.array([place[row["label"]] for row in rows], dtype=np.int64),
        np.array([[row["probabilities"][label] for label in labels] for row in rows], dtype=np.float64),
    )


def _damaged(path: Path, why: str, hint: str) -> store.IntegrityError:
    return store.IntegrityError(f"{path} does not hold a probability per label and row: {why}", hint)
