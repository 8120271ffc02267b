import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from sklearn import metrics as oracle

from sentiment_cli.evaluation.metrics import (
    area_under_roc,
    average_precision,
    expected_calibration_error,
    score,
    wilson_interval,
)
from sentiment_cli.evaluation.target_scores import Truth, score_outputs, score_stars

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_scores_agree_with_scikit_learn(n_labels: int) -> None:
    label_N = GENERATOR.integers(0, n_labels, 500)
    probability_NC = GENERATOR.dirichlet(np.ones(n_labels), 500).round(2)
    probability_NC[:, -1] = 1 - probability_NC[:, :-1].sum(axis=1)
    scores = score(label_N, probability_NC, tuple("abc"[:n_labels]))
    predicted_N = probability_NC.argmax(axis=1)
    ties = probability_NC[np.arange(500), predicted_N] == np.sort(probability_NC, axis=1)[:, -2]
    predicted_N[ties] = n_labels - 1 - probability_NC[ties, ::-1].argmax(axis=1)
    clipped = np.clip(probability_NC, 1e-12, 1)
    assert scores.accuracy == oracle.accuracy_score(label_N, predicted_N)
    assert scores.f1 == pytest.approx(oracle.f1_score(label_N, predicted_N, average="macro"))
    assert list(scores.f1_per_label.values()) == pytest.approx(oracle.f1_score(label_N, predicted_N, average=None))
    assert scores.confusion == tuple(map(tuple, oracle.confusion_matrix(label_N, predicted_N).tolist()))
    assert scores.loss == pytest.approx(-np.log(clipped[np.arange(500), label_N]).mean())
    assert scores.brier == pytest.approx(oracle.brier_score_loss(label_N, clipped, scale_by_half=True))
    if n_labels == 2:
        assert scores.auc == pytest.approx(oracle.roc_auc_score(label_N, probability_NC[:, 1]))
    else:
        assert scores.auc == pytest.approx(oracle.roc_auc_score(label_N, clipped, multi_class="ovr"), abs=1e-6)


@st.composite
def answers(draw) -> tuple[np.ndarray, np.ndarray]:
    """Draw true labels, some of which may have no row, and probabilities with many ties."""
    n_labels = draw(st.integers(2, 5))
    n = draw(st.integers(1, 30))
    label_N = draw(st.lists(st.integers(0, n_labels - 1), min_size=n, max_size=n))
    rows = draw(st.lists(st.tuples(*[st.integers(1, 4)] * n_labels), min_size=n, max_size=n))
    weight_NC = np.array(rows, dtype=float)
    return np.array(label_N), weight_NC / weight_NC.sum(axis=1, keepdims=True)


@settings(deadline=None, max_examples=150)
@given(answers())
def test_every_score_is_that_of_scikit_learn(found: tuple[np.ndarray, np.ndarray]) -> None:
    label_N, probability_NC = found
    n, n_labels = probability_NC.shape
    classes, names = range(n_labels), tuple("abcde"[:n_labels])
    predicted_N = np.array([max(np.flatnonzero(row == row.max())) for row in probability_NC])
    scores = score(label_N, probability_NC, names)
    assert scores.n == n
    assert scores.accuracy == oracle.accuracy_score(label_N, predicted_N)
    assert scores.accuracy_ci95 == pytest.approx(wilson_interval((label_N == predicted_N).sum(), n))
    seen = np.union1d(label_N, predicted_N)
    for average, of in ((None, classes), ("macro", seen)):
        theirs = oracle.precision_recall_fscore_support(
            label_N, predicted_N, labels=of, average=average, zero_division=0
        )
        if average is None:
            ours = (scores.precision_per_label, scores.recall_per_label, scores.f1_per_label)
            assert all(tuple(one) == names for one in ours)
            ours = tuple(list(one.values()) for one in ours)
        else:
            ours = (scores.precision, scores.recall, scores.f1)
        for one, other in zip(ours, theirs[:3], strict=True):
            assert one == pytest.approx(other)
    assert scores.loss == pytest.approx(oracle.log_loss(label_N, probability_NC, labels=classes))
    brier = oracle.brier_score_loss(label_N, probability_NC, labels=list(classes), scale_by_half=True)
    assert scores.brier == pytest.approx(brier)
    assert scores.confusion == tuple(map(tuple, oracle.confusion_matrix(label_N, predicted_N, labels=classes).tolist()))
    ranked = [1] if n_labels == 2 else classes
    n_C = np.bincount(label_N, minlength=n_labels)
    if (n_C[ranked] == 0).any() or (n_C[ranked] == n).any():
        assert scores.auc is None
    else:
        areas = [oracle.roc_auc_score(label_N == c, probability_NC[:, c]) for c in ranked]
        assert scores.auc == pytest.approx(np.mean(areas))
    if (n_C[ranked] == 0).any():
        assert scores.average_precision is None
    else:
        precisions = [oracle.average_precision_score(label_N == c, probability_NC[:, c]) for c in ranked]
        assert scores.average_precision == pytest.approx(np.mean(precisions))
    gap = 0.0
    confidence_N = probability_NC.max(axis=1)
    for low in range(15):
        rows = [i for i in range(n) if low <= confidence_N[i] * 15 < low + 1 or (low == 14 and confidence_N[i] == 1)]
        if rows:
            gap += abs(sum(confidence_N[i] - (label_N[i] == predicted_N[i]) for i in rows))
    assert scores.ece == pytest.approx(gap / n)


def test_average_precision_of_ties_and_of_nothing_to_find() -> None:
    is_positive = np.array([True, False, True, False])
    assert average_precision(is_positive, np.array([0.9, 0.8, 0.8, 0.1])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(is_positive, np.zeros(4)) == pytest.approx(0.5)
    assert average_precision(~is_positive & is_positive, np.zeros(4)) is None


def test_a_label_without_rows_leaves_the_other_scores_alone() -> None:
    label_N = np.array([0, 2, 2, 0, 2])
    probability_NC = np.array([[0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.5, 0.1, 0.4], [0.9, 0.1, 0], [0.1, 0.3, 0.6]])
    scores = score(label_N, probability_NC, ("bad", "so-so", "good"))
    predicted_N = probability_NC.argmax(axis=1)
    assert scores.auc is None
    assert scores.confusion == ((2, 0, 0), (0, 0, 0), (1, 0, 2))
    assert scores.f1_per_label == pytest.approx({"bad": 0.8, "so-so": 0, "good": 0.8})
    assert list(scores.f1_per_label) == ["bad", "so-so", "good"]
    assert scores.f1 == pytest.approx(oracle.f1_score(label_N, predicted_N, average="macro"))
    wrong_N = np.array([0, 1, 2, 0, 2])  # a label that only predictions name counts, with 0
    scores = score(label_N, np.eye(3)[wrong_N], ("bad", "so-so", "good"))
    assert scores.f1 == pytest.approx(oracle.f1_score(label_N, wrong_N, average="macro"))
    assert scores.f1 == pytest.approx((1 + 0 + 0.8) / 3)


def test_a_half_counts_for_the_second_label() -> None:
    assert score(np.array([1]), np.array([[0.5, 0.5]]), ("neg", "pos")).accuracy == 1


def test_wilson_interval() -> None:
    assert wilson_interval(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)  # Newcombe 1998's method 3
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    low, high = wilson_interval(22_000, 25_000)
    assert (high - low) / 2 == pytest.approx(0.00403, abs=1e-5)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_those_of_newcombe_1998_table_1(right: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(right, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_intervals_are_those_of_scipy(counts: tuple[int, int]) -> None:
    assert wilson_interval(*counts) == pytest.approx(tuple(binomtest(*counts).proportion_ci(method="wilson")), abs=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.95])
def test_wilson_intervals_hold_the_truth_95_times_in_100(share: float) -> None:
    """Exactly: every outcome of a thousand rows, weighed by how likely it is."""
    right = np.arange(1001)
    is_covered = np.array([low <= share <= high for low, high in (wilson_interval(k, 1000) for k in right.tolist())])
    assert 0.94 <= binom.pmf(right, 1000, share)[is_covered].sum() <= 0.96


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[bool, int]]) -> None:
    pairs = [(p > n) + (p == n) / 2 for is_p, p in rows if is_p for is_n, n in rows if not is_n]
    area = area_under_roc(np.array([p for p, _ in rows]), np.array([float(s) for _, s in rows]))
    assert area == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)


def test_calibration_error_by_hand() -> None:
    is_right = np.array([True, False, True, True])
    confidence = np.array([0.7, 0.7, 1.0, 0.99])
    assert expected_calibration_error(is_right, confidence) == pytest.approx((2 * 0.2 + 0.01) / 4)


def test_a_confident_mistake_has_a_finite_loss() -> None:
    scores = score(np.array([0]), np.array([[0.0, 1.0]]), ("neg", "pos"))
    assert math.isfinite(scores.loss)
    assert scores.auc is None


def test_star_ratings_are_scored_as_numpy_and_scikit_learn_do() -> None:
    stars_N = GENERATOR.choice([1, 2, 3, 4, 7, 8, 9, 10], 400)
    label_N = (stars_N > 5).astype(np.int64)
    output_N = (stars_N - 5.5) / 4.5 + GENERATOR.normal(0, 0.8, 400)
    scores = score_stars(output_N, label_N, stars_N, ("neg", "pos"))
    rating_N = np.minimum(np.maximum(5.5 + 4.5 * output_N, 1), 10)
    assert (rating_N == 1).any()
    assert (rating_N == 10).any()
    sign_N = (rating_N >= 5.5).astype(int)
    assert scores.mae == pytest.approx(oracle.mean_absolute_error(stars_N, rating_N))
    assert scores.rmse == pytest.approx(oracle.root_mean_squared_error(stars_N, rating_N))
    assert scores.loss == pytest.approx(oracle.mean_squared_error((stars_N - 5.5) / 4.5, output_N))
    assert scores.accuracy == oracle.accuracy_score(label_N, sign_N)
    assert scores.f1 == pytest.approx(oracle.f1_score(label_N, sign_N, average="macro"))
    assert scores.auc == pytest.approx(oracle.roc_auc_score(label_N, output_N))
    assert scores.average_precision == pytest.approx(oracle.average_precision_score(label_N, output_N))
    assert scores.confusion == tuple(map(tuple, oracle.confusion_matrix(label_N, sign_N).tolist()))
    assert (scores.brier, scores.ece) == (None, None)
    assert {"mae", "rmse", "loss", "accuracy_ci95", "confusion"} <= scores.to_json().keys()


def test_rows_without_stars_count_for_the_sign_alone() -> None:
    output_N, label_N, stars_N = np.array([1.0, 0.0, -1.0, -2.0]), np.array([1, 0, 0, 1]), np.array([9, 4, 0, 0])
    scores = score_stars(output_N, label_N, stars_N, ("neg", "pos"))
    assert (scores.n, scores.accuracy) == (4, 0.5)  # the middle counts for the second label
    assert (scores.mae, scores.rmse) == (pytest.approx(1.25), pytest.approx(math.sqrt((1 + 1.5**2) / 2)))
    none = score_stars(output_N, label_N, np.zeros(4, np.int64), ("neg", "pos"))
    assert (none.loss, none.mae, none.rmse, none.accuracy) == (None, None, None, 0.5)


def test_scores_of_labels_have_no_keys_for_stars() -> None:
    found = score_outputs(
        np.array([2.0, -1.0]), Truth(np.array([1, 1]), np.array([9, 9])), ("neg", "pos"), "label"
    ).to_json()
    assert found["accuracy"] == 0.5
    assert not found.keys() & {"mae", "rmse"}
    assert found["brier"] is not None
