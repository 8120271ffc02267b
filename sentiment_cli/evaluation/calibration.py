"""Calibration of probabilities: temperature scaling, and accuracy by confidence."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.evaluation.metrics import (
    CONFIDENCE_BINS,
    confidence_bins,
    expected_calibration_error,
    log_loss,
    wilson_interval,
)
from sentiment_cli.inference.predictor import class_probabilities, likeliest
from sentiment_cli.runs.ensemble_model import log_probabilities
from sentiment_cli.runs.saved_model import Calibration

# A model that is right throughout, or no better than chance, has no best temperature short of 0 or infinity.
_COLDEST, _HOTTEST = 0.05, 20.0
_HALVINGS = 60
# With fewer rows the variance of a fitted temperature costs more than the fit gains.
FEWEST_ROWS = 50
# The strength of the prior, in rows: on 2,511 validation reviews of IMDb it moves a temperature by less than 0.01.
_PRIOR = 2.0
_FOLDS = 5
# With this many rows or more, only a rise beyond chance counts: two standard errors of the loss, one of a share of 0.5.
# On the 2,511 validation reviews of IMDb the linear model's 1.051 raises the held-out loss by 0.00016 (standard error
# 0.0005) and the calibration error by 0.0008.
_LARGE = 1000
_BAR = 40


class Bin(NamedTuple):
    """Predictions with a confidence from `low` to `high`: number, mean confidence and accuracy."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    accuracy_ci95: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class Fit(NamedTuple):
    """A calibration, and the reason if its temperature stays 1."""

    calibration: Calibration
    reason: str | None


def calibrate(logits: NDArray[np.float64], label_N: NDArray[np.int64]) -> Calibration:
    """Return the calibration of `find_calibration`."""
    return find_calibration(logits, label_N).calibration


def find_calibration(logits: NDArray[np.float64], label_N: NDArray[np.int64]) -> Fit:
    """Fit a temperature on logits of held-out rows (Guo et al. 2017); 1 where they cannot bear one, or it does harm.

    `logits` are logit_N, of the second of two labels, or logit_NC. A prior draws it towards 1: few rows, and such that
    hold no error, are best explained by a temperature of 0. It is kept where it lowers the log loss of rows that it was
    not fitted on, and does not raise the calibration error.
    """
    plain = measure_calibration(logits, label_N, 1.0)
    if len(label_N) < FEWEST_ROWS:
        return Fit(plain, f"{len(label_N):,} validation rows are too few to fit one, {FEWEST_ROWS} are enough")
    if len(np.unique(label_N)) < 2:
        return Fit(plain, "the validation rows are of one label")
    temperature = _fit_bounded(logits, label_N)
    fitted = measure_calibration(logits, label_N, temperature)
    if fitted.loss_after >= fitted.loss_before:
        return Fit(plain, "none lowers the validation loss")
    rise_N = _held_out_losses(logits, label_N) - _losses(logits, label_N)
    is_large = len(label_N) >= _LARGE
    if rise_N.mean() >= (2 * rise_N.std() / math.sqrt(len(label_N)) if is_large else 0.0):
        return Fit(plain, f"{temperature:.3f} raises the loss of validation rows that it was not fitted on")
    if fitted.ece_after > fitted.ece_before + (0.5 / math.sqrt(len(label_N)) if is_large else 0.0):
        eces = f"from {fitted.ece_before:.4f} to {fitted.ece_after:.4f}"
        return Fit(plain, f"{temperature:.3f} raises the calibration error {eces}")
    return Fit(fitted, None)


def _fit_bounded(logits: NDArray[np.float64], label_N: NDArray[np.int64]) -> float:
    """Fit with the prior; not below a half where the rows hold no error, which would show how far to go."""
    temperature = fit_temperature(logits, label_N, _PRIOR)
    logit_NC = _of_all_labels(logits)
    is_right = (likeliest(class_probabilities(logit_NC)) == label_N).all()
    return max(temperature, 0.5) if is_right else temperature


def _held_out_losses(logits: NDArray[np.float64], label_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the log loss of each row, a fold's by a temperature fitted on the others."""
    fold_N = np.random.default_rng(0).permutation(len(label_N)) % _FOLDS
    loss_N = np.zeros(len(label_N))
    for fold in range(_FOLDS):
        is_held_N = fold_N == fold
        temperature = _fit_bounded(logits[~is_held_N], label_N[~is_held_N])
        loss_N[is_held_N] = _losses(logits[is_held_N] / temperature, label_N[is_held_N])
    return loss_N


def _losses(logits: NDArray[np.float64], label_N: NDArray[np.int64]) -> NDArray[np.float64]:
    losses_N: NDArray[np.float64] = -log_probabilities(_of_all_labels(logits))[np.arange(len(label_N)), label_N]
    return losses_N


def fit_temperature(logits: NDArray[np.float64], label_N: NDArray[np.int64], prior: float = 0.0) -> float:
    """Return the temperature from 0.05 to 20 with the smallest log loss.

    The loss is convex in the inverse temperature s. Its slope there is the mean of how far the logit expected by the
    model lies above the true label's; it grows, and bisection finds where it is 0. `prior` adds prior / n × (s - 1 -
    ln s) to it, which is convex, too, and 0 at s = 1: a gamma prior on s with its mode there, as strong as that
    number of rows.
    """
    logit_NC = _of_all_labels(logits)
    true_N = logit_NC[np.arange(len(label_N)), label_N]
    low, high = 1 / _HOTTEST, 1 / _COLDEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected_N = (class_probabilities(middle * logit_NC) * logit_NC).sum(axis=1)
        if (expected_N - true_N).mean() + prior / len(label_N) * (1 - 1 / middle) > 0:
            high = middle
        else:
            low = middle
    return 2 / (low + high)


def _of_all_labels(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return logits if logits.ndim == 2 else np.stack([np.zeros_like(logits), logits], axis=1)


def measure_calibration(logits: NDArray[np.float64], label_N: NDArray[np.int64], temperature: float) -> Calibration:
    """Return calibration error and log loss of logits as they are and divided by a temperature."""
    errors, losses = [], []
    for divisor in (1.0, temperature):
        probability_NC = class_probabilities(logits / divisor)
        is_right_N = likeliest(probability_NC) == label_N
        errors.append(expected_calibration_error(is_right_N, probability_NC.max(axis=1)))
        losses.append(log_loss(label_N, probability_NC))
    return Calibration(temperature, *errors, *losses)


def reliability_bins(is_right_N: NDArray[np.bool_], confidence_N: NDArray[np.float64]) -> list[Bin]:
    """Return the bins of the calibration error that hold rows."""
    bin_N = confidence_bins(confidence_N)
    n = np.bincount(bin_N)
    sure, right = (np.bincount(bin_N, weights=values_N) for values_N in (confidence_N, is_right_N))
    return [
        Bin(
            low=i / CONFIDENCE_BINS,
            high=(i + 1) / CONFIDENCE_BINS,
            n=int(n[i]),
            confidence=float(sure[i] / n[i]),
            accuracy=float(right[i] / n[i]),
            accuracy_ci95=wilson_interval(int(right[i]), int(n[i])),
        )
        for i in np.flatnonzero(n).tolist()
    ]


def print_reliability(bins: Sequence[Bin]) -> None:
    """Print accuracy over confidence as bars, with a mark where the two would be equal (DeGroot & Fienberg 1983)."""
    console.result("confidence        n  on average  accuracy  #: accuracy, |: confidence")
    for one in bins:
        bar = "#" * round(_BAR * one.accuracy)
        place = min(_BAR - 1, round(_BAR * one.confidence))
        marked = f"{bar:<{_BAR}}"[:place] + "|" + f"{bar:<{_BAR}}"[place + 1 :]
        edges = f"{one.low:.0%} to {one.high:.0%}"
        console.result(f"{edges:<11}{one.n:>8,}  {one.confidence:>10.2%}  {one.accuracy:>8.2%}  {marked.rstrip()}")
