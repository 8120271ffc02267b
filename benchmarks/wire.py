"""Bytes that a process of two sends in a training step, at the recipes' own sizes, on made-up rows.

torchrun --nproc-per-node 2 benchmarks/wire.py [RECIPE ...]
"""

import collections
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from made_up import MadeUp

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.training.checkpoints import RunFingerprint, TrainProgress
from sentiment_cli.training.loop import train_steps
from sentiment_cli.training.processes.distributed import Group
from sentiment_cli.training.processes.signals import Stop
from sentiment_cli.training.state import TrainJob, build_state
from sentiment_cli.training.tasks.table import task_of
from sentiment_cli.training.weights_init import build_initial_model

RECIPES = ("lstm-bi", "best-labels")
sent: "collections.Counter[str]" = collections.Counter()


def counted(collective: Callable[..., Any], place: int) -> Callable[..., Any]:
    def call(*given: Any, **options: Any) -> Any:
        sent["bytes"] += given[place].nbytes
        return collective(*given, **options)

    return call


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    dist.all_reduce, dist.all_gather = counted(dist.all_reduce, 0), counted(dist.all_gather, 1)
    length_N = np.clip(np.random.default_rng(0).lognormal(5.2, 0.65, 600), 10, 2400).astype(np.int64)  # as IMDb's
    for name in sys.argv[1:] or RECIPES:
        settings = ["train.slices=2", "train.device=cpu", "train.precision=fp32"]
        experiment = load_experiment(name, settings)
        corpus = MadeUp(length_N, experiment.vocabulary.size or 120_000, ("neg", "pos"))
        torch.manual_seed(0)
        model = build_initial_model(experiment, corpus, ())
        fingerprint, group = RunFingerprint("", experiment, corpus.key, {}, {}), Group(dist.get_rank(), 2)
        with tempfile.TemporaryDirectory() as folder:
            device = torch.device("cpu")
            job = TrainJob(Path(folder), fingerprint, corpus, device, TrainProgress(), Stop(), group)
            state = build_state(job, task_of(experiment), model)
            steps = train_steps(
                state.model.train(), state.task.build_objective(state), state.task.build_loader(state).batches(0),
                state.optimizer, lambda step: 1e-3, seed=0, bf16=False, max_grad_norm=1.0, slices=2, group=group,
            )  # fmt: skip
            sent.clear()
            next(steps)
        if group.is_writer:
            n = sum(parameter.numel() for parameter in model.parameters())
            print(f"{name}: {n:,} parameters, {sent['bytes'] / 1e6:.1f} MB a step and process")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
