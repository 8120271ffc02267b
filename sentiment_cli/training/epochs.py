"""The steps, validations and checkpoints of one sitting, up to the end of training or to what stops it."""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_cli import console, store
from sentiment_cli.data.batches import Plan, Rows, cut, plan_steps, rows_on
from sentiment_cli.data.corpus import Packed
from sentiment_cli.data.reading import read_lengths
from sentiment_cli.evaluation.metrics import Scores, score_outputs
from sentiment_cli.inference.weights import score_rows
from sentiment_cli.models.device import OutOfMemory
from sentiment_cli.training.checkpoints import Best, Progress, weights_of
from sentiment_cli.training.guards import check_finite, diverged, split_batch
from sentiment_cli.training.loop import Step, train_steps
from sentiment_cli.training.objectives import build_objective
from sentiment_cli.training.optimizer import count_plateaus, learning_rate_at
from sentiment_cli.training.session import Session
from sentiment_cli.training.stopping import StopNow
from sentiment_cli.training.tensorboard import write_events

METRICS = "metrics.jsonl"
_STEPS_BETWEEN_READINGS = 20  # on a GPU, where reading the loss waits for it


class _Course(NamedTuple):
    """What is read in which step at which learning rate."""

    plan: Plan
    rows: Rows
    read_N: NDArray[np.int64]
    ids: list[str]
    lr_at: Callable[[int], float]

    def tokens(self, start: int, end: int) -> int:
        return int(sum(self.read_N[row_B].sum() for row_B in self.plan.rows[start:end]))


def train_to_the_end(session: Session) -> str:
    """Take the steps that are left, validate each epoch's end, save checkpoints; return why it ended.

    With train.refit and the number of steps chosen, the steps are those of the second training, on all rows, which is
    not validated. Raises StopNow after a signal, with the present step saved unless a second one came, and
    DivergedError and OutOfMemory.
    """
    progress = session.progress
    course = _plot_course(session)
    valid = session.corpus.split("valid")
    valid_rows = rows_on(session.device, valid)
    try:
        while (reason := _reason_to_end(session, course.plan)) is None:
            end = course.plan.epoch_ends[len(progress.history)]
            try:
                _take_steps(session, course, end)
            except OutOfMemory as error:
                split_batch(session, error, max(len(row_B) for row_B in course.plan.rows))
                continue
            scores = None
            if not progress.refit:
                # Several processes leave a validation together, at its end.
                with session.stop.at_once() if session.group.size == 1 else contextlib.nullcontext():
                    scores, validation_s = _validate(session, valid, valid_rows)
                progress.seconds["validate"] += validation_s
            _close_epoch(session, course, scores)
            session.save()
            session.check_stop()
    except StopNow:
        if not session.stop.twice:
            session.save()
        raise
    return reason


def _plot_course(session: Session) -> _Course:
    """Plan the steps of this stage and put their rows on the device."""
    settings, progress, text = session.experiment.train, session.progress, session.experiment.text
    train, ids = session.corpus.split("train"), session.corpus.ids("train")
    read_N = np.where(train.length_N > 0, read_lengths(train.length_N, text), 0)
    if dropped := int((read_N == 0).sum()):
        console.say(f"{dropped:,} training reviews without a token are left out")
    plan = plan_steps(read_N, settings, session.experiment.seed)
    n_steps = plan.n_steps
    if progress.refit:
        train, ids = join_rows(train, session.corpus.split("valid")), ids + session.corpus.ids("valid")
        read_N = np.where(train.length_N > 0, read_lengths(train.length_N, text), 0)
        chosen = settings.model_copy(update={"max_steps": progress.best.step})
        plan = plan_steps(read_N, chosen, session.experiment.seed)
        console.say(f"refit: {plan.n_steps:,} steps on all {len(train.label_N):,} reviews, validation included")
    else:
        patience = f", or {settings.patience} epochs without a better one" if settings.patience is not None else ""
        what = f"{plan.n_steps:,} steps, {settings.epochs} epochs{patience}"
        console.say(f"training: {what}, best by validation {settings.monitor}")
    console.say("epoch   step  train loss  valid loss  valid accuracy  tokens/s  seconds  best")
    for row in progress.history:
        console.say(_shown(row))

    def lr_at(step: int) -> float:
        judged = [row for row in progress.selection or progress.history if row["step"] <= step]
        gains = [_gain(row[f"valid_{settings.monitor}"], settings.monitor) for row in judged]
        return learning_rate_at(step, n_steps, settings, count_plateaus(gains, settings.plateau_patience))

    return _Course(plan, rows_on(session.device, train, session.experiment.data.target), read_N, ids, lr_at)


def join_rows(one: Packed, other: Packed) -> Packed:
    """Return the rows of both."""
    fields = [field.name for field in dataclasses.fields(one)]
    joined = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in fields}
    joined["starts_N1"] = np.concatenate([one.starts_N1, one.starts_N1[-1] + other.starts_N1[1:]])
    return Packed(**joined)


def _steps(session: Session, course: _Course) -> Iterator[Step]:
    """Yield the steps from where the training stands."""
    settings, progress = session.experiment.train, session.progress
    return train_steps(
        session.model.train(),
        build_objective(session.experiment),
        cut(course.plan, course.rows, course.read_N, session.experiment, progress.step),
        session.optimizer,
        course.lr_at,
        seed=session.experiment.seed,
        bf16=session.bf16,
        max_grad_norm=settings.max_grad_norm,
        slices=settings.slices * progress.split,
        average=session.average,
        scale=session.scale,
        group=session.group,
        start=progress.step,
    )


def _take_steps(session: Session, course: _Course, end: int) -> None:
    """Take the steps up to `end`, with checkpoints in between."""
    progress, settings = session.progress, session.experiment.train
    best = progress.best
    label = f"{'refit' if progress.refit else 'epoch'} {len(progress.history) + 1}"
    label += f", best {best.scores.accuracy:.2%} valid accuracy" if best.scores else ""
    start = progress.step - len(progress.losses)
    steps, unread = _steps(session, course), list[Step]()
    began = mark = saved = time.monotonic()
    n_tokens, n_steps = 0, 0
    with console.progress(label, end - start) as shown:
        while progress.step < end:
            step = next(steps)
            unread.append(step)
            progress.losses.append(step.loss)
            progress.step += 1
            tokens = course.tokens(step.number, progress.step)
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
                    check_finite(session, one, [course.ids[row] for row in course.plan.rows[one.number]])
                unread.clear()
            if is_shown:
                rate, left = n_tokens / (now - began), (course.plan.n_steps - progress.step) * (now - began) / n_steps
                note = f"loss {float(step.loss):.4f}  {rate:,.0f} tokens/s  {left / 60:.1f} min left in all"
                shown.update(progress.step - start, note)
            if is_due:
                session.save()
                mark = saved = time.monotonic()
            session.check_stop()


def _validate(session: Session, valid: Packed, rows: Rows) -> tuple[Scores, float]:
    """Score the validation rows; return the scores and the seconds it took."""
    began = time.monotonic()
    text, group = session.experiment.text, session.group
    output = score_rows(session.validated, rows, valid.length_N, text, first=group.rank, every=group.size)
    group.add([torch.from_numpy(output)])
    if not np.isfinite(output).all():
        step = session.progress.step
        lr = session.optimizer.param_groups[0]["lr"]
        raise diverged(session, f"validation after step {step} gives scores that are not finite", lr)
    target = session.experiment.data.target
    scores = score_outputs(output, valid.label_N, valid.stars_N, session.corpus.labels, target)
    return scores, time.monotonic() - began


def _close_epoch(session: Session, course: _Course, scores: Scores | None) -> None:
    """Keep the best state, and add the epoch's row to the history and to metrics.jsonl."""
    progress, monitor = session.progress, session.experiment.train.monitor
    epoch, old = len(progress.history) + 1, progress.best.scores
    is_best = scores is not None and (
        old is None or _gain(getattr(scores, monitor), monitor) > _gain(getattr(old, monitor), monitor)
    )
    if is_best:
        progress.best = Best(scores, epoch, progress.step, weights_of(session.validated))
    start = progress.step - len(progress.losses)
    row: dict[str, Any] = {
        "epoch": epoch,
        "step": progress.step,
        "train_loss": float(torch.stack(progress.losses).mean()),
        "valid_loss": getattr(scores, "loss", None),
        "valid_accuracy": getattr(scores, "accuracy", None),
        f"valid_{monitor}": getattr(scores, monitor, None),
        "lr": course.lr_at(progress.step - 1),
        "tokens_per_second": course.tokens(start, progress.step) / progress.epoch_s,
        "seconds": progress.seconds["train"] + progress.seconds["validate"],
        "best": is_best,
    }
    if progress.refit:
        row["stage"] = "refit"
    progress.history.append(row)
    progress.losses, progress.epoch_s = [], 0.0
    if session.group.is_writer:
        store.append_line(session.run / METRICS, json.dumps(row))
        if session.experiment.train.tensorboard:
            write_events(session.run, progress.offset + progress.step, row)
    console.say(_shown(row))


def metrics_lines(progress: Progress) -> bytes:
    """Return metrics.jsonl as it should be at this point; a killed sitting may have written one more."""
    return "".join(json.dumps(row) + "\n" for row in progress.selection + progress.history).encode()


def _gain(value: float | None, monitor: str) -> float:
    """Turn a monitored figure so that higher is better; an AUC that does not exist is worst."""
    return -math.inf if value is None else -value if monitor == "loss" else value


def _reason_to_end(session: Session, plan: Plan) -> str | None:
    settings, n_epochs = session.experiment.train, len(session.progress.history)
    if n_epochs >= len(plan.epoch_ends):
        by_steps = session.progress.refit or settings.max_steps == plan.n_steps
        return f"{plan.n_steps:,} steps are done" if by_steps else f"{n_epochs} epochs are done"
    if session.progress.refit or settings.patience is None or not n_epochs:
        return None
    if n_epochs - session.progress.best.epoch >= settings.patience:
        return f"{settings.patience} epochs without a better validation {settings.monitor}"
    return None


def _shown(row: dict[str, Any]) -> str:
    loss, accuracy = row["valid_loss"], row["valid_accuracy"]
    return (
        f"{row['epoch']:>5} {row['step']:>6}  {row['train_loss']:>10.4f}  {'-' if loss is None else f'{loss:.4f}':>10}"
        f"  {'-' if accuracy is None else f'{accuracy:.2%}':>14}  {row['tokens_per_second']:>8,.0f}"
        f"  {row['seconds']:>7.1f}  {'*' if row['best'] else ''}"
    )
