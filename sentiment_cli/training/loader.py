"""What the steps of a training read: batches as a pure function of the step."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.batching.batches import Plan

Batches = Callable[[int], Iterator[Any]]  # from a step on; each a NamedTuple of tensors with a row for each of its rows


class BatchLoader(NamedTuple):
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


def build_row_loader(plan: Plan, batches: Batches, read_N: NDArray[np.int64], ids: list[str]) -> BatchLoader:
    """Return the planned batches of rows; `read_N` is how much of each a model reads, `ids` their names."""
    return BatchLoader(
        plan.epoch_ends,
        batches,
        lambda step: int(read_N[plan.rows[step]].sum()),
        lambda step: [ids[row] for row in plan.rows[step]],
        max(len(row_B) for row_B in plan.rows),
    )
