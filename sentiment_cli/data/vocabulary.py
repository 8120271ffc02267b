"""Which words a model knows: by frequency, specials first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.config import schema
from sentiment_cli.data.tokenizer import PAD, UNKNOWN


@dataclass(frozen=True)
class Vocabulary:
    """Entries in order of their ids, with how often each stood in the counted rows (0 for specials).

    Entry 0 is padding. `unknown_id` is what every other word reads as.
    """

    entries: tuple[str, ...]
    counts: tuple[int, ...]
    unknown_id: int

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Vocabulary":
        return cls(tuple(values["entries"]), tuple(values["counts"]), values["unknown_id"])

    @property
    def specials(self) -> int:
        """How many entries are not words."""
        return self.unknown_id + 1


def build_vocabulary(settings: schema.Vocabulary, words: Sequence[str], count_V: NDArray[np.int64]) -> Vocabulary:
    """Keep the most frequent words; among equals, the order is that of the words themselves."""
    specials = (PAD, UNKNOWN) if settings.unknown == "own" else (PAD,)
    order = np.lexsort((np.arange(len(words)), -count_V))  # words come sorted
    order = order[[count_V[i] >= settings.min_count and words[i] not in specials for i in order]]
    if settings.size is not None:
        order = order[: settings.size - len(specials)]
    entries = (*specials, *(words[i] for i in order))
    counts = (*(0 for _ in specials), *(int(count_V[i]) for i in order))
    return Vocabulary(entries, counts, len(specials) - 1)
