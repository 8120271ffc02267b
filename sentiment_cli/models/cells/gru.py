"""The gated recurrent unit."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.cells.fused import in_one_kernel, kernel_weight
from sentiment_cli.models.cells.recurrence import (
    State,
    alloc_states,
    grad_through_state,
    own_copy,
    project,
    read_fused,
    state_mask,
    steps,
    tanh,
    weight_gradient,
    with_initial,
    zero_state,
)

_aten = torch.ops.aten


class Gru(nn.GRU):
    """Cho et al. 2014, in the form of cuDNN and torch, with torch's weights and names.

    r and z are sigmoids of W x_t + U h_t-1 + b, n_t = tanh(W x_t + b + r_t * (U h_t-1 + c)) and
    h_t = (1 - z_t) * n_t + z_t * h_t-1. (In the paper r multiplies h_t-1 before the product, and z and 1 - z are
    swapped.) State dropout does not apply to the h_t-1 that z multiplies.
    """

    n_gates, forget_gate = 3, None
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(
        self, input_width: int, width: int, *, weight_dropout: float = 0.0, state_dropout: float = 0.0
    ) -> None:
        super().__init__(input_width, width, batch_first=True)
        self.width, self.weight_dropout, self.state_dropout = width, weight_dropout, state_dropout

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:  # type: ignore[override]
        state_weight = F.dropout(self.weight_hh_l0, self.weight_dropout, self.training)
        (start_BD,) = start or zero_state(state_weight, len(input_BLD), 1)
        if input_BLD.is_cuda and not (self.training and self.state_dropout):
            return read_fused(torch.gru, self, input_BLD, (start_BD,), state_weight)
        # The scan reads the candidate first, then r and z: their gradients are then contiguous for input and state.
        gate_bias_2D, new_bias_D = self.bias_hh_l0.tensor_split((2 * self.width,))
        bias_3D = self.bias_ih_l0 + F.pad(gate_bias_2D, (0, self.width))
        from_input_LBG = project(input_BLD, self.weight_ih_l0.roll(self.width, 0), bias_3D.roll(self.width))
        mask_BD = state_mask(start_BD, self.state_dropout, self.training)
        states_LBD: Tensor = _GruScan.apply(from_input_LBG, state_weight, new_bias_D, start_BD, mask_BD)  # type: ignore[no-untyped-call]
        return states_LBD.transpose(0, 1), (states_LBD[-1],)


class _GruScan(torch.autograd.Function):
    """The recurrence, and its gradient through time: two products and seven operations a step, then one and five."""

    @staticmethod
    def forward(
        ctx: Any,
        from_input_LBG: Tensor,
        weight_GD: Tensor,
        new_bias_D: Tensor,
        start_BD: Tensor,
        mask_BD: Tensor | None,
    ) -> Tensor:
        length, batch, width = len(from_input_LBG), *start_BD.shape
        all_LBD, weight_GD = alloc_states(start_BD, length), kernel_weight(weight_GD)
        recurrent_LBD, new_LBD = (torch.empty_like(all_LBD[1:]) for _ in range(2))
        gates_LB2 = start_BD.new_empty(length, batch, 2 * width)
        gru_steps(from_input_LBG, weight_GD, new_bias_D, mask_BD, gates_LB2, recurrent_LBD, new_LBD, all_LBD)
        ctx.save_for_backward(gates_LB2, recurrent_LBD, new_LBD, all_LBD, weight_GD, mask_BD)
        return all_LBD[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gates_LB2, recurrent_LBD, new_LBD, all_LBD, weight_GD, mask_BD = ctx.saved_tensors
        width = all_LBD.shape[2]
        reset_LBD, update_LBD = gates_LB2.chunk(2, dim=2)
        # Slopes, replaced by gradients step by step: of the candidate, r, z, and the term that r multiplies. The first
        # three are for the input, the last three for the state.
        inner_LB4 = gates_LB2.new_empty(*gates_LB2.shape[:2], 4 * width)
        new_slope_LBD, reset_slope_LBD, update_slope_LBD, recurrent_slope_LBD = inner_LB4.chunk(4, dim=2)
        _aten.tanh_backward(1 - update_LBD, new_LBD, grad_input=new_slope_LBD)
        _aten.sigmoid_backward(recurrent_LBD, reset_LBD, grad_input=reset_slope_LBD)
        _aten.sigmoid_backward(all_LBD[:-1] - new_LBD, update_LBD, grad_input=update_slope_LBD)
        recurrent_slope_LBD.copy_(reset_LBD)
        state_grad_LBG = inner_LB4[:, :, width:]
        by_state_BD = own_copy(grads[0][-1])
        gru_grad_steps(grads[0][:-1], weight_GD, mask_BD, update_LBD, inner_LB4, by_state_BD)
        weight_grad_GD = weight_gradient(state_grad_LBG, all_LBD[:-1], mask_BD)
        bias_grad_D = recurrent_slope_LBD.sum((0, 1))
        return inner_LB4[:, :, : 3 * width], weight_grad_GD, bias_grad_D, by_state_BD, None


@in_one_kernel("gates_LB2", "recurrent_LBD", "new_LBD", "all_LBD")
def gru_steps(
    from_input_LBG: Tensor,
    weight_GD: Tensor,
    new_bias_D: Tensor,
    mask_BD: Tensor | None,
    gates_LB2: Tensor,
    recurrent_LBD: Tensor,
    new_LBD: Tensor,
    all_LBD: Tensor,
) -> None:
    width = all_LBD.shape[2]
    gate_weight_D2, new_weight_DD = weight_GD.t().tensor_split((2 * width,), dim=1)
    per_step = (*from_input_LBG.tensor_split((width,), dim=2), gates_LB2, *gates_LB2.chunk(2, dim=2))
    per_step += (recurrent_LBD, new_LBD, all_LBD[:-1], all_LBD[1:])
    for views in steps(*per_step):
        input_BD, input_B2, gates_B2, reset_BD, update_BD, recurrent_BD, new_BD, before_BD, state_BD = views
        read_BD = before_BD if mask_BD is None else torch.mul(before_BD, mask_BD)
        torch.addmm(input_B2, read_BD, gate_weight_D2, out=gates_B2).sigmoid_()
        torch.addmm(new_bias_D, read_BD, new_weight_DD, out=recurrent_BD)
        tanh(torch.addcmul(input_BD, reset_BD, recurrent_BD, out=new_BD), out=new_BD)
        torch.lerp(new_BD, before_BD, update_BD, out=state_BD)


@in_one_kernel("inner_LB4", "by_state_BD")
def gru_grad_steps(
    grad_LBD: Tensor,
    weight_GD: Tensor,
    mask_BD: Tensor | None,
    kept_LBD: Tensor,
    inner_LB4: Tensor,
    by_state_BD: Tensor,
) -> None:
    """Turn slopes into gradients, also of the initial state; grad_LBD is that of the output but the last state's."""
    state_BD, width = by_state_BD, by_state_BD.shape[1]
    per_step = (*inner_LB4.chunk(4, dim=2), inner_LB4[:, :, width:], kept_LBD)
    views = zip(with_initial(grad_LBD, state_BD, len(inner_LB4)), steps(*per_step), strict=True)
    for grad_BD, (new_BD, reset_BD, update_BD, recurrent_BD, state_grad_BG, kept_BD) in reversed(list(views)):
        update_BD.mul_(state_BD)
        new_BD.mul_(state_BD)
        reset_BD.mul_(new_BD)
        recurrent_BD.mul_(new_BD)
        state_BD = grad_through_state(grad_BD, state_grad_BG, weight_GD, mask_BD).addcmul_(state_BD, kept_BD)
    by_state_BD.copy_(state_BD)
