"""Which tokens of a row a model reads, and rows put together into rectangles; needs numpy alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.tokens.vocabulary import PAD_ID, START_ID

if TYPE_CHECKING:  # predicting loads no pydantic
    pass

MOST_TOKENS = 1_000_000  # of a row; the longest that settings may ask for


class TextLimits(Protocol):
    """What says which tokens of a row are read: the settings `text` of an experiment, or `Reading`."""

    @property
    def max_tokens(self) -> int | None: ...
    @property
    def truncate(self) -> str: ...
    @property
    def start(self) -> bool: ...
    @property
    def pad_to(self) -> int | None: ...


@dataclass(frozen=True)
class SavedTextLimits:
    """The same as plain values, of a finished model."""

    max_tokens: int | None
    truncate: str
    start: bool
    pad_to: int | None

    @classmethod
    def from_json(cls, text: dict[str, Any]) -> "SavedTextLimits":
        """Raise KeyError or ValueError for what says nothing of the kind."""
        found = cls(text["max_tokens"], text["truncate"], text.get("start", False), text["pad_to"])
        counts = [n for n in (found.max_tokens, found.pad_to) if n is not None]
        is_right = found.truncate in ("head", "tail", "ends") and type(found.start) is bool
        if not is_right or not all(type(n) is int and 0 < n <= MOST_TOKENS for n in counts):
            raise ValueError(f"rows cannot be read as {found!r:.200}")
        return found


class Ragged(NamedTuple):
    """Rows of token ids: row i is ids_T[starts_N1[i]:starts_N1[i + 1]]; behind the last lies one padding token."""

    ids_T: NDArray[np.int32]
    starts_N1: NDArray[np.int64]

    @property
    def length_N(self) -> NDArray[np.int64]:
        return np.diff(self.starts_N1)


def concatenate_rows(rows_ids: Sequence[NDArray[np.int32]]) -> Ragged:
    """Put rows one behind the other."""
    padding = np.full(1, PAD_ID, dtype=np.int32)  # which empty rows point at
    starts_N1 = np.cumsum([0, *map(len, rows_ids)], dtype=np.int64)
    return Ragged(np.concatenate([*rows_ids, padding], dtype=np.int32), starts_N1)


def max_own_tokens(text: TextLimits) -> int | None:
    """Return how many tokens of its own a long row keeps: max_tokens, less a start token that is not cut off."""
    return None if text.max_tokens is None else text.max_tokens - (text.start and text.truncate != "tail")


def read_lengths(length_N: NDArray[np.int64], text: TextLimits) -> NDArray[np.int64]:
    """Return how many tokens a model reads of rows of these lengths, the start token and padding it reads included.

    An empty row reads as one token: the start token, or padding.
    """
    if text.pad_to is not None:
        return np.full_like(length_N, text.pad_to)
    return np.clip(length_N + text.start, 1, text.max_tokens)


def kept_positions(n_tokens: int, text: TextLimits) -> NDArray[np.int64]:
    """Return the positions of the tokens that are kept of a row of this length, without the start token."""
    full = n_tokens + text.start
    kept = full if text.max_tokens is None else min(full, text.max_tokens)
    place_L = np.arange(kept)
    if text.truncate != "head":
        place_L[_head(text) :] += full - kept
    place_L -= int(text.start)
    return place_L[place_L >= 0]


def gather_rows(
    rows: Ragged, row_B: NDArray[np.int64], width: int, text: TextLimits
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids_BL and length_B of rows as a model reads them: what `batches.gather` does, in numpy."""
    start_B, end_B = rows.starts_N1[row_B] - int(text.start), rows.starts_N1[row_B + 1]
    full_B = end_B - start_B
    kept_B = full_B if text.max_tokens is None else np.minimum(full_B, text.max_tokens)
    column_BL = np.arange(width)[None]
    if text.pad_to is None:
        length_B = np.maximum(kept_B, 1)
    else:
        length_B, column_BL = np.full_like(kept_B, width), column_BL - (width - kept_B)[:, None]
    inside_BL = (column_BL >= 0) & (column_BL < kept_B[:, None])
    position_BL = start_B[:, None] + column_BL
    if text.max_tokens is not None and text.truncate != "head":
        position_BL += (column_BL >= _head(text)) * (full_B - kept_B)[:, None]
    ids_BL = np.where(inside_BL, rows.ids_T[np.where(inside_BL, position_BL, -1)], PAD_ID).astype(np.int64)
    if text.start:  # in the packed rows its place holds the last token of the row before
        ids_BL[inside_BL & (position_BL == start_B[:, None])] = START_ID
    return ids_BL, length_B


def cut_batches(
    order_N: NDArray[np.int64], length_N: NDArray[np.int64], batch_tokens: int
) -> Iterator[NDArray[np.int64]]:
    """Cut rows, in their order, into batches of at most `batch_tokens` = rows × longest row (one row at least)."""
    start, widest = 0, 0
    for end, length in enumerate(length_N[order_N].tolist()):
        widest = max(widest, length)
        if end > start and (end - start + 1) * widest > batch_tokens:
            yield order_N[start:end]
            start, widest = end, length
    if start < len(order_N):
        yield order_N[start:]


def _head(text: TextLimits) -> int:
    """Return how many tokens a long row keeps of its start, where it keeps its end."""
    return 0 if text.truncate == "tail" or text.max_tokens is None else text.max_tokens // 4


def trained_lengths(length_N: NDArray[np.int64], text: TextLimits) -> NDArray[np.int64]:
    """Return how many tokens of each row are read: 0 of an empty one, which a model alone reads as padding."""
    return np.where(length_N > 0, read_lengths(length_N, text), 0)
