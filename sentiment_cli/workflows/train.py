"""Train an experiment in a new run, or resume a run: prepare the data, build the model, train, write the result."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from sentiment_cli import console
from sentiment_cli.config.loader import differences, experiment_yaml, load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.checks.coverage import unknown_share, warn_of_unknown
from sentiment_cli.data.corpus.fit_settings import settle, settle_device
from sentiment_cli.errors import DataError, DivergedError, InterruptedRun
from sentiment_cli.models.device import describe, memory_errors, precision_name
from sentiment_cli.models.linear import LinearClassifier
from sentiment_cli.runs.directory import stopped_run
from sentiment_cli.runs.files import EXPERIMENT, METRICS_LOG
from sentiment_cli.runs.known_rows import write_known
from sentiment_cli.runs.run_log import RunLog, logged
from sentiment_cli.storage import failpoints, store
from sentiment_cli.training.checkpoints import (
    Checkpoint,
    TrainProgress,
    fingerprint_differences,
    restore,
    weights_of,
)
from sentiment_cli.training.epochs import run_epochs
from sentiment_cli.training.history import metrics_lines
from sentiment_cli.training.init_from import known_rows, pretrained_hashes
from sentiment_cli.training.learnable import check_corpus
from sentiment_cli.training.processes.distributed import Group
from sentiment_cli.training.processes.launching import n_restarts
from sentiment_cli.training.processes.signals import Stop, StopNow
from sentiment_cli.training.state import TrainJob, build_state
from sentiment_cli.training.tasks.distillation import cache_teacher_logits, open_teachers
from sentiment_cli.training.tasks.linear_stages import train_linear
from sentiment_cli.training.tasks.table import prepare_for, task_of
from sentiment_cli.training.weights_init import build_initial_model, load_all_pretrained
from sentiment_cli.workflows.fingerprint import fingerprint_of
from sentiment_cli.workflows.finish import (
    Finished,
    calibrate_on,
    free_checkpoints,
    load_finished,
    write_model,
    write_state,
)
from sentiment_cli.workflows.resume import check_allowed, check_finished, check_steps, record_changes
from sentiment_cli.workflows.setup import (
    check_same_rows,
    find_launched_run,
    interruptible,
    load_newest_checkpoint,
    own_run,
    resume_command,
    set_up_training,
)


def fit(experiment: Experiment, name: str | None = None) -> Finished:
    """Train an experiment in a new run: prepare the data, train, keep the best epoch, and write the run.

    Raises InterruptedRun after a signal, with a checkpoint of the last step, and DivergedError for a loss or a
    gradient that is not finite.
    """
    name = name or experiment.name
    store.check_name(name)
    with logged() as log, set_up_training(experiment, f"a run called {name}") as (device, group, stop):
        with (
            interruptible(stop, "interrupted while the data was read; no run was begun", None, experiment),
            stop.at_once(),
        ):
            experiment = settle(experiment, is_said=True)
            experiment = settle_device(experiment, is_gpu=device.type == "cuda", is_said=True)
        if n_restarts() and (run := find_launched_run(group, experiment)) is not None:
            return _resume(run, experiment, (), device, group, stop, log)
        pretrained = load_all_pretrained(experiment)
        open_teachers(experiment)  # refused before anything slow
        store.check_root(runs_dir())
        began = time.monotonic()
        with (
            interruptible(stop, "interrupted while the data was prepared; no run was begun", None, experiment),
            stop.at_once(),
        ):
            failpoints.reach("prepare")
            corpus = prepare_for(experiment)
            if experiment.task == "classify":
                warn_of_unknown(unknown_share(corpus.split("valid"), corpus.vocabulary), experiment)
            check_corpus(experiment, corpus)
            known = known_rows(experiment, corpus)
            cache_teacher_logits(experiment, corpus)
            prepared = time.monotonic()
            check_same_rows(group, corpus)
            with memory_errors():
                failpoints.reach("model")
                model = build_initial_model(experiment, corpus, pretrained)
        progress = TrainProgress()
        progress.seconds["prepare"] = prepared - began
        claimed = store.claim_directory(runs_dir(), name) if group.is_writer else ""
        run = Path(group.broadcast_text(str(claimed)))
        if run.name != name and (stopped := stopped_run(run)) is not None:
            again = resume_command(stopped, experiment)
            console.say(f"{stopped} was stopped before its end; {again} resumes it. This is a new run, {run}")
        with own_run(run, group) as record, interruptible(stop, "stopped at once", run, experiment):
            if group.is_writer:
                store.write_file(run / EXPERIMENT, experiment_yaml(experiment))
                log.begin(run)
                if known is not None:
                    write_known(run, known)
            fingerprint = fingerprint_of(record.id, experiment, corpus.rows_key, device)
            with memory_errors():
                return train(TrainJob(run, fingerprint, corpus, device, progress, stop, group), model)


def resume(run: Path, experiment: Experiment, allowed: Sequence[str]) -> Finished:
    """Resume a run at the exact step of its newest checkpoint; return the result of a finished run unchanged.

    `experiment` is compared with what the run was trained with. Raises UsageError for a difference whose key is not
    in `allowed` and for a run that another process trains, and DataError for other data and for damage.
    """
    experiment = settle(experiment)
    with logged() as log, set_up_training(experiment, f"--resume {run}") as (device, group, stop):
        return _resume(run, experiment, allowed, device, group, stop, log)


def _resume(
    run: Path,
    experiment: Experiment,
    allowed: Sequence[str],
    device: torch.device,
    group: Group,
    stop: Stop,
    log: RunLog,
) -> Finished:
    with own_run(run, group) as record, interruptible(stop, "stopped at once", run, experiment):
        if group.is_writer:
            log.begin(run)
        own = load_experiment(run / EXPERIMENT)
        if (finished := load_finished(run)) is not None:
            check_finished(run, own, experiment)
            if group.is_writer:
                free_checkpoints(run, own)  # the process may have been killed before it did this
            console.say(f"{run} is finished; there is nothing left to train")
            return finished
        checkpoint = load_newest_checkpoint(run, record.id, group, own.command)
        if checkpoint is None:
            console.say(
                f"{run} was stopped before its first checkpoint: it starts at step 0 of its own experiment.yaml"
            )
            found, rows_key, progress = differences(own, experiment), None, TrainProgress()
        else:
            rows_key, progress = checkpoint.fingerprint.data, checkpoint.progress
            now = fingerprint_of(record.id, experiment, rows_key, device)
            found = fingerprint_differences(checkpoint.fingerprint, now)
        changes = check_allowed(found, allowed, record, run, own.command)
        check_steps(run, experiment, progress)
        began = time.monotonic()
        with interruptible(stop, "interrupted before the first step", run, experiment), stop.at_once():
            failpoints.reach("prepare")
            corpus = prepare_for(experiment, rows_key)
            cache_teacher_logits(experiment, corpus)
            prepared = time.monotonic()
            check_same_rows(group, corpus)
            with memory_errors():
                if checkpoint is None:
                    model = build_initial_model(experiment, corpus, load_all_pretrained(experiment))
                else:  # the checkpoint holds all weights
                    model = task_of(experiment).build_model(experiment, corpus)
        progress.seconds["prepare"] += prepared - began
        if group.is_writer:
            if (known := known_rows(experiment, corpus)) is not None:
                write_known(run, known)
            record_changes(run, record, experiment, changes, progress.step)
        if checkpoint is not None:
            console.say(f"resuming {run} after step {progress.offset + progress.step:,}")
        fingerprint = fingerprint_of(record.id, experiment, corpus.rows_key, device)
        with memory_errors():
            return train(TrainJob(run, fingerprint, corpus, device, progress, stop, group), model, checkpoint)


def train(job: TrainJob, model: nn.Module, checkpoint: Checkpoint | None = None) -> Finished:
    """Train a model from scratch or from a checkpoint; write the model and the summary, and return them.

    A training that is interrupted or diverges leaves the best model so far.
    """
    if isinstance(model, LinearClassifier):
        return _train_linear(job, model)
    run, experiment, corpus, progress, task = job.run, job.experiment, job.corpus, job.progress, task_of(job.experiment)
    state = build_state(job, task, model)
    if checkpoint is not None:
        restore(checkpoint, state.model, state.optimizer, state.ema.model if state.ema else None, state.carried)
    n_parameters = sum(p.numel() for p in model.parameters())
    rows = " and ".join(f"{len(corpus.ids(split)):,} {split}" for split in corpus.directories)
    device = f"{job.group.size} processes, " * (job.group.size > 1) + describe(job.device)
    precision = precision_name(job.device, experiment.train.precision)
    console.say(f"run: {run} on {device}, {precision}, {n_parameters:,} parameters, {rows} rows")
    if job.group.is_writer:
        store.write_file(run / METRICS_LOG, metrics_lines(progress))
    try:
        reason = run_epochs(state)
        if experiment.train.refit and not progress.refit:
            console.say(f"stopped: {reason}")
            if any(job.fingerprint.versions[key] != now for key, now in pretrained_hashes(experiment).items()):
                raise DataError(f"{run} was begun from another model than its experiment now names")
            progress.begin_refit()
            state = build_state(job, task, build_initial_model(experiment, corpus, load_all_pretrained(experiment)))
            reason = run_epochs(state)
    except StopNow:
        if job.stop.twice:
            raise
        write_state(state, "interrupted")
        raise InterruptedRun(
            f"interrupted after step {progress.offset + progress.step:,}, which is saved; "
            f"{_kept_epoch(progress)} is in {run / 'model'}",
            f"{experiment.command} --resume {shlex.quote(str(run))}",
            job.stop.number,
        ) from None
    except DivergedError as error:
        if progress.best.scores is None:
            raise
        write_state(state, "diverged")
        raise DivergedError(f"{error}; {_kept_epoch(progress)} is in {run / 'model'}", error.hint) from None
    console.say(f"stopped: {reason}")
    rate = progress.n_tokens / progress.seconds["train"]
    write_state(state, "finished", rate)
    assert progress.best.scores is not None
    return Finished(run, progress.best.scores, progress.seconds, rate)


def _train_linear(job: TrainJob, model: LinearClassifier) -> Finished:
    """Train a linear model, which takes seconds and has no checkpoints: a signal ends it at once."""
    progress = job.progress
    console.say(f"run: {job.run} on {describe(torch.device('cpu'))}")
    with job.stop.at_once():
        judged = train_linear(model, job.experiment, job.corpus, progress)
    store.write_file(job.run / METRICS_LOG, metrics_lines(progress))
    rate = progress.n_tokens / progress.seconds["train"]
    weights = weights_of(model)
    write_model(job, weights, calibrate_on(job, judged.rows, judged.ids, judged.logits), "finished", rate)
    assert progress.best.scores is not None
    return Finished(job.run, progress.best.scores, progress.seconds, rate)


def _kept_epoch(progress: TrainProgress) -> str:
    best = progress.best
    return f"epoch {best.epoch}, the best so far," if best.epoch else "the present state, not validated,"
