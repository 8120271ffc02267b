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
    has_grad = torch.is_grad_enabled() and table.weight.requires_grad
    if not has_grad or (ids_BL.device.type != "cpu" and not (ids_BL.is_cuda and table.sparse)):
        return F.embedding(ids_BL, table.weight, table.padding_idx, sparse=table.sparse)
    looked_up: Tensor = _LookUp.apply(ids_BL, table.weight, table.padding_idx, table.sparse)  # type: ignore[no-untyped-call]
    return looked_up


def marked_places(is_marked_BL: Tensor, n: int) -> Tensor:
    """Return the flat places of the `n` marked tokens. With their number given, the host does not wait for a GPU."""
    return torch.nonzero_static(is_marked_BL.flatten(), size=n).squeeze(1)


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids_BL: Tensor, weight_VD: Tensor, padding_id: int | None, sparse: bool) -> Tensor:
        ctx.save_for_backward(ids_BL)
        ctx.shape, ctx.padding_id, ctx.sparse = weight_VD.shape, padding_id, sparse
        return F.embedding(ids_BL, weight_VD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None, None]:
        (ids_BL,) = ctx.saved_tensors
        if ids_BL.is_cuda:  # a row for each token, which `merge_rows` adds up: torch.unique would wait for the device
            grad_TD = grads[0].flatten(0, -2)
            if ctx.padding_id is not None:
                grad_TD = grad_TD.masked_fill((ids_BL == ctx.padding_id).flatten()[:, None], 0.0)
            places = ids_BL.flatten()[None]
            return None, torch.sparse_coo_tensor(places, grad_TD, ctx.shape, check_invariants=False), None, None
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


def merge_rows(grad: Tensor) -> Tensor:
    """Add up the entries of each row of a sparse gradient, in their order; rows that are zero are dropped.

    On a GPU the host waits once, for the number of rows that are left.
    """
    rows_U, values_UD = grad._indices()[0], grad._values()
    if grad.is_cuda:
        sorted_U, order_U = rows_U.sort(stable=True)
        begins_U = torch.cat([sorted_U.new_ones(1), (sorted_U[1:] != sorted_U[:-1]).long()])[: len(sorted_U)]
        place_U = begins_U.cumsum(0) - 1
        values_UD = torch.zeros_like(values_UD).index_add_(0, place_U, values_UD.index_select(0, order_U))
        rows_U = torch.zeros_like(rows_U).scatter_(0, place_U, sorted_U)
        left_U = values_UD.any(dim=1).nonzero().squeeze(1)
        return sparse_rows(rows_U.index_select(0, left_U), values_UD.index_select(0, left_U), grad.shape)
    grad = grad.coalesce()
    is_any_U = grad._values().any(dim=1)
    return sparse_rows(grad._indices()[0][is_any_U], grad._values()[is_any_U], grad.shape)
