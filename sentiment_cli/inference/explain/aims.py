"""What is explained of an answer: one number, as a combination of the model's outputs."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.data.corpus.ratings import MIDDLE, REACH
from sentiment_cli.inference.predictor import Predictor, class_probabilities, likeliest


class Target(NamedTuple):
    """The explained output: the model's outputs times direction_C, summed, plus an offset; `of` is its name."""

    of: str
    direction_C: NDArray[np.float64]
    offset: float = 0.0

    def values(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return value_N for the outputs of `Predictor.outputs`."""
        value_N: NDArray[np.float64] = outputs.reshape(len(outputs), -1) @ self.direction_C + self.offset
        return value_N


def aim_at(predictor: Predictor, outputs: NDArray[np.float64], label: int | None = None) -> Target:
    """Return the explained output for a text with these outputs of one row."""
    labels = predictor.labels
    if predictor.target == "stars":
        return Target("stars", np.array([REACH]), MIDDLE)
    if predictor.target == "ordinal":
        n = len(labels) - 1
        return Target("mean log-odds of a higher label", np.full(n, 1 / n / predictor.temperature))
    if predictor.target == "multilabel":
        place = int(outputs[0].argmax()) if label is None else label
        direction_C = np.zeros(len(labels))
        direction_C[place] = 1 / predictor.temperature
        return Target(f"log-odds of {console.one_line(labels[place])}", direction_C)
    if len(labels) == 2:
        return Target(f"log-odds of {console.one_line(labels[1])}", np.array([1 / predictor.temperature]))
    best = int(likeliest(class_probabilities(outputs / predictor.temperature))[0])
    direction_C = np.full(len(labels), -1 / (len(labels) - 1))
    direction_C[best] = 1.0
    return Target(
        f"logit of {console.one_line(labels[best])} less the others' mean", direction_C / predictor.temperature
    )
