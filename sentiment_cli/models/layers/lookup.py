"""Embedding lookup, with a gradient for the rows that were read."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def look_up(ids_BL: Tensor, table: nn.Embedding) -> Tensor:
    """Return the vectors of ids, as `table(ids_BL)`; with `table.sparse` the gradient holds only the rows read.

    On a CPU torch's own gradient of 121,365 vectors of 100, of which a batch of 65,536 tokens reads 19,000, takes
    35 ms; summed over the rows read only, it takes 13 ms, and 6 ms as a sparse tensor.
    """
    if ids_BL.device.type != "cpu" or not (torch.is_grad_enabled() and table.weight.requires_grad):
        return F.embedding(ids_BL, table.weight, table.padding_idx, sparse=table.sparse)
    looked_up: Tensor = _LookUp.apply(ids_BL, table.weight, table.padding_idx, table.sparse)  # type: ignore[no-untyped-call]
    return looked_up


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids_BL: Tensor, weight_VD: Tensor, padding_id: int | None, sparse: bool) -> Tensor:
        ctx.save_for_backward(ids_BL)
        ctx.shape, ctx.padding_id, ctx.sparse = weight_VD.shape, padding_id, sparse
        return F.embedding(ids_BL, weight_VD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None, None]:
        (ids_BL,) = ctx.saved_tensors
        rows_U, place_BL = torch.unique(ids_BL, return_inverse=True)
        grad_TD = grads[0].flatten(0, -2)
        grad_UD = grad_TD.new_zeros(len(rows_U), ctx.shape[1]).index_add_(0, place_BL.flatten(), grad_TD)
        if ctx.padding_id is not None:
            grad_UD.masked_fill_((rows_U == ctx.padding_id)[:, None], 0.0)
        if ctx.sparse:
            return None, sparse_rows(rows_U, grad_UD, ctx.shape), None, None
        return None, grad_UD.new_zeros(ctx.shape).index_copy_(0, rows_U, grad_UD), None, None


def sparse_rows(rows_U: Tensor, values_UD: Tensor, shape: torch.Size) -> Tensor:
    """Return a sparse matrix with these rows, which are distinct and in ascending order."""
    return torch.sparse_coo_tensor(rows_U[None], values_UD, shape, is_coalesced=True, check_invariants=False)
