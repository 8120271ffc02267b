"""Each cell straight from its equations, one step after the other, with torch's own gradient through it.

`weights` are a layer's parameters by name, `start` its first state, and `mask_BD` what the state is multiplied by
wherever a matrix reads it. All return states_BLD and the last state.
"""

import torch
from torch import Tensor

Weights = dict[str, Tensor]
State = tuple[Tensor, ...]


def rnn(weights: Weights, input_BLD: Tensor, start: State, mask_BD: Tensor, squash=torch.tanh) -> tuple[Tensor, State]:
    W, U, b, c = (weights[name] for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"))
    (h,), states = start, []
    for x in input_BLD.unbind(1):
        h = squash(x @ W.T + b + (mask_BD * h) @ U.T + c)
        states.append(h)
    return torch.stack(states, 1), (h,)


def rnn_relu(weights: Weights, input_BLD: Tensor, start: State, mask_BD: Tensor) -> tuple[Tensor, State]:
    return rnn(weights, input_BLD, start, mask_BD, torch.relu)


def rnn_output(weights: Weights, input_BLD: Tensor, start: State, mask_BD: Tensor) -> tuple[Tensor, State]:
    joined = torch.cat([weights["input_weight"], weights["state_weight"]], 1)  # the tutorial's two maps, i2h and i2o
    to_state, to_output = joined.chunk(2)
    state_bias, output_bias = weights["bias"].chunk(2)
    (y, s), outputs = start, []
    for x in input_BLD.unbind(1):
        xs = torch.cat([x, mask_BD * s], 1)
        s, y = xs @ to_state.T + state_bias, torch.log_softmax(xs @ to_output.T + output_bias, 1)
        outputs.append(y)
    return torch.stack(outputs, 1), (y, s)


def lstm(weights: Weights, input_BLD: Tensor, start: State, mask_BD: Tensor) -> tuple[Tensor, State]:
    W_i, W_f, W_g, W_o = weights["weight_ih_l0"].chunk(4)
    U_i, U_f, U_g, U_o = weights["weight_hh_l0"].chunk(4)
    b_i, b_f, b_g, b_o = (weights["bias_ih_l0"] + weights["bias_hh_l0"]).chunk(4)
    (h, c), states = start, []
    for x in input_BLD.unbind(1):
        h = mask_BD * h
        i = torch.sigmoid(x @ W_i.T + h @ U_i.T + b_i)
        f = torch.sigmoid(x @ W_f.T + h @ U_f.T + b_f)
        g = torch.tanh(x @ W_g.T + h @ U_g.T + b_g)
        o = torch.sigmoid(x @ W_o.T + h @ U_o.T + b_o)
        c = f * c + i * g
        h = o * torch.tanh(c)
        states.append(h)
    return torch.stack(states, 1), (h, c)


def lstm_1997(weights: Weights, input_BLD: Tensor, start: State, mask_BD: Tensor) -> tuple[Tensor, State]:
    W_i, W_g, W_o = weights["input_weight"].chunk(3)
    U_i, U_g, U_o = weights["state_weight"].chunk(3)
    b_i, b_g, b_o = weights["bias"].chunk(3)
    (h, c), states = start, []
    for x in input_BLD.unbind(1):
        h = mask_BD * h
        i = torch.sigmoid(x @ W_i.T + h @ U_i.T + b_i)
        g = torch.tanh(x @ W_g.T + h @ U_g.T + b_g)
        o = torch.sigmoid(x @ W_o.T + h @ U_o.T + b_o)
        c = c + i * g
        h = o * torch.tanh(c)
        states.append(h)
    return torch.stack(states, 1), (h, c)


def lstm_peephole(weights: Weights, input_BLD: Tensor, start: State, mask_BD: Tensor) -> tuple[Tensor, State]:
    W_i, W_f, W_g, W_o = weights["input_weight"].chunk(4)
    U_i, U_f, U_g, U_o = weights["state_weight"].chunk(4)
    b_i, b_f, b_g, b_o = weights["bias"].chunk(4)
    p_i, p_f, p_o = weights["peephole"].chunk(3)
    (h, c), states = start, []
    for x in input_BLD.unbind(1):
        h = mask_BD * h
        i = torch.sigmoid(x @ W_i.T + h @ U_i.T + p_i * c + b_i)
        f = torch.sigmoid(x @ W_f.T + h @ U_f.T + p_f * c + b_f)
        g = torch.tanh(x @ W_g.T + h @ U_g.T + b_g)
        c = f * c + i * g
        o = torch.sigmoid(x @ W_o.T + h @ U_o.T + p_o * c + b_o)
        h = o * torch.tanh(c)
        states.append(h)
    return torch.stack(states, 1), (h, c)


def gru(weights: Weights, input_BLD: Tensor, start: State, mask_BD: Tensor) -> tuple[Tensor, State]:
    W_r, W_z, W_n = weights["weight_ih_l0"].chunk(3)
    U_r, U_z, U_n = weights["weight_hh_l0"].chunk(3)
    b_r, b_z, b_n = weights["bias_ih_l0"].chunk(3)
    c_r, c_z, c_n = weights["bias_hh_l0"].chunk(3)
    (h,), states = start, []
    for x in input_BLD.unbind(1):
        read = mask_BD * h
        r = torch.sigmoid(x @ W_r.T + b_r + read @ U_r.T + c_r)
        z = torch.sigmoid(x @ W_z.T + b_z + read @ U_z.T + c_z)
        n = torch.tanh(x @ W_n.T + b_n + r * (read @ U_n.T + c_n))
        h = (1 - z) * n + z * h
        states.append(h)
    return torch.stack(states, 1), (h,)
