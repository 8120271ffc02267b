"""The gradient of one batch: accumulated over micro-batches, summed over processes, dense or sparse."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sentiment_cli.models.layers.lookup import merge_rows
from sentiment_cli.training.processes.distributed import Group

# The loss of a model on a batch, a NamedTuple of tensors with an entry per row, or None.
Objective = Callable[[nn.Module, Any], Tensor]


def accumulate_gradients(
    model: nn.Module,
    objective: Objective,
    batch: Any,
    slices: int,
    group: Group,
    seed: int,
    step: int,
    dtype: torch.dtype | None,
) -> Tensor:
    """Put the gradient of a batch's mean loss into the parameters, over `slices` micro-batches; return the loss.

    `dtype` is that of torch.autocast, None for fp32. Every process reads its own micro-batches and gets the sum.
    """
    own = group.slice_range(slices)
    if group.size == 1 and slices % 2 == 0 and slices > 2:
        # In two halves, as two processes would: the sum then has the same bits.
        loss = _accumulate(model, objective, batch, slices, own[: slices // 2], seed, step, dtype)
        half = [p.grad for p in model.parameters()]
        model.zero_grad(set_to_none=True)
        loss = loss + _accumulate(model, objective, batch, slices, own[slices // 2 :], seed, step, dtype)
        for p, grad in zip(model.parameters(), half, strict=True):
            p.grad = grad if p.grad is None or grad is None else _merged(p.grad + grad)
        return loss
    loss = _accumulate(model, objective, batch, slices, own, seed, step, dtype)
    if group.size > 1:
        found = [(p, p.grad) for p in model.parameters() if p.grad is not None]
        group.all_reduce_sum([loss, *(grad for _, grad in found if not grad.is_sparse)])
        tables = [(p, grad) for p, grad in found if grad.is_sparse]
        for (p, _), whole in zip(tables, group.gather_sparse([grad for _, grad in tables]), strict=True):
            p.grad = _merged(whole)
    return loss


def gradient_values(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the gradients, to be changed in place; of a sparse one, the values of its rows."""
    grads = [p.grad for p in parameters if p.grad is not None]
    return [grad._values() if grad.is_sparse else grad for grad in grads]


def slice_seed(seed: int, step: int, i: int) -> int:
    """Return the seed of one micro-batch's random draws, so that a step can be repeated without those before it."""
    return int(np.random.SeedSequence((seed, step, i)).generate_state(1, np.uint64)[0] >> 1)


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed torch's generators of the CPU and of this device.

    torch.manual_seed also formats a stack trace for each kind of device that might come: 170 to 330 µs, of which this
    takes one.
    """
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


def _accumulate(
    model: nn.Module,
    objective: Objective,
    batch: Any,
    slices: int,
    own: range,
    seed: int,
    step: int,
    dtype: torch.dtype | None,
) -> Tensor:
    """Add up the gradients of this process's micro-batches; return their part of the batch's mean loss.

    A micro-batch keeps the width of the whole batch, and its weight is its share of the rows. Every trained parameter
    gets a gradient, sparse or dense whatever the rows, so that all processes take the same kind of step with it.
    """
    n_rows, device = len(batch[0]), batch[0].device
    losses = [torch.zeros((), device=device)]
    bounds = [(i, n_rows * i // slices, n_rows * (i + 1) // slices) for i in own]
    for i, first, last in [bound for bound in bounds if bound[1] < bound[2]] or [(own[0], 0, 0)]:
        seed_generators(device, slice_seed(seed, step, i))
        rows = slice(first, max(last, 1))  # without rows: one of weight 0
        part = type(batch)(*(None if tensor_B is None else tensor_B[rows] for tensor_B in batch))
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            loss = objective(model, part)
        loss = loss * ((last - first) / n_rows)
        before = [(p, p.grad) for p in model.parameters() if p.grad is not None and p.grad.is_sparse]
        for p, _ in before:
            p.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        # Merged for each micro-batch: two processes add the sums of two, and so must one.
        for p in model.parameters():
            p.grad = None if p.grad is None else _merged(p.grad)
        for p, grad in before:
            p.grad = grad if p.grad is None else _merged(grad + p.grad)
        losses.append(loss.detach())
    for p in model.parameters():
        if p.requires_grad:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    return torch.stack(losses).sum()


def _merged(grad: Tensor) -> Tensor:
    return merge_rows(grad) if grad.is_sparse else grad
