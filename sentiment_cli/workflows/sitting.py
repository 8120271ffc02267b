"""One sitting in a run's directory: from where the training stands to its end, or to what stops it."""

import shlex
from pathlib import Path

import numpy as np
import torch
from torch import nn

import sentiment_cli
from sentiment_cli import console
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.errors import DataError, DivergedError, InterruptedRun
from sentiment_cli.models.device import describe, precision_name, runs_bf16
from sentiment_cli.models.linear import LinearClassifier
from sentiment_cli.runs.files import METRICS_LOG
from sentiment_cli.storage import store
from sentiment_cli.training.checkpoints import (
    Checkpoint,
    RunFingerprint,
    TrainProgress,
    restore,
    weights_of,
)
from sentiment_cli.training.epochs import metrics_lines, run_epochs
from sentiment_cli.training.init_from import pretrained_hashes
from sentiment_cli.training.loop import EMA, GradScaler
from sentiment_cli.training.optimizer import build_optimizer
from sentiment_cli.training.processes.distributed import Group
from sentiment_cli.training.processes.signals import Stop, StopNow
from sentiment_cli.training.state import TrainState
from sentiment_cli.training.tasks.distillation import open_teachers
from sentiment_cli.training.tasks.linear import train_linear
from sentiment_cli.training.tasks.table import task_of
from sentiment_cli.training.weights_init import build_initial_model, load_all_pretrained
from sentiment_cli.workflows.finish import Finished, calibrate_run, write_model, write_state


def train(
    run: Path,
    identity: RunFingerprint,
    corpus: Corpus,
    model: nn.Module,
    device: torch.device,
    progress: TrainProgress,
    checkpoint: Checkpoint | None,
    stop: Stop,
    group: Group,
) -> Finished:
    """Train to the end and write the model and the summary; also those of the best so far when something stops it."""
    experiment = identity.experiment
    if isinstance(model, LinearClassifier):
        return _train_at_once(run, identity, corpus, model, progress, stop)
    session = begin(run, identity, corpus, model, device, progress, stop, group)
    if checkpoint is not None:
        average = session.average.model if session.average else None
        restore(checkpoint, session.model, session.optimizer, average, session.carried)
    n_parameters = sum(p.numel() for p in model.parameters())
    rows = " and ".join(f"{len(corpus.ids(split)):,} {split}" for split in corpus.directories)
    processes = f"{group.size} processes, " if group.size > 1 else ""
    precision = precision_name(device, experiment.train.precision)
    console.say(f"run: {run} on {processes}{describe(device)}, {precision}, {n_parameters:,} parameters, {rows} rows")
    if group.is_writer:
        store.write_file(run / METRICS_LOG, metrics_lines(progress))
    try:
        reason = run_epochs(session)
        if experiment.train.refit and not progress.refit:
            console.say(f"stopped: {reason}")
            if any(identity.versions[key] != now for key, now in pretrained_hashes(experiment).items()):
                raise DataError(f"{run} was begun from another model than its experiment now names")
            progress.begin_refit()
            model = build_initial_model(experiment, corpus, load_all_pretrained(experiment))
            session = begin(run, identity, corpus, model, device, progress, stop, group)
            reason = run_epochs(session)
    except StopNow:
        if stop.twice:
            raise
        write_state(session, "interrupted")
        raise InterruptedRun(
            f"interrupted after step {progress.offset + progress.step:,}, which is saved; "
            f"{_kept(progress)} is in {run / 'model'}",
            f"{experiment.command} --resume {shlex.quote(str(run))}",
            stop.number,
        ) from None
    except DivergedError as error:
        if progress.best.scores is None:
            raise
        write_state(session, "diverged")
        raise DivergedError(f"{error}; {_kept(progress)} is in {run / 'model'}", error.hint) from None
    console.say(f"stopped: {reason}")
    rate = progress.n_tokens / progress.seconds["train"]
    write_state(session, "finished", rate)
    assert progress.best.scores is not None
    return Finished(run, progress.best.scores, progress.seconds, rate)


def _train_at_once(
    run: Path, identity: RunFingerprint, corpus: Corpus, model: LinearClassifier, progress: TrainProgress, stop: Stop
) -> Finished:
    """Train a linear model, in seconds and without checkpoints: a signal ends it at once."""
    console.say(f"run: {run} on {describe(torch.device('cpu'))}")
    with stop.at_once():
        train_linear(model, identity.experiment, corpus, progress)
    store.write_file(run / METRICS_LOG, metrics_lines(progress))
    rate = progress.n_tokens / progress.seconds["train"]
    weights = weights_of(model)
    calibration = calibrate_run(run, model, identity, corpus, progress.best)
    write_model(run, identity, corpus, progress, weights, calibration, "finished", rate)
    assert progress.best.scores is not None
    return Finished(run, progress.best.scores, progress.seconds, rate)


def begin(
    run: Path,
    identity: RunFingerprint,
    corpus: Corpus,
    model: nn.Module,
    device: torch.device,
    progress: TrainProgress,
    stop: Stop,
    group: Group,
) -> TrainState:
    """Put a model on its device, with a fresh optimizer, average and carried states."""
    experiment = identity.experiment
    model, task = model.to(device), task_of(experiment)
    scale = GradScaler(device) if experiment.train.precision == "fp16" else None
    progress.losses = [loss.to(device) for loss in progress.losses]  # those of a checkpoint are on the CPU
    if scale is not None and progress.scale_2 is not None:
        scale.state_2 = progress.scale_2.to(device)
    return TrainState(
        run=run,
        experiment=experiment,
        identity=identity,
        corpus=corpus,
        device=device,
        bf16=runs_bf16(device, experiment.train.precision),
        task=task,
        model=model,
        optimizer=build_optimizer(model, experiment.train),
        average=EMA(model, experiment.train.ema) if experiment.train.ema is not None else None,
        scale=scale,
        progress=progress,
        stop=stop,
        group=group,
        carried=[state.to(device) for state in task.carry(experiment, model)],
    )


def versions(experiment: Experiment) -> dict[str, str]:
    """What may change the numbers of a training with the code, a library, the teacher or what it starts from."""
    libraries = {"sentiment": sentiment_cli.__version__, "torch": torch.__version__, "numpy": np.__version__}
    taught = "+".join(teacher.sha256 for teacher in open_teachers(experiment))
    teacher = {"teacher": taught} if taught else {}
    return {**libraries, **pretrained_hashes(experiment), **teacher}


def machine(experiment: Experiment, device: torch.device) -> dict[str, str]:
    """What may change the numbers of a training with where it runs."""
    precision = precision_name(device, experiment.train.precision)
    threads = str(torch.get_num_threads()) if device.type == "cpu" else "any"
    return {"device": device.type, "precision": precision, "threads": threads}


def _kept(progress: TrainProgress) -> str:
    best = progress.best
    return f"epoch {best.epoch}, the best so far," if best.epoch else "the present state, not validated,"
