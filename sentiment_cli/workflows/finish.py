"""Write the result of a training into its run: the model, its calibration, and the summary with the fingerprint."""

import contextlib
import itertools
import platform
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batching.batches import rows_on
from sentiment_cli.data.corpus.packed import Corpus, Packed
from sentiment_cli.data.sources.source import with_columns_read
from sentiment_cli.evaluation.calibration import find_calibration
from sentiment_cli.evaluation.kept_scores import discard_scores
from sentiment_cli.evaluation.thresholds import fit_thresholds
from sentiment_cli.inference.parity import checked_graph, rows_to_compare
from sentiment_cli.inference.torch_model import model_of, score_rows
from sentiment_cli.models.classifier import AnyClassifier
from sentiment_cli.onnx.builder import NoGraphError
from sentiment_cli.runs.files import MODEL, SUMMARY
from sentiment_cli.runs.predictions import ValidationOutputs, save_validation
from sentiment_cli.runs.saved_model import Calibration, save_artefact
from sentiment_cli.runs.seals import OF_A_FINISHED_RUN, seal_files, write_result
from sentiment_cli.storage import failpoints, store
from sentiment_cli.training.checkpoints import (
    AnyScores,
    discard_checkpoints,
    read_scores,
    weights_of,
)
from sentiment_cli.training.curves import CURVES, draw_curves
from sentiment_cli.training.processes.distributed import LostProcessError
from sentiment_cli.training.state import TrainJob, TrainState
from sentiment_cli.workflows.fingerprint import code_sha256


@dataclass(frozen=True)
class Finished:
    """A finished run: its directory, validation scores, seconds by phase, and training speed."""

    directory: Path
    scores: AnyScores
    seconds: dict[str, float]
    tokens_per_second: float


def load_finished(run: Path) -> Finished | None:
    """Return a finished run from its summary; None for a run that is not finished.

    Raises IntegrityError for a damaged summary.
    """
    path = run / SUMMARY
    with store.damage(path, f"sentiment runs show {shlex.quote(str(run))}"):
        summary = store.read_json(path) if path.exists() else {}
        if summary.get("status") != "finished":
            return None
        return Finished(run, read_scores(summary["valid"]), summary["seconds"], summary["tokens_per_second"])


def write_state(state: TrainState, status: str, tokens_per_second: float | None = None) -> None:
    """Write the best model; the current one where none was validated, and at the end of train.refit.

    Raises StopNow for a signal while a finished model is written: the last checkpoint holds its whole state.
    """
    group, stop = state.job.group, state.job.stop
    if (
        not group.is_writer
    ):  # they have nothing to write, and wait: torchrun ends the others as soon as one process exits
        with stop.ending() if status == "finished" else contextlib.nullcontext():
            failpoints.reach("finish")
            group.barrier()
        return
    with stop.at_once() if status == "finished" else contextlib.nullcontext():
        failpoints.reach("finish")
        _write_state(state, status, tokens_per_second)
    if status == "finished":
        free_checkpoints(state.job.run, state.job.experiment)
    with contextlib.suppress(LostProcessError):  # the lost process does not matter for what is written
        group.barrier()


def free_checkpoints(run: Path, experiment: Experiment) -> None:
    """Remove the checkpoints of a finished run once its model is complete, unless train.keep_finished is set."""
    if not experiment.train.keep_finished:
        store.open_directory(run / MODEL)
        discard_checkpoints(run)


def _write_state(state: TrainState, status: str, tokens_per_second: float | None) -> None:
    progress, best = state.job.progress, state.job.progress.best
    is_present = (progress.refit and status == "finished") or not best.weights
    weights = weights_of(state.validated) if is_present else best.weights
    model, calibration = state.validated, None
    if isinstance(model, AnyClassifier) and status == "finished" and state.job.experiment.data.target != "stars":
        calibration = calibrate_run(state.job, model)
    write_model(state.job, weights, calibration, status, tokens_per_second)


def write_model(
    job: TrainJob,
    weights: dict[str, torch.Tensor],
    calibration: Calibration | None,
    status: str,
    tokens_per_second: float | None,
) -> None:
    """Write the model, its ONNX graph and the summary, in place of those of an earlier process of the run."""
    run, corpus, experiment, progress = job.run, job.corpus, job.experiment, job.progress
    best = progress.best
    began = time.monotonic()
    if (run / MODEL).exists():  # of an earlier process
        store.remove_directory(run / MODEL)
        discard_scores(run)
    read = experiment.model_copy(update={"data": with_columns_read(experiment.data)})  # as other tables are read then
    save_artefact(run, read, corpus, weights, calibration, _build_graph(experiment, corpus, weights))
    progress.seconds["save"] += time.monotonic() - began
    if rows := progress.selection or progress.history:
        store.write_file(run / CURVES, draw_curves(rows))
    fingerprint = {
        "weights": store.sha256_of(run / MODEL / "weights.safetensors"),
        "data": job.fingerprint.data,
        "code": code_sha256(),
        **{f"versions.{name}": version for name, version in job.fingerprint.versions.items()},
        **{f"machine.{name}": value for name, value in job.fingerprint.machine.items()},
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
        "versions": {**job.fingerprint.versions, "python": platform.python_version()},
        "fingerprint": fingerprint,
    }
    write_result(run, SUMMARY, store.dump_json(summary))
    seal_files(run, OF_A_FINISHED_RUN)
    if status == "finished":
        shown = {key.partition(".")[2] or key: value[:24] for key, value in fingerprint.items()}
        console.detail("fingerprint: " + ", ".join(f"{key} {value}" for key, value in shown.items()))


def _build_graph(experiment: Experiment, corpus: Corpus, weights: dict[str, torch.Tensor]) -> bytes | str:
    """Return the ONNX graph that prediction runs, or the reason why there is none."""
    if experiment.task != "classify":
        return f"task {experiment.task} judges no text"
    model = model_of(experiment, corpus.vocabulary, len(corpus.labels), weights)
    try:
        return checked_graph(model, rows_to_compare(corpus), experiment.text)
    except NoGraphError as error:
        console.say(f"graph: none, so prediction will load torch: {error}")
        return str(error)


def calibrate_run(job: TrainJob, model: AnyClassifier) -> Calibration:
    """Fit a temperature on the validation rows with the best weights, which are of the first training with train.refit.

    Saves the logits of the validation rows in the run, and leaves the best weights in the model.
    """
    valid = job.corpus.split("valid")
    model.load_state_dict(job.progress.best.weights)
    device = next(itertools.chain(model.parameters(), model.buffers())).device
    logits = score_rows(model, rows_on(device, valid), valid.length_N, job.experiment.text)
    return calibrate_on(job, valid, job.corpus.ids("valid"), logits)


def calibrate_on(job: TrainJob, rows: Packed, ids: list[str], logits: NDArray[np.float64]) -> Calibration:
    """Fit a temperature on logits of rows that the models were not trained on, and save the logits.

    With train.thresholds fitted the labels' thresholds are fitted on the same rows.
    """
    corpus, target = job.corpus, job.experiment.data.target
    of_rows = (rows.group_N, rows.label_N, logits)
    kept = ValidationOutputs(corpus.labels, ids, *of_rows, corpus.texts, target, rows.sets_KC)
    save_validation(job.run, kept)
    found, reason = find_calibration(*kept.as_binary())
    if reason is not None:
        console.say(f"calibration: no temperature is kept: {reason}; loss {found.loss_before:.4f}")
    else:
        eces = f"ECE {found.ece_before:.4f} to {found.ece_after:.4f}"
        console.say(
            f"calibration: temperature {found.temperature:.3f} on {len(rows.label_N):,} validation reviews, "
            f"loss {found.loss_before:.4f} to {found.loss_after:.4f}, {eces}"
        )
    if job.experiment.train.thresholds == "fitted":
        return found._replace(thresholds=fit_thresholds(kept, logits / found.temperature))
    return found
