"""Metrics of token prediction: loss, perplexity and token accuracy."""

import math
from dataclasses import dataclass
from typing import Any

_MOST_NATS = 700.0  # e^709.8 is the largest of a float


@dataclass(frozen=True)
class SequenceScores:
    """Scores of n predicted tokens: mean loss in nats, its exponential, and how many of them were likeliest.

    `exact` is the share of sequences that are written without a mistake. Figures that were not measured are None, and
    so is the perplexity of a model that predicts no next token.
    """

    n: int
    loss: float
    perplexity: float | None
    accuracy: float | None = None
    exact: float | None = None

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def score_tokens(loss: float, n: int, n_right: int | None = None) -> SequenceScores | None:
    """Score n tokens with a total loss of `loss` nats; None if the perplexity overflows."""
    mean = loss / n
    if not mean < _MOST_NATS:  # nor is NaN
        return None
    return SequenceScores(n, mean, math.exp(mean), None if n_right is None else n_right / n)
