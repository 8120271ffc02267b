"""A training in memory: what its parts share, and how it is saved."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.storage import failpoints
from sentiment_cli.training.checkpoints import AnyScores, RunFingerprint, TrainProgress, save_checkpoint
from sentiment_cli.training.loader import BatchLoader
from sentiment_cli.training.loop import EMA, GradScaler, Objective
from sentiment_cli.training.processes.distributed import Group
from sentiment_cli.training.processes.signals import Stop, StopNow


class Task(NamedTuple):
    """What one task brings to a training: its data, model, steps, loss and validation.

    `prepare` makes the corpus, as packing.prepare does, with these `splits`. `validate` returns None for scores that
    are not finite. `carry` makes the states that stay from one step to the next, a row for each row of a batch:
    zeros when training begins.
    """

    splits: tuple[str, ...]
    build_model: Callable[[Experiment, Corpus], nn.Module]
    plot: Callable[["TrainState"], BatchLoader]
    build_objective: Callable[["TrainState"], Objective]
    validate: Callable[["TrainState"], AnyScores | None]
    carry: Callable[[Experiment, nn.Module], list[Tensor]] = lambda experiment, model: []
    prepare: Callable[[Experiment, tuple[str, ...], str | None], Corpus] = prepare


class Agreement(NamedTuple):
    """What all processes of a training do next."""

    stops: bool
    saves: bool


@dataclass
class TrainState:
    """One sitting of a training, on its device."""

    run: Path
    experiment: Experiment
    identity: RunFingerprint
    corpus: Corpus
    device: torch.device
    bf16: bool
    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: EMA | None
    scale: GradScaler | None
    progress: TrainProgress
    stop: Stop
    group: Group
    carried: list[Tensor]

    @property
    def validated(self) -> nn.Module:
        """The model that is validated and kept."""
        return self.model if self.average is None else self.average.model

    @property
    def slices(self) -> int:
        """How many slices of its rows a batch is read in at present."""
        return self.experiment.train.slices * self.progress.split

    def save(self) -> None:
        """Save a checkpoint of the present step, in the first process."""
        if self.group.size > 1 and self.carried:  # each process knows those of its own rows
            own = self.group.own(self.slices)
            for state in self.carried:
                n_rows = len(state)
                state[: n_rows * own[0] // self.slices] = 0
                state[n_rows * (own[-1] + 1) // self.slices :] = 0
            self.group.add(self.carried)
        failpoints.reach("save")
        if not self.group.is_writer:
            return
        began = time.monotonic()
        self.progress.scale_2 = self.scale.state_2 if self.scale is not None else None
        averaged = self.average.model if self.average is not None else None
        keep = self.experiment.train.keep
        save_checkpoint(
            self.run, self.identity, self.progress, self.model, self.optimizer, averaged, keep, self.carried
        )
        self.progress.seconds["save"] += time.monotonic() - began

    def agree(self, *, is_due: bool = False) -> Agreement:
        """Agree with the other processes on what this process wishes: to stop, for a signal that came, or to save.

        It is the only place where a training decides to stop, and every process comes to it after each step, each
        batch of validation and each checkpoint of an epoch's end. What comes during it is for the next one.
        """
        number, due = self.group.agree(self.stop.number, is_due)
        self.stop.number = self.stop.number or number
        return Agreement(stops=number != 0, saves=due != 0)

    def check_stop(self) -> None:
        """Raise StopNow in every process if a signal has come to one."""
        if self.agree().stops:
            raise StopNow

    def judged(self, n_batches: int) -> Callable[[], None]:
        """Return what a process calls after each of its batches, of so many shared out: it raises StopNow in all.

        They agree as often as the process with the fewest batches can.
        """
        left = iter(range(n_batches // self.group.size))

        def after_batch() -> None:
            if next(left, None) is not None:
                self.check_stop()

        return after_batch
