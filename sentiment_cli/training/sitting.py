"""One sitting in a run's directory: train to the end, then write the model and the summary."""

import hashlib
import itertools
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import sentiment_cli
from sentiment_cli import console, store
from sentiment_cli.config.paths import PACKAGE_DIR
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batches import rows_on
from sentiment_cli.data.corpus import Corpus
from sentiment_cli.errors import DataError, DivergedError, InterruptedRun
from sentiment_cli.evaluation.calibration import calibrate
from sentiment_cli.evaluation.evaluate import discard_scores
from sentiment_cli.evaluation.validation_outputs import ValidationOutputs, save_validation
from sentiment_cli.inference.artefact import Calibration, save_artefact
from sentiment_cli.inference.graphs.builder import NoGraphError
from sentiment_cli.inference.parity import checked_graph, rows_to_compare
from sentiment_cli.inference.runs import SUMMARY
from sentiment_cli.inference.weights import model_of, score_rows
from sentiment_cli.models.classifier import AnyClassifier
from sentiment_cli.models.device import describe, memory_errors, precision_name, runs_bf16
from sentiment_cli.models.linear import LinearClassifier
from sentiment_cli.training.checkpoints import (
    AnyScores,
    Best,
    Checkpoint,
    Identity,
    Progress,
    read_scores,
    restore,
    weights_of,
)
from sentiment_cli.training.curves import CURVES, draw_curves
from sentiment_cli.training.epochs import METRICS, metrics_lines, train_to_the_end
from sentiment_cli.training.initial import first_model, load_origins
from sentiment_cli.training.linear import train_linear
from sentiment_cli.training.loop import Average, LossScale
from sentiment_cli.training.optimizer import build_optimizer
from sentiment_cli.training.origins import origin_hashes
from sentiment_cli.training.parallel import Group
from sentiment_cli.training.session import Session
from sentiment_cli.training.stopping import Stop, StopNow
from sentiment_cli.training.tasks import task_of
from sentiment_cli.training.teaching import teachers_of


@dataclass(frozen=True)
class Finished:
    """A finished run."""

    directory: Path
    scores: AnyScores
    seconds: dict[str, float]
    tokens_per_second: float


def train(
    run: Path,
    identity: Identity,
    corpus: Corpus,
    model: nn.Module,
    device: torch.device,
    progress: Progress,
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
        store.write_file(run / METRICS, metrics_lines(progress))
    try:
        with memory_errors():
            reason = train_to_the_end(session)
            if experiment.train.refit and not progress.refit:
                console.say(f"stopped: {reason}")
                if any(identity.versions[key] != now for key, now in origin_hashes(experiment).items()):
                    raise DataError(f"{run} was begun from another model than its experiment now names")
                progress.begin_refit()
                model = first_model(experiment, corpus, load_origins(experiment))
                session = begin(run, identity, corpus, model, device, progress, stop, group)
                reason = train_to_the_end(session)
    except StopNow:
        if stop.twice:
            raise
        _write_state(session, "interrupted")
        raise InterruptedRun(
            f"interrupted after step {progress.offset + progress.step:,}, which is saved; "
            f"{_kept(progress)} is in {run / 'model'}",
            f"{experiment.command} --resume {run}",
            stop.number,
        ) from None
    except DivergedError as error:
        if progress.best.scores is None:
            raise
        _write_state(session, "diverged")
        raise DivergedError(f"{error}; {_kept(progress)} is in {run / 'model'}", error.hint) from None
    console.say(f"stopped: {reason}")
    rate = progress.n_tokens / progress.seconds["train"]
    _write_state(session, "finished", rate)
    assert progress.best.scores is not None
    return Finished(run, progress.best.scores, progress.seconds, rate)


def _train_at_once(
    run: Path, identity: Identity, corpus: Corpus, model: LinearClassifier, progress: Progress, stop: Stop
) -> Finished:
    """Train a linear model, in seconds and without checkpoints: a signal ends it at once."""
    console.say(f"run: {run} on {describe(torch.device('cpu'))}")
    with memory_errors(), stop.at_once():
        train_linear(model, identity.experiment, corpus, progress)
    store.write_file(run / METRICS, metrics_lines(progress))
    rate = progress.n_tokens / progress.seconds["train"]
    weights = weights_of(model)
    calibration = _calibrate(run, model, identity, corpus, progress.best)
    _write_model(run, identity, corpus, progress, weights, calibration, "finished", rate)
    assert progress.best.scores is not None
    return Finished(run, progress.best.scores, progress.seconds, rate)


def begin(
    run: Path,
    identity: Identity,
    corpus: Corpus,
    model: nn.Module,
    device: torch.device,
    progress: Progress,
    stop: Stop,
    group: Group,
) -> Session:
    """Put a model on its device, with a fresh optimizer, average and carried states."""
    experiment = identity.experiment
    model, task = model.to(device), task_of(experiment)
    scale = LossScale(device) if experiment.train.precision == "fp16" else None
    progress.losses = [loss.to(device) for loss in progress.losses]  # those of a checkpoint are on the CPU
    if scale is not None and progress.scale_2 is not None:
        scale.state_2 = progress.scale_2.to(device)
    return Session(
        run=run,
        experiment=experiment,
        identity=identity,
        corpus=corpus,
        device=device,
        bf16=runs_bf16(device, experiment.train.precision),
        task=task,
        model=model,
        optimizer=build_optimizer(model, experiment.train),
        average=Average(model, experiment.train.ema) if experiment.train.ema is not None else None,
        scale=scale,
        progress=progress,
        stop=stop,
        group=group,
        carried=[state.to(device) for state in task.carry(experiment, model)],
    )


def _write_state(session: Session, status: str, tokens_per_second: float | None = None) -> None:
    """Write the best state; the present one where none was validated, and at the end of train.refit."""
    progress, best = session.progress, session.progress.best
    if session.group.is_writer:
        is_present = (progress.refit and status == "finished") or not best.weights
        weights = weights_of(session.validated) if is_present else best.weights
        model, calibration = session.validated, None
        if isinstance(model, AnyClassifier) and status == "finished" and session.experiment.data.target == "label":
            calibration = _calibrate(session.run, model, session.identity, session.corpus, best)
        _write_model(
            session.run, session.identity, session.corpus, progress, weights, calibration, status, tokens_per_second
        )
    session.group.wait()  # torchrun ends the other processes as soon as one has gone


def _write_model(
    run: Path,
    identity: Identity,
    corpus: Corpus,
    progress: Progress,
    weights: dict[str, torch.Tensor],
    calibration: Calibration | None,
    status: str,
    tokens_per_second: float | None,
) -> None:
    """Write the model and the summary."""
    experiment, best = identity.experiment, progress.best
    began = time.monotonic()
    if (run / "model").exists():  # of an earlier sitting
        store.remove_directory(run / "model")
        discard_scores(run)
    save_artefact(run, experiment, corpus, weights, calibration, _build_graph(experiment, corpus, weights))
    progress.seconds["save"] += time.monotonic() - began
    if rows := progress.selection or progress.history:
        store.write_file(run / CURVES, draw_curves(rows))
    fingerprint = {
        "weights": store.sha256_of(run / "model" / "weights.safetensors"),
        "data": identity.data,
        "code": _code_sha256(),
        **{f"versions.{name}": version for name, version in identity.versions.items()},
        **{f"machine.{name}": value for name, value in identity.machine.items()},
    }
    summary: dict[str, Any] = {
        "status": status,
        "task": experiment.task,
        "source": experiment.data.source,
        "finished_at": time.time(),
        "best_epoch": best.epoch,
        "refit_steps": progress.step if progress.refit and status == "finished" else None,
        "valid": best.scores.to_json() if best.scores else None,
        "seconds": progress.seconds,
        "tokens_per_second": tokens_per_second,
        "versions": {**identity.versions, "python": platform.python_version()},
        "fingerprint": fingerprint,
    }
    store.write_file(run / SUMMARY, store.dump_json(summary))
    if status == "finished":
        shown = {key.partition(".")[2] or key: value[:24] for key, value in fingerprint.items()}
        console.say("fingerprint: " + ", ".join(f"{key} {value}" for key, value in shown.items()))


def _build_graph(experiment: Experiment, corpus: Corpus, weights: dict[str, torch.Tensor]) -> bytes | str:
    """Build the graph that prediction runs; return it, or why there is none."""
    if experiment.task != "classify":
        return f"task {experiment.task} judges no text"
    model = model_of(experiment, corpus.vocabulary, len(corpus.labels), weights)
    try:
        return checked_graph(model, rows_to_compare(corpus), experiment.text)
    except NoGraphError as error:
        console.say(f"graph: none, so prediction will load torch: {error}")
        return str(error)


def _calibrate(run: Path, model: AnyClassifier, identity: Identity, corpus: Corpus, best: Best) -> Calibration:
    """Fit a temperature on the validation rows, on which the best state was not trained; with train.refit the first's.

    Keeps the best state's outputs of them in the run, and leaves its weights in the model.
    """
    valid = corpus.split("valid")
    model.load_state_dict(best.weights)
    device = next(itertools.chain(model.parameters(), model.buffers())).device
    with memory_errors():
        logits = score_rows(model, rows_on(device, valid), valid.length_N, identity.experiment.text)
    ids = corpus.ids("valid")
    save_validation(run, ValidationOutputs(corpus.labels, ids, valid.group_N, valid.label_N, logits, corpus.texts))
    found = calibrate(logits, valid.label_N)
    console.say(
        f"calibration: temperature {found.temperature:.3f} on {len(valid.label_N):,} validation reviews, "
        f"loss {found.loss_before:.4f} to {found.loss_after:.4f}, ECE {found.ece_before:.4f} to {found.ece_after:.4f}"
    )
    return found


def _code_sha256() -> str:
    """Hash this package's source."""
    files = sorted(PACKAGE_DIR.rglob("*.py"))
    return hashlib.sha256("".join(store.sha256_of(file) for file in files).encode()).hexdigest()


def load_finished(run: Path) -> Finished | None:
    """Return what a finished run's summary says; None for one that is not finished.

    Raises IntegrityError for damage.
    """
    path = run / SUMMARY
    summary = store.read_json(path) if path.exists() else {}
    if summary.get("status") != "finished":
        return None
    try:
        return Finished(run, read_scores(summary["valid"]), summary["seconds"], summary["tokens_per_second"])
    except (KeyError, TypeError) as error:
        raise store.IntegrityError(f"{path} is damaged: {error}", f"rm {path}") from error


def versions(experiment: Experiment) -> dict[str, str]:
    """What may change the numbers of a training with the code, a library, the teacher or what it starts from."""
    libraries = {"sentiment": sentiment_cli.__version__, "torch": torch.__version__, "numpy": np.__version__}
    taught = "+".join(teacher.sha256 for teacher in teachers_of(experiment))
    teacher = {"teacher": taught} if taught else {}
    return {**libraries, **origin_hashes(experiment), **teacher}


def machine(experiment: Experiment, device: torch.device) -> dict[str, str]:
    """What may change the numbers of a training with where it runs."""
    precision = precision_name(device, experiment.train.precision)
    threads = str(torch.get_num_threads()) if device.type == "cpu" else "any"
    return {"device": device.type, "precision": precision, "threads": threads}


def _kept(progress: Progress) -> str:
    best = progress.best
    return f"epoch {best.epoch}, the best so far," if best.epoch else "the present state, not validated,"
