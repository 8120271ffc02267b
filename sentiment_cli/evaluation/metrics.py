"""Metrics as pure functions of true labels and model outputs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.inference.predictor import likeliest

CONFIDENCE_BINS = 15
_Z95 = 1.959963984540054
SMALLEST_PROBABILITY = 1e-12  # keeps the log loss of a confident mistake finite


@dataclass(frozen=True)
class Scores:
    """Scores of one model on n rows; accuracies are fractions, confusion has the truth in rows.

    None is what does not exist: Brier score and calibration error of star ratings, mae and rmse of labels. Fields with
    a default are those that older runs' files lack. `folds` are those of cross-validation, None without it.
    """

    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    loss: float | None
    f1: float
    f1_per_label: dict[str, float]
    auc: float | None
    brier: float | None
    ece: float | None
    confusion: tuple[tuple[int, ...], ...]
    precision: float | None = None
    precision_per_label: dict[str, float] = field(default_factory=dict)
    recall: float | None = None
    recall_per_label: dict[str, float] = field(default_factory=dict)
    average_precision: float | None = None
    average_precision_per_label: dict[str, float | None] = field(default_factory=dict)
    mae: float | None = None
    rmse: float | None = None
    micro_f1: float | None = None
    hamming: float | None = None
    rows_per_label: dict[str, int] | None = None
    rank_mae: float | None = None
    qwk: float | None = None
    within_one: float | None = None
    folds: int | None = None
    accuracy_se: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields; those of stars, several labels, ranks and cross-validation only where there are some."""
        return {name: value for name, value in vars(self).items() if name not in _OF_SOME or value is not None}

    def counts(self) -> list[int]:
        """Return the number of rows of each label."""
        return [*map(sum, self.confusion)] if self.rows_per_label is None else list(self.rows_per_label.values())


_OF_SOME = (
    "mae",
    "rmse",
    "micro_f1",
    "hamming",
    "rows_per_label",
    "rank_mae",
    "qwk",
    "within_one",
    "folds",
    "accuracy_se",
)


def score(
    label_N: NDArray[np.int64],
    probability_NC: NDArray[np.float64],
    labels: tuple[str, ...],
    predicted_N: NDArray[np.int64] | None = None,
) -> Scores:
    """Score predictions; the predicted label is the likeliest one, unless `predicted_N` says another.

    loss is the mean natural-log loss; precision, recall and f1 are macro over the labels that occur in truth or
    predictions, 0 where they divide by nothing; auc and average_precision are of the second of two labels or macro over
    one label against the rest, and None where a label has no row; brier is half the squared distance, so from 0 to 1
    for any number of labels; ece is over 15 equally wide bins of confidence.
    """
    n = len(label_N)
    predicted_N = likeliest(probability_NC) if predicted_N is None else predicted_N
    confusion_CC = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion_CC, (label_N, predicted_N), 1)
    right = int(confusion_CC.trace())
    truth_NC = np.eye(len(labels))[label_N]
    predicted_C, true_C, right_C = confusion_CC.sum(axis=0), confusion_CC.sum(axis=1), confusion_CC.diagonal()
    is_seen_C = predicted_C + true_C > 0
    precision_C, recall_C = right_C / np.maximum(predicted_C, 1), right_C / np.maximum(true_C, 1)
    f1_C = 2 * right_C / np.maximum(predicted_C + true_C, 1)
    return Scores(
        n=n,
        accuracy=right / n,
        accuracy_ci95=wilson_interval(right, n),
        loss=log_loss(label_N, probability_NC),
        f1=float(f1_C[is_seen_C].mean()),
        f1_per_label=dict(zip(labels, f1_C.tolist(), strict=True)),
        auc=_macro(area_under_roc, label_N, probability_NC),
        brier=float(((probability_NC - truth_NC) ** 2).sum(axis=1).mean() / 2),
        ece=expected_calibration_error(predicted_N == label_N, probability_NC.max(axis=1)),
        confusion=tuple(tuple(row) for row in confusion_CC.tolist()),
        precision=float(precision_C[is_seen_C].mean()),
        precision_per_label=dict(zip(labels, precision_C.tolist(), strict=True)),
        recall=float(recall_C[is_seen_C].mean()),
        recall_per_label=dict(zip(labels, recall_C.tolist(), strict=True)),
        average_precision=_macro(average_precision, label_N, probability_NC),
        average_precision_per_label={
            label: average_precision(label_N == c, probability_NC[:, c]) for c, label in enumerate(labels)
        },
    )


def macro_f1(truth_NC: NDArray[np.bool_], said_NC: NDArray[np.bool_]) -> float:
    """Return the mean F1 of the labels that occur in truth or predictions."""
    right_C, both_C = (truth_NC & said_NC).sum(axis=0), truth_NC.sum(axis=0) + said_NC.sum(axis=0)
    is_seen_C = both_C > 0
    return float((2 * right_C[is_seen_C] / both_C[is_seen_C]).mean()) if is_seen_C.any() else 0.0


def cross_validated(scores: Scores, folds: int) -> Scores:
    """Return scores of rows that models of the other folds were scored on, with the standard error of the accuracy.

    It is that of a share of the pooled rows, sqrt(p (1 - p) / n): folds of a few rows vary too much to tell it.
    """
    error = math.sqrt(scores.accuracy * (1 - scores.accuracy) / scores.n)
    return replace(scores, folds=folds, accuracy_se=error)


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927), sound near 0 and 1 too."""
    share, z2 = right / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def area_under_roc(is_positive_N: NDArray[np.bool_], score_N: NDArray[np.float64]) -> float | None:
    """Return the probability that a positive row outranks a negative one, ties counting half; None without both."""
    n_positive = int(is_positive_N.sum())
    n_pairs = n_positive * (len(is_positive_N) - n_positive)
    if n_pairs == 0:
        return None
    _, place_N, count = np.unique(score_N, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    rank_sum = float(mean_rank[place_N][is_positive_N].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / n_pairs


def average_precision(is_positive_N: NDArray[np.bool_], score_N: NDArray[np.float64]) -> float | None:
    """Return the mean precision at the positive rows, over all rows with at least their score; None without any."""
    n_positive = int(is_positive_N.sum())
    if n_positive == 0:
        return None
    _, place_N, count = np.unique(-score_N, return_inverse=True, return_counts=True)
    found = np.bincount(place_N, weights=is_positive_N)
    return float((found * np.cumsum(found) / np.cumsum(count)).sum() / n_positive)


def precision_recall_curve(
    is_positive_N: NDArray[np.bool_], score_N: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recall and precision of the rows with at least each score, from the highest score to the lowest."""
    _, place_N, count = np.unique(-score_N, return_inverse=True, return_counts=True)
    right = np.cumsum(np.bincount(place_N, weights=is_positive_N))
    return right / max(1, int(is_positive_N.sum())), right / np.cumsum(count)


def log_loss(label_N: NDArray[np.int64], probability_NC: NDArray[np.float64]) -> float:
    """Return the mean negative natural logarithm of the true labels' probabilities."""
    own_N = probability_NC[np.arange(len(label_N)), label_N]
    return max(0.0, float(-np.log(np.maximum(own_N, SMALLEST_PROBABILITY)).mean()))  # and never -0.0


def expected_calibration_error(is_right_N: NDArray[np.bool_], confidence_N: NDArray[np.float64]) -> float:
    """Return the mean distance of confidence and accuracy over equally wide bins (Guo et al. 2017)."""
    gap = np.bincount(confidence_bins(confidence_N), weights=confidence_N - is_right_N)
    return float(np.abs(gap).sum() / len(confidence_N))


def confidence_bins(confidence_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which of the 15 bins each confidence falls in."""
    return np.minimum((confidence_N * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)


def _macro(
    measure: Callable[[NDArray[np.bool_], NDArray[np.float64]], float | None],
    label_N: NDArray[np.int64],
    probability_NC: NDArray[np.float64],
) -> float | None:
    """Return the mean of a measure of a ranking over the labels, one against the rest; of two labels the second's."""
    classes = range(probability_NC.shape[1]) if probability_NC.shape[1] > 2 else [1]
    found = [measure(label_N == c, probability_NC[:, c]) for c in classes]
    return None if None in found else float(np.mean([value for value in found if value is not None]))
