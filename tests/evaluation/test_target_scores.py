"""Scores of several labels a row and of ranks, against scikit-learn and their definitions."""

import numpy as np
import pytest
from sklearn import metrics as sk

from sentiment_cli.data.corpus.targets import as_binary, is_unbalanced, rank_probabilities, strata_of
from sentiment_cli.evaluation.target_scores import Truth, quadratic_kappa, score_outputs, score_sets
from sentiment_cli.inference.predictor import decide, probabilities_of
from sentiment_cli.runs.metric_table import leading

LABELS = ("a", "b", "c", "d")


def sets(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    truth_NC = draw.random((n, 4)) < [0.5, 0.2, 0.05, 0.3]
    return truth_NC, np.clip(0.35 * truth_NC + 0.6 * draw.random((n, 4)), 0.01, 0.99)


def test_scores_of_sets_are_those_of_scikit_learn() -> None:
    truth_NC, probability_NC = sets(0)
    said_NC, found = probability_NC >= 0.5, score_sets(truth_NC, probability_NC, LABELS)
    assert found.accuracy == pytest.approx(sk.accuracy_score(truth_NC, said_NC))
    assert found.hamming == pytest.approx(sk.hamming_loss(truth_NC, said_NC))
    assert found.f1 == pytest.approx(sk.f1_score(truth_NC, said_NC, average="macro"))
    assert found.micro_f1 == pytest.approx(sk.f1_score(truth_NC, said_NC, average="micro"))
    assert found.auc == pytest.approx(sk.roc_auc_score(truth_NC, probability_NC))
    assert found.average_precision == pytest.approx(sk.average_precision_score(truth_NC, probability_NC))
    losses = [sk.log_loss(truth_NC[:, c], probability_NC[:, c]) for c in range(4)]
    assert found.loss == pytest.approx(np.mean(losses))
    assert found.counts() == truth_NC.sum(axis=0).tolist()


def test_thresholds_move_what_is_given_and_not_what_ranks() -> None:
    truth_NC, probability_NC = sets(1)
    plain, moved = (score_sets(truth_NC, probability_NC, LABELS, of) for of in (None, (0.3, 0.3, 0.6, 0.9)))
    said_NC = probability_NC >= [0.3, 0.3, 0.6, 0.9]
    assert moved.micro_f1 == pytest.approx(sk.f1_score(truth_NC, said_NC, average="micro"))
    assert (moved.auc, moved.loss) == (plain.auc, plain.loss)


def test_a_label_without_rows_and_predictions_is_left_out_of_the_means() -> None:
    truth_NC = np.array([[True, False, False], [False, True, False]])
    found = score_sets(truth_NC, np.where(truth_NC, 0.9, 0.1), ("a", "b", "c"))
    assert (found.f1, found.auc, found.average_precision) == (1.0, 1.0, 1.0)
    assert found.average_precision_per_label == {"a": 1.0, "b": 1.0, "c": None}


@pytest.mark.parametrize("seed", range(3))
def test_kappa_of_ranks_is_that_of_scikit_learn(seed: int) -> None:
    draw = np.random.default_rng(seed)
    label_N = draw.integers(0, 5, 200)
    said_N = np.clip(label_N + draw.integers(-1, 3, 200), 0, 4)
    wanted = sk.cohen_kappa_score(label_N, said_N, weights="quadratic")
    assert quadratic_kappa(label_N, said_N) == pytest.approx(wanted)
    assert quadratic_kappa(label_N, label_N) == 1.0


def test_ranks_are_probabilities_whatever_the_steps_say() -> None:
    logit_NC = np.array([[3.0, 1.0, -2.0], [-1.0, 2.0, 0.0], [0.0, 0.0, 0.0], [50.0, 50.0, 50.0]])
    probability_NC = rank_probabilities(logit_NC)
    assert (probability_NC >= 0).all()
    assert probability_NC.sum(axis=1) == pytest.approx(np.ones(4))
    above_N = 1 / (1 + np.exp(-logit_NC[0]))
    assert probability_NC[0] == pytest.approx([1 - above_N[0], *-np.diff(above_N), above_N[-1]])
    assert decide(probability_NC, "ordinal").tolist() == [2, 0, 3, 3]


def test_ranks_are_scored_by_their_distance() -> None:
    steps = np.array([[9.0, -9.0], [9.0, 9.0], [-9.0, -9.0], [9.0, 9.0]])
    found = score_outputs(steps, Truth(np.array([1, 2, 2, 1])), ("1", "2", "3"), "ordinal")
    assert (found.accuracy, found.rank_mae, found.within_one) == (0.5, 0.75, 0.75)
    assert found.confusion == ((0, 0, 0), (0, 1, 1), (1, 0, 1))


def test_outputs_of_a_yes_or_no_each_are_read_as_rows_of_their_own() -> None:
    logits = np.arange(6.0).reshape(2, 3)
    sets_KC = np.array([[True, False, True], [False, False, False]])
    flat, truth = as_binary(logits, np.array([1, 0]), "multilabel", sets_KC)
    assert flat.tolist() == [0, 1, 2, 3, 4, 5]
    assert truth.tolist() == [0, 0, 0, 1, 0, 1]
    _, ranks = as_binary(logits, np.array([0, 2]), "ordinal")
    assert ranks.tolist() == [0, 0, 0, 1, 1, 0]
    assert as_binary(logits, np.array([0, 2]), "label")[0] is logits


def test_rows_are_held_out_by_their_rarest_label() -> None:
    sets_KC = np.array([[True, False], [True, True], [False, False]])
    assert strata_of(np.array([0, 0, 1, 2, 0]), 2, sets_KC).tolist() == [0, 0, 1, 2, 0]


def test_probabilities_of_several_labels_are_each_a_sigmoid() -> None:
    found = probabilities_of(np.array([[0.0, 800.0, -800.0]]), "multilabel")
    assert found.tolist() == [[0.5, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("counts", "is_so"), [([50, 50], False), ([59, 41], False), ([60, 40], True), ([20, 20, 30], True), ([7], False)]
)
def test_labels_are_unbalanced_from_one_and_a_half_times_the_others_on(counts: list[int], is_so: bool) -> None:
    assert is_unbalanced(counts) == is_so


def test_macro_f1_leads_where_labels_are_unbalanced() -> None:
    even, uneven = ({"accuracy": 0.5, "f1": 0.5, "confusion": rows} for rows in ([[5, 0], [0, 5]], [[9, 0], [0, 1]]))
    assert [metric.key for metric in leading(even)] == ["accuracy"]
    assert [metric.key for metric in leading(uneven)] == ["f1", "accuracy"]
