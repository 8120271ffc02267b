"""Weights of an ensemble's members (stacking): those with the smallest log loss on validation."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.data.corpus.splits import folds_of
from sentiment_cli.data.corpus.targets import strata_of
from sentiment_cli.evaluation.calibration import calibrate
from sentiment_cli.runs.ensemble_model import combine
from sentiment_cli.runs.predictions import ValidationOutputs

# How far from an equal share a weight is expected to lie before any row is seen: members of one quality then stay near
# it on a few hundred rows. A row says p (1 - p) times the squared distance of two members' log-odds, some 0.1, about
# the difference of their weights, so that 2,500 rows say ten times as much as the prior.
PRIOR_STD = 0.2
Weighing = Literal["fitted", "equal"]
FOLDS = 5
_MOST_STEPS = 100
_TOLERANCE = 1e-10  # of the gradient, by row


def weigh(logits: Sequence[NDArray[np.float64]], rows: ValidationOutputs, weighing: Weighing) -> NDArray[np.float64]:
    """Return the weights of members by their calibrated outputs of validation rows: fitted, or equal shares."""
    if weighing == "equal":
        return np.full(len(logits), 1 / len(logits))
    of_members = [rows._replace(logits=of_member).as_binary() for of_member in logits]
    return fit_weights([of_member for of_member, _ in of_members], of_members[0][1])


def judge_folds(
    logits: Sequence[NDArray[np.float64]], rows: ValidationOutputs, weighing: Weighing
) -> NDArray[np.float64] | None:
    """Return the calibrated outputs of each fold of the rows, with weights and temperature of the other folds.

    A movie's rows are in one fold; None for those of a single one, which has no others.
    """
    groups = len(set(rows.group_N.tolist()) - {-1}) + int((rows.group_N < 0).sum())
    if groups < 2:
        console.warn("the validation reviews are of one group, which no fold can be held out of: there is no score")
        return None
    stratum_N = strata_of(rows.label_N, len(rows.labels), rows.sets_KC)
    fold_N = folds_of(stratum_N, rows.group_N, "auto", min(FOLDS, groups), seed=0)
    output = np.zeros_like(logits[0])
    for fold in np.unique(fold_N):
        held_N = fold_N == fold
        others, rest = [of_member[~held_N] for of_member in logits], rows._replace(label_N=rows.label_N[~held_N])
        weights = weigh(others, rest, weighing).tolist()
        joined = combine(others, weights, rows.target)
        temperature = calibrate(*rest._replace(logits=joined).as_binary()).temperature
        output[held_N] = combine([of_member[held_N] for of_member in logits], weights, rows.target) / temperature
    return output


def fit_weights(logits: Sequence[NDArray[np.float64]], label_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return non-negative weights that sum to 1, by logistic regression on the members' calibrated logits.

    `logits` are logit_N of the second of two labels, or logit_NC. No weight is below 0 (Breiman 1996, "Stacked
    Regressions": members that say nearly the same would else cancel each other), and none is far from an equal share
    without need: the log loss of the rows and a normal prior around it make a strictly convex problem, which a
    projected Newton method solves (Bertsekas 1982). There is no constant term.
    """
    value_KNC = np.stack([_two_sided(of_member) for of_member in logits])
    n_members, n_rows, _ = value_KNC.shape
    equal_K = np.full(n_members, 1 / n_members)
    weight_K, (value, gradient_K, hessian_KK) = equal_K, _penalized_loss(equal_K, value_KNC, label_N)
    for _ in range(_MOST_STEPS):
        is_free_K = (weight_K > 0) | (gradient_K < 0)
        if not is_free_K.any() or np.abs(gradient_K[is_free_K]).max() <= _TOLERANCE * n_rows:
            break
        step_K = np.zeros(n_members)
        step_K[is_free_K] = -np.linalg.solve(hessian_KK[np.ix_(is_free_K, is_free_K)], gradient_K[is_free_K])
        size = 1.0
        while True:
            new_K = np.maximum(weight_K + size * step_K, 0)
            found = _penalized_loss(new_K, value_KNC, label_N)
            if found[0] <= value + 1e-4 * gradient_K @ (new_K - weight_K) or size < 1e-6:
                break
            size /= 2
        weight_K, (value, gradient_K, hessian_KK) = new_K, found
    total = weight_K.sum()
    return weight_K / total if total > 0 else equal_K


def _two_sided(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return logits if logits.ndim == 2 else np.stack([np.zeros_like(logits), logits], axis=1)


def _penalized_loss(
    weight_K: NDArray[np.float64], value_KNC: NDArray[np.float64], label_N: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the sum of the rows' log losses and the prior's, its gradient and its Hessian."""
    row_N = np.arange(len(label_N))
    logit_NC = np.tensordot(weight_K, value_KNC, axes=1)
    logit_NC -= logit_NC.max(axis=1, keepdims=True)
    total_N = np.log(np.exp(logit_NC).sum(axis=1))
    probability_NC = np.exp(logit_NC - total_N[:, None])
    expected_KN = np.einsum("knc,nc->kn", value_KNC, probability_NC)
    around_KNC = value_KNC - expected_KN[:, :, None]
    far_K = weight_K - 1 / len(weight_K)
    value = float((total_N - logit_NC[row_N, label_N]).sum() + 0.5 * far_K @ far_K / PRIOR_STD**2)
    gradient_K = (expected_KN - value_KNC[:, row_N, label_N]).sum(axis=1) + far_K / PRIOR_STD**2
    curvature_KK = np.einsum("knc,lnc,nc->kl", around_KNC, around_KNC, probability_NC)
    return value, gradient_K, curvature_KK + np.eye(len(weight_K)) / PRIOR_STD**2
