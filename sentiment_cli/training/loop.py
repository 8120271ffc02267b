"""The training loop, as a generator of steps: the caller logs, evaluates, saves and stops."""

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from sentiment_cli.models.device import memory_errors
from sentiment_cli.models.layers.lookup import sparse_rows
from sentiment_cli.training.processes.distributed import ALONE, Group

Objective = Callable[[nn.Module, Any], Tensor]  # of a model and a batch, a NamedTuple of tensors with a row for each


class Step(NamedTuple):
    """One optimizer update; loss and grad_norm stay on the device, since reading them each step would stall it."""

    number: int
    lr: float
    loss: Tensor
    grad_norm: Tensor


class EMA:
    """An exponential moving average of a model's weights, as a model of its own (Polyak & Juditsky 1992).

    The decay of the first steps is smaller, (1 + step) / (10 + step), so that the first weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)


class GradScaler:
    """What the loss is multiplied by in fp16, so that small gradients do not vanish (Micikevicius et al. 2018).

    A step whose gradient overflows is left out and halves it; 2,000 steps in a row that do not, double it. `state_2`
    is the scale, a power of two, and the steps since it last changed; it stays on the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.state_2 = torch.tensor([2.0**16, 0.0], device=device)

    @property
    def factor(self) -> Tensor:
        return self.state_2[0]

    def update(self, is_left_out: Tensor) -> None:
        factor, n_good = self.state_2[0], self.state_2[1] + 1
        grown = torch.where(n_good >= 2000, torch.stack([factor * 2, n_good * 0]), torch.stack([factor, n_good]))
        halved = torch.stack([(factor / 2).clamp(min=1), n_good * 0])
        self.state_2 = torch.where(is_left_out, halved, grown)


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
    average: EMA | None = None,
    scale: GradScaler | None = None,
    group: Group = ALONE,
    start: int = 0,
) -> Iterator[Step]:
    """Take one optimizer step per batch, read in `slices` slices of its rows. Every random draw follows from the seed.

    From the first step on whose loss or gradient is not finite, a fused optimizer leaves weights and state as they
    are, so that the caller may look at the losses now and then. Raises OutOfMemory, with nothing updated.

    With `scale` it computes in fp16. A step whose gradient overflows is then left out, and its grad_norm given as 0,
    unless the scale cannot fall any more.
    """
    found_inf = None
    lower = torch.float16 if scale is not None else torch.bfloat16 if bf16 else None

    def scaled(model: nn.Module, batch: Any) -> Tensor:
        loss = objective(model, batch)
        return loss if scale is None else loss * scale.factor

    parameters = list(model.parameters())
    for number, batch in enumerate(batches, start):
        lr = learning_rate_at(number)
        for parameter_group in optimizer.param_groups:
            parameter_group["lr"] = lr * parameter_group.get("lr_scale", 1.0)
        with memory_errors():
            loss = _backward(model, scaled, batch, slices, group, seed, number, lower)
        is_left_out = None
        if scale is not None:
            loss = loss / scale.factor
            torch._foreach_mul_(_numbers(parameters), 1 / scale.factor)
        grad_norm = get_total_norm(_numbers(parameters))
        if scale is not None:
            is_left_out = ~grad_norm.isfinite() & loss.isfinite() & (scale.factor > 1)
            grad_norm = torch.where(is_left_out, 0.0, grad_norm)
            scale.update(is_left_out)
        if max_grad_norm is not None:
            torch._foreach_mul_(_numbers(parameters), (max_grad_norm / (grad_norm + 1e-6)).clamp(max=1.0))
        if optimizer.defaults.get("fused"):
            is_bad = 1 - (loss + grad_norm).isfinite().float()
            found_inf = is_bad if found_inf is None else torch.maximum(found_inf, is_bad)
            skipped = found_inf if is_left_out is None else torch.maximum(found_inf, is_left_out.float())
            optimizer.found_inf = skipped  # type: ignore[attr-defined]  # how a gradient scaler has a step skipped
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if average is not None:
            average.update(model, number)
        yield Step(number, lr, loss, grad_norm)


def _backward(
    model: nn.Module,
    objective: Objective,
    batch: Any,
    slices: int,
    group: Group,
    seed: int,
    number: int,
    lower: torch.dtype | None,
) -> Tensor:
    """Put the gradient of a batch's mean loss into the parameters; return the loss."""
    own = group.own(slices)
    if group.size == 1 and slices % 2 == 0 and slices > 2:
        # Half by half, as two processes would: the sum then has the same bits.
        loss = _accumulate(model, objective, batch, slices, own[: slices // 2], seed, number, lower)
        half = [p.grad for p in model.parameters()]
        model.zero_grad(set_to_none=True)
        loss = loss + _accumulate(model, objective, batch, slices, own[slices // 2 :], seed, number, lower)
        for p, grad in zip(model.parameters(), half, strict=True):
            p.grad = grad if p.grad is None or grad is None else _rows_only(p.grad + grad)
        return loss
    loss = _accumulate(model, objective, batch, slices, own, seed, number, lower)
    if group.size > 1:
        found = [(p, p.grad) for p in model.parameters() if p.grad is not None]
        summed = [grad.to_dense() for _, grad in found]
        group.add([loss, *summed])
        for (p, grad), total in zip(found, summed, strict=True):
            p.grad = _rows_only(total.to_sparse(1)) if grad.is_sparse else total
    return loss


def _numbers(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the numbers of the gradients, to be changed in place; of a sparse one, those of its rows."""
    grads = [p.grad for p in parameters if p.grad is not None]
    return [grad._values() if grad.is_sparse else grad for grad in grads]


def _rows_only(grad: Tensor) -> Tensor:
    """Leave out the rows of a sparse gradient that are zero, so that it does not matter how it was added up."""
    if not grad.is_sparse:
        return grad
    grad = grad.coalesce()
    is_any_U = grad._values().any(dim=1)
    return sparse_rows(grad._indices()[0][is_any_U], grad._values()[is_any_U], grad.shape)


def _accumulate(
    model: nn.Module,
    objective: Objective,
    batch: Any,
    slices: int,
    own: range,
    seed: int,
    number: int,
    lower: torch.dtype | None,
) -> Tensor:
    """Add up the gradients of a process's own slices of a batch; return their part of the batch's mean loss.

    A slice keeps the width of the whole batch and weighs as many rows as it has. Every trained parameter gets a
    gradient, sparse or not whatever the rows, so that all processes take the same kind of step with it.
    """
    n_rows, device = len(batch[0]), batch[0].device
    losses = [torch.zeros((), device=device)]
    bounds = [(i, n_rows * i // slices, n_rows * (i + 1) // slices) for i in own]
    for i, first, last in [bound for bound in bounds if bound[1] < bound[2]] or [(own[0], 0, 0)]:
        torch.manual_seed(slice_seed(seed, number, i))
        part = type(batch)(*(tensor_B[first : max(last, 1)] for tensor_B in batch))  # a row of no weight for none
        with torch.autocast(device.type, dtype=lower, enabled=lower is not None):
            loss = objective(model, part)
        loss = loss * ((last - first) / n_rows)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    for p in model.parameters():
        if p.requires_grad:
            p.grad = torch.zeros_like(p) if p.grad is None else _rows_only(p.grad)
    return torch.stack(losses).sum()


def slice_seed(seed: int, step: int, i: int) -> int:
    """Return the seed of one slice's random draws, so that a step can be repeated without those before it."""
    return int(np.random.SeedSequence((seed, step, i)).generate_state(1, np.uint64)[0] >> 1)
