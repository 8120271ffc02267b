"""Profile a few training steps: the share of time of each operator."""

import itertools
import time
from pathlib import Path
from typing import NamedTuple

import torch

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.fit_settings import settle
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.models.device import check_precision, select_device, set_up
from sentiment_cli.training.checkpoints import RunFingerprint, TrainProgress
from sentiment_cli.training.loop import train_steps
from sentiment_cli.training.processes.distributed import ALONE
from sentiment_cli.training.processes.signals import Stop
from sentiment_cli.training.state import TrainJob, build_state
from sentiment_cli.training.tasks.table import prepare_for, task_of
from sentiment_cli.training.weights_init import build_initial_model, check_vectors

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


def profile_steps(experiment: Experiment) -> Profile:
    """Take a few training steps twice, without and with torch's profiler; no run is created."""
    if experiment.model.kind == "linear":
        raise UsageError("model.kind is linear, which has no training steps to profile", Change(without=["--profile"]))
    experiment = settle(experiment)
    device, settings = select_device(experiment.train.device), experiment.train
    check_precision(device, settings.precision)
    set_up(device, settings.threads, deterministic=settings.deterministic)
    check_vectors(experiment)
    corpus = prepare_for(experiment)
    model = build_initial_model(experiment, corpus, ())  # the speed does not depend on the weights
    fingerprint = RunFingerprint("", experiment, corpus.key, {}, {})
    job = TrainJob(Path(), fingerprint, corpus, device, TrainProgress(), Stop(), ALONE)
    state = build_state(job, task_of(experiment), model)
    loader = state.task.build_loader(state)
    steps = train_steps(
        state.model.train(),
        state.task.build_objective(state),
        itertools.chain.from_iterable(loader.batches(0) for _ in itertools.count()),
        state.optimizer,
        lambda step: settings.peak_lr,
        seed=experiment.seed,
        bf16=state.bf16,
        max_grad_norm=settings.max_grad_norm,
        slices=settings.slices,
        scaler=state.scaler,
    )
    taken = list(itertools.islice(steps, _WARM_UP))
    began = time.perf_counter()
    taken = list(itertools.islice(steps, _STEPS))
    float(taken[-1].loss)  # waits for the device
    spent = time.perf_counter() - began
    n_tokens = sum(loader.tokens(step.number % loader.n_steps) for step in taken)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        float(list(itertools.islice(steps, _STEPS))[-1].loss)
    on_device = device.type == "cuda"
    own_us = [
        (event.key, event.self_device_time_total if on_device else event.self_cpu_time_total, event.count)
        for event in profiler.key_averages()
    ]
    total = sum(us for _, us, _ in own_us)
    shares = [PhaseShare(key, us / total, us / 1000 / _STEPS, count / _STEPS) for key, us, count in own_us]
    shares.sort(key=lambda share: -share.share)
    return Profile(n_tokens / spent, 1000 * spent / _STEPS, shares)
