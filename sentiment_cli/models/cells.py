"""One recurrent layer, read in ways that torch's own modules do not offer."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, ...]  # each _BD, what the next layer sees first


def read_with_dropout(cell: nn.RNNBase, input_BLD: Tensor, weight_dropout: float, state_dropout: float) -> Tensor:
    """Return states_BLD of a training step, as `cell(input_BLD)[0]` with parts of the recurrence zeroed.

    Weight dropout zeroes recurrent weights, the same at every step and for every row (Merity et al. 2018). State
    dropout zeroes numbers of the state that a step reads, the same at every step of a row (Gal & Ghahramani 2016);
    it takes the layer off the fused kernel, one step after the other in Python.
    """
    flat = [weight for weight in cell._flat_weights if weight is not None]
    input_weight, state_weight, input_bias, state_bias = flat
    state_weight = F.dropout(state_weight, weight_dropout)
    is_lstm = isinstance(cell, nn.LSTM)
    start_BD = input_BLD.new_zeros(len(input_BLD), cell.hidden_size)
    if not state_dropout:
        weights = [input_weight, state_weight, input_bias, state_bias]
        start_1BD = start_BD[None]
        if is_lstm:
            return torch.lstm(input_BLD, (start_1BD, start_1BD), weights, True, 1, 0.0, True, False, True)[0]
        return torch.rnn_tanh(input_BLD, start_1BD, weights, True, 1, 0.0, True, False, True)[0]
    kept_BD = F.dropout(torch.ones_like(start_BD), state_dropout)
    from_input_BLG = F.linear(input_BLD, input_weight, input_bias + state_bias)
    state_BD, memory_BD, states = start_BD, start_BD, []
    for gates_BG in from_input_BLG.unbind(1):
        gates_BG = gates_BG + F.linear(state_BD * kept_BD, state_weight)
        if is_lstm:
            in_BD, forget_BD, new_BD, out_BD = gates_BG.chunk(4, dim=1)
            memory_BD = forget_BD.sigmoid() * memory_BD + in_BD.sigmoid() * new_BD.tanh()
            state_BD = out_BD.sigmoid() * memory_BD.tanh()
        else:
            state_BD = gates_BG.tanh()
        states.append(state_BD)
    return torch.stack(states, dim=1)


def read_elman(cell: nn.RNN, input_BLD: Tensor) -> Tensor:
    """Return states_BLD of an Elman layer, as `cell(input_BLD)[0]`, for training on a CPU.

    torch has no kernel for it there and takes some fifteen operations per step and its gradient; this takes four, and
    leaves the weights' gradients to one matrix product at the end.
    """
    input_weight, state_weight, input_bias, state_bias = (w for w in cell._flat_weights if w is not None)
    from_input_BLD = F.linear(input_BLD, input_weight, input_bias + state_bias)
    states_LBD: Tensor = _ElmanScan.apply(from_input_BLD.transpose(0, 1).contiguous(), state_weight)  # type: ignore[no-untyped-call]
    return states_LBD.transpose(0, 1)


class _ElmanScan(torch.autograd.Function):
    """h_t = tanh(x_t + W h_t-1), and its gradient through time."""

    @staticmethod
    def forward(ctx: Any, input_LBD: Tensor, weight_DD: Tensor) -> Tensor:
        states_LBD = torch.empty_like(input_LBD)
        turned_DD = weight_DD.t()
        before_BD = None
        for input_BD, state_BD in zip(input_LBD.unbind(), states_LBD.unbind(), strict=True):
            if before_BD is None:
                torch.tanh(input_BD, out=state_BD)
            else:
                torch.addmm(input_BD, before_BD, turned_DD, out=state_BD).tanh_()
            before_BD = state_BD
        ctx.save_for_backward(states_LBD, weight_DD)
        return states_LBD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        states_LBD, weight_DD = ctx.saved_tensors
        inner_LBD = 1 - states_LBD.square()  # the slope of tanh, turned into the gradient before it, step by step
        after_BD = None
        for grad_BD, inner_BD in zip(grads[0].unbind()[::-1], inner_LBD.unbind()[::-1], strict=True):
            inner_BD.mul_(grad_BD if after_BD is None else torch.addmm(grad_BD, after_BD, weight_DD))
            after_BD = inner_BD
        weight_grad_DD = inner_LBD[1:].flatten(0, 1).t() @ states_LBD[:-1].flatten(0, 1)
        return inner_LBD, weight_grad_DD
