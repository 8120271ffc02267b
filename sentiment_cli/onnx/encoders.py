"""Encoders as nodes. Values go step by step (LBD), as the operators of recurrent cells have them."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from sentiment_cli.models.cells.lstm_2d import Lstm2d
from sentiment_cli.models.cells.lstm_grid import LstmGrid
from sentiment_cli.models.cells.orthogonal import GORU, Orthogonal
from sentiment_cli.models.layers.encoders import Bag, RecurrentEncoder, Skip
from sentiment_cli.models.layers.transformer import TransformerEncoder
from sentiment_cli.onnx.builder import Graph, NoGraphError
from sentiment_cli.onnx.cells import NATIVE, write_native
from sentiment_cli.onnx.grids import write_lstm_2d, write_lstm_grid
from sentiment_cli.onnx.masking import RowMask, cut_mask, uncut, write_last_states, write_rows
from sentiment_cli.onnx.scans import SCANS, write_goru, write_orthogonal, write_scan
from sentiment_cli.onnx.transformer import write_transformer

# What reads rows forward, row by row: BLD.
_FORWARD: dict[type[nn.Module], Callable[[Graph, Any, str], str]] = {
    Orthogonal: write_orthogonal,
    GORU: write_goru,
    LstmGrid: write_lstm_grid,
}


def write_encoder(graph: Graph, encoder: nn.Module, embedded_LBD: str, rows: RowMask) -> str:
    """Return states_LBD; padding's are any finite numbers."""
    if isinstance(encoder, Bag):
        return embedded_LBD
    if isinstance(encoder, TransformerEncoder):
        return graph.turn(write_transformer(graph, encoder, graph.turn(embedded_LBD), rows.length_B))
    if not isinstance(encoder, RecurrentEncoder):
        raise NoGraphError(f"no graph is written of {type(encoder).__name__}")
    if encoder.chop is None:
        return _read_rows(graph, encoder, embedded_LBD, rows)
    return _read_pieces(graph, encoder, embedded_LBD, rows, encoder.chop)


def write_last(graph: Graph, encoder: nn.Module, states_LBD: str, rows: RowMask) -> str:
    """Return last_BD: forward numbers after the row's last token, backward ones after its first."""
    last_BD = write_last_states(graph, states_LBD, rows)
    if not (isinstance(encoder, RecurrentEncoder) and encoder.backward_layers):
        return last_BD
    first_BD = graph.node("Gather", states_LBD, graph.constant(0))
    (forward_BD, _), (_, backward_BD) = (_halves(graph, values_BD) for values_BD in (last_BD, first_BD))
    return graph.join(forward_BD, backward_BD)


def _read_pieces(graph: Graph, encoder: RecurrentEncoder, embedded_LBD: str, rows: RowMask, chop: int) -> str:
    """Read rows in N pieces of at most K steps, as N B rows. A piece behind a row's end counts one step, unread."""
    size_1 = graph.node("Min", rows.n_steps_1, graph.constant([chop]))
    n_steps, size = (graph.node("Squeeze", n_1) for n_1 in (rows.n_steps_1, size_1))
    begin_N = graph.node("Range", graph.constant(0), n_steps, size)
    left_NB = graph.node("Sub", rows.length_B, graph.node("Unsqueeze", begin_N, graph.constant([1])))
    length_NB = graph.node("Clip", left_NB, graph.constant(1), size)
    pieces_KNBD = graph.node("Transpose", cut_mask(graph, embedded_LBD, rows, size_1), perm=[1, 0, 2, 3])
    flat = graph.join(graph.constant([0, -1]), graph.node("Shape", pieces_KNBD, start=3))
    pieces_KTD = graph.node("Reshape", pieces_KNBD, flat)
    piece_rows = write_rows(graph, graph.node("Reshape", length_NB, graph.constant([-1])), size_1)
    states_KTD = _read_rows(graph, encoder, pieces_KTD, piece_rows)
    apart = graph.join(graph.node("Shape", pieces_KNBD, end=3), graph.constant([encoder.width]))
    states_KNBD = graph.node("Reshape", states_KTD, apart)
    return uncut(graph, graph.node("Transpose", states_KNBD, perm=[1, 0, 2, 3]), rows)


def _read_rows(graph: Graph, encoder: RecurrentEncoder, states_LBD: str, rows: RowMask) -> str:
    """Return states_LBD of the last layer."""
    for i, forward in enumerate(encoder.forward_layers):
        cells = [forward, *encoder.backward_layers[i : i + 1]]
        read_LBD = _read(graph, cells, states_LBD, rows)
        if encoder.maps:
            read_LBD = _map(graph, encoder.maps[i * len(cells) : (i + 1) * len(cells)], read_LBD)
        states_LBD = _skip(graph, encoder.skips[i], states_LBD, read_LBD) if encoder.skips else read_LBD
    return states_LBD


def _read(graph: Graph, cells: Sequence[nn.Module], input_LBD: str, rows: RowMask) -> str:
    """Return states_LBD of a layer's directions, the backward one's numbers behind the forward one's."""
    if type(cells[0]) in NATIVE:
        return write_native(graph, cells, input_LBD, rows)
    read = [_read_one_way(graph, cell, input_LBD, rows, reverse=i == 1) for i, cell in enumerate(cells)]
    return graph.join(*read)


def _read_one_way(graph: Graph, cell: nn.Module, input_LBD: str, rows: RowMask, *, reverse: bool) -> str:
    if type(cell) in SCANS:
        return write_scan(graph, cell, input_LBD, rows, reverse=reverse)
    if isinstance(cell, Lstm2d):
        input_BLD = graph.turn(input_LBD)
        return graph.turn(write_lstm_2d(graph, cell, input_BLD, rows.length_B, rows.ends_BL, reverse=reverse))
    if type(cell) not in _FORWARD:
        raise NoGraphError(f"no graph is written of {type(cell).__name__}")
    if reverse:
        input_LBD = _flip_rows(graph, input_LBD, rows)
    states_LBD = graph.turn(_FORWARD[type(cell)](graph, cell, graph.turn(input_LBD)))
    return _flip_rows(graph, states_LBD, rows) if reverse else states_LBD


def _flip_rows(graph: Graph, values_LBD: str, rows: RowMask) -> str:
    """Reverse each row within its length."""
    return graph.node("ReverseSequence", values_LBD, rows.length_B, time_axis=0, batch_axis=1)


def _map(graph: Graph, maps: nn.ModuleList, read_LBD: str) -> str:
    mapped = []
    for linear, part_LBD in zip(maps, [read_LBD] if len(maps) == 1 else _halves(graph, read_LBD), strict=True):
        assert isinstance(linear, nn.Linear)
        mapped.append(graph.linear(part_LBD, linear.weight, linear.bias))
    return graph.join(*mapped)


def _skip(graph: Graph, skip: nn.Module, input_LBD: str, read_LBD: str) -> str:
    assert isinstance(skip, Skip)
    carried_LBD = input_LBD
    if isinstance(skip.carry, nn.Linear):
        carried_LBD = graph.linear(input_LBD, skip.carry.weight, None)
    if skip.gate is None:
        return graph.node("Add", carried_LBD, read_LBD)
    gate_LBD = graph.node("Sigmoid", graph.linear(input_LBD, skip.gate.weight, skip.gate.bias))
    return graph.blend(gate_LBD, read_LBD, carried_LBD)


def _halves(graph: Graph, values: str) -> list[str]:
    return graph.nodes("Split", 2, values, axis=-1, num_outputs=2)
