"""Where the time of a training step goes, by operator."""

import itertools
import time
from typing import NamedTuple

import numpy as np
import torch

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batches import cut, plan_steps, rows_on
from sentiment_cli.data.corpus import prepare
from sentiment_cli.data.reading import read_lengths
from sentiment_cli.errors import UsageError
from sentiment_cli.models.device import check_precision, runs_bf16, select_device, set_up
from sentiment_cli.training.initial import first_model, load_origin
from sentiment_cli.training.loop import LossScale, train_steps
from sentiment_cli.training.objectives import build_objective
from sentiment_cli.training.optimizer import build_optimizer

_WARM_UP, _STEPS = 5, 20


class Share(NamedTuple):
    """One operator's own time, without that of those it calls."""

    operator: str
    share: float
    ms_per_step: float
    calls_per_step: float


class Profile(NamedTuple):
    """Speed without the profiler, and the operators under it, the dearest first."""

    tokens_per_second: float
    ms_per_step: float
    shares: list[Share]


def profile_steps(experiment: Experiment) -> Profile:
    """Take a few of the experiment's steps twice, without and with torch's profiler; no run is made."""
    if experiment.model.kind == "linear":
        raise UsageError("model.kind is linear, which has no training steps to profile", "the same without --profile")
    device, settings = select_device(experiment.train.device), experiment.train
    check_precision(device, settings.precision)
    set_up(device, settings.threads, deterministic=settings.deterministic)
    corpus = prepare(experiment, ("train",))
    packed = corpus.split("train")
    read_N = np.where(packed.length_N > 0, read_lengths(packed.length_N, experiment.text), 0)
    plan = plan_steps(read_N, settings, experiment.seed)
    model = first_model(experiment, corpus, load_origin(experiment)).to(device)
    steps = train_steps(
        model.train(),
        build_objective(experiment),
        itertools.cycle(cut(plan, rows_on(device, packed, experiment.data.target), read_N, experiment)),
        build_optimizer(model, settings),
        lambda step: settings.lr,
        seed=experiment.seed,
        bf16=runs_bf16(device, settings.precision),
        max_grad_norm=settings.max_grad_norm,
        slices=settings.slices,
        scale=LossScale(device) if settings.precision == "fp16" else None,
    )
    taken = list(itertools.islice(steps, _WARM_UP))
    began = time.perf_counter()
    taken = list(itertools.islice(steps, _STEPS))
    float(taken[-1].loss)  # waits for the device
    spent = time.perf_counter() - began
    n_tokens = sum(int(read_N[plan.rows[step.number % plan.n_steps]].sum()) for step in taken)
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
    shares = [Share(key, us / total, us / 1000 / _STEPS, count / _STEPS) for key, us, count in own_us]
    shares.sort(key=lambda share: -share.share)
    return Profile(n_tokens / spent, 1000 * spent / _STEPS, shares)
