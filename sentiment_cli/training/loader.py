"""What the steps of a training read: batches as a pure function of the step."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.config.schema import Text
from sentiment_cli.data.batching.batches import Plan
from sentiment_cli.data.batching.truncation import read_lengths
from sentiment_cli.data.corpus.packed import Packed

Batches = Callable[[int], Iterator[Any]]  # from a step on; each a NamedTuple of tensors with a row for each of its rows


class Material(NamedTuple):
    """The steps of all epochs; `batches` starts at any of them, `tokens` counts those that a step reads.

    `names` says which rows a step reads, for who looks into one that went wrong, and none of streams, which read parts
    of many; `most_rows` is of the largest batch.
    """

    epoch_ends: list[int]
    batches: Batches
    tokens: Callable[[int], int]
    names: Callable[[int], list[str]]
    most_rows: int

    @property
    def n_steps(self) -> int:
        return self.epoch_ends[-1]

    def tokens_between(self, start: int, end: int) -> int:
        return sum(map(self.tokens, range(start, end)))


def read_rows(plan: Plan, batches: Batches, read_N: NDArray[np.int64], ids: list[str]) -> Material:
    """Return the planned batches of rows; `read_N` is how much of each a model reads, `ids` their names."""
    return Material(
        plan.epoch_ends,
        batches,
        lambda step: int(read_N[plan.rows[step]].sum()),
        lambda step: [ids[row] for row in plan.rows[step]],
        max(len(row_B) for row_B in plan.rows),
    )


def trained_lengths(length_N: NDArray[np.int64], text: Text) -> NDArray[np.int64]:
    """Return how many tokens of each row are read: 0 of an empty one, which a model alone reads as padding."""
    return np.where(length_N > 0, read_lengths(length_N, text), 0)


def join_rows(one: Packed, other: Packed) -> Packed:
    """Return the rows of both."""
    fields = [field.name for field in dataclasses.fields(one)]
    joined = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in fields}
    joined["starts_N1"] = np.concatenate([one.starts_N1, one.starts_N1[-1] + other.starts_N1[1:]])
    return Packed(**joined)


def select_rows(packed: Packed, is_wanted_N: NDArray[np.bool_]) -> Packed:
    """Return the rows that are wanted."""
    fields = [field.name for field in dataclasses.fields(packed) if field.name not in ("ids_T", "starts_N1")]
    rows = {name: getattr(packed, name)[is_wanted_N] for name in fields}
    is_wanted_T = np.repeat(is_wanted_N, packed.length_N)
    starts_N1 = np.concatenate([[0], np.cumsum(packed.length_N[is_wanted_N])])
    return Packed(ids_T=packed.ids_T[is_wanted_T], starts_N1=starts_N1, **rows)
