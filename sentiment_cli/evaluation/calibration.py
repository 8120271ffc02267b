"""How far probabilities can be believed: one temperature for a model's logits, and accuracy over confidence."""

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
from sentiment_cli.inference.artefact import Calibration
from sentiment_cli.inference.predictor import class_probabilities, likeliest

# A model that is right throughout, or no better than chance, has no best temperature short of 0 or infinity.
_COLDEST, _HOTTEST = 0.05, 20.0
_HALVINGS = 60
_BAR = 40


class Bin(NamedTuple):
    """Predictions whose confidence lies from `low` to `high`: how many, how sure on average, how many of them right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    accuracy_ci95: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


def calibrate(logits: NDArray[np.float64], label_N: NDArray[np.int64]) -> Calibration:
    """Fit a temperature on logits of held-out rows (Guo et al. 2017); it is 1 where none lowers their log loss.

    `logits` are logit_N, of the second of two labels, or logit_NC.
    """
    fitted = measure_calibration(logits, label_N, fit_temperature(logits, label_N))
    return fitted if fitted.loss_after < fitted.loss_before else measure_calibration(logits, label_N, 1.0)


def fit_temperature(logits: NDArray[np.float64], label_N: NDArray[np.int64]) -> float:
    """Return the temperature from 0.05 to 20 with the smallest log loss.

    The loss is convex in the inverse temperature. Its slope there is the mean of how far the logit expected by the
    model lies above the true label's; it grows, and bisection finds where it is 0.
    """
    logit_NC = logits if logits.ndim == 2 else np.stack([np.zeros_like(logits), logits], axis=1)
    true_N = logit_NC[np.arange(len(label_N)), label_N]
    low, high = 1 / _HOTTEST, 1 / _COLDEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected_N = (class_probabilities(middle * logit_NC) * logit_NC).sum(axis=1)
        if (expected_N - true_N).mean() > 0:
            high = middle
        else:
            low = middle
    return 2 / (low + high)


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
