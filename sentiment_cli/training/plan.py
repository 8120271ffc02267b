"""Which rows each step reads, as a pure function of the settings and the seed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_cli.config.schema import Experiment, Train
from sentiment_cli.data.batches import Batch, Rows, gather, plan_batches


@dataclass(frozen=True)
class Plan:
    """The epochs' batches one after the other, cut off at train.max_steps."""

    rows: list[NDArray[np.int64]]
    epoch_ends: list[int]

    @property
    def n_steps(self) -> int:
        return len(self.rows)


def plan_steps(length_N: NDArray[np.int64], settings: Train, seed: int) -> Plan:
    """Plan every step of the run. Rows without a token (length 0) are left out of training."""
    row_N = np.flatnonzero(length_N)
    rows: list[NDArray[np.int64]] = []
    epoch_ends = []
    for epoch in range(settings.epochs):
        rows += [row_N[batch] for batch in plan_batches(length_N[row_N], settings.batch_tokens, seed, epoch)]
        epoch_ends.append(len(rows))
        if settings.max_steps is not None and len(rows) >= settings.max_steps:
            epoch_ends[-1] = settings.max_steps
            return Plan(rows[: settings.max_steps], epoch_ends)
    return Plan(rows, epoch_ends)


def cut(plan: Plan, rows: Rows, read_N: NDArray[np.int64], experiment: Experiment, start: int = 0) -> Iterator[Batch]:
    """Cut the planned batches, from step `start` on, out of the rows on their device."""
    device = rows.starts_N1.device
    for row_B in plan.rows[start:]:
        yield gather(rows, torch.from_numpy(row_B).to(device), int(read_N[row_B].max()), experiment.text)
