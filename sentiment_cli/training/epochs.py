"""The steps, validations and checkpoints of one sitting, up to the end of training or to what stops it."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from sentiment_cli import console
from sentiment_cli.data.corpus.fit_settings import warn_of_few_steps
from sentiment_cli.models.device import OutOfMemory
from sentiment_cli.runs.files import METRICS_LOG
from sentiment_cli.runs.metric_table import HEADLINES, METRICS, Metric
from sentiment_cli.storage import failpoints, store
from sentiment_cli.training.checkpoints import AnyScores, Best, TrainProgress, weights_of
from sentiment_cli.training.divergence import check_finite, diverged, split_batch
from sentiment_cli.training.loader import BatchLoader
from sentiment_cli.training.loop import Step, train_steps
from sentiment_cli.training.optimizer import count_plateaus, freeze, learning_rate_at
from sentiment_cli.training.processes.signals import StopNow
from sentiment_cli.training.state import TrainState
from sentiment_cli.training.tensorboard import write_events

_STEPS_BETWEEN_READINGS = 20  # on a GPU, where reading the loss waits for it


class _TrainPlan(NamedTuple):
    """What is read in which step, at which learning rate."""

    material: BatchLoader
    lr_at: Callable[[int], float]


def run_epochs(session: TrainState) -> str:
    """Take the steps that are left, validate each epoch's end, save checkpoints; return why it ended.

    With train.refit and the number of steps chosen, the steps are those of the second training, on all rows, which is
    not validated. Raises StopNow after a signal, with the present step saved unless a second one came, and
    DivergedError and OutOfMemory.
    """
    progress = session.progress
    course = _plan_training(session)
    try:
        while (reason := _reason_to_end(session, course.material)) is None:
            end = course.material.epoch_ends[len(progress.history)]
            try:
                _take_steps(session, course, end)
            except OutOfMemory as error:
                split_batch(session, error, course.material.most_rows)
                continue
            scores = None
            if not progress.refit:
                scores, validation_s = _validate(session)
                progress.seconds["validate"] += validation_s
            _close_epoch(session, course, scores)
            session.save()
            session.check_stop()
    except StopNow:
        if not session.stop.twice:
            session.save()
        raise
    return reason


def _plan_training(session: TrainState) -> _TrainPlan:
    """Plan the steps of this stage and say what they are."""
    settings, progress = session.experiment.train, session.progress
    material = session.task.plot(session)
    # The learning rate of train.refit's second training falls as that of the first, which chose how many steps it has.
    n_steps = progress.planned if progress.refit else material.n_steps
    if not progress.refit:
        progress.planned = n_steps
        patience = f", or {settings.patience} epochs without a better one" if settings.patience is not None else ""
        what = f"{n_steps:,} steps, {settings.epochs} epochs{patience}"
        console.say(f"training: {what}, best by validation {settings.monitor}")
        if session.experiment.task == "classify":
            warn_of_few_steps(session.experiment, n_steps)
    figure = HEADLINES[session.experiment.task]
    console.say(f"epoch   step  train loss  valid loss  {figure.title:>14}  tokens/s  seconds  best")
    for row in progress.history:
        console.say(_shown(row, figure))

    def lr_at(step: int) -> float:
        judged = [row for row in progress.selection or progress.history if row["step"] <= step]
        gains = [_gain(row[f"valid_{settings.monitor}"], settings.monitor) for row in judged]
        return learning_rate_at(step, n_steps, settings, count_plateaus(gains, settings.plateau_patience))

    return _TrainPlan(material, lr_at)


def _steps(session: TrainState, course: _TrainPlan) -> Iterator[Step]:
    """Yield the steps from where the training stands."""
    settings, progress = session.experiment.train, session.progress
    return train_steps(
        session.model.train(),
        session.task.build_objective(session),
        course.material.batches(progress.step),
        session.optimizer,
        course.lr_at,
        seed=session.experiment.seed,
        bf16=session.bf16,
        max_grad_norm=settings.max_grad_norm,
        slices=session.slices,
        average=session.average,
        scale=session.scale,
        group=session.group,
        start=progress.step,
    )


def _take_steps(session: TrainState, course: _TrainPlan, end: int) -> None:
    """Take the steps up to `end`, with checkpoints in between."""
    progress, settings = session.progress, session.experiment.train
    best = progress.best
    epoch = len(progress.history) + 1
    label = f"refit {epoch}" if progress.refit else f"epoch {epoch}/{settings.epochs}"
    figure = HEADLINES[session.experiment.task]
    reached = f"  best {figure.write(best.scores.to_json())} {figure.title}" if best.scores else ""
    start = progress.step - len(progress.losses)
    freeze(session.optimizer, len(progress.history), settings)
    steps, unread = _steps(session, course), list[Step]()
    began = mark = saved = time.monotonic()
    n_tokens, n_steps = 0, 0
    with console.progress(label, end - start) as shown:
        while progress.step < end:
            carried = [state.clone() for state in session.carried]
            try:
                step = next(steps)
            except OutOfMemory:  # some slices may have gone on
                for state, before in zip(session.carried, carried, strict=True):
                    state.copy_(before)
                raise
            unread.append(step)
            progress.losses.append(step.loss)
            progress.step += 1
            tokens = course.material.tokens(step.number)
            n_tokens, n_steps, progress.n_tokens = n_tokens + tokens, n_steps + 1, progress.n_tokens + tokens
            now = time.monotonic()
            progress.seconds["train"] += now - mark
            progress.epoch_s += now - mark
            mark = now

            is_due = settings.checkpoint_minutes is not None and now - saved >= settings.checkpoint_minutes * 60
            is_due |= settings.checkpoint_steps is not None and progress.step % settings.checkpoint_steps == 0
            agreed = session.agree(is_due=is_due)  # a clock may tell one process that it is time, and not the others
            is_shown = step.number % _STEPS_BETWEEN_READINGS == 0 or progress.step == end
            if session.device.type == "cpu" or is_shown or any(agreed):
                for one in unread:
                    check_finite(session, one, course.material)
                unread.clear()
            if is_shown:
                rate, left = (
                    n_tokens / (now - began),
                    (course.material.n_steps - progress.step) * (now - began) / n_steps,
                )
                time_left = f"{left:.0f} s left" if left < 90 else f"{left / 60:.0f} min left"
                note = f"loss {float(step.loss):.3f}  {time_left}  {rate:,.0f} tokens/s{reached}"
                shown.update(progress.step - start, note)
            if agreed.stops:
                raise StopNow
            if agreed.saves:
                session.save()
                mark = saved = time.monotonic()


def _validate(session: TrainState) -> tuple[AnyScores, float]:
    """Score the validation rows; return the scores and the seconds it took."""
    failpoints.reach("validate")
    began = time.monotonic()
    scores = session.task.validate(session)
    if scores is None:
        step = session.progress.step
        lr = session.optimizer.param_groups[0]["lr"]
        raise diverged(session, f"validation after step {step} gives scores that are not finite", lr)
    return scores, time.monotonic() - began


def _close_epoch(session: TrainState, course: _TrainPlan, scores: AnyScores | None) -> None:
    """Keep the best state, and add the epoch's row to the history and to metrics.jsonl."""
    progress, monitor = session.progress, session.experiment.train.monitor
    epoch, old = len(progress.history) + 1, progress.best.scores
    is_best = scores is not None and (old is None or _merit(scores, monitor) > _merit(old, monitor))
    if is_best:
        progress.best = Best(scores, epoch, progress.step, weights_of(session.validated))
    start, figure = progress.step - len(progress.losses), HEADLINES[session.experiment.task]
    row: dict[str, Any] = {
        "epoch": epoch,
        "step": progress.step,
        "train_loss": float(torch.stack(progress.losses).mean()) + 0.0,  # and no -0.0
        "valid_loss": getattr(scores, "loss", None),
        "valid_accuracy": getattr(scores, "accuracy", None),
        f"valid_{figure.key}": getattr(scores, figure.key, None),
        f"valid_{monitor}": getattr(scores, monitor, None),
        "lr": course.lr_at(progress.step - 1),
        "tokens_per_second": course.material.tokens_between(start, progress.step) / progress.epoch_s,
        "seconds": progress.seconds["train"] + progress.seconds["validate"],
        "best": is_best,
    }
    if progress.refit:
        row["stage"] = "refit"
    progress.history.append(row)
    progress.losses, progress.epoch_s = [], 0.0
    if session.group.is_writer:
        store.append_line(session.run / METRICS_LOG, json.dumps(row))
        if session.experiment.train.tensorboard:
            write_events(session.run, progress.offset + progress.step, row)
    console.say(_shown(row, figure))


def metrics_lines(progress: TrainProgress) -> bytes:
    """Return metrics.jsonl as it should be at this point; a killed sitting may have written one more."""
    return "".join(json.dumps(row) + "\n" for row in progress.selection + progress.history).encode()


def _gain(value: float | None, monitor: str) -> float:
    """Turn a monitored figure so that higher is better; an AUC that does not exist is worst."""
    return METRICS[monitor].gain(value)


def _merit(scores: AnyScores, monitor: str) -> tuple[float, float]:
    """Return what epochs are compared by: the monitored figure, and of equals the lower loss."""
    return _gain(getattr(scores, monitor), monitor), _gain(getattr(scores, "loss", None), "loss")


def _reason_to_end(session: TrainState, material: BatchLoader) -> str | None:
    settings, n_epochs = session.experiment.train, len(session.progress.history)
    if n_epochs >= len(material.epoch_ends):
        by_steps = session.progress.refit or settings.max_steps == material.n_steps
        return f"{material.n_steps:,} steps are done" if by_steps else f"{n_epochs} epochs are done"
    if session.progress.refit or settings.patience is None or not n_epochs:
        return None
    gains = [_gain(row[f"valid_{settings.monitor}"], settings.monitor) for row in session.progress.history]
    if n_epochs - 1 - gains.index(max(gains)) >= settings.patience:  # an equal with a lower loss is kept, and no gain
        return f"{settings.patience} epochs without a better validation {settings.monitor}"
    return None


def _shown(row: dict[str, Any], figure: Metric) -> str:
    loss = row["valid_loss"]
    reached = "-" if loss is None else f"{row[f'valid_{figure.key}']:{figure.format}}"
    return (
        f"{row['epoch']:>5} {row['step']:>6}  {row['train_loss']:>10.4f}  {'-' if loss is None else f'{loss:.4f}':>10}"
        f"  {reached:>14}  {row['tokens_per_second']:>8,.0f}  {row['seconds']:>7.1f}  {'*' if row['best'] else ''}"
    )
