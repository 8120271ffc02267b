"""The orthogonal cells as their papers write them, one step after the other, with autograd through all of it."""

import torch
from torch import Tensor

from sentiment_cli.models.cells.orthogonal import GORU, Orthogonal
from sentiment_cli.models.cells.recurrence import State


def modrelu(z: Tensor, b: Tensor) -> Tensor:
    """Arjovsky et al. 2016, in real numbers."""
    return torch.sign(z) * torch.relu(z.abs() + b)


def matrix(cell: Orthogonal | GORU) -> Tensor:
    """Lezcano-Casado & Martinez-Rubio 2019: the exponential of a skew-symmetric matrix, as a sum of powers."""
    numbers, rows = list(cell.skew), []
    for i in range(cell.width):
        above = numbers[: cell.width - 1 - i]
        numbers = numbers[len(above) :]
        rows.append(torch.stack([cell.skew.new_zeros(())] * (i + 1) + above))
    upper = torch.stack(rows)
    total = power = torch.eye(cell.width, dtype=upper.dtype)
    for n in range(1, 60):
        power = power @ (upper - upper.t()) / n
        total = total + power
    return total


def orthogonal(cell: Orthogonal, input_BLD: Tensor, start: State, kept: Tensor | None = None) -> tuple[Tensor, State]:
    (h,), u, states = start, matrix(cell), []
    for x in input_BLD.unbind(1):
        read = h if kept is None else h * kept
        h = modrelu(x @ cell.input_weight.t() + read @ u.t(), cell.bias)
        states.append(h)
    return torch.stack(states, 1), (h,)


def goru(cell: GORU, input_BLD: Tensor, start: State, kept: Tensor | None = None) -> tuple[Tensor, State]:
    """Jing et al. 2017, with the reset gate on U h."""
    reset_input, update_input, candidate_input = cell.input_weight.chunk(3)
    reset_state, update_state = cell.state_weight.chunk(2)
    reset_bias, update_bias, b = cell.bias.chunk(3)
    (h,), u, states = start, matrix(cell), []
    for x in input_BLD.unbind(1):
        read = h if kept is None else h * kept
        r = torch.sigmoid(x @ reset_input.t() + read @ reset_state.t() + reset_bias)
        z = torch.sigmoid(x @ update_input.t() + read @ update_state.t() + update_bias)
        h = z * h + (1 - z) * modrelu(x @ candidate_input.t() + r * (read @ u.t()), b)
        states.append(h)
    return torch.stack(states, 1), (h,)
