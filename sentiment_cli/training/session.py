"""One sitting of a training: from where it stands to its end, or to where something stops it."""

import functools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_cli import console, store
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batches import Rows, read_lengths, rows_on
from sentiment_cli.data.corpus import Corpus, Packed
from sentiment_cli.errors import DivergedError
from sentiment_cli.evaluation.metrics import Scores, score
from sentiment_cli.inference.predictor import class_probabilities, score_rows
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.models.device import OutOfMemory
from sentiment_cli.training.checkpoints import Best, Progress, newest_path, weights_of
from sentiment_cli.training.loop import Average, Objective, Step, train_steps
from sentiment_cli.training.objectives import classification_loss
from sentiment_cli.training.optimizer import count_plateaus, learning_rate_at
from sentiment_cli.training.plan import Plan, cut, plan_steps
from sentiment_cli.training.stopping import Stop, StopNow

METRICS = "metrics.jsonl"
DIVERGED = "diverged.json"
_STEPS_BETWEEN_READINGS = 20  # on a GPU, where reading the loss waits for it
_ROWS_SHOWN = 3


@dataclass
class Session:
    """A training in memory, on its device."""

    run: Path
    experiment: Experiment
    device: torch.device
    bf16: bool
    model: Classifier
    optimizer: torch.optim.Optimizer
    average: Average | None
    progress: Progress
    corpus: Corpus
    save: Callable[[], object]
    stop: Stop

    @property
    def validated(self) -> Classifier:
        """The model that is validated and kept."""
        model = self.model if self.average is None else self.average.model
        assert isinstance(model, Classifier)
        return model


def train_to_the_end(session: Session) -> str:
    """Take the steps that are left, validate each epoch's end, save checkpoints; return why it ended.

    Raises StopNow after a signal, with the present step saved unless a second one came, and DivergedError.
    """
    settings, progress = session.experiment.train, session.progress
    train, valid = session.corpus.split("train"), session.corpus.split("valid")
    read_N = np.where(train.length_N > 0, read_lengths(train.length_N, session.experiment.text), 0)
    plan = plan_steps(read_N, settings, session.experiment.seed)
    if dropped := int((read_N == 0).sum()):
        console.say(f"{dropped:,} training reviews without a token are left out")
    patience = f", or {settings.patience} epochs without a better one" if settings.patience is not None else ""
    console.say(
        f"training: {plan.n_steps:,} steps, {settings.epochs} epochs{patience}, best by validation {settings.monitor}"
    )
    console.say("epoch   step  train loss  valid loss  valid accuracy  tokens/s  seconds  best")
    for row in progress.history:
        console.say(_shown(row))
    train_rows, valid_rows = rows_on(session.device, train), rows_on(session.device, valid)
    try:
        while (reason := _reason_to_end(progress, plan, session.experiment)) is None:
            end = plan.epoch_ends[len(progress.history)]
            gains = [_gain(row[f"valid_{settings.monitor}"], settings.monitor) for row in progress.history]
            n_reductions = count_plateaus(gains, settings.plateau_patience)

            def lr_at(step: int, n_reductions: int = n_reductions) -> float:
                return learning_rate_at(step, plan.n_steps, settings, n_reductions)

            try:
                _take_steps(session, _steps(session, plan, train_rows, read_N, lr_at), plan, end, read_N, train.id_N)
            except OutOfMemory as error:
                _split(session, error, max(len(row_B) for row_B in plan.rows))
                continue
            with session.stop.at_once():
                scores, validation_s = _validate(session, valid, valid_rows)
            epoch_tokens = int(sum(read_N[row_B].sum() for row_B in plan.rows[end - len(progress.losses) : end]))
            _close_epoch(session, scores, validation_s, lr_at(end - 1), epoch_tokens)
            session.save()
            session.stop.check()
    except StopNow:
        if not session.stop.twice:
            session.save()
        raise
    return reason


def _steps(
    session: Session, plan: Plan, rows: Rows, read_N: NDArray[np.int64], lr_at: Callable[[int], float]
) -> Iterator[Step]:
    """Yield the steps from where the training stands."""
    settings, progress = session.experiment.train, session.progress
    objective: Objective = classification_loss
    if settings.label_smoothing:
        objective = functools.partial(classification_loss, smoothing=settings.label_smoothing)
    return train_steps(
        session.model.train(),
        objective,
        cut(plan, rows, read_N, session.experiment, progress.step),
        session.optimizer,
        lr_at,
        seed=session.experiment.seed,
        bf16=session.bf16,
        max_grad_norm=settings.max_grad_norm,
        slices=settings.slices * progress.split,
        average=session.average,
        start=progress.step,
    )


def _split(session: Session, error: OutOfMemory, most_rows: int) -> None:
    """Double the slices where that was asked for; else raise OutOfMemory with the budget and the next to try."""
    settings, progress = session.experiment.train, session.progress
    slices = settings.slices * progress.split
    if settings.on_memory_error == "split" and slices < most_rows:
        console.warn(f"{error}, at step {progress.step + 1}; going on with {2 * slices} slices of the same batch")
        session.optimizer.zero_grad(set_to_none=True)
        progress.split *= 2
        if session.device.type == "cuda":
            torch.cuda.empty_cache()
        return
    more, config = f"train.slices={2 * settings.slices}", session.run / "experiment.yaml"
    raise OutOfMemory(
        f"{error}, at step {progress.step + 1} with train.batch_tokens {settings.batch_tokens:,} in {slices} slices",
        f"sentiment train --resume {session.run} --set {more} --allow-change train.slices\n"
        f"  or:  sentiment train {config} --set train.batch_tokens={settings.batch_tokens // 2}",
    ) from error


def _take_steps(
    session: Session,
    steps: Iterator[Step],
    plan: Plan,
    end: int,
    read_N: NDArray[np.int64],
    id_N: NDArray[np.str_],
) -> None:
    """Take the steps up to `end`, with checkpoints in between."""
    progress, settings = session.progress, session.experiment.train
    best = progress.best
    label = f"epoch {len(progress.history) + 1}"
    label += f", best {best.scores.accuracy:.2%} valid accuracy" if best.scores else ""
    start = progress.step - len(progress.losses)
    unread: list[Step] = []
    began = mark = saved = time.monotonic()
    n_tokens, n_steps = 0, 0
    with console.progress(label, end - start) as shown:
        while progress.step < end:
            step = next(steps)
            unread.append(step)
            progress.losses.append(step.loss)
            progress.step += 1
            tokens = int(read_N[plan.rows[step.number]].sum())
            n_tokens, n_steps, progress.n_tokens = n_tokens + tokens, n_steps + 1, progress.n_tokens + tokens
            now = time.monotonic()
            progress.seconds["train"] += now - mark
            progress.epoch_s += now - mark
            mark = now

            is_due = settings.checkpoint_minutes is not None and now - saved >= settings.checkpoint_minutes * 60
            is_due |= settings.checkpoint_steps is not None and progress.step % settings.checkpoint_steps == 0
            is_shown = step.number % _STEPS_BETWEEN_READINGS == 0 or progress.step == end
            if session.device.type == "cpu" or is_shown or is_due or session.stop.number:
                for one in unread:
                    _check_finite(session, one, plan.rows[one.number], id_N)
                unread.clear()
            if is_shown:
                rate, left = n_tokens / (now - began), (plan.n_steps - progress.step) * (now - began) / n_steps
                note = f"loss {float(step.loss):.4f}  {rate:,.0f} tokens/s  {left / 60:.1f} min left in all"
                shown.update(progress.step - start, note)
            if is_due:
                session.save()
                mark = saved = time.monotonic()
            session.stop.check()


def _check_finite(session: Session, step: Step, row_B: NDArray[np.int64], id_N: NDArray[np.str_]) -> None:
    """Raise DivergedError for a step whose loss or gradient is not finite; RUN/diverged.json then holds its rows."""
    loss, grad_norm = float(step.loss), float(step.grad_norm)
    if math.isfinite(loss) and math.isfinite(grad_norm):
        return
    ids = [str(name) for name in id_N[row_B]]
    about = {
        "step": step.number + 1,
        "lr": step.lr,
        "loss": str(loss),
        "grad_norm": str(grad_norm),
        "rows": ids,
    }
    store.write_file(session.run / DIVERGED, store.dump_json(about))
    raise _diverged(
        session,
        f"step {step.number + 1} gives loss {loss:.4g} and gradient norm {grad_norm:.4g}; its {len(ids)} rows "
        f"({', '.join(ids[:_ROWS_SHOWN])}{', …' if len(ids) > _ROWS_SHOWN else ''}) are in {session.run / DIVERGED}",
        step.lr,
    )


def _diverged(session: Session, what: str, lr: float) -> DivergedError:
    last = newest_path(session.run)
    lower, config = f"train.lr={session.experiment.train.lr / 10:.1g}", session.run / "experiment.yaml"
    from_last = f"sentiment train --resume {session.run} --set {lower} --allow-change train.lr"
    anew = f"sentiment train {config} --set {lower} --set train.max_grad_norm=1"
    return DivergedError(
        f"{what}, at learning rate {lr:.2g}; the last good checkpoint is {last.name if last else 'none yet'}",
        f"{from_last}\n  or:  {anew}" if last else anew,
    )


def _validate(session: Session, valid: Packed, rows: Rows) -> tuple[Scores, float]:
    """Score the validation rows; return the scores and the seconds it took."""
    began = time.monotonic()
    logit_N = score_rows(session.validated, rows, valid.length_N, session.experiment.text)
    if not np.isfinite(logit_N).all():
        step = session.progress.step
        lr = session.optimizer.param_groups[0]["lr"]
        raise _diverged(session, f"validation after step {step} gives scores that are not finite", lr)
    return score(valid.label_N, class_probabilities(logit_N), session.corpus.labels), time.monotonic() - began


def _close_epoch(session: Session, scores: Scores, validation_s: float, lr: float, n_tokens: int) -> None:
    """Keep the best state, and add the epoch's row to the history and to metrics.jsonl."""
    progress, monitor = session.progress, session.experiment.train.monitor
    epoch = len(progress.history) + 1
    value, best = getattr(scores, monitor), progress.best.scores
    is_best = best is None or _gain(value, monitor) > _gain(getattr(best, monitor), monitor)
    if is_best:
        progress.best = Best(scores, epoch, progress.step, weights_of(session.validated))
    progress.seconds["validate"] += validation_s
    row = {
        "epoch": epoch,
        "step": progress.step,
        "train_loss": float(torch.stack(progress.losses).mean()),
        "valid_loss": scores.loss,
        "valid_accuracy": scores.accuracy,
        f"valid_{monitor}": value,
        "lr": lr,
        "tokens_per_second": n_tokens / progress.epoch_s,
        "seconds": progress.seconds["train"] + progress.seconds["validate"],
        "best": is_best,
    }
    progress.history.append(row)
    progress.losses, progress.epoch_s = [], 0.0
    store.append_line(session.run / METRICS, json.dumps(row))
    console.say(_shown(row))


def metrics_lines(history: list[dict[str, Any]]) -> bytes:
    """Return metrics.jsonl as it should be after these rows; a killed sitting may have written one more."""
    return "".join(json.dumps(row) + "\n" for row in history).encode()


def _gain(value: float | None, monitor: str) -> float:
    """Turn a monitored figure so that higher is better; an AUC that does not exist is worst."""
    return -math.inf if value is None else -value if monitor == "loss" else value


def _reason_to_end(progress: Progress, plan: Plan, experiment: Experiment) -> str | None:
    settings, n_epochs = experiment.train, len(progress.history)
    if n_epochs >= len(plan.epoch_ends):
        reached = f"{plan.n_steps:,} steps" if settings.max_steps == plan.n_steps else f"{n_epochs} epochs"
        return f"{reached} are done"
    if settings.patience is not None and n_epochs - progress.best.epoch >= settings.patience and n_epochs:
        return f"{settings.patience} epochs without a better validation {settings.monitor}"
    return None


def _shown(row: dict[str, Any]) -> str:
    return (
        f"{row['epoch']:>5} {row['step']:>6}  {row['train_loss']:>10.4f}  {row['valid_loss']:>10.4f}"
        f"  {row['valid_accuracy']:>14.2%}  {row['tokens_per_second']:>8,.0f}  {row['seconds']:>7.1f}"
        f"  {'*' if row['best'] else ''}"
    )
