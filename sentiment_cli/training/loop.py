"""The training loop, as a generator of steps: the caller logs, evaluates, saves and stops."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from sentiment_cli.data.batches import Batch

Objective = Callable[[nn.Module, Batch], Tensor]


class Step(NamedTuple):
    """One optimizer update; loss and grad_norm stay on the device, since reading them each step would stall it."""

    number: int
    lr: float
    loss: Tensor
    grad_norm: Tensor


def train_steps(
    model: nn.Module,
    objective: Objective,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    learning_rate_at: Callable[[int], float],
    *,
    seed: int,
    bf16: bool,
    max_grad_norm: float | None,
    start: int = 0,
) -> Iterator[Step]:
    """Take one optimizer step per batch. Every random draw of a step follows from (seed, step).

    From the first step on whose loss or gradient is not finite, a fused optimizer leaves weights and state as they
    are, so that the caller may look at the losses now and then.
    """
    found_inf = None
    parameters = list(model.parameters())
    for number, batch in enumerate(batches, start):
        lr = learning_rate_at(number)
        for group in optimizer.param_groups:
            group["lr"] = lr
        torch.manual_seed(step_seed(seed, number))
        with torch.autocast(batch.ids_BL.device.type, dtype=torch.bfloat16, enabled=bf16):
            loss = objective(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        grad_norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if max_grad_norm is not None:
            clip_grads_with_norm_(parameters, max_grad_norm, grad_norm)
        if optimizer.defaults.get("fused"):
            is_bad = 1 - (loss.detach() + grad_norm).isfinite().float()
            found_inf = is_bad if found_inf is None else torch.maximum(found_inf, is_bad)
            optimizer.found_inf = found_inf  # type: ignore[attr-defined]  # how a gradient scaler has a step skipped
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield Step(number, lr, loss.detach(), grad_norm)


def step_seed(seed: int, step: int) -> int:
    """Return the seed of one step's random draws, so that a step can be repeated without those before it."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1)
