"""The data loader: minibatches as a pure function of the step."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.batching.batches import Plan

Batches = Callable[[int], Iterator[Any]]  # from a step on; each is a NamedTuple of tensors, one row per row


class BatchLoader(NamedTuple):
    """The minibatches of all epochs: `batches` starts at any step, `tokens` returns the number of tokens of a step.

    `names` returns the ids of a step's rows, to look into a step that diverged; of BPTT streams, which read parts of
    many rows, it returns none. `most_rows` is the number of rows of the largest batch.
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
    """Return the data loader of planned batches; `read_N` is the number of tokens read of each row, `ids` its name."""
    return BatchLoader(
        plan.epoch_ends,
        batches,
        lambda step: int(read_N[plan.rows[step]].sum()),
        lambda step: [ids[row] for row in plan.rows[step]],
        max(len(row_B) for row_B in plan.rows),
    )
