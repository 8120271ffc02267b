"""One experiment, from start to finished run."""

import json
import math
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import sentiment_cli
from sentiment_cli import console, store
from sentiment_cli.config.loader import experiment_yaml
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.schema import Experiment, Train
from sentiment_cli.data.batches import Batch, Rows, gather, plan_batches, read_lengths, rows_on
from sentiment_cli.data.corpus import Corpus, prepare
from sentiment_cli.errors import DivergedError, InterruptedRun
from sentiment_cli.evaluation.metrics import Scores, score
from sentiment_cli.inference.artefact import save_artefact
from sentiment_cli.inference.predictor import class_probabilities, score_rows
from sentiment_cli.inference.runs import SUMMARY
from sentiment_cli.models.classifier import Classifier, build_classifier
from sentiment_cli.models.device import describe, memory_errors, runs_bf16, select_device, set_up
from sentiment_cli.training.loop import Step, train_steps
from sentiment_cli.training.objectives import classification_loss
from sentiment_cli.training.optimizer import build_optimizer, learning_rate_at

_STEPS_BETWEEN_READINGS = 20  # reading the loss waits for the device


@dataclass(frozen=True)
class Finished:
    """A finished run."""

    directory: Path
    scores: Scores
    seconds: dict[str, float]
    tokens_per_second: float


@dataclass
class _Best:
    """The best state so far by the monitored validation figure."""

    scores: Scores | None = None
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def take(self, scores: Scores, epoch: int, model: Classifier, monitor: str) -> bool:
        """Keep the state if it is better; say whether it was."""
        old = self.scores
        if old is not None and (scores.loss >= old.loss if monitor == "loss" else scores.accuracy <= old.accuracy):
            return False
        self.scores, self.epoch, self.weights = scores, epoch, weights_of(model)
        return True


@dataclass(frozen=True)
class _Plan:
    """Which rows each step reads: the epochs' batches one after the other, cut off at train.max_steps."""

    rows: list[NDArray[np.int64]]
    epoch_ends: list[int]

    @property
    def n_steps(self) -> int:
        return len(self.rows)


def fit(experiment: Experiment, name: str | None = None) -> Finished:
    """Prepare the data, train, keep the best epoch, and write the run.

    Raises InterruptedRun after SIGINT, with the run left usable, and DivergedError for a loss that is not finite.
    """
    settings = experiment.train
    started = time.monotonic()
    store.check_name(name or experiment.name)
    device = select_device(settings.device)
    set_up(device, settings.threads)
    corpus = prepare(experiment, ("train", "valid"))
    train, valid = corpus.split("train"), corpus.split("valid")
    seconds = {"prepare": time.monotonic() - started, "train": 0.0, "validate": 0.0}

    run = store.claim_directory(runs_dir(), name or experiment.name)
    store.write_file(run / "experiment.yaml", experiment_yaml(experiment))
    bf16 = runs_bf16(device, settings.precision)
    torch.manual_seed(experiment.seed)
    vocabulary = corpus.vocabulary
    model = build_classifier(experiment, len(vocabulary.entries), vocabulary.unknown_id, len(corpus.labels)).to(device)
    n_parameters = sum(p.numel() for p in model.parameters())
    console.say(
        f"run: {run} on {describe(device)}, {'bf16' if bf16 else 'fp32'}, {n_parameters:,} parameters, "
        f"{len(train.label_N):,} training and {len(valid.label_N):,} validation reviews"
    )

    best = _Best()
    try:
        with _stop_on_sigint() as stop, memory_errors():
            n_tokens = _train(experiment, model, device, bf16, corpus, run, best, seconds, stop)
    except InterruptedRun as error:
        _finish(run, experiment, corpus, best, model, seconds, "interrupted")
        state = f"epoch {best.epoch}, the best so far," if best.epoch else "the present state, not validated,"
        raise InterruptedRun(f"{error}; {state} is kept in {run}", f"sentiment eval {run.name} --split valid") from None
    except DivergedError as error:
        if not best.epoch:
            raise
        _finish(run, experiment, corpus, best, model, seconds, "diverged")
        raise DivergedError(f"{error}; epoch {best.epoch}, the best before it, is kept in {run}", error.hint) from None
    assert best.scores is not None
    rate = n_tokens / seconds["train"]
    _finish(run, experiment, corpus, best, model, seconds, "finished", tokens_per_second=rate)
    return Finished(run, best.scores, seconds, rate)


def plan_steps(length_N: NDArray[np.int64], settings: Train, seed: int) -> _Plan:
    """Plan every step of the run. Rows without a token (length 0) are left out of training."""
    row_N = np.flatnonzero(length_N)
    rows: list[NDArray[np.int64]] = []
    epoch_ends = []
    for epoch in range(settings.epochs):
        rows += [row_N[batch] for batch in plan_batches(length_N[row_N], settings.batch_tokens, seed, epoch)]
        epoch_ends.append(len(rows))
        if settings.max_steps is not None and len(rows) >= settings.max_steps:
            epoch_ends[-1] = settings.max_steps
            return _Plan(rows[: settings.max_steps], epoch_ends)
    return _Plan(rows, epoch_ends)


def cut(plan: _Plan, rows: Rows, read_N: NDArray[np.int64], experiment: Experiment) -> Iterator[Batch]:
    """Cut the planned batches out of the rows on their device."""
    device = rows.starts_N1.device
    for row_B in plan.rows:
        yield gather(rows, torch.from_numpy(row_B).to(device), int(read_N[row_B].max()), experiment.text)


def weights_of(model: Classifier) -> dict[str, Tensor]:
    """Copy the model's weights to the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}


def _train(
    experiment: Experiment,
    model: Classifier,
    device: torch.device,
    bf16: bool,
    corpus: Corpus,
    run: Path,
    best: _Best,
    seconds: dict[str, float],
    stop: "_Stop",
) -> int:
    """Train to the end of the plan or of patience; return how many tokens were read."""
    settings, train, valid = experiment.train, corpus.split("train"), corpus.split("valid")
    length_N = np.where(train.length_N > 0, read_lengths(train.length_N, experiment.text), 0)
    plan = plan_steps(length_N, settings, experiment.seed)
    if dropped := int((length_N == 0).sum()):
        console.say(f"{dropped:,} training reviews without a token are left out")
    console.say(f"training: {plan.n_steps:,} steps, {settings.epochs} epochs, best by validation {settings.monitor}")
    console.say("epoch   step  train loss  valid loss  valid accuracy  tokens/s  seconds  best")
    train_rows, valid_rows = rows_on(device, train), rows_on(device, valid)
    steps = train_steps(
        model.train(),
        classification_loss,
        cut(plan, train_rows, length_N, experiment),
        build_optimizer(model, settings),
        lambda step: learning_rate_at(step, plan.n_steps, settings),
        seed=experiment.seed,
        bf16=bf16,
        max_grad_norm=settings.max_grad_norm,
    )
    n_tokens, done = 0, 0
    for epoch, end in enumerate(plan.epoch_ends, 1):
        began = time.monotonic()
        epoch_tokens = int(sum(length_N[row_B].sum() for row_B in plan.rows[done:end]))
        label = f"epoch {epoch}" + (f", best {best.scores.accuracy:.2%} valid accuracy" if best.scores else "")
        train_loss = _run_epoch(steps, plan, done, end, length_N, stop, label)
        spent = time.monotonic() - began
        done, n_tokens, seconds["train"] = end, n_tokens + epoch_tokens, seconds["train"] + spent

        began = time.monotonic()
        logits = score_rows(model, valid_rows, valid.length_N, experiment.text)
        if not np.isfinite(logits).all():
            raise _diverged(
                f"validation after step {end} gives scores that are not finite",
                learning_rate_at(end - 1, plan.n_steps, settings),
            )
        scores = score(valid.label_N, class_probabilities(logits), corpus.labels)
        is_best = best.take(scores, epoch, model, settings.monitor)
        seconds["validate"] += time.monotonic() - began
        row = {
            "epoch": epoch,
            "step": end,
            "train_loss": train_loss,
            "valid_loss": scores.loss,
            "valid_accuracy": scores.accuracy,
            "lr": learning_rate_at(end - 1, plan.n_steps, settings),
            "tokens_per_second": epoch_tokens / spent,
            "seconds": seconds["train"] + seconds["validate"],
            "best": is_best,
        }
        store.append_line(run / "metrics.jsonl", json.dumps(row))
        console.say(
            f"{epoch:>5} {end:>6}  {train_loss:>10.4f}  {scores.loss:>10.4f}  {scores.accuracy:>14.2%}"
            f"  {epoch_tokens / spent:>8,.0f}  {row['seconds']:>7.1f}  {'*' if is_best else ''}"
        )
        if settings.patience is not None and epoch - best.epoch >= settings.patience:
            console.say(f"stopped: {settings.patience} epochs without a better validation {settings.monitor}")
            break
    return n_tokens


def _run_epoch(
    steps: Iterator[Step], plan: _Plan, start: int, end: int, length_N: NDArray[np.int64], stop: "_Stop", label: str
) -> float:
    """Take the steps of one epoch; return their mean loss."""
    began, n_tokens = time.monotonic(), 0
    losses: list[Tensor] = []
    with console.progress(label, end - start) as shown:
        for number in range(start, end):
            step = next(steps)
            losses.append(step.loss)
            n_tokens += int(length_N[plan.rows[number]].sum())
            if stop.is_asked_for:
                raise InterruptedRun(f"interrupted after step {number + 1}")
            if number % _STEPS_BETWEEN_READINGS == 0 or number + 1 == end:
                loss = float(step.loss)
                if not math.isfinite(loss):
                    raise _diverged(f"the loss is {loss} at step {number + 1}", step.lr)
                rate = n_tokens / (time.monotonic() - began)
                left_s = (plan.n_steps - number - 1) * (time.monotonic() - began) / (number - start + 1)
                note = f"loss {loss:.4f}  {rate:,.0f} tokens/s  {left_s / 60:.1f} min left in all"
                shown.update(number - start + 1, note)
    return float(torch.stack(losses).mean())


def _finish(
    run: Path,
    experiment: Experiment,
    corpus: Corpus,
    best: _Best,
    model: Classifier,
    seconds: dict[str, float],
    status: str,
    tokens_per_second: float | None = None,
) -> None:
    """Write the model (the best state, or the present one where none was validated) and the summary."""
    began = time.monotonic()
    save_artefact(run, experiment, corpus, best.weights or weights_of(model))
    seconds["save"] = time.monotonic() - began
    summary: dict[str, Any] = {
        "status": status,
        "source": experiment.data.source,
        "finished_at": time.time(),
        "best_epoch": best.epoch,
        "valid": best.scores.to_json() if best.scores else None,
        "seconds": seconds,
        "tokens_per_second": tokens_per_second,
        "versions": {
            "sentiment": sentiment_cli.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    store.write_file(run / SUMMARY, store.dump_json(summary))


def _diverged(what: str, lr: float) -> DivergedError:
    hint = f"the same command with --set train.lr={lr / 10:.1g} --set train.max_grad_norm=1"
    return DivergedError(f"{what}, at learning rate {lr:.2g}", hint)


class _Stop:
    is_asked_for = False


@contextmanager
def _stop_on_sigint() -> Iterator[_Stop]:
    """Turn the first SIGINT into a wish to stop after the step; the second stops at once."""
    stop = _Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_asked_for:
            raise KeyboardInterrupt
        stop.is_asked_for = True
        console.say("stopping after this step; once more stops at once and saves nothing")

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)
