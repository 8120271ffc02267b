"""Stand-ins for cuDNN's recurrent kernels: torch's own of the CPU, between the dtypes that cuDNN is called with.

torch calls cuDNN in float16 whenever autocast is on, whatever its dtype is (aten/src/ATen/cudnn/AutocastRNN.cpp).
"""

import collections
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

CPU = torch.device("cpu")
calls: collections.Counter[tuple[str, torch.dtype]] = collections.Counter()  # of a kind, in a dtype


def stand_in(kind: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function to put in the place of torch.lstm, torch.gru, torch.rnn_tanh or torch.rnn_relu."""

    def call(input_BLD: Tensor, start: Any, weights: list[Tensor], *options: Any) -> tuple[Tensor, ...]:
        if not input_BLD.is_cuda:
            return kernel(input_BLD, start, weights, *options)
        starts = [start] if isinstance(start, Tensor) else list(start)
        given = [input_BLD, *starts, *weights]
        if torch.is_autocast_enabled("cuda"):
            given = [tensor.half() for tensor in given]
        elif not _are_one_piece(weights):
            warnings.warn("RNN module weights are not part of single contiguous chunk of memory.", stacklevel=2)
        dtypes = {tensor.dtype for tensor in given}
        if len(dtypes) > 1:
            raise RuntimeError(f"Input and parameter tensors are not the same dtype, found {dtypes}")
        if not all(tensor.is_contiguous() for tensor in starts):
            raise RuntimeError("rnn: hx is not contiguous")
        calls[kind, given[0].dtype] += 1
        with torch.autocast("cuda", enabled=False):
            return _OnCpu.apply(kernel, len(starts), options, *given)

    return call


class _OnCpu(torch.autograd.Function):
    """A kernel of the CPU in float32 at least, whose inputs, outputs and gradients have the dtype of the device."""

    @staticmethod
    def forward(ctx: Any, kernel: Callable[..., Any], n_starts: int, options: tuple[Any, ...], *given: Tensor) -> Any:
        ctx.device, dtype = given[0].device, given[0].dtype
        wide = torch.promote_types(dtype, torch.float32)
        with torch.enable_grad():
            leaves = [torch.ops.pretended.renamed(x.detach(), CPU).to(wide).requires_grad_() for x in given]
            start = leaves[1] if n_starts == 1 else leaves[1 : 1 + n_starts]
            results = kernel(leaves[0], start, leaves[1 + n_starts :], *options)
        ctx.leaves, ctx.results, ctx.dtype = leaves, results, dtype
        return tuple(_renamed(x.detach().to(dtype), ctx.device) for x in results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        wide = ctx.results[0].dtype
        given = [torch.ops.pretended.renamed(grad.contiguous(), CPU).to(wide) for grad in grads]
        found = torch.autograd.grad(ctx.results, ctx.leaves, given)
        return None, None, None, *(_renamed(grad.to(ctx.dtype), ctx.device) for grad in found)


def _are_one_piece(weights: list[Tensor]) -> bool:
    """Return whether the weights lie one after the other, as cuDNN wants them. torch itself flattens what it casts."""
    ends = [weight.data_ptr() + weight.nbytes for weight in weights]
    return all(weight.data_ptr() == end for weight, end in zip(weights[1:], ends, strict=False))


@torch.no_grad()
def flatten_parameters(layer: nn.RNNBase) -> None:
    """Lay a layer's weights one after the other in memory, in the place of torch's method, which asks cuDNN to."""
    weights = [weight for weight in layer._flat_weights if weight is not None and weight.is_cuda]
    if weights and not _are_one_piece(weights):
        flat = torch.cat([weight.flatten() for weight in weights])
        parts = flat.split([weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.data = part.view_as(weight)


def _renamed(tensor: Tensor, device: torch.device) -> Tensor:
    return torch.ops.pretended.renamed(tensor.contiguous().clone(), device)
