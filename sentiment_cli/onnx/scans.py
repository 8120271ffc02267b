"""Cells without an operator of their own, or with a slow one, as loops over the steps."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sentiment_cli.models.cells.elementwise import QRNN, SRU, MinGRU
from sentiment_cli.models.cells.elman import OutputRnn, Rnn
from sentiment_cli.models.cells.orthogonal import GORU, Orthogonal, orthogonal_matrix
from sentiment_cli.onnx.builder import Graph
from sentiment_cli.onnx.masking import RowMask, fill_padding, step_before


def write_scan(graph: Graph, cell: nn.Module, input_LBD: str, rows: RowMask, *, reverse: bool) -> str:
    """Return states_LBD of one direction; padding's are any finite numbers."""
    return SCANS[type(cell)](graph, cell, input_LBD, rows, reverse)


def _rnn(graph: Graph, cell: Rnn, input_LBD: str, rows: RowMask, reverse: bool) -> str:
    """The operator RNN takes 41 ms for 16,384 tokens of width 128, on one core, where this takes 15."""
    from_input_LBD = graph.linear(input_LBD, cell.weight_ih_l0, cell.bias_ih_l0 + cell.bias_hh_l0)
    activation = {"tanh": "Tanh", "relu": "Relu"}[cell.nonlinearity]
    return _elman(graph, from_input_LBD, cell.weight_hh_l0, activation, rows, reverse)


def _output_rnn(graph: Graph, cell: OutputRnn, input_LBD: str, rows: RowMask, reverse: bool) -> str:
    (to_state, to_output), biases = cell.input_weight.chunk(2), cell.bias.chunk(2)
    state_weight, output_weight = cell.state_weight.chunk(2)
    from_input_LBD = graph.linear(input_LBD, to_state, biases[0])
    states_LBD = _elman(graph, from_input_LBD, state_weight, "Identity", rows, reverse)
    from_state_LBD = graph.linear(step_before(graph, states_LBD, reverse=reverse), output_weight, None)
    output_LBD = graph.node("Add", graph.linear(input_LBD, to_output, biases[1]), from_state_LBD)
    return graph.node("LogSoftmax", output_LBD, axis=-1)


def _elman(graph: Graph, from_input_LBD: str, weight_DD: Tensor, activation: str, rows: RowMask, reverse: bool) -> str:
    """h_t = f(x_t + W h_t-1) with f(0) = 0."""
    weight = graph.constant(weight_DD)

    def step(body: Graph, state_BD: str, input_BD: str) -> str:
        return body.node(activation, body.node("Gemm", state_BD, weight, input_BD, transB=1))

    states_LBD = _scan(graph, step, from_input_LBD, rows=rows, reverse=reverse)
    # Nothing else keeps these finite, as they go on behind a row's end.
    return states_LBD if activation == "Tanh" else fill_padding(graph, states_LBD, rows)


def _mingru(graph: Graph, cell: MinGRU, input_LBD: str, rows: RowMask, reverse: bool) -> str:
    (gate, new), biases = cell.input_weight.chunk(2), cell.bias.chunk(2)
    keep_LBD = graph.node("Sigmoid", graph.linear(input_LBD, -gate, -biases[0]))
    return _gated(graph, keep_LBD, graph.linear(input_LBD, new, biases[1]), rows, reverse)


def _qrnn(graph: Graph, cell: QRNN, input_LBD: str, rows: RowMask, reverse: bool) -> str:
    if reverse:  # nothing is behind a row's last token
        input_LBD = fill_padding(graph, input_LBD, rows)
    window_LBD = graph.join(step_before(graph, input_LBD, reverse=reverse), input_LBD)
    value_LBD, forget_LBD, out_LBD = (
        graph.node(squash, graph.linear(window_LBD, weight, bias))
        for squash, weight, bias in zip(
            ("Tanh", "Sigmoid", "Sigmoid"), cell.input_weight.chunk(3), cell.bias.chunk(3), strict=True
        )
    )
    return graph.node("Mul", out_LBD, _gated(graph, forget_LBD, value_LBD, rows, reverse))


def _gated(graph: Graph, keep_LBD: str, value_LBD: str, rows: RowMask, reverse: bool) -> str:
    """s_t = k_t s_t-1 + (1 - k_t) v_t.

    The operator LSTM can compute it, with recurrent weights of 0 whose products it does not skip: 59 ms for 16,384
    tokens of width 128, on one core, where this and what goes before it take 22.
    """

    def step(body: Graph, state_BD: str, keep_BD: str, value_BD: str) -> str:
        return body.blend(keep_BD, state_BD, value_BD)

    return _scan(graph, step, keep_LBD, value_LBD, rows=rows, reverse=reverse)


def _sru(graph: Graph, cell: SRU, input_LBD: str, rows: RowMask, reverse: bool) -> str:
    forget, reset, value, *mapped = cell.input_weight.chunk(cell.n_gates)
    (forget_bias, reset_bias), (forget_peephole, reset_peephole) = cell.bias.chunk(2), cell.peephole.chunk(2)
    peephole = graph.constant(forget_peephole)

    def step(body: Graph, memory_BD: str, forget_BD: str, value_BD: str) -> str:
        seen_BD = body.node("Add", forget_BD, body.node("Mul", memory_BD, peephole))
        return body.blend(body.node("Sigmoid", seen_BD), memory_BD, value_BD)

    gate_LBD, value_LBD = graph.linear(input_LBD, forget, forget_bias), graph.linear(input_LBD, value, None)
    memory_LBD = _scan(graph, step, gate_LBD, value_LBD, rows=rows, reverse=reverse)
    seen_LBD = graph.node("Mul", step_before(graph, memory_LBD, reverse=reverse), graph.constant(reset_peephole))
    reset_LBD = graph.node("Sigmoid", graph.node("Add", graph.linear(input_LBD, reset, reset_bias), seen_LBD))
    highway_LBD = graph.linear(input_LBD, mapped[0], None) if mapped else input_LBD
    highway_LBD = graph.node("Mul", highway_LBD, graph.constant(3**0.5))
    return graph.blend(reset_LBD, memory_LBD, highway_LBD)


def _scan(graph: Graph, step: Callable[..., str], *inputs_LBD: str, rows: RowMask, reverse: bool) -> str:
    """Read one direction. In reverse padding comes first: a last input of 0 there must leave a state of 0 as it is."""
    *others, last_LBD = inputs_LBD
    return graph.scan(step, *others, fill_padding(graph, last_LBD, rows) if reverse else last_LBD, reverse=reverse)


SCANS: dict[type[nn.Module], Callable[[Graph, Any, str, RowMask, bool], str]] = {
    Rnn: _rnn,
    OutputRnn: _output_rnn,
    MinGRU: _mingru,
    SRU: _sru,
    QRNN: _qrnn,
}


def write_orthogonal(graph: Graph, cell: Orthogonal, input_BLD: str) -> str:
    """Write `Orthogonal`; return states_BLD."""
    with torch.no_grad():
        matrix = graph.constant(orthogonal_matrix(cell.skew, cell.width).t())
    bias = graph.constant(cell.bias)

    def step(body: Graph, before_BD: str, from_input_BD: str) -> str:
        return _modrelu(body, body.node("Gemm", before_BD, matrix, from_input_BD), bias)

    return graph.turn(graph.scan(step, graph.turn(graph.linear(input_BLD, cell.input_weight, None))))


def write_goru(graph: Graph, cell: GORU, input_BLD: str) -> str:
    """Write `GORU`; return states_BLD."""
    width = cell.width
    with torch.no_grad():
        matrix = graph.constant(orthogonal_matrix(cell.skew, width).t())
    gates, bias = graph.constant(cell.state_weight.t()), graph.constant(cell.bias[2 * width :])

    def step(body: Graph, before_BD: str, to_candidate_BD: str, to_gates_BE: str) -> str:
        both_BE = body.node("Sigmoid", body.node("Gemm", before_BD, gates, to_gates_BE))
        reset_BD, update_BD = body.nodes("Split", 2, both_BE, axis=1, num_outputs=2)
        turned_BD = body.node("Mul", reset_BD, body.node("MatMul", before_BD, matrix))
        candidate_BD = _modrelu(body, body.node("Add", to_candidate_BD, turned_BD), bias)
        carried_BD = body.node("Mul", update_BD, body.node("Sub", before_BD, candidate_BD))
        return body.node("Add", candidate_BD, carried_BD)

    to_gates_BLE = graph.linear(input_BLD, cell.input_weight[: 2 * width], cell.bias[: 2 * width])
    to_candidate_BLD = graph.linear(input_BLD, cell.input_weight[2 * width :], None)
    return graph.turn(graph.scan(step, graph.turn(to_candidate_BLD), graph.turn(to_gates_BLE)))


def _modrelu(body: Graph, values_BD: str, bias: str) -> str:
    """Write sign(z) relu(|z| + b)."""
    size_BD = body.node("Relu", body.node("Add", body.node("Abs", values_BD), bias))
    return body.node("Mul", body.node("Sign", values_BD), size_BD)
