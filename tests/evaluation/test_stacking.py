"""Weights of an ensemble's members against other solvers of the same problem."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from sentiment_cli.evaluation import stacking
from sentiment_cli.evaluation.stacking import PRIOR_STD, fit_weights


def draw(n_rows: int, noise: list[float], seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Log-odds that members of some noise would have of the same rows, and the rows' labels."""
    rng = np.random.default_rng(seed)
    truth_N = rng.normal(0, 3, n_rows)
    label_N = (rng.random(n_rows) < 1 / (1 + np.exp(-truth_N))).astype(np.int64)
    return [(truth_N + rng.normal(0, scale, n_rows)) / (1 + scale / 2) for scale in noise], label_N


def best_by_scipy(logit_KNC: np.ndarray, label_N: np.ndarray) -> np.ndarray:
    equal = 1 / len(logit_KNC)

    def loss(weight_K: np.ndarray) -> float:
        log_NC = log_softmax(np.tensordot(weight_K, logit_KNC, axes=1), axis=1)
        return -log_NC[np.arange(len(label_N)), label_N].sum() + ((weight_K - equal) ** 2).sum() / 2 / PRIOR_STD**2

    bounds = [(0, None)] * len(logit_KNC)
    found = minimize(loss, np.full(len(logit_KNC), equal), bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-10}).x
    return found / found.sum()


@pytest.mark.parametrize("noise", [[1.0], [1.0, 1.0], [0.5, 3.0], [1.0, 2.0, 4.0], [0.3, 5.0, 5.0, 5.0]])
@pytest.mark.parametrize("n_rows", [40, 1000])
def test_weights_are_scipy_s_optimum(noise: list[float], n_rows: int) -> None:
    logits, label_N = draw(n_rows, noise)
    both = np.stack([np.stack([np.zeros(n_rows), one], axis=1) for one in logits])
    weights = fit_weights(logits, label_N)
    np.testing.assert_allclose(weights, best_by_scipy(both, label_N), atol=2e-5)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert weights.argmax() == 0 or n_rows < 100 or noise == [1.0, 1.0]  # the less noise, the more weight


def test_weights_of_several_labels_are_scipy_s_optimum() -> None:
    rng = np.random.default_rng(1)
    truth_NC = rng.normal(0, 2, (300, 4))
    label_N = np.array([rng.choice(4, p=np.exp(row) / np.exp(row).sum()) for row in truth_NC])
    logits = [truth_NC + rng.normal(0, scale, (300, 4)) for scale in (0.5, 1, 2)]
    np.testing.assert_allclose(fit_weights(logits, label_N), best_by_scipy(np.stack(logits), label_N), atol=2e-5)


def test_a_member_that_a_difference_would_help_gets_no_weight_instead_of_a_negative_one() -> None:
    """One with twice the other's noise, so that twice the other less this one would be the truth."""
    (exact, one), label_N = draw(5000, [0.0, 2.0])
    one *= 2
    other = 2 * one - exact
    free = LogisticRegression(C=1e9, fit_intercept=False).fit(np.stack([one, other], axis=1), label_N).coef_[0]
    assert free[1] < -0.5
    assert fit_weights([one, other], label_N).tolist() == [1, 0]


def test_without_the_prior_it_is_logistic_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacking, "PRIOR_STD", 1e4)
    logits, label_N = draw(1000, [1.0, 1.5, 2.0])
    found = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-10).fit(np.stack(logits, axis=1), label_N).coef_[0]
    assert found.min() > 0
    np.testing.assert_allclose(fit_weights(logits, label_N), found / found.sum(), atol=1e-5)


def test_equal_members_are_weighed_equally_and_few_rows_change_little() -> None:
    (one,), label_N = draw(200, [1.0])
    np.testing.assert_allclose(fit_weights([one, one, one], label_N), [1 / 3] * 3, atol=1e-9)
    logits, label_N = draw(3, [1.0, 1.0])
    np.testing.assert_allclose(fit_weights(logits, label_N), [0.5, 0.5], atol=0.1)


@pytest.mark.parametrize("scale", [1e3, 0.0])
def test_what_is_separable_or_says_nothing_has_weights_too(scale: float) -> None:
    label_N = np.array([0, 1] * 50)
    weights = fit_weights([scale * (label_N - 0.5), 2 * scale * (label_N - 0.5)], label_N)
    assert np.isfinite(weights).all()
    assert weights.min() >= 0
