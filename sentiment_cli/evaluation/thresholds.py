"""Thresholds: from which probability on a label is given, fitted on validation for macro F1 (train.thresholds).

Of several labels a row each has the threshold with the highest F1 of its own (Fan & Lin 2007). Of single labels the
probability of each is divided by its threshold, and the label with the highest ratio is given; one threshold after the
other is moved where that raises macro F1. Both fit chance, too: thresholds are kept where they raise the macro F1 of
rows that they were not fitted on.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.data.corpus.targets import TargetName
from sentiment_cli.evaluation.calibration import FEWEST_ROWS
from sentiment_cli.evaluation.metrics import macro_f1
from sentiment_cli.inference.predictor import decide, given_labels, probabilities_of
from sentiment_cli.runs.predictions import ValidationOutputs

PLAIN = 0.5  # a threshold that changes nothing
_GRID = np.arange(0.02, 0.99, 0.02)
_ROUNDS = 2
_FOLDS = 5
_SHOWN = 8


class Thresholds(NamedTuple):
    """The threshold of each label, None if none are kept, with macro F1 without and with them on held-out folds."""

    threshold_C: NDArray[np.float64] | None
    f1_before: float
    f1_after: float


def find_thresholds(
    probability_NC: NDArray[np.float64],
    label_N: NDArray[np.int64],
    target: TargetName,
    sets_KC: NDArray[np.bool_] | None = None,
) -> Thresholds:
    """Fit thresholds on rows with calibrated probabilities; keep them where folds of the rows say that they help."""
    n_labels = probability_NC.shape[1]
    truth_NC = np.eye(n_labels, dtype=np.bool_)[label_N] if sets_KC is None else sets_KC[label_N]
    fold_N = np.random.default_rng(0).permutation(len(label_N)) % _FOLDS
    said_NC = np.zeros_like(truth_NC)
    before = macro_f1(truth_NC, _said(probability_NC, target, None))
    if len(label_N) < FEWEST_ROWS:
        return Thresholds(None, before, before)
    for fold in range(_FOLDS):
        is_held_N = fold_N == fold
        found_C = _fit(probability_NC[~is_held_N], truth_NC[~is_held_N], target)
        said_NC[is_held_N] = _said(probability_NC[is_held_N], target, found_C)
    after = macro_f1(truth_NC, said_NC)
    return Thresholds(_fit(probability_NC, truth_NC, target) if after > before else None, before, after)


def fit_thresholds(rows: ValidationOutputs, calibrated: NDArray[np.float64]) -> dict[str, float] | None:
    """Fit thresholds on validation rows with calibrated outputs, and say what came of it."""
    probability_NC = probabilities_of(calibrated, rows.target)
    found = find_thresholds(probability_NC, rows.label_N, rows.target, rows.sets_KC)
    n = len(rows.label_N)
    said = f"macro F1 {found.f1_before:.4f} to {found.f1_after:.4f} on {n:,} validation rows, cross-validated"
    if found.threshold_C is None:
        why = f"{n:,} validation rows are too few, {FEWEST_ROWS} are enough" if n < FEWEST_ROWS else said
        console.say(f"thresholds: none are kept: {why}")
        return None
    of_labels = dict(zip(rows.labels, found.threshold_C.tolist(), strict=True))
    shown = ", ".join(f"{label} {value:.2f}" for label, value in list(of_labels.items())[:_SHOWN])
    console.say(f"thresholds: {shown}{', …' if len(of_labels) > _SHOWN else ''}; {said}")
    return of_labels


def _said(
    probability_NC: NDArray[np.float64], target: TargetName, threshold_C: Sequence[float] | NDArray[np.float64] | None
) -> NDArray[np.bool_]:
    found_C = None if threshold_C is None else tuple(threshold_C)
    if target == "multilabel":
        return given_labels(probability_NC, found_C)
    return np.eye(probability_NC.shape[1], dtype=np.bool_)[decide(probability_NC, target, found_C)]


def _fit(probability_NC: NDArray[np.float64], truth_NC: NDArray[np.bool_], target: TargetName) -> NDArray[np.float64]:
    if target == "multilabel":
        return np.array([_best_of_one(*columns) for columns in zip(probability_NC.T, truth_NC.T, strict=True)])
    threshold_C, true_C = np.full(probability_NC.shape[1], PLAIN), truth_NC.sum(axis=0)
    label_N = truth_NC.argmax(axis=1)
    for _ in range(_ROUNDS):
        for c in range(len(threshold_C)):
            ratio_NC = probability_NC / threshold_C
            ratio_NC[:, c] = -1.0
            other_N, most_N = ratio_NC.argmax(axis=1), ratio_NC.max(axis=1)
            best = -1.0
            for threshold in sorted(_GRID, key=lambda one: abs(one - threshold_C[c])):  # of equals the nearest
                said_N = np.where(probability_NC[:, c] / threshold >= most_N, c, other_N)
                said_C = np.bincount(said_N, minlength=len(threshold_C))
                right_C = np.bincount(said_N[said_N == label_N], minlength=len(threshold_C))
                value = float((2 * right_C / np.maximum(said_C + true_C, 1)).sum())
                if value > best + 1e-12:
                    best, chosen = value, float(threshold)
            threshold_C[c] = chosen
    return threshold_C


def _best_of_one(probability_N: NDArray[np.float64], truth_N: NDArray[np.bool_]) -> float:
    """Return the threshold with the highest F1, between two rows' probabilities; 0.5 for a label without rows."""
    if not truth_N.any():
        return PLAIN
    order_N = np.argsort(-probability_N, kind="stable")
    sorted_N = probability_N[order_N]
    right_N, said_N = np.cumsum(truth_N[order_N]), np.arange(1, len(order_N) + 1)
    f1_N = 2 * right_N / (said_N + truth_N.sum())
    f1_N[:-1][sorted_N[:-1] == sorted_N[1:]] = -1.0  # equal probabilities are given together
    last = int(f1_N.argmax())
    below = sorted_N[last + 1] if last + 1 < len(sorted_N) else 0.0
    return float(np.clip((sorted_N[last] + below) / 2, 1e-6, 1 - 1e-6))
