"""Likely label errors, found by models that were not trained on the rows (confident learning).

Northcutt, Jiang & Chuang 2021 ("Confident Learning: Estimating Uncertainty in Dataset Labels"). Taken from it: the
out-of-sample probabilities; the ranking by self-confidence, the probability of the given label; the threshold of each
label, its mean self-confidence; and the count of the confident joint off its diagonal as the estimated label errors.
Not taken: the calibration of the joint to the labels' counts, pruning, and training again without what was pruned.
"""

import itertools
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.raw_texts import Texts
from sentiment_cli.data.corpus.splits import assign_rows
from sentiment_cli.data.tables.writers import Cells
from sentiment_cli.errors import Change, DataError, MachineError, UsageError
from sentiment_cli.evaluation.evaluate import evaluate
from sentiment_cli.inference.predictor import likeliest
from sentiment_cli.runs.predictions import read_predictions
from sentiment_cli.storage import store

FORMATS = (".jsonl", ".csv")
_EXCERPT = 300
_LONGEST_ROW = 1 << 20
_ROUNDING = 1e-6  # a mean of equal probabilities may come out above each of them


@dataclass(frozen=True)
class JudgedSplit:
    """Predictions of a run for held-out rows; row i is row place_N[i] of the texts of `of`.

    `openings` counts how often the run's test rows were opened, where these are they.
    """

    run: str
    split: str
    fold: int | None
    of: str
    place_N: NDArray[np.int64]
    labels: tuple[str, ...]
    ids: list[str]
    label_N: NDArray[np.int64]
    probability_NC: NDArray[np.float64]
    openings: int | None = None


class Suspect(NamedTuple):
    """A review with a likely label error, as a line of the file.

    `probability` is the given label's by the run, `margin` that less the largest of the other labels' probabilities;
    `estimated_error` says whether confident learning counts it; `text` is how the text begins.
    """

    id: str
    split: str
    label: str
    predicted: str
    probability: float
    margin: float
    estimated_error: bool
    fold: int | None
    run: str
    stars: int | None
    text: str


class Dispute(NamedTuple):
    """The result for a split: rows, share of agreeing labels, and rows with likely errors.

    `thresholds` are the labels' own; `estimated_errors` counts rows by label and by what confident learning says.
    """

    n: int
    accuracy: float
    disputed: int
    thresholds: dict[str, float | None]
    estimated_errors: dict[str, dict[str, int]]

    @property
    def n_errors(self) -> int:
        return sum(sum(row.values()) for row in self.estimated_errors.values())


def judge_split(run: Path, split: str, experiment: Experiment, texts: Texts) -> JudgedSplit:
    """Have a run judge the rows that its experiment holds out: valid, which are then train's, or test.

    Test is an opening, which the run's ledger keeps. Raises DataError where `texts` are no longer what the run's data
    were made of.
    """
    openings = evaluate(run, split, "data suspects").openings
    answers = read_predictions(run, split)
    assert answers is not None
    for rounds in (False, True):
        of, is_held_out_N = assign_rows(texts, experiment.data, rounds=rounds)[split]
        ids = list(itertools.compress(texts.ids(of), is_held_out_N))
        if ids == answers.ids:
            break
    else:
        hint = shlex.join(["sentiment", "runs", "show", str(run)])
        raise DataError(f"the data of {run} changed while it was scored", hint)
    return JudgedSplit(
        run=run.name,
        split="train" if split == "valid" else split,
        fold=experiment.data.valid.fold if split == "valid" else None,
        of=of,
        place_N=np.flatnonzero(is_held_out_N),
        **answers._asdict(),
        openings=openings,
    )


def thresholds(label_N: NDArray[np.int64], probability_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each label's mean probability over the rows that are given it; infinite for a label without rows."""
    given_NC = label_N[:, None] == np.arange(probability_NC.shape[1])
    count_C = given_NC.sum(axis=0)
    threshold_C: NDArray[np.float64] = (probability_NC * given_NC).sum(axis=0) / np.maximum(count_C, 1)
    return np.where(count_C > 0, threshold_C, np.inf)


def confident_labels(probability_NC: NDArray[np.float64], threshold_C: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the most likely label with a probability at or above its threshold, -1 for none.

    Northcutt et al. 2021, equations 1 and 2: rows by given label and by this one make up the confident joint.
    """
    is_over_NC = probability_NC >= threshold_C - _ROUNDING
    confident_N: NDArray[np.int64] = np.where(is_over_NC, probability_NC, -1.0).argmax(axis=1)
    return np.where(is_over_NC.any(axis=1), confident_N, -1)


def find_suspects(
    judged: Sequence[JudgedSplit], texts: Texts, top: int | None = None
) -> tuple[list[Suspect], dict[str, Dispute]]:
    """Return the likely errors, the least probable label first, and the result for each split.

    A row is disputed if its label is not the predicted one, or if confident learning counts it as an error. `top`
    limits the number of rows. The thresholds of a split are computed over all its folds.
    """
    suspects: list[tuple[Suspect, str, int]] = []
    disputes: dict[str, Dispute] = {}
    for split in dict.fromkeys(part.split for part in judged):
        parts = [part for part in judged if part.split == split]
        labels, label_N = parts[0].labels, np.concatenate([part.label_N for part in parts])
        probability_NC = np.concatenate([part.probability_NC for part in parts])
        threshold_C = thresholds(label_N, probability_NC)
        n_disputed, joint_CC = 0, np.zeros((len(labels), len(labels)), dtype=np.int64)
        for part in parts:
            confident_N = confident_labels(part.probability_NC, threshold_C)
            is_error_N = (confident_N >= 0) & (confident_N != part.label_N)
            np.add.at(joint_CC, (part.label_N[is_error_N], confident_N[is_error_N]), 1)
            found = _disputed(part, is_error_N, texts)
            suspects += found
            n_disputed += len(found)
        disputes[split] = Dispute(
            n=len(label_N),
            accuracy=float((likeliest(probability_NC) == label_N).mean()),
            disputed=n_disputed,
            thresholds={
                label: value if np.isfinite(value) else None
                for label, value in zip(labels, threshold_C.tolist(), strict=True)
            },
            estimated_errors={
                label: {other: count for other, count in zip(labels, row, strict=True) if other != label}
                for label, row in zip(labels, joint_CC.tolist(), strict=True)
            },
        )
    suspects.sort(key=lambda found: found[0].probability)
    return _with_texts(suspects[:top], texts), disputes


def _disputed(part: JudgedSplit, is_error_N: NDArray[np.bool_], texts: Texts) -> list[tuple[Suspect, str, int]]:
    """Return the disputed rows of one run, without their texts, and where these are."""
    n_rows, predicted_N, stars_N = len(part.ids), likeliest(part.probability_NC), texts.rows(part.of).stars_N
    own_N = part.probability_NC[np.arange(n_rows), part.label_N]
    others_NC = part.probability_NC.copy()
    others_NC[np.arange(n_rows), part.label_N] = -1.0
    margin_N = own_N - others_NC.max(axis=1)
    found = []
    for i in np.flatnonzero((predicted_N != part.label_N) | is_error_N).tolist():
        place = int(part.place_N[i])
        suspect = Suspect(
            id=part.ids[i],
            split=part.split,
            label=part.labels[part.label_N[i]],
            predicted=part.labels[predicted_N[i]],
            probability=float(own_N[i]),
            margin=float(margin_N[i]),
            estimated_error=bool(is_error_N[i]),
            fold=part.fold,
            run=part.run,
            stars=int(stars_N[place]) or None,
            text="",
        )
        found.append((suspect, part.of, place))
    return found


def _with_texts(suspects: Sequence[tuple[Suspect, str, int]], texts: Texts) -> list[Suspect]:
    """Fill in how each text begins; each split of the texts is read once."""
    begins: dict[tuple[str, int], str] = {}
    for split in {of for _, of, _ in suspects}:
        is_wanted_N = np.zeros(len(texts.rows(split)), dtype=bool)
        is_wanted_N[[place for _, of, place in suspects if of == split]] = True
        read = itertools.chain.from_iterable(texts.read(split, is_wanted_N))
        for place, text in zip(np.flatnonzero(is_wanted_N).tolist(), read, strict=True):
            begins[split, place] = text[:_EXCERPT]
    return [suspect._replace(text=begins[of, place]) for suspect, of, place in suspects]


def check_out(path: Path) -> None:
    """Raise UsageError for an existing file, or one whose name selects no format."""
    if path.suffix not in FORMATS:
        raise UsageError(
            f"--out {path}: the name should end in {' or '.join(FORMATS)}", Change("--out", "suspects.jsonl")
        )
    if store.is_there(path) and not _is_list(path):
        raise UsageError(f"{path} is there, and is not overwritten", Change("--out", str(store.free_path(path))))


def _is_list(path: Path) -> bool:
    """Return whether a file is a list of suspects, which may be overwritten by the same list."""
    try:
        first = store.read_named(path, _LONGEST_ROW).partition(b"\n")[0].decode()
        return first == ",".join(Suspect._fields) or tuple(json.loads(first)) == Suspect._fields
    except (OSError, MachineError, ValueError, TypeError, RecursionError):
        return False


def write_suspects(path: Path, suspects: Sequence[Suspect]) -> None:
    """Write suspects as JSON Lines, or as CSV where the name ends in .csv. Raises UsageError for a file that is there.

    JSON is ASCII, everything else escaped. In CSV control characters are shown as escapes, and a cell of text that a
    spreadsheet would take for a formula gets an apostrophe before it.
    """
    check_out(path)
    hint = f"--out {store.free_path(path)}"
    if path.suffix == ".jsonl":
        store.write_once(path, "".join(json.dumps(one._asdict()) + "\n" for one in suspects).encode(), hint)
        return
    lines: list[bytes] = []
    table = Cells(lines.append, Suspect._fields, (), ",", is_safe=True)
    table.write([one._asdict() for one in suspects], {})
    store.write_once(path, b"".join(lines), hint)
