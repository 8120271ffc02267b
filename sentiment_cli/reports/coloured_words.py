"""The words of quoted texts, with how far each counted for the model's output."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from sentiment_cli.errors import SentimentError
from sentiment_cli.inference.explain.attribution import Explainer, Explanation
from sentiment_cli.inference.explain.words import cut_text
from sentiment_cli.inference.predictor import open_predictor

Pieces = list[tuple[str, int]]
_LEVELS = 4


def explain_texts(run: Path, texts: Sequence[str]) -> tuple[str, list[Pieces]]:
    """Return a sentence on what the colours mean, and each text in pieces with levels from -4 to 4.

    Where the model cannot be asked, the sentence says why, and there are no pieces.
    """
    try:
        explainer = Explainer(open_predictor(run))
        found = [explainer.explain(text) for text in texts]
    except SentimentError as error:
        return f"Their words are not coloured: {error}.", [[] for _ in texts]
    said = f"Blue words are for a higher {found[0].of}, orange words for a lower one" if found else ""
    if any(one.of != found[0].of for one in found):
        said = "Blue words are for the predicted label, orange words against it"
    return f"{said}; the deeper the colour, the more. A cut text is explained as it is shown.", [
        list(_merged(text, one)) for text, one in zip(texts, found, strict=True)
    ]


def _merged(text: str, explanation: Explanation) -> Iterator[tuple[str, int]]:
    """Yield the pieces of a text; neighbours of one level are one piece."""
    levels = explanation.levels(_LEVELS)
    pieces = ((piece, 0 if i is None else levels[i]) for piece, i in cut_text(text, explanation.words))
    for level, group in itertools.groupby(pieces, key=lambda pair: pair[1]):
        yield "".join(piece for piece, _ in group), level
