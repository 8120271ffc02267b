"""Layers whose recurrence no ONNX operator knows, written step by step: the orthogonal ones.

Each is written as it reads rows forward from states of zeros; whoever wants the other direction reverses the rows.
"""

import torch

from sentiment_cli.models.cells.orthogonal import GORU, Orthogonal, orthogonal_matrix
from sentiment_cli.onnx.builder import Graph


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
