"""What a training would take on this machine, from a few steps of it: time, memory and disk; no run is made."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.schema import Experiment, Teacher
from sentiment_cli.data.batching.batches import plan_steps
from sentiment_cli.data.batching.truncation import trained_lengths
from sentiment_cli.data.corpus.packed import Corpus, select_rows
from sentiment_cli.models.device import describe, peak_memory, select_device
from sentiment_cli.models.linear import LinearClassifier
from sentiment_cli.storage import store
from sentiment_cli.training.checkpoints import TrainProgress
from sentiment_cli.training.epochs import seconds_to_go
from sentiment_cli.training.tasks.linear import train_on
from sentiment_cli.training.tasks.table import prepare_for
from sentiment_cli.training.weights_init import build_initial_model
from sentiment_cli.workflows.dependencies import check_dependencies
from sentiment_cli.workflows.profile import measure_steps
from sentiment_cli.workflows.setup import settle_here

_BYTES = 4  # of a weight
_CHECKPOINTS = 2  # kept while training: weights, two moments of Adam, and the best weights so far
_COPIES_IN_CHECKPOINT = 4
_COPIES_IN_MODEL = 2  # weights and inference graph
_FEW_ROWS = 2_000  # of which the time of all is estimated for a linear model


class Estimate(NamedTuple):
    """A training that was not made: what it would be, and what it would take at most.

    `needs` names the experiments that are trained first where no finished run of them is there.
    """

    run: Path
    needs: list[str]
    model: str
    device: str
    data: Path
    rows: dict[str, int]
    n_parameters: int | None
    n_steps: int | None
    n_epochs: int | None
    tokens_per_second: float
    seconds: float
    memory_bytes: int
    disk_bytes: int
    disk_after_bytes: int


def estimate(experiment: Experiment, name: str | None = None) -> Estimate:
    """Prepare the data, take a few steps, and say what the training would take; early stopping may make it shorter."""
    experiment = settle_here(experiment, is_said=True)
    run, needs = store.free_directory(runs_dir(), name or experiment.name), check_dependencies(experiment)
    if experiment.model.kind == "linear":
        return _of_linear(experiment, run, needs)
    measured = measure_steps(experiment)
    job, loader, rate = measured.state.job, measured.loader, measured.tokens_per_second
    n_steps = _count_steps(experiment, job.corpus) if experiment.teacher.run else loader.n_steps
    n_parameters = sum(p.numel() for p in measured.state.model.parameters())
    model, copies = _BYTES * n_parameters, _COPIES_IN_CHECKPOINT + (measured.state.ema is not None)
    return Estimate(
        run=run,
        needs=needs,
        model=experiment.model.encoder.cell if experiment.model.kind == "recurrent" else experiment.model.kind,
        device=describe(job.device),
        data=job.corpus.directory,
        rows={split: len(job.corpus.ids(split)) for split in job.corpus.directories},
        n_parameters=n_parameters,
        n_steps=n_steps,
        n_epochs=len(loader.epoch_ends),
        tokens_per_second=rate,
        seconds=seconds_to_go(measured.state, loader, rate) * n_steps / loader.n_steps,
        memory_bytes=peak_memory(job.device),
        disk_bytes=(_CHECKPOINTS * copies + _COPIES_IN_MODEL) * model,
        disk_after_bytes=_COPIES_IN_MODEL * model,
    )


def _count_steps(experiment: Experiment, corpus: Corpus) -> int:
    """Count the steps of a training on all rows that its teachers may answer, and the labelled ones."""
    splits = [name for name in ("train", "unsup") if name in corpus.directories]
    length_N = np.concatenate([corpus.split(name).length_N for name in splits])
    return plan_steps(trained_lengths(length_N, experiment.text), experiment.train, experiment.seed).n_steps


def _of_linear(experiment: Experiment, run: Path, needs: list[str]) -> Estimate:
    """Train the linear model on some rows; its time grows with their number."""
    device = select_device("cpu")
    corpus = prepare_for(experiment)
    train = corpus.split("train")
    n_rows = len(train.label_N)
    is_taken_N = np.arange(n_rows) % max(1, n_rows // _FEW_ROWS) == 0
    some, progress = select_rows(train, is_taken_N), TrainProgress()
    model = build_initial_model(experiment, corpus, ())
    assert isinstance(model, LinearClassifier)
    began = time.perf_counter()
    alone = experiment.model_copy(update={"teacher": Teacher()})  # which has answered before, or adds its own time
    ids = [name for name, is_taken in zip(corpus.ids("train"), is_taken_N, strict=True) if is_taken]
    _, rate = train_on(model, some, ids, alone, corpus, progress)
    share = n_rows / len(some.label_N)
    size = int(share * sum(tensor.nbytes for tensor in model.state_dict().values()))
    return Estimate(
        run=run,
        needs=needs,
        model="linear",
        device=describe(device),
        data=corpus.directory,
        rows={split: len(corpus.ids(split)) for split in corpus.directories},
        n_parameters=None,
        n_steps=None,
        n_epochs=None,
        tokens_per_second=rate,
        seconds=(time.perf_counter() - began) * share * (2 if experiment.train.refit else 1),
        memory_bytes=peak_memory(device),
        disk_bytes=_COPIES_IN_MODEL * size,
        disk_after_bytes=_COPIES_IN_MODEL * size,
    )
