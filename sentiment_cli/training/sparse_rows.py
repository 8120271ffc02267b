"""Optimizer steps for sparse gradients: only the rows of an embedding that a batch reads are updated."""

import functools
import inspect
from typing import Any

import torch
from torch import Tensor


@functools.cache
def with_sparse_rows(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Return a subclass of an optimizer whose step takes sparse gradients as well as dense ones.

    Its methods are torch's without the wrappers of torch.compile, whose first use imports torch._dynamo and costs 3 s.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in ("add_param_group", "zero_grad", "step")}
    dense_step = methods["step"]

    def step(self: torch.optim.Optimizer) -> None:
        sparse = [
            (group, p, p.grad)
            for group in self.param_groups
            for p in group["params"]
            if p.grad is not None and p.grad.is_sparse
        ]
        for _, p, _ in sparse:
            p.grad = None
        dense_step(self)
        for group, p, grad in sparse:
            _update_rows(p, grad, group, self.state[p], getattr(self, "found_inf", None))

    methods["step"] = torch.no_grad()(step)
    return type(kind.__name__, (kind,), methods)


def zero_moments(weight: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
    """Return the state of a parameter before its first step.

    torch allocates it in the first step. Where fp16 skips that step, torch's fused SGD would leave the momentum as
    uninitialized memory; and where memory runs out there, a part of the state.
    """
    found = {name: torch.zeros_like(weight) for name in _moments(group)}
    return found | ({"step": torch.zeros((), device=weight.device)} if "betas" in group else {})


def _moments(group: dict[str, Any]) -> tuple[str, ...]:
    return ("exp_avg", "exp_avg_sq") if "betas" in group else ("momentum_buffer",) if group["momentum"] else ()


def _update_rows(
    weight_VD: Tensor, grad: Tensor, group: dict[str, Any], state: dict[str, Tensor], found_inf: Tensor | None
) -> None:
    """Take one step of Adam (as torch's SparseAdam) or SGD with the rows that have a gradient.

    The moments of all other rows stay as they are. Nothing changes where `found_inf` is 1.
    """
    rows_U, grad_UD = grad._indices()[0], grad._values()
    is_adam, moments = "betas" in group, _moments(group)
    taken = 1.0 if found_inf is None else 1.0 - found_inf
    old = [state[name].index_select(0, rows_U) for name in moments]
    if is_adam:
        beta1, beta2 = group["betas"]
        n = state["step"].add_(taken)
        new = [old[0].lerp(grad_UD, 1 - beta1), torch.addcmul(old[1] * beta2, grad_UD, grad_UD, value=1 - beta2)]
        update_UD = new[0] / (1 - beta1**n) / ((new[1] / (1 - beta2**n)).sqrt() + group["eps"])
    else:
        new = [old[0] * group["momentum"] + grad_UD] if moments else []
        update_UD = new[0] if moments else grad_UD
    own_UD = weight_VD.index_select(0, rows_U)
    for table_VD, before_UD, after_UD in zip(
        (weight_VD, *(state[name] for name in moments)),
        (own_UD, *old),
        (own_UD - group["lr"] * update_UD, *new),
        strict=True,
    ):
        kept_UD = after_UD if found_inf is None else torch.where(found_inf == 1, before_UD, after_UD)
        table_VD.index_copy_(0, rows_U, kept_UD)
