"""Divergence and out-of-memory errors: stop at the first step that is not finite, and say what to try."""

import math
import shlex

from sentiment_cli import console
from sentiment_cli.errors import DivergedError
from sentiment_cli.models.device import OutOfMemory
from sentiment_cli.runs.files import EXPERIMENT
from sentiment_cli.storage import store
from sentiment_cli.training.checkpoints import newest_path
from sentiment_cli.training.loader import BatchLoader
from sentiment_cli.training.loop import Step
from sentiment_cli.training.state import TrainState

DIVERGED = "diverged.json"
_ROWS_SHOWN = 3


def check_finite(state: TrainState, step: Step, loader: BatchLoader) -> None:
    """Raise DivergedError for a step whose loss or gradient is not finite, and write its figures to diverged.json."""
    loss, grad_norm = float(step.loss), float(step.grad_norm)
    if math.isfinite(loss) and math.isfinite(grad_norm):
        return
    ids, path = loader.names(step.number), state.job.run / DIVERGED
    about = {
        "step": step.number + 1,
        "lr": step.lr,
        "loss": str(loss),
        "grad_norm": str(grad_norm),
        "rows": ids,
    }
    if state.job.group.is_writer:
        store.write_file(path, store.dump_json(about))
    rows = f"{', '.join(ids[:_ROWS_SHOWN])}{', …' if len(ids) > _ROWS_SHOWN else ''}"
    where = f"its {len(ids)} rows ({rows}) are in {path}" if ids else f"see also {path}"
    raise diverged(
        state, f"step {step.number + 1} gives loss {loss:.4g} and gradient norm {grad_norm:.4g}; {where}", step.lr
    )


def diverged(state: TrainState, what: str, lr: float) -> DivergedError:
    """Return the error that names what was not finite, the last good checkpoint and what to try."""
    last = newest_path(state.job.run)
    lower = f"train.lr={state.job.experiment.train.peak_lr / 10:.1g}"
    config = shlex.quote(str(state.job.run / EXPERIMENT))
    command = state.job.experiment.command
    from_last = f"{command} --resume {shlex.quote(str(state.job.run))} --set {lower} --allow-change train.lr"
    anew = f"{command} {config} --set {lower} --set train.max_grad_norm=1"
    return DivergedError(
        f"{what}, at learning rate {lr:.2g}; the last good checkpoint is {last.name if last else 'none yet'}",
        from_last if last else anew,
    )


def split_batch(state: TrainState, error: OutOfMemory, most_rows: int) -> None:
    """Double the micro-batches where train.on_memory_error is split; otherwise raise OutOfMemory with what to try."""
    settings, progress = state.job.experiment.train, state.job.progress
    slices = settings.slices * progress.split
    if settings.on_memory_error == "split" and slices < most_rows and state.job.group.size == 1:
        console.warn(f"{error}, at step {progress.step + 1}; reading the same batch in {2 * slices} slices")
        state.optimizer.zero_grad(set_to_none=True)
        progress.split *= 2
        return
    more = f"train.slices={2 * settings.slices}"
    command = state.job.experiment.command
    raise OutOfMemory(
        f"{error}, at step {progress.step + 1} with train.batch_tokens {settings.batch_tokens:,} in {slices} slices",
        f"{command} --resume {shlex.quote(str(state.job.run))} --set {more} --allow-change train.slices",
    ) from error
