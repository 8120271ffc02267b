"""Profile a few training steps: the share of time of each operator."""

import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch.autograd.profiler_util import FunctionEventAvg

from sentiment_cli.config.schema import Experiment, Teacher
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.models.device import check_precision, select_device, set_up
from sentiment_cli.training.checkpoints import RunFingerprint, TrainProgress
from sentiment_cli.training.loader import BatchLoader
from sentiment_cli.training.loop import Step, train_steps
from sentiment_cli.training.processes.distributed import ALONE
from sentiment_cli.training.processes.signals import Stop
from sentiment_cli.training.state import TrainJob, TrainState, build_state
from sentiment_cli.training.tasks.table import prepare_for, task_of
from sentiment_cli.training.weights_init import build_initial_model, check_vectors
from sentiment_cli.workflows.setup import settle_here

_WARM_UP, _STEPS = 5, 20


class PhaseShare(NamedTuple):
    """One operator's own time, without the operators that it calls."""

    operator: str
    share: float
    ms_per_step: float
    calls_per_step: float


class Profile(NamedTuple):
    """Speed without the profiler, and the operators with it, the slowest first."""

    tokens_per_second: float
    ms_per_step: float
    shares: list[PhaseShare]


class Measured(NamedTuple):
    """A training that took a few steps, without a run: its state, its further steps, and the speed."""

    state: TrainState
    loader: BatchLoader
    steps: Iterator[Step]
    tokens_per_second: float
    seconds_per_step: float


def measure_steps(experiment: Experiment) -> Measured:
    """Take a few training steps of an experiment whose settings are settled, after some to warm up.

    They are of the labelled rows alone: its teachers may still have to be trained.
    """
    device, settings = select_device(experiment.train.device), experiment.train
    check_precision(device, settings.precision)
    set_up(device, settings.threads, deterministic=settings.deterministic)
    check_vectors(experiment)
    corpus = prepare_for(experiment)
    state, loader = begin_training(experiment.model_copy(update={"teacher": Teacher()}), corpus, device)
    steps = endless_steps(state, loader)
    taken = list(itertools.islice(steps, _WARM_UP))
    began = time.perf_counter()
    taken = list(itertools.islice(steps, _STEPS))
    float(taken[-1].loss)  # waits for the device
    spent = time.perf_counter() - began
    n_tokens = sum(loader.tokens(step.number % loader.n_steps) for step in taken)
    return Measured(state, loader, steps, n_tokens / spent, spent / _STEPS)


def profile_steps(experiment: Experiment) -> Profile:
    """Take a few training steps twice, without and with torch's profiler; no run is created."""
    if experiment.model.kind == "linear":
        raise UsageError("model.kind is linear, which has no training steps to profile", Change(without=["--profile"]))
    measured = measure_steps(settle_here(experiment))
    device = measured.state.job.device
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        float(list(itertools.islice(measured.steps, _STEPS))[-1].loss)
    shares = own_shares(profiler.key_averages(), device, _STEPS)
    return Profile(measured.tokens_per_second, 1000 * measured.seconds_per_step, shares)


def begin_training(
    experiment: Experiment, corpus: Corpus, device: torch.device, run: Path = Path()
) -> tuple[TrainState, BatchLoader]:
    """Return the state of a training before its first step, and its data loader, without a run."""
    torch.manual_seed(experiment.seed)
    model = build_initial_model(experiment, corpus, ())  # the speed does not depend on the weights
    fingerprint = RunFingerprint("", experiment, corpus.key, {}, {})
    job = TrainJob(run, fingerprint, corpus, device, TrainProgress(), Stop(), ALONE)
    state = build_state(job, task_of(experiment), model)
    return state, state.task.build_loader(state)


def endless_steps(state: TrainState, loader: BatchLoader) -> Iterator[Step]:
    """Yield optimizer steps at the full learning rate; after the last batch the first one comes again."""
    settings = state.job.experiment.train
    return train_steps(
        state.model.train(),
        state.task.build_objective(state),
        itertools.chain.from_iterable(loader.batches(0) for _ in itertools.count()),
        state.optimizer,
        lambda step: settings.peak_lr,
        seed=state.job.experiment.seed,
        bf16=state.bf16,
        max_grad_norm=settings.max_grad_norm,
        slices=settings.slices,
        ema=state.ema,
        scaler=state.scaler,
    )


def own_shares(events: Iterable[FunctionEventAvg], device: torch.device, n_steps: int) -> list[PhaseShare]:
    """Return each operator's own time and its share of all, the slowest first."""
    on_device = device.type == "cuda"
    own_us = [
        (str(event.key), event.self_device_time_total if on_device else event.self_cpu_time_total, event.count)
        for event in events
        if event.device_type == torch.profiler.DeviceType.CPU  # kernels come again by themselves
    ]
    total = sum(us for _, us, _ in own_us)
    shares = [PhaseShare(key, us / total, us / 1000 / n_steps, count / n_steps) for key, us, count in own_us]
    return sorted(shares, key=lambda share: -share.share)
