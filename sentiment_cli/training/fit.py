"""One experiment, from start to finished run, in one sitting or several."""

import hashlib
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sentiment_cli
from sentiment_cli import console, store
from sentiment_cli.config.loader import differences, experiment_yaml, load_experiment
from sentiment_cli.config.paths import PACKAGE_DIR, runs_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus import Corpus, prepare
from sentiment_cli.errors import DivergedError, InterruptedRun
from sentiment_cli.evaluation.metrics import Scores
from sentiment_cli.inference.artefact import save_artefact
from sentiment_cli.inference.runs import SUMMARY
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.models.device import describe, memory_errors, runs_bf16, select_device, set_up
from sentiment_cli.training.checkpoints import (
    Checkpoint,
    Identity,
    Progress,
    identity_differences,
    newest_checkpoint,
    restore,
    weights_of,
)
from sentiment_cli.training.epochs import METRICS, metrics_lines, train_to_the_end
from sentiment_cli.training.initial import first_model, load_origin
from sentiment_cli.training.loop import Average
from sentiment_cli.training.optimizer import build_optimizer
from sentiment_cli.training.ownership import Record, owned
from sentiment_cli.training.resuming import check_allowed, check_finished, record_changes
from sentiment_cli.training.session import Session
from sentiment_cli.training.stopping import Stop, StopNow, watch_signals

_SPLITS = ("train", "valid")


@dataclass(frozen=True)
class Finished:
    """A finished run."""

    directory: Path
    scores: Scores
    seconds: dict[str, float]
    tokens_per_second: float


def fit(experiment: Experiment, name: str | None = None) -> Finished:
    """Prepare the data, train, keep the best epoch, and write the run.

    Raises InterruptedRun after a signal, with a checkpoint of the last step, and DivergedError for a loss or a
    gradient that is not finite.
    """
    store.check_name(name or experiment.name)
    with watch_signals() as stop:
        device = _set_up(experiment)
        origin = load_origin(experiment)
        began = time.monotonic()
        with _told(stop, "interrupted while the data was prepared; no run was begun", None), stop.at_once():
            corpus = prepare(experiment, _SPLITS)
        progress = Progress()
        progress.seconds["prepare"] = time.monotonic() - began
        model = first_model(experiment, corpus, origin)
        run = store.claim_directory(runs_dir(), name or experiment.name)
        with owned(run) as record, _told(stop, "stopped at once", run):
            store.write_file(run / "experiment.yaml", experiment_yaml(experiment))
            return _train(run, record, experiment, corpus, model, device, progress, None, stop)


def resume(run: Path, experiment: Experiment, allowed: Sequence[str]) -> Finished:
    """Go on with a run at the exact step at which its newest checkpoint was saved; a finished one is only reported.

    `experiment` is compared with what the run was trained with. Raises UsageError for a difference whose key is not
    in `allowed` and for another process that trains the run, and DataError for other data and for damage.
    """
    with watch_signals() as stop, owned(run) as record, _told(stop, "stopped at once", run):
        own = load_experiment(run / "experiment.yaml")
        if (finished := _load_finished(run)) is not None:
            check_finished(run, own, experiment)
            console.say(f"{run} is finished; there is nothing left to train")
            return finished
        device = _set_up(experiment)
        checkpoint = newest_checkpoint(run, record.id)
        if checkpoint is None:
            console.say(
                f"{run} was stopped before its first checkpoint: it starts at step 0 of its own experiment.yaml"
            )
            found, data_key, progress = list(differences(own, experiment)), None, Progress()
        else:
            data_key, progress = checkpoint.identity.data, checkpoint.progress
            now = Identity(record.id, experiment, data_key, _versions(), _machine(experiment, device))
            found = identity_differences(checkpoint.identity, now)
        changes = check_allowed(found, allowed, record, run)
        began = time.monotonic()
        with _told(stop, "interrupted before the first step", run), stop.at_once():
            corpus = prepare(experiment, _SPLITS, data_key)
        model = first_model(experiment, corpus, load_origin(experiment) if checkpoint is None else None)
        progress.seconds["prepare"] += time.monotonic() - began
        record_changes(run, record, experiment, changes, progress.step)
        if checkpoint is not None:
            console.say(f"going on with {run} after step {progress.step:,}")
        return _train(run, record, experiment, corpus, model, device, progress, checkpoint, stop)


def _train(
    run: Path,
    record: Record,
    experiment: Experiment,
    corpus: Corpus,
    model: Classifier,
    device: torch.device,
    progress: Progress,
    checkpoint: Checkpoint | None,
    stop: Stop,
) -> Finished:
    """Train to the end and write the model and the summary; also those of the best so far when something stops it."""
    identity = Identity(record.id, experiment, corpus.key, _versions(), _machine(experiment, device))
    session = _begin(run, identity, corpus, model, device, progress, stop)
    if checkpoint is not None:
        restore(checkpoint, session.model, session.optimizer, session.average.model if session.average else None)
    n_parameters = sum(p.numel() for p in model.parameters())
    rows = [f"{len(corpus.split(split).label_N):,}" for split in _SPLITS]
    console.say(
        f"run: {run} on {describe(device)}, {'bf16' if session.bf16 else 'fp32'}, {n_parameters:,} parameters, "
        f"{rows[0]} training and {rows[1]} validation reviews"
    )
    store.write_file(run / METRICS, metrics_lines(progress))
    try:
        with memory_errors():
            reason = train_to_the_end(session)
            if experiment.train.refit and not progress.refit:
                console.say(f"stopped: {reason}")
                progress.begin_refit()
                model = first_model(experiment, corpus, load_origin(experiment))
                session = _begin(run, identity, corpus, model, device, progress, stop)
                reason = train_to_the_end(session)
    except StopNow:
        if stop.twice:
            raise
        _write_model(session, "interrupted")
        raise InterruptedRun(
            f"interrupted after step {progress.offset + progress.step:,}, which is saved; "
            f"{_kept(progress)} is in {run / 'model'}",
            f"sentiment train --resume {run}",
            stop.number,
        ) from None
    except DivergedError as error:
        if progress.best.scores is None:
            raise
        _write_model(session, "diverged")
        raise DivergedError(f"{error}; {_kept(progress)} is in {run / 'model'}", error.hint) from None
    console.say(f"stopped: {reason}")
    rate = progress.n_tokens / progress.seconds["train"]
    _write_model(session, "finished", rate)
    assert progress.best.scores is not None
    return Finished(run, progress.best.scores, progress.seconds, rate)


def _begin(
    run: Path,
    identity: Identity,
    corpus: Corpus,
    model: Classifier,
    device: torch.device,
    progress: Progress,
    stop: Stop,
) -> Session:
    """Put a model on its device, with a fresh optimizer and average."""
    experiment = identity.experiment
    model = model.to(device)
    return Session(
        run=run,
        experiment=experiment,
        identity=identity,
        corpus=corpus,
        device=device,
        bf16=runs_bf16(device, experiment.train.precision),
        model=model,
        optimizer=build_optimizer(model, experiment.train),
        average=Average(model, experiment.train.ema) if experiment.train.ema is not None else None,
        progress=progress,
        stop=stop,
    )


def _write_model(session: Session, status: str, tokens_per_second: float | None = None) -> None:
    """Write the model and the summary.

    The model is the best state; the present one where none was validated, and at the end of train.refit.
    """
    run, progress, experiment = session.run, session.progress, session.experiment
    best = progress.best
    began = time.monotonic()
    if (run / "model").exists():  # of an earlier sitting
        store.remove_directory(run / "model")
    is_refit = progress.refit and status == "finished"
    weights = weights_of(session.validated) if is_refit or not best.weights else best.weights
    save_artefact(run, experiment, session.corpus, weights)
    progress.seconds["save"] += time.monotonic() - began
    fingerprint = {
        "weights": store.sha256_of(run / "model" / "weights.safetensors"),
        "data": session.corpus.key,
        "code": _code_sha256(),
        **{f"versions.{name}": version for name, version in session.identity.versions.items()},
        **{f"machine.{name}": value for name, value in session.identity.machine.items()},
    }
    summary: dict[str, Any] = {
        "status": status,
        "source": experiment.data.source,
        "finished_at": time.time(),
        "best_epoch": best.epoch,
        "refit_steps": progress.step if is_refit else None,
        "valid": best.scores.to_json() if best.scores else None,
        "seconds": progress.seconds,
        "tokens_per_second": tokens_per_second,
        "versions": {**_versions(), "python": platform.python_version()},
        "fingerprint": fingerprint,
    }
    store.write_file(run / SUMMARY, store.dump_json(summary))
    if status == "finished":
        shown = {key.partition(".")[2] or key: value[:24] for key, value in fingerprint.items()}
        console.say("fingerprint: " + ", ".join(f"{key} {value}" for key, value in shown.items()))


def _code_sha256() -> str:
    """Hash this package's source."""
    files = sorted(PACKAGE_DIR.rglob("*.py"))
    return hashlib.sha256("".join(store.sha256_of(file) for file in files).encode()).hexdigest()


def _load_finished(run: Path) -> Finished | None:
    """Return what a finished run's summary says; None for one that is not finished."""
    summary = store.read_json(run / SUMMARY) if (run / SUMMARY).exists() else {}
    if summary.get("status") != "finished":
        return None
    return Finished(run, Scores(**summary["valid"]), summary["seconds"], summary["tokens_per_second"])


def _set_up(experiment: Experiment) -> torch.device:
    device = select_device(experiment.train.device)
    set_up(device, experiment.train.threads)
    return device


def _versions() -> dict[str, str]:
    """What may change the numbers of a training with the code or with a library."""
    return {"sentiment": sentiment_cli.__version__, "torch": torch.__version__, "numpy": np.__version__}


def _machine(experiment: Experiment, device: torch.device) -> dict[str, str]:
    precision = "bf16" if runs_bf16(device, experiment.train.precision) else "fp32"
    threads = str(torch.get_num_threads()) if device.type == "cpu" else "any"
    return {"device": device.type, "precision": precision, "threads": threads}


def _kept(progress: Progress) -> str:
    best = progress.best
    return f"epoch {best.epoch}, the best so far," if best.epoch else "the present state, not validated,"


@contextmanager
def _told(stop: Stop, what: str, run: Path | None) -> Iterator[None]:
    """Turn StopNow into the error that says what was stopped and how to go on."""
    try:
        yield
    except StopNow:
        raise InterruptedRun(what, f"sentiment train --resume {run}" if run else None, stop.number) from None
