"""The epochs of a training: steps, validation, checkpoints and early stopping."""

import json
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from sentiment_cli import console
from sentiment_cli.data.corpus.fit_settings import warn_of_few_steps
from sentiment_cli.layout import counted, spoken, spoken_size
from sentiment_cli.models.device import OutOfMemory, free_cache, peak_memory
from sentiment_cli.runs.files import METRICS_LOG
from sentiment_cli.runs.metric_table import HEADLINES, METRICS
from sentiment_cli.storage import failpoints, store
from sentiment_cli.training.checkpoints import AnyScores, Best, weights_of
from sentiment_cli.training.divergence import check_finite, diverged, split_batch
from sentiment_cli.training.history import epoch_row, table_header, table_line
from sentiment_cli.training.loader import BatchLoader
from sentiment_cli.training.loop import Step, train_steps
from sentiment_cli.training.optimizer import count_plateaus, freeze, learning_rate_at
from sentiment_cli.training.processes.signals import StopNow
from sentiment_cli.training.state import TrainState
from sentiment_cli.training.tensorboard import write_events

_STEPS_BETWEEN_READINGS = 20  # on a GPU, where reading the loss waits for the device
_STEPS_MEASURED = 5  # after the first, which is slower, for the estimate of the time
_FORWARD = 1 / 3  # of a training step's time: backward takes twice as long as forward


class TrainPlan(NamedTuple):
    """The minibatch and the learning rate of every step."""

    loader: BatchLoader
    lr_at: Callable[[int], float]


def run_epochs(state: TrainState) -> str:
    """Train for the remaining epochs, validate and save a checkpoint after each; return why training ended.

    In the second training of train.refit, on all rows, nothing is validated. Raises StopNow after a signal, with a
    checkpoint of the current step unless a second signal came, and DivergedError and OutOfMemory.
    """
    progress = state.job.progress
    plan, is_estimated = _plan_training(state), progress.refit
    try:
        while (reason := _reason_to_end(state, plan.loader)) is None:
            end = plan.loader.epoch_ends[len(progress.history)]
            n_slices = state.slices
            try:
                _take_steps(state, plan, end, is_estimated=is_estimated)
                is_estimated = True
            except OutOfMemory as error:
                split_batch(state, error, plan.loader.most_rows)
            if state.slices != n_slices:
                free_cache(state.job.device)
                continue
            scores = None
            if not progress.refit:
                scores, validation_s = _validate(state)
                progress.seconds["validate"] += validation_s
            _close_epoch(state, plan, scores)
            state.save()
            state.check_stop()
    except StopNow:
        if not state.job.stop.twice:
            state.save()
        raise
    return reason


def _plan_training(state: TrainState) -> TrainPlan:
    """Build the data loader and the learning-rate schedule of this stage, and print them."""
    settings, progress = state.job.experiment.train, state.job.progress
    loader = state.task.build_loader(state)
    # In train.refit the second training keeps the schedule of the first, which selected the number of steps.
    n_steps = progress.planned if progress.refit else loader.n_steps
    if not progress.refit:
        progress.planned = n_steps
        patience = f", or {settings.patience} epochs without a better one" if settings.patience is not None else ""
        what = f"{counted(loader.n_steps, 'step')}, {counted(len(loader.epoch_ends), 'epoch')}{patience}"
        console.say(f"training: {what}, best by validation {settings.monitor}")
        if state.job.experiment.task == "classify":
            warn_of_few_steps(state.job.experiment, n_steps)
    console.say(table_header(state.job.experiment, console.talk_width()))
    for row in progress.history:
        console.say(table_line(row, state.job.experiment, console.talk_width()))

    def lr_at(step: int) -> float:
        judged = [row for row in progress.selection or progress.history if row["step"] <= step]
        gains = [_gain(row[f"valid_{settings.monitor}"], settings.monitor) for row in judged]
        return learning_rate_at(step, n_steps, settings, count_plateaus(gains, settings.plateau_patience))

    return TrainPlan(loader, lr_at)


def _steps(state: TrainState, plan: TrainPlan) -> Iterator[Step]:
    """Yield the optimizer steps from the current one on."""
    settings, progress = state.job.experiment.train, state.job.progress
    return train_steps(
        state.model.train(),
        state.task.build_objective(state),
        plan.loader.batches(progress.step),
        state.optimizer,
        plan.lr_at,
        seed=state.job.experiment.seed,
        bf16=state.bf16,
        max_grad_norm=settings.max_grad_norm,
        slices=state.slices,
        ema=state.ema,
        scaler=state.scaler,
        group=state.job.group,
        start=progress.step,
    )


def _take_steps(state: TrainState, plan: TrainPlan, end: int, *, is_estimated: bool) -> None:
    """Take the steps up to `end`, save the checkpoints that are due in between, and say how long all will take."""
    progress, settings = state.job.progress, state.job.experiment.train
    best = progress.best
    epoch = len(progress.history) + 1
    label = f"refit {epoch}" if progress.refit else f"epoch {epoch}/{settings.epochs}"
    figure = HEADLINES[state.job.experiment.task]
    reached = f"  best {figure.write(best.scores.to_json())} {figure.title}" if best.scores else ""
    start = progress.step - len(progress.losses)
    freeze(state.optimizer, len(progress.history), settings)
    steps, unread = _steps(state, plan), list[Step]()
    began = mark = saved = time.monotonic()
    n_tokens, n_steps, first_tokens, first = 0, 0, 0, began
    with console.progress(label, end - start) as shown:
        while progress.step < end:
            carried = [tensor.clone() for tensor in state.carried]
            try:
                step = next(steps)
            except OutOfMemory:
                for one in unread:  # on a GPU: the next generator of steps would take no notice of them
                    check_finite(state, one, plan.loader)
                # Some micro-batches may have moved their states on.
                for tensor, before in zip(state.carried, carried, strict=True):
                    tensor.copy_(before)
                raise
            unread.append(step)
            progress.losses.append(step.loss)
            progress.step += 1
            tokens = plan.loader.tokens(step.number)
            n_tokens, n_steps, progress.n_tokens = n_tokens + tokens, n_steps + 1, progress.n_tokens + tokens
            now = time.monotonic()
            progress.seconds["train"] += now - mark
            progress.epoch_s += now - mark
            mark = now

            is_due = settings.checkpoint_minutes is not None and now - saved >= settings.checkpoint_minutes * 60
            is_due |= settings.checkpoint_steps is not None and progress.step % settings.checkpoint_steps == 0
            agreed = state.agree(is_due=is_due)  # by its clock a save may be due in one process alone
            is_measured = not is_estimated and n_steps == min(1 + _STEPS_MEASURED, end - start)
            is_shown = is_measured or step.number % _STEPS_BETWEEN_READINGS == 0 or progress.step == end
            if state.job.device.type == "cpu" or is_shown or any(agreed):
                for one in unread:
                    check_finite(state, one, plan.loader)
                unread.clear()
            if is_shown:
                rate, left = (
                    n_tokens / (now - began),
                    (plan.loader.n_steps - progress.step) * (now - began) / n_steps,
                )
                time_left = f"{left:.0f} s left" if left < 90 else f"{left / 60:.0f} min left"
                note = f"loss {float(step.loss):.3f}  {time_left}  {rate:,.0f} tokens/s{reached}"
                shown.update(progress.step - start, note)
            if n_steps == 1:
                first_tokens, first = (0, began) if is_measured else (tokens, now)
            if is_measured:
                _say_estimate(state, plan.loader, (n_tokens - first_tokens) / (time.monotonic() - first))
            if agreed.stops:
                raise StopNow
            if agreed.saves:
                state.save()
                mark = saved = time.monotonic()


def seconds_to_go(state: TrainState, loader: BatchLoader, tokens_per_second: float) -> float:
    """Return how long the rest of a training takes at this rate, validation included, if it does not stop early.

    That of pairs, which are no rows of a text and a label, is left out.
    """
    experiment, corpus, progress = state.job.experiment, state.job.corpus, state.job.progress
    has_rows = "valid" in corpus.directories and experiment.task != "pairs"
    n_valid = int(corpus.split("valid").length_N.sum()) if has_rows else 0
    n_epochs = len(loader.epoch_ends) - len(progress.history)
    n_tokens = loader.tokens_between(progress.step, loader.n_steps) + _FORWARD * n_valid * n_epochs
    again = loader.tokens_between(0, loader.n_steps) if experiment.train.refit and not progress.refit else 0
    return (n_tokens + again) / tokens_per_second


def _say_estimate(state: TrainState, loader: BatchLoader, tokens_per_second: float) -> None:
    patience = state.job.experiment.train.patience
    early = ", less if it stops early" if patience is not None and patience < len(loader.epoch_ends) else ""
    console.say(
        f"estimate: about {spoken(seconds_to_go(state, loader, tokens_per_second))} at {tokens_per_second:,.0f} "
        f"tokens/s{early}; {spoken_size(peak_memory(state.job.device))} of memory so far"
    )


def _validate(state: TrainState) -> tuple[AnyScores, float]:
    """Score the validation rows; return the scores and the seconds that it took."""
    failpoints.reach("validate")
    began = time.monotonic()
    scores = state.task.validate(state)
    if scores is None:
        step = state.job.progress.step
        lr = state.optimizer.param_groups[0]["lr"]
        raise diverged(state, f"validation after step {step} gives scores that are not finite", lr)
    return scores, time.monotonic() - began


def _close_epoch(state: TrainState, plan: TrainPlan, scores: AnyScores | None) -> None:
    """Keep the best weights, and append the epoch's row to the history and to metrics.jsonl."""
    progress, monitor = state.job.progress, state.job.experiment.train.monitor
    old = progress.best.scores
    is_best = scores is not None and (old is None or _merit(scores, monitor) > _merit(old, monitor))
    if is_best:
        progress.best = Best(scores, len(progress.history) + 1, progress.step, weights_of(state.validated))
    start = progress.step - len(progress.losses)
    row = epoch_row(
        progress,
        scores,
        state.job.experiment,
        train_loss=float(torch.stack(progress.losses).mean()) + 0.0,  # not -0.0
        lr=plan.lr_at(progress.step - 1),
        tokens_per_second=plan.loader.tokens_between(start, progress.step) / progress.epoch_s,
        is_best=is_best,
    )
    progress.history.append(row)
    progress.losses, progress.epoch_s = [], 0.0
    if state.job.group.is_writer:
        store.append_line(state.job.run / METRICS_LOG, json.dumps(row))
        if state.job.experiment.train.tensorboard:
            write_events(state.job.run, progress.offset + progress.step, row)
    console.say(table_line(row, state.job.experiment, console.talk_width()))


def _gain(value: float | None, monitor: str) -> float:
    """Return the monitored figure with the sign that makes higher better; an undefined AUC is the worst."""
    return METRICS[monitor].gain(value)


def _merit(scores: AnyScores, monitor: str) -> tuple[float, float]:
    """Return the key that epochs are compared by: the monitored figure, then the loss."""
    return _gain(getattr(scores, monitor), monitor), _gain(getattr(scores, "loss", None), "loss")


def _reason_to_end(state: TrainState, loader: BatchLoader) -> str | None:
    settings, n_epochs = state.job.experiment.train, len(state.job.progress.history)
    if n_epochs >= len(loader.epoch_ends):
        by_steps = state.job.progress.refit or settings.max_steps == loader.n_steps
        n, what = (loader.n_steps, "step") if by_steps else (n_epochs, "epoch")
        return f"{counted(n, what)} {'is' if n == 1 else 'are'} done"
    if state.job.progress.refit or settings.patience is None or not n_epochs:
        return None
    gains = [_gain(row[f"valid_{settings.monitor}"], settings.monitor) for row in state.job.progress.history]
    n_since_best = n_epochs - 1 - gains.index(max(gains))  # an equal figure with a lower loss is not an improvement
    if n_since_best >= settings.patience:
        return f"{settings.patience} epochs without a better validation {settings.monitor}"
    return None
