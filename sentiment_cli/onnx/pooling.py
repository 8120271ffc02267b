"""One vector per review out of one per step, as nodes."""

import math

from sentiment_cli.models.layers.pooling import Pooling
from sentiment_cli.onnx.builder import FLOAT, Graph
from sentiment_cli.onnx.masking import Rows, fill_padding


def write_pooling(graph: Graph, pooling: Pooling, states_LBD: str, last_BD: str, rows: Rows) -> str:
    """Return pooled_BD of all states; padding's are finite. `last_BD` are each row's last."""
    if pooling.kind == "last":
        return last_BD
    pooled = [last_BD] if pooling.kind == "concat" else []
    if pooling.kind == "attention":
        key_LBD = graph.node("Tanh", graph.linear(states_LBD, pooling.key.weight, pooling.key.bias))
        score_LB1 = fill_padding(graph, graph.linear(key_LBD, pooling.query.weight, None), rows, -math.inf)
        pooled.append(_weigh(graph, graph.node("Softmax", score_LB1, axis=0), states_LBD))
    if pooling.kind in ("mean", "both", "concat"):
        is_token_LB1 = graph.node("Cast", rows.is_token_LB1, to=FLOAT)
        length_B1 = graph.node("Unsqueeze", graph.node("Cast", rows.length_B, to=FLOAT), graph.constant([1]))
        pooled.append(_weigh(graph, graph.node("Div", is_token_LB1, length_B1), states_LBD))
    if pooling.kind in ("max", "both", "concat"):
        bound_LB1 = graph.node("Where", rows.is_token_LB1, graph.constant(0.0), graph.constant(-math.inf))
        bounded_LBD = graph.node("Add", states_LBD, bound_LB1)  # takes half the time of a choice between the two
        pooled.append(graph.node("ReduceMax", bounded_LBD, graph.constant([0]), keepdims=0))
    return graph.join(*pooled)


def _weigh(graph: Graph, weight_LB1: str, states_LBD: str) -> str:
    """Return the sum of a row's weighted states, as one product: no weighted copy of the states is made."""
    weight_B1L = graph.node("Transpose", weight_LB1, perm=[1, 2, 0])
    return graph.node("Squeeze", graph.node("MatMul", weight_B1L, graph.turn(states_LBD)), graph.constant([1]))
