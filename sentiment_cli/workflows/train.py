"""From an experiment, or from a run that was stopped, to a finished run."""

import contextlib
import dataclasses
import json
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from sentiment_cli import console
from sentiment_cli.config.loader import differences, experiment_yaml, flat_values, load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.checks.coverage import unknown_share, warn_of_unknown
from sentiment_cli.data.corpus.fit_settings import settle
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.errors import Change, DataError, InterruptedRun, MachineError, UsageError
from sentiment_cli.models.device import check_precision, memory_errors, select_device, set_up
from sentiment_cli.runs.directory import stopped_run
from sentiment_cli.runs.files import EXPERIMENT
from sentiment_cli.runs.known_rows import write_known
from sentiment_cli.runs.run_lock import RunRecord, find_launched, launch_id, owned
from sentiment_cli.storage import failpoints, store
from sentiment_cli.training.checkpoints import (
    Checkpoint,
    RunFingerprint,
    TrainProgress,
    fingerprint_differences,
    newest_checkpoint,
    read_checkpoint,
)
from sentiment_cli.training.init_from import known_rows
from sentiment_cli.training.learnable import check_corpus
from sentiment_cli.training.processes.distributed import Group, LostProcessError, joined, own_device
from sentiment_cli.training.processes.launching import has_launcher, n_launched, n_restarts
from sentiment_cli.training.processes.signals import Stop, StopNow, watch_signals
from sentiment_cli.training.tasks.distillation import cache_teacher_logits, open_teachers
from sentiment_cli.training.tasks.table import prepare_for, task_of
from sentiment_cli.training.tensorboard import check_tensorboard
from sentiment_cli.training.weights_init import build_initial_model, load_all_pretrained
from sentiment_cli.workflows.finish import Finished, code_sha256, free_checkpoints, load_finished
from sentiment_cli.workflows.resume import check_allowed, check_finished, check_steps, record_changes
from sentiment_cli.workflows.sitting import machine, train, versions


def fit(experiment: Experiment, name: str | None = None) -> Finished:
    """Prepare the data, train, keep the best epoch, and write the run.

    Raises InterruptedRun after a signal, with a checkpoint of the last step, and DivergedError for a loss or a
    gradient that is not finite.
    """
    store.check_name(name or experiment.name)
    with _set_up(experiment, f"a run called {name or experiment.name}") as (device, group, stop):
        with _told(stop, "interrupted while the data was read; no run was begun", None, experiment), stop.at_once():
            experiment = settle(experiment, is_said=True)
        if n_restarts() and (run := _launched(group, experiment)) is not None:
            return _resume(run, experiment, (), device, group, stop)
        origins = load_all_pretrained(experiment)
        open_teachers(experiment)  # refused before anything slow
        store.check_root(runs_dir())
        began = time.monotonic()
        with _told(stop, "interrupted while the data was prepared; no run was begun", None, experiment), stop.at_once():
            failpoints.reach("prepare")
            corpus = prepare_for(experiment)
            if experiment.task == "classify":
                warn_of_unknown(unknown_share(corpus.split("valid"), corpus.vocabulary), experiment)
            check_corpus(experiment, corpus)
            known = known_rows(experiment, corpus)
            cache_teacher_logits(experiment, corpus)
            prepared = time.monotonic()
            _check_same_rows(group, corpus)
            with memory_errors():
                failpoints.reach("model")
                model = build_initial_model(experiment, corpus, origins)
        progress = TrainProgress()
        progress.seconds["prepare"] = prepared - began
        claimed = store.claim_directory(runs_dir(), name or experiment.name) if group.is_writer else ""
        run = Path(group.told(str(claimed)))
        if run.name != (name or experiment.name) and (stopped := stopped_run(run)) is not None:
            again = _again(stopped, experiment)
            console.say(f"{stopped} was stopped before its end; {again} goes on with it. This is a new run, {run}")
        with _owned(run, group) as record, _told(stop, "stopped at once", run, experiment):
            if group.is_writer:
                store.write_file(run / EXPERIMENT, experiment_yaml(experiment))
                if known is not None:
                    write_known(run, known)
            identity = RunFingerprint(
                record.id, experiment, corpus.rows_key, versions(experiment), machine(experiment, device)
            )
            with memory_errors():
                return train(run, identity, corpus, model, device, progress, None, stop, group)


def resume(run: Path, experiment: Experiment, allowed: Sequence[str]) -> Finished:
    """Go on with a run at the exact step at which its newest checkpoint was saved; a finished one is only reported.

    `experiment` is compared with what the run was trained with. Raises UsageError for a difference whose key is not
    in `allowed` and for another process that trains the run, and DataError for other data and for damage.
    """
    experiment = settle(experiment)
    with _set_up(experiment, f"--resume {run}") as (device, group, stop):
        return _resume(run, experiment, allowed, device, group, stop)


def _resume(
    run: Path, experiment: Experiment, allowed: Sequence[str], device: torch.device, group: Group, stop: Stop
) -> Finished:
    with _owned(run, group) as record, _told(stop, "stopped at once", run, experiment):
        own = load_experiment(run / EXPERIMENT)
        if (finished := load_finished(run)) is not None:
            check_finished(run, own, experiment)
            if group.is_writer:
                free_checkpoints(run, own)  # it may have been killed before it came to that
            console.say(f"{run} is finished; there is nothing left to train")
            return finished
        checkpoint = _newest(run, record.id, group, own.command)
        if checkpoint is None:
            console.say(
                f"{run} was stopped before its first checkpoint: it starts at step 0 of its own experiment.yaml"
            )
            found, data_key, progress = differences(own, experiment), None, TrainProgress()
        else:
            data_key, progress = checkpoint.identity.data, checkpoint.progress
            now = RunFingerprint(record.id, experiment, data_key, versions(experiment), machine(experiment, device))
            found = fingerprint_differences(checkpoint.identity, now)
        changes = check_allowed(found, allowed, record, run, own.command)
        check_steps(run, experiment, progress)
        began = time.monotonic()
        with _told(stop, "interrupted before the first step", run, experiment), stop.at_once():
            failpoints.reach("prepare")
            corpus = prepare_for(experiment, data_key)
            cache_teacher_logits(experiment, corpus)
            prepared = time.monotonic()
            _check_same_rows(group, corpus)
            with memory_errors():
                if checkpoint is None:
                    model = build_initial_model(experiment, corpus, load_all_pretrained(experiment))
                else:  # which holds all weights
                    model = task_of(experiment).build_model(experiment, corpus)
        progress.seconds["prepare"] += prepared - began
        if group.is_writer:
            if (known := known_rows(experiment, corpus)) is not None:
                write_known(run, known)
            record_changes(run, record, experiment, changes, progress.step)
        if checkpoint is not None:
            console.say(f"going on with {run} after step {progress.offset + progress.step:,}")
        identity = RunFingerprint(
            record.id, experiment, corpus.rows_key, versions(experiment), machine(experiment, device)
        )
        with memory_errors():
            return train(run, identity, corpus, model, device, progress, checkpoint, stop, group)


def check_machine(experiment: Experiment) -> torch.device:
    """Return the device that trains an experiment. Raises UsageError where this machine cannot."""
    check_tensorboard(experiment.train)
    is_linear = experiment.model.kind == "linear"  # which the CPU solves, wherever it is evaluated
    device = select_device("cpu" if is_linear else experiment.train.device)
    check_precision(device, experiment.train.precision)
    return device


@contextlib.contextmanager
def _set_up(experiment: Experiment, purpose: str) -> Iterator[tuple[torch.device, Group, Stop]]:
    """Check and set up the machine, watch for signals and join the other processes, who must be here for the same."""
    device = own_device(check_machine(experiment))
    set_up(device, experiment.train.threads, deterministic=experiment.train.deterministic)
    is_launched = n_launched() > 1 and has_launcher()
    with (
        watch_signals(is_launched=is_launched) as stop,
        joined(experiment, device, stop) as group,
        _told(stop, "interrupted before the first step", None, experiment),
    ):
        _check_same_training(group, experiment, device, purpose)
        yield device, group, stop


def _check_same_training(group: Group, experiment: Experiment, device: torch.device, purpose: str) -> None:
    """Raise UsageError where the processes were started with other settings, code or libraries than the first."""
    if group.size == 1:
        return
    facts = {"its purpose": purpose, **flat_values(experiment), "code": code_sha256(), **versions(experiment)}
    facts |= {"train.device": device.type}  # they may name a GPU each
    hint = f"{experiment.command} --nproc {group.size} --set train.slices={experiment.train.slices}"
    group.check_same(UsageError, "other settings, code or libraries", facts, hint)


def _check_same_rows(group: Group, corpus: Corpus) -> None:
    """Raise DataError where the processes have prepared other rows than the first."""
    facts = {"data": corpus.rows_key, "vocabulary": corpus.key, "labels": list(corpus.labels)}
    group.check_same(DataError, "other data", facts, "sentiment data info")


@contextlib.contextmanager
def _owned(run: Path, group: Group) -> Iterator[RunRecord]:
    """Hold the run in the first process, and yield its record in all."""
    if group.is_writer:
        with owned(run) as record:
            group.told(json.dumps(dataclasses.asdict(record)))
            yield record
    else:
        yield RunRecord(**json.loads(group.told("")))


def _launched(group: Group, experiment: Experiment) -> Path | None:
    """Return the run in which the processes before these trained the experiment; they may have pretrained for it."""
    found = None
    for run in find_launched(runs_dir(), launch_id()) if group.is_writer else ():
        settings = run / EXPERIMENT
        if settings.exists() and not differences(load_experiment(settings), experiment):
            found = run
    told = group.told(str(found or ""))
    return Path(told) if told else None


def _newest(run: Path, run_id: str, group: Group, command: str) -> Checkpoint | None:
    """Read the newest whole checkpoint in the first process, which may remove damaged ones, then in the others."""
    checkpoint = newest_checkpoint(run, run_id, command) if group.is_writer else None
    told = group.told(str(checkpoint.path if checkpoint is not None else ""))
    return read_checkpoint(Path(told), run_id) if told and checkpoint is None else checkpoint


@contextlib.contextmanager
def _told(stop: Stop, what: str, run: Path | None, experiment: Experiment) -> Iterator[None]:
    """Turn StopNow into the error that says what was stopped; have it and a MachineError say how to go on."""
    try:
        yield
    except StopNow:
        raise InterruptedRun(what, _again(run, experiment), stop.number) from None
    except MachineError as error:
        number = (stop.number or error.signal_number) if isinstance(error, LostProcessError) else 0
        if number:  # another process heard of the signal first, and left
            raise InterruptedRun(what, _again(run, experiment), number) from None
        first = error.hint.otherwise if isinstance(error.hint, Change) else error.hint
        if (again := _again(run, experiment)) and again not in (first or ""):
            error.hint = f"{first} && {again}" if first else again
        raise


def _again(run: Path | None, experiment: Experiment) -> str | None:
    is_run = run is not None and (run / EXPERIMENT).exists()
    return f"{experiment.command} --resume {shlex.quote(str(run))}" if is_run else None
