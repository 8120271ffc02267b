"""One recurrent layer, read with dropout inside the recurrence."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
