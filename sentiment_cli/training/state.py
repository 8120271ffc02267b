"""The state of a training in memory: model, optimizer, progress, and how they are saved."""

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
from sentiment_cli.models.device import runs_bf16
from sentiment_cli.storage import failpoints
from sentiment_cli.training.checkpoints import AnyScores, RunFingerprint, TrainProgress, save_checkpoint
from sentiment_cli.training.ema import EMA
from sentiment_cli.training.gradients import Objective
from sentiment_cli.training.loader import BatchLoader
from sentiment_cli.training.optimizer import build_optimizer
from sentiment_cli.training.precision import GradScaler
from sentiment_cli.training.processes.distributed import Group
from sentiment_cli.training.processes.signals import Stop, StopNow


class Task(NamedTuple):
    """The functions that define a task: its data, model, data loader, loss and validation.

    `prepare` returns the corpus with these `splits`, as data.corpus.prepare does. `validate` returns None for scores
    that are not finite. `carry` returns the hidden states that pass from one step to the next, one row per row of a
    batch: zeros when training begins. `fit` sets what a model needs that is not learnt step by step.
    """

    splits: tuple[str, ...]
    build_model: Callable[[Experiment, Corpus], nn.Module]
    build_loader: Callable[["TrainState"], BatchLoader]
    build_objective: Callable[["TrainState"], Objective]
    validate: Callable[["TrainState"], AnyScores | None]
    carry: Callable[[Experiment, nn.Module], list[Tensor]] = lambda experiment, model: []
    fit: Callable[["TrainJob", nn.Module], None] = lambda job, model: None
    prepare: Callable[[Experiment, tuple[str, ...], str | None], Corpus] = prepare


class Agreement(NamedTuple):
    """What all processes of a training do after this step."""

    stops: bool
    saves: bool


@dataclass(frozen=True)
class TrainJob:
    """The inputs of a training, fixed from its first step to its last; only `progress` and `stop` are updated."""

    run: Path
    fingerprint: RunFingerprint
    corpus: Corpus
    device: torch.device
    progress: TrainProgress
    stop: Stop
    group: Group

    @property
    def experiment(self) -> Experiment:
        return self.fingerprint.experiment


@dataclass
class TrainState:
    """The state of a training in memory, on its device: model, optimizer, average, and carried hidden states."""

    job: TrainJob
    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: EMA | None
    scaler: GradScaler | None
    carried: list[Tensor]

    @property
    def bf16(self) -> bool:
        return runs_bf16(self.job.device, self.job.experiment.train.precision)

    @property
    def validated(self) -> nn.Module:
        """The model that is validated and kept: the average of the weights with train.ema."""
        return self.model if self.ema is None else self.ema.model

    @property
    def slices(self) -> int:
        """The number of micro-batches per batch (gradient accumulation)."""
        return self.job.experiment.train.slices * self.job.progress.split

    def save(self) -> None:
        """Save a checkpoint of the current step, in the first process."""
        if self.job.group.size > 1 and self.carried:  # each process has the states of its own rows
            own = self.job.group.slice_range(self.slices)
            for state in self.carried:
                n_rows = len(state)
                state[: n_rows * own[0] // self.slices] = 0
                state[n_rows * (own[-1] + 1) // self.slices :] = 0
            self.job.group.all_reduce_sum(self.carried)
        failpoints.reach("save")
        if not self.job.group.is_writer:
            return
        began = time.monotonic()
        self.job.progress.scale_2 = self.scaler.state_2 if self.scaler is not None else None
        averaged = self.ema.model if self.ema is not None else None
        keep, job = self.job.experiment.train.keep, self.job
        save_checkpoint(
            job.run, job.fingerprint, job.progress, self.model, self.optimizer, averaged, keep, self.carried
        )
        self.job.progress.seconds["save"] += time.monotonic() - began

    def agree(self, *, is_due: bool = False) -> Agreement:
        """Agree with the other processes on whether to stop, after a signal to any of them, and on whether to save.

        Training decides to stop here only. Every process calls it after each step, each batch of validation and the
        checkpoint at an epoch's end. A signal that comes during a call counts at the next one.
        """
        number, due = self.job.group.all_reduce_max(self.job.stop.number, is_due)
        self.job.stop.number = self.job.stop.number or number
        return Agreement(stops=number != 0, saves=due != 0)

    def check_stop(self) -> None:
        """Raise StopNow in every process if one has received a signal."""
        if self.agree().stops:
            raise StopNow

    def batch_callback(self, n_batches: int) -> Callable[[], None]:
        """Return a callback for the end of each validation batch, which raises StopNow in all processes after a signal.

        `n_batches` are shared out; the processes agree as often as the one with the fewest batches can.
        """
        left = iter(range(n_batches // self.job.group.size))

        def after_batch() -> None:
            if next(left, None) is not None:
                self.check_stop()

        return after_batch


def build_state(job: TrainJob, task: Task, model: nn.Module) -> TrainState:
    """Move a model to the job's device, with a new optimizer, average and carried states."""
    settings, progress, device = job.experiment.train, job.progress, job.device
    task.fit(job, model)
    model = model.to(device)
    scaler = GradScaler(device) if settings.precision == "fp16" else None
    progress.losses = [loss.to(device) for loss in progress.losses]  # those of a checkpoint are on the CPU
    if scaler is not None and progress.scale_2 is not None:
        scaler.state_2 = progress.scale_2.to(device)
    return TrainState(
        job=job,
        task=task,
        model=model,
        optimizer=build_optimizer(model, settings),
        ema=EMA(model, settings.ema) if settings.ema is not None else None,
        scaler=scaler,
        carried=[tensor.to(device) for tensor in task.carry(job.experiment, model)],
    )
