"""Scores of a model's outputs by what it learns: single labels, several labels a row, ranks, or star ratings."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.data.corpus.ratings import MIDDLE, REACH, ratings_of
from sentiment_cli.data.corpus.targets import TargetName, sigmoid
from sentiment_cli.evaluation.metrics import (
    SMALLEST_PROBABILITY,
    Scores,
    area_under_roc,
    average_precision,
    expected_calibration_error,
    score,
    wilson_interval,
)
from sentiment_cli.inference.predictor import decide, given_labels, probabilities_of


class Truth(NamedTuple):
    """What is true of rows: label_N, or the sets of labels that it numbers, and the stars where there are any."""

    label_N: NDArray[np.int64]
    stars_N: NDArray[np.int64] | None = None
    sets_KC: NDArray[np.bool_] | None = None

    def rows(self, of: NDArray[np.bool_] | slice) -> "Truth":
        """Return that of some rows."""
        return Truth(self.label_N[of], None if self.stars_N is None else self.stars_N[of], self.sets_KC)


def truth_of(packed: Packed) -> Truth:
    """Return what is true of packed rows."""
    return Truth(packed.label_N, packed.stars_N, packed.sets_KC)


def score_outputs(
    output: NDArray[np.float64],
    truth: Truth,
    labels: tuple[str, ...],
    target: TargetName,
    threshold_C: Sequence[float] | None = None,
) -> Scores:
    """Score a model's outputs, which are logits or, with data.target stars, ratings on their scale."""
    if target == "stars":
        assert truth.stars_N is not None
        return score_stars(output, truth.label_N, truth.stars_N, labels)
    probability_NC = probabilities_of(output, target)
    if target == "multilabel":
        assert truth.sets_KC is not None
        return score_sets(truth.sets_KC[truth.label_N], probability_NC, labels, threshold_C)
    predicted_N = decide(probability_NC, target, threshold_C)
    scores = score(truth.label_N, probability_NC, labels, predicted_N)
    if target == "ordinal":
        code_NC = np.tri(len(labels), len(labels) - 1, -1, dtype=np.bool_)[truth.label_N]
        distance_N = np.abs(truth.label_N - predicted_N)
        scores = replace(
            scores,
            loss=_binary_loss(code_NC, sigmoid(output)),
            rank_mae=float(distance_N.mean()),
            qwk=quadratic_kappa(truth.label_N, predicted_N),
            within_one=float((distance_N <= 1).mean()),
        )
    return scores


def quadratic_kappa(label_N: NDArray[np.int64], predicted_N: NDArray[np.int64]) -> float:
    """Return Cohen's kappa with quadratic weights (Cohen 1968): 1 less the squared distance over that by chance.

    By chance every prediction meets every true label. Where both are always the same label it is 1.
    """
    by_chance = float(np.square(label_N[:, None] - np.unique(predicted_N)).mean(axis=0) @ _shares(predicted_N))
    return 1.0 - float(np.square(label_N - predicted_N).mean()) / by_chance if by_chance else 1.0


def _shares(value_N: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.unique(value_N, return_counts=True)[1] / len(value_N))


def score_sets(
    truth_NC: NDArray[np.bool_],
    probability_NC: NDArray[np.float64],
    labels: tuple[str, ...],
    threshold_C: Sequence[float] | None = None,
) -> Scores:
    """Score predictions of several labels a row.

    accuracy is of whole sets (subset accuracy), hamming the share of wrong yes or no, loss and brier the mean over rows
    and labels. precision, recall, f1, auc and average_precision are macro over the labels that have a row or a
    prediction (auc and average_precision: rows), micro_f1 is of all yes and no together; ece is that of each yes or no.
    """
    said_NC = given_labels(probability_NC, threshold_C)
    right_C, said_C, true_C = (of.sum(axis=0) for of in (truth_NC & said_NC, said_NC, truth_NC))
    precision_C, recall_C = right_C / np.maximum(said_C, 1), right_C / np.maximum(true_C, 1)
    f1_C = 2 * right_C / np.maximum(said_C + true_C, 1)
    is_seen_C = said_C + true_C > 0
    right, n = int((truth_NC == said_NC).all(axis=1).sum()), len(truth_NC)
    aucs, precisions = (
        [measure(truth_NC[:, c], probability_NC[:, c]) for c in range(len(labels))]
        for measure in (area_under_roc, average_precision)
    )
    confidence_NC = np.maximum(probability_NC, 1 - probability_NC)

    def named(value_C: NDArray[Any]) -> dict[str, Any]:
        return dict(zip(labels, value_C.tolist(), strict=True))

    def macro(value_C: NDArray[np.float64]) -> float:
        return float(value_C[is_seen_C].mean()) if is_seen_C.any() else 0.0

    return Scores(
        n=n,
        accuracy=right / n,
        accuracy_ci95=wilson_interval(right, n),
        loss=_binary_loss(truth_NC, probability_NC),
        f1=macro(f1_C),
        f1_per_label=named(f1_C),
        auc=_mean_of_known(aucs),
        brier=float(np.square(probability_NC - truth_NC).mean()),
        ece=expected_calibration_error(((probability_NC >= 0.5) == truth_NC).ravel(), confidence_NC.ravel()),
        confusion=(),
        precision=macro(precision_C),
        precision_per_label=named(precision_C),
        recall=macro(recall_C),
        recall_per_label=named(recall_C),
        average_precision=_mean_of_known(precisions),
        average_precision_per_label=dict(zip(labels, precisions, strict=True)),
        micro_f1=float(2 * right_C.sum() / max(1, said_C.sum() + true_C.sum())),
        hamming=float((truth_NC != said_NC).mean()),
        rows_per_label=named(true_C),
    )


def _binary_loss(truth_NC: NDArray[np.bool_], probability_NC: NDArray[np.float64]) -> float:
    own_NC = np.where(truth_NC, probability_NC, 1 - probability_NC)
    return max(0.0, float(-np.log(np.maximum(own_NC, SMALLEST_PROBABILITY)).mean()))


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def score_stars(
    output_N: NDArray[np.float64], label_N: NDArray[np.int64], stars_N: NDArray[np.int64], labels: tuple[str, ...]
) -> Scores:
    """Score predicted star ratings, and their signs as labels: the second of the two from the middle of the scale on.

    loss is the mean squared error of the outputs, in the training loss's unit; mae and rmse are in stars, of ratings
    brought within the scale; the three are None where no row has stars (0: none). auc and average_precision rank by the
    rating.
    """
    signs = score(label_N, np.eye(len(labels))[(output_N >= 0).astype(np.int64)], labels)
    scores = replace(
        signs,
        loss=None,
        auc=area_under_roc(label_N == 1, output_N),
        average_precision=average_precision(label_N == 1, output_N),
        average_precision_per_label={},
        brier=None,
        ece=None,
    )
    is_rated_N = stars_N > 0
    if not is_rated_N.any():
        return scores
    rated_N, truth_N = output_N[is_rated_N], stars_N[is_rated_N]
    error_N = ratings_of(rated_N) - truth_N
    return replace(
        scores,
        loss=float(((rated_N - (truth_N - MIDDLE) / REACH) ** 2).mean()),
        mae=float(np.abs(error_N).mean()),
        rmse=float(np.sqrt((error_N**2).mean())),
    )
