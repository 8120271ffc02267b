"""The set-up of a training: its device, signal handlers and processes, and the errors that end it early."""

import contextlib
import dataclasses
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import torch

from sentiment_cli import extras
from sentiment_cli.config.loader import differences, flat_values, load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.fit_settings import settle, settle_device
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.errors import Change, DataError, InterruptedRun, MachineError, UsageError
from sentiment_cli.models.device import check_precision, select_device, set_up
from sentiment_cli.runs.run_lock import RunRecord, find_launched, launch_id, owned
from sentiment_cli.training.checkpoints import Checkpoint, newest_checkpoint, read_checkpoint
from sentiment_cli.training.processes.distributed import Group, LostProcessError, joined, own_device
from sentiment_cli.training.processes.launching import has_launcher, n_launched
from sentiment_cli.training.processes.signals import Stop, StopNow, watch_signals
from sentiment_cli.training.tensorboard import check_tensorboard
from sentiment_cli.workflows.fingerprint import code_sha256, versions


def check_machine(experiment: Experiment) -> torch.device:
    """Return the device that trains an experiment. Raises UsageError where this machine has no such device."""
    extras.require("train", "training")
    check_tensorboard(experiment.train)
    is_linear = experiment.model.kind == "linear"  # fitted on the CPU, wherever it is evaluated
    device = select_device("cpu" if is_linear else experiment.train.device)
    check_precision(device, experiment.train.precision)
    return device


def settle_here(experiment: Experiment, *, is_said: bool = False) -> Experiment:
    """Return the experiment with values for the settings that follow from the data and from this machine's device."""
    settled = settle(experiment, is_said=is_said)
    return settle_device(settled, is_gpu=check_machine(experiment).type == "cuda", is_said=is_said)


@contextlib.contextmanager
def set_up_training(experiment: Experiment, purpose: str) -> Iterator[tuple[torch.device, Group, Stop]]:
    """Set up the device, handle signals and join the other processes, which must have the same purpose and settings."""
    device = own_device(check_machine(experiment), experiment.train.slices)
    set_up(device, experiment.train.threads, deterministic=experiment.train.deterministic)
    is_launched = n_launched() > 1 and has_launcher()
    with (
        watch_signals(is_launched=is_launched) as stop,
        joined(experiment, device, stop) as group,
        interruptible(stop, "interrupted before the first step", None, experiment),
    ):
        _check_same_training(group, experiment, device, purpose)
        yield device, group, stop


def _check_same_training(group: Group, experiment: Experiment, device: torch.device, purpose: str) -> None:
    """Raise UsageError where a process was started with other settings, code or libraries than the first."""
    if group.size == 1:
        return
    facts = {"its purpose": purpose, **flat_values(experiment), "code": code_sha256(), **versions(experiment)}
    facts |= {"train.device": device.type}  # each process may name its own GPU
    hint = f"{experiment.command} --nproc {group.size} --set train.slices={experiment.train.slices}"
    group.check_same(UsageError, "other settings, code or libraries", facts, hint)


def check_same_rows(group: Group, corpus: Corpus) -> None:
    """Raise DataError where a process has prepared other rows than the first."""
    facts = {"data": corpus.rows_key, "vocabulary": corpus.key, "labels": list(corpus.labels)}
    group.check_same(DataError, "other data", facts, "sentiment data info")


@contextlib.contextmanager
def own_run(run: Path, group: Group) -> Iterator[RunRecord]:
    """Hold the run's lock in the first process, and yield the run's record in every process."""
    if group.is_writer:
        with owned(run) as record:
            group.broadcast_text(json.dumps(dataclasses.asdict(record)))
            yield record
    else:
        yield RunRecord(**json.loads(group.broadcast_text("")))


def find_launched_run(group: Group, experiment: Experiment) -> Path | None:
    """Return the run that this launch trained the experiment in before its processes were restarted."""
    found = None
    for run in find_launched(runs_dir(), launch_id()) if group.is_writer else ():
        settings = run / "experiment.yaml"
        if settings.exists() and not differences(load_experiment(settings), experiment):
            found = run
    name = group.broadcast_text(str(found or ""))
    return Path(name) if name else None


def load_newest_checkpoint(run: Path, run_id: str, group: Group, command: str) -> Checkpoint | None:
    """Read the newest whole checkpoint: first in the first process, which may remove damaged ones, then in the rest."""
    checkpoint = newest_checkpoint(run, run_id, command) if group.is_writer else None
    name = group.broadcast_text(str(checkpoint.path if checkpoint is not None else ""))
    return read_checkpoint(Path(name), run_id) if name and checkpoint is None else checkpoint


@contextlib.contextmanager
def interruptible(stop: Stop, message: str, run: Path | None, experiment: Experiment) -> Iterator[None]:
    """Turn StopNow into InterruptedRun with this message; add the command that resumes the run to a MachineError."""
    try:
        yield
    except StopNow:
        raise InterruptedRun(message, resume_command(run, experiment), stop.number) from None
    except MachineError as error:
        number = (stop.number or error.signal_number) if isinstance(error, LostProcessError) else 0
        if number:  # another process got the signal first, and left
            raise InterruptedRun(message, resume_command(run, experiment), number) from None
        first = error.hint.otherwise if isinstance(error.hint, Change) else error.hint
        if (command := resume_command(run, experiment)) and command not in (first or ""):
            error.hint = f"{first} && {command}" if first else command
        raise


def resume_command(run: Path | None, experiment: Experiment) -> str | None:
    """Return the command that resumes a run; None before the run has its experiment.yaml."""
    is_run = run is not None and (run / "experiment.yaml").exists()
    return f"{experiment.command} --resume {shlex.quote(str(run))}" if is_run else None
