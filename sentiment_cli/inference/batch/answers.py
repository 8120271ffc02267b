"""Answers as JSON: how they pass from worker processes, and how parts of a file keep them."""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentiment_cli.inference.predictor import Prediction


def packed(answers: "Sequence[Prediction]") -> list[list[Any]]:
    """Return the answers without their texts; probabilities are in the order of the model's labels."""
    return [
        [
            one.label,
            one.probability,
            None if one.probabilities is None else list(one.probabilities.values()),
            one.tokens,
            one.unknown,
            one.truncated,
            one.low_evidence,
            one.stars,
            one.labels,
        ]
        for one in answers
    ]


def unpacked(rows: Sequence[Sequence[Any]], texts: Sequence[str], labels: Sequence[str]) -> "list[Prediction]":
    """Return the answers of texts, as `packed` was given them: JSON keeps every bit of a number."""
    from sentiment_cli.inference.predictor import Prediction

    return [
        Prediction(
            text,
            label,
            probability,
            None if each is None else dict(zip(labels, each, strict=True)),
            tokens,
            unknown,
            truncated,
            low_evidence,
            stars,
            None if given is None else tuple(given),
        )
        for text, (label, probability, each, tokens, unknown, truncated, low_evidence, stars, given) in zip(
            texts, rows, strict=True
        )
    ]


def json_bytes(value: Any) -> bytes:
    """Encode a message or a line of a part."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def digest_of(texts: Sequence[str]) -> str:
    """Return a hash of texts, by which answers are known to be theirs."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:32]
