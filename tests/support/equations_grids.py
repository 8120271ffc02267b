"""The LSTMs over two dimensions, written as their papers do: one cell after the other, with torch's own gradient."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sentiment_cli.models.cells.lstm_2d import LONGEST_LINE, Lstm2d
from sentiment_cli.models.cells.lstm_grid import LstmGrid
from sentiment_cli.models.cells.recurrence import State


def lines(ends_L: list[bool]) -> list[list[int]]:
    """Return the places of the words of each line of a row."""
    found: list[list[int]] = [[]]
    for place, is_end in enumerate(ends_L):
        if len(found[-1]) == LONGEST_LINE:
            found.append([])
        found[-1].append(place)
        if is_end:
            found.append([])
    return [line for line in found if line]


def read_2d(layer: Lstm2d, input_LD: Tensor, ends_L: list[bool], mask_D: Tensor | float = 1.0) -> Tensor:
    """Return states_LD of one row (Graves, Fernández & Schmidhuber 2007); a cell reads the states times the mask."""
    zero_D = input_LD.new_zeros(layer.width)
    cells: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    states = []
    for s, line in enumerate(lines(ends_L)):
        for w, place in enumerate(line):
            h_left_D, c_left_D = cells.get((s, w - 1), (zero_D, zero_D))
            h_up_D, c_up_D = cells.get((s - 1, w), (zero_D, zero_D))
            h_2D = torch.cat([h_left_D * mask_D, h_up_D * mask_D])
            i, f_left, f_up, o, g = (
                layer.input_weight @ input_LD[place] + layer.state_weight @ h_2D + layer.bias
            ).chunk(5)
            c_D = i.sigmoid() * g.tanh() + f_left.sigmoid() * c_left_D + f_up.sigmoid() * c_up_D
            cells[s, w] = o.sigmoid() * c_D.tanh(), c_D
            states.append(cells[s, w][0])
    return torch.stack(states)


def read_grid(
    layer: LstmGrid, input_BLD: Tensor, start: State, masks: Sequence[Tensor | float]
) -> tuple[Tensor, State]:
    """Return states_BLD and the last state (Kalchbrenner, Danihelka & Graves 2015), with a mask for each block."""
    times = [(start[1 + 2 * n], start[2 + 2 * n]) for n in range(len(layer.blocks))]
    states = []
    for input_BD in input_BLD.unbind(1):
        depth = layer.enter(input_BD), torch.zeros_like(start[0])
        for n, (block, mask_BD) in enumerate(zip(layer.blocks, masks, strict=True)):
            h_B2D = torch.cat([times[n][0] * mask_BD, depth[0]], dim=1)
            weight_G2D = torch.cat([block.state_weight, block.input_weight], dim=1)
            gates = (h_B2D @ weight_G2D.t() + block.bias).chunk(8, dim=1)
            times[n], depth = one_lstm(gates[::2], times[n][1]), one_lstm(gates[1::2], depth[1])
        states.append(depth[0])
    return torch.stack(states, dim=1), (states[-1], *(part for time in times for part in time))


def one_lstm(gates: Sequence[Tensor], memory_BD: Tensor) -> tuple[Tensor, Tensor]:
    i, f, o, g = gates
    memory_BD = f.sigmoid() * memory_BD + i.sigmoid() * g.tanh()
    return o.sigmoid() * memory_BD.tanh(), memory_BD
