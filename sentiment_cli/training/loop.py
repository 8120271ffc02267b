"""The training loop, as a generator of steps: the caller logs, evaluates, saves and stops."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from sentiment_cli.models.device import memory_errors
from sentiment_cli.training.ema import EMA
from sentiment_cli.training.gradients import Objective, accumulate_gradients, gradient_values
from sentiment_cli.training.precision import GradScaler, autocast_dtype
from sentiment_cli.training.processes.distributed import ALONE, Group


class Step(NamedTuple):
    """One optimizer update; loss and grad_norm stay on the device, since reading them each step would stall it."""

    number: int
    lr: float
    loss: Tensor
    grad_norm: Tensor


def train_steps(
    model: nn.Module,
    objective: Objective,
    batches: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    learning_rate_at: Callable[[int], float],
    *,
    seed: int,
    bf16: bool,
    max_grad_norm: float | None,
    slices: int = 1,
    ema: EMA | None = None,
    scaler: GradScaler | None = None,
    group: Group = ALONE,
    start: int = 0,
) -> Iterator[Step]:
    """Take one optimizer step per batch, with gradient accumulation over `slices` micro-batches of its rows.

    Every random draw follows from the seed and the step. From the first step on whose loss or gradient is not finite,
    a fused optimizer leaves weights and state unchanged, so that the caller need not read every loss. Raises
    OutOfMemory, with nothing updated.

    With `scaler` it computes in fp16. A step whose gradient overflows is then skipped, and its grad_norm is 0.
    """
    is_bad = None
    dtype = autocast_dtype(scaler, bf16=bf16)

    def scaled(model: nn.Module, batch: Any) -> Tensor:
        loss = objective(model, batch)
        return loss if scaler is None else loss * scaler.factor

    parameters = list(model.parameters())
    for number, batch in enumerate(batches, start):
        lr = learning_rate_at(number)
        for parameter_group in optimizer.param_groups:
            parameter_group["lr"] = lr * parameter_group.get("lr_scale", 1.0)
        with memory_errors():
            loss = accumulate_gradients(model, scaled, batch, slices, group, seed, number, dtype)
        is_skipped, grads = None, gradient_values(parameters)
        if scaler is not None:
            loss = scaler.unscale(loss, grads)
        grad_norm = get_total_norm(grads)
        if scaler is not None:
            is_skipped = scaler.check_overflow(loss, grad_norm)
            grad_norm = torch.where(is_skipped, 0.0, grad_norm)
        if max_grad_norm is not None:
            torch._foreach_mul_(grads, (max_grad_norm / (grad_norm + 1e-6)).clamp(max=1.0))
        if optimizer.defaults.get("fused"):
            is_bad_now = 1 - (loss + grad_norm).isfinite().float()
            is_bad = is_bad_now if is_bad is None else torch.maximum(is_bad, is_bad_now)
            found_inf = is_bad if is_skipped is None else torch.maximum(is_bad, is_skipped.float())
            optimizer.found_inf = found_inf  # type: ignore[attr-defined]  # how a gradient scaler has a step skipped
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if ema is not None:
            ema.update(model, number)
        yield Step(number, lr, loss, grad_norm)
