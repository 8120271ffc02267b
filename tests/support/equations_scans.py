"""The scan cells as their papers write them, one step after the other, with autograd through all of it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sentiment_cli.models.cells.elementwise import QRNN, SRU, MinGRU
from sentiment_cli.models.cells.recurrence import State


def mingru(cell: MinGRU, input_BLD: Tensor, start: State) -> tuple[Tensor, State]:
    """Feng et al. 2024, section 3.1."""
    update_weight, candidate_weight = cell.input_weight.chunk(2)
    update_bias, candidate_bias = cell.bias.chunk(2)
    (h,), states = start, []
    for x in input_BLD.unbind(1):
        z = torch.sigmoid(F.linear(x, update_weight, update_bias))
        h = (1 - z) * h + z * F.linear(x, candidate_weight, candidate_bias)
        states.append(h)
    return torch.stack(states, 1), (h,)


def sru(cell: SRU, input_BLD: Tensor, start: State) -> tuple[Tensor, State]:
    """Lei et al. 2018, section 2, and the scaling of a highway whose bias begins at 0."""
    forget_weight, reset_weight, weight, *skip_weight = cell.input_weight.split(cell.width)
    forget_bias, reset_bias = cell.bias.chunk(2)
    forget_v, reset_v = cell.peephole.chunk(2)
    (h, c), states = start, []
    for x in input_BLD.unbind(1):
        f = torch.sigmoid(x @ forget_weight.t() + forget_v * c + forget_bias)
        r = torch.sigmoid(x @ reset_weight.t() + reset_v * c + reset_bias)
        c = f * c + (1 - f) * (x @ weight.t())
        skipped = x @ skip_weight[0].t() if skip_weight else x
        h = r * c + (1 - r) * skipped * math.sqrt(1 + 2 * math.exp(0))
        states.append(h)
    return torch.stack(states, 1), (h, c)


def qrnn(cell: QRNN, input_BLD: Tensor, start: State) -> tuple[Tensor, State]:
    """Bradbury et al. 2017, equations 2 and 4."""
    earlier_weight, weight = cell.input_weight.chunk(2, dim=1)
    (h, c, before), states = start, []
    for x in input_BLD.unbind(1):
        z, f, o = (before @ earlier_weight.t() + x @ weight.t() + cell.bias).chunk(3, dim=1)
        z, f, o = torch.tanh(z), torch.sigmoid(f), torch.sigmoid(o)
        c = f * c + (1 - f) * z
        h, before = o * c, x
        states.append(h)
    return torch.stack(states, 1), (h, c, before)
