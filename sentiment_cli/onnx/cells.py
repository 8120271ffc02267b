"""LSTM and GRU cells as the operators of those names, which read each row to its own end in both directions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sentiment_cli.models.cells.gru import Gru
from sentiment_cli.models.cells.lstm import Lstm, Lstm1997, PeepholeLstm
from sentiment_cli.onnx.builder import Graph
from sentiment_cli.onnx.masking import RowMask
from sentiment_cli.onnx.rules.values import INT32

_OPEN = 1e4  # a gate's bias whose sigmoid is 1 to the last bit


class _Weights(NamedTuple):
    """The operator's weights for one direction; biases of the input come first, then those of the state."""

    input_weight_GD: Tensor
    state_weight_GD: Tensor
    bias_G: Tensor
    peephole_G: Tensor | None = None


def write_native(graph: Graph, cells: Sequence[nn.Module], input_LBD: str, rows: RowMask) -> str:
    """Return states_LBD of a forward cell and, behind them, of a backward one if there is one; padding's are 0."""
    directions = [NATIVE[type(cell)](cell) for cell in cells]
    weights = [
        "" if stack[0] is None else graph.constant(torch.stack(stack)) for stack in zip(*directions, strict=True)
    ]
    inputs = [input_LBD, *weights[:3], graph.node("Cast", rows.length_B, to=INT32), "", "", weights[3]]
    way = {"hidden_size": cells[0].width, "direction": "bidirectional" if len(cells) > 1 else "forward"}
    if isinstance(cells[0], Gru):
        states_LKBD = graph.node("GRU", *inputs[:5], linear_before_reset=1, **way)
    else:
        states_LKBD = graph.node("LSTM", *inputs, **way)
    if len(cells) == 1:
        return graph.node("Squeeze", states_LKBD, graph.constant([1]))
    states_LBKD = graph.node("Transpose", states_LKBD, perm=[0, 2, 1, 3])
    return graph.node("Reshape", states_LBKD, graph.constant([0, 0, -1]))


def _lstm(cell: Lstm) -> _Weights:
    bias_G = torch.cat([_in_order(cell.bias_ih_l0), _in_order(cell.bias_hh_l0)])
    return _Weights(_in_order(cell.weight_ih_l0), _in_order(cell.weight_hh_l0), bias_G)


def _lstm_1997(cell: Lstm1997) -> _Weights:
    return _Weights(*_own(cell))


def _lstm_peephole(cell: PeepholeLstm) -> _Weights:
    in_D, forget_D, out_D = cell.peephole.chunk(3)
    return _Weights(*_own(cell), torch.cat([in_D, out_D, forget_D]))


def _own(cell: Lstm1997 | PeepholeLstm) -> tuple[Tensor, Tensor, Tensor]:
    bias_G, n_gates = _in_order(cell.bias, cell.n_gates, _OPEN), cell.n_gates
    bias_G = torch.cat([bias_G, torch.zeros_like(bias_G)])
    return _in_order(cell.input_weight, n_gates), _in_order(cell.state_weight, n_gates), bias_G


def _in_order(values_G: Tensor, n_gates: int = 4, forget: float = 0.0) -> Tensor:
    """Turn torch's order i, f, g, o into the operator's i, o, f, g, with `forget` for an f that is not there."""
    in_D, *forgets, new_D, out_D = values_G.chunk(n_gates)
    return torch.cat([in_D, out_D, *(forgets or [torch.full_like(in_D, forget)]), new_D])


def _gru(cell: Gru) -> _Weights:
    """Turn torch's order r, z, n into z, r, n."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    chunks = [getattr(cell, name).chunk(3) for name in names]
    input_weight, state_weight, *biases = (torch.cat([update, reset, new]) for reset, update, new in chunks)
    return _Weights(input_weight, state_weight, torch.cat(biases))


NATIVE: dict[type[nn.Module], Callable[[Any], _Weights]] = {
    Lstm: _lstm,
    Lstm1997: _lstm_1997,
    PeepholeLstm: _lstm_peephole,
    Gru: _gru,
}
