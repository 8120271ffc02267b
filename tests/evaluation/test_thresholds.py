"""Thresholds of labels: the best F1 of each by exhaustion, and none where they only fit chance."""

import numpy as np
import pytest

from sentiment_cli.evaluation.metrics import macro_f1
from sentiment_cli.evaluation.thresholds import find_thresholds
from sentiment_cli.inference.predictor import decide, given_labels


def few_of_two(seed: int, n: int = 800) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which the second is rare, and probabilities that are too low for it."""
    draw = np.random.default_rng(seed)
    label_N = (draw.random(n) < 0.1).astype(np.int64)
    logit_N = 1.5 * label_N + draw.normal(0, 1, n) - 3
    yes_N = 1 / (1 + np.exp(-logit_N))
    return label_N, np.stack([1 - yes_N, yes_N], axis=1)


def test_the_threshold_of_a_rare_label_is_low_and_found_again_on_new_rows() -> None:
    label_N, probability_NC = few_of_two(0)
    found = find_thresholds(probability_NC, label_N, "label")
    assert found.threshold_C is not None
    assert found.f1_after > found.f1_before + 0.05
    fresh_N, fresh_NC = few_of_two(1)
    truth_NC = np.eye(2, dtype=bool)[fresh_N]
    plain, moved = (
        macro_f1(truth_NC, np.eye(2, dtype=bool)[decide(fresh_NC, "label", of)])
        for of in (None, tuple(found.threshold_C))
    )
    assert moved > plain + 0.05


def test_of_several_labels_each_has_the_threshold_with_its_highest_f1() -> None:
    label_N, probability_NC = few_of_two(2)
    sets_KC = np.array([[True, False], [False, True]])
    found = find_thresholds(probability_NC, label_N, "multilabel", sets_KC)
    assert found.threshold_C is not None
    truth_N = label_N == 1
    best = max(
        macro_f1(truth_N[:, None], probability_NC[:, 1:] >= threshold) for threshold in np.unique(probability_NC[:, 1])
    )
    given_N = given_labels(probability_NC, tuple(found.threshold_C))[:, 1:]
    assert macro_f1(truth_N[:, None], given_N) == pytest.approx(best)


@pytest.mark.parametrize("target", ["label", "multilabel"])
def test_few_rows_keep_no_thresholds(target: str) -> None:
    label_N, probability_NC = few_of_two(3, n=49)
    sets_KC = np.eye(2, dtype=bool) if target == "multilabel" else None
    assert find_thresholds(probability_NC, label_N, target, sets_KC).threshold_C is None  # type: ignore[arg-type]


def test_thresholds_that_do_not_help_held_out_rows_are_not_kept() -> None:
    draw = np.random.default_rng(0)
    label_N = draw.integers(0, 2, 400)
    yes_N = np.where(label_N == 1, 0.9, 0.1)  # nothing to gain
    assert find_thresholds(np.stack([1 - yes_N, yes_N], axis=1), label_N, "label").threshold_C is None
