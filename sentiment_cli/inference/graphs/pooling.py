"""One vector per review out of one per step, as nodes."""

from sentiment_cli.inference.graphs.builder import FLOAT, Graph
from sentiment_cli.inference.graphs.rows import Rows, fill_padding
from sentiment_cli.models.pooling import Pooling


def write_pooling(graph: Graph, pooling: Pooling, states_LBD: str, rows: Rows) -> str:
    """Return pooled_BD of all states; the last one of each row is `last_of` them."""
    steps, pooled = graph.constant([0]), []
    if pooling.kind == "attention":
        key_LBD = graph.node("Tanh", graph.linear(states_LBD, pooling.key.weight, pooling.key.bias))
        score_LB1 = fill_padding(graph, graph.linear(key_LBD, pooling.query.weight, None), rows, float("-inf"))
        weight_LB1 = graph.node("Softmax", score_LB1, axis=0)
        weighed_LBD = graph.node("Mul", weight_LB1, fill_padding(graph, states_LBD, rows))
        return graph.node("ReduceSum", weighed_LBD, steps, keepdims=0)
    if pooling.kind in ("mean", "both"):
        sum_BD = graph.node("ReduceSum", fill_padding(graph, states_LBD, rows), steps, keepdims=0)
        length_B1 = graph.node("Unsqueeze", graph.node("Cast", rows.length_B, to=FLOAT), graph.constant([1]))
        pooled.append(graph.node("Div", sum_BD, length_B1))
    if pooling.kind in ("max", "both"):
        bounded_LBD = fill_padding(graph, states_LBD, rows, float("-inf"))
        pooled.append(graph.node("ReduceMax", bounded_LBD, steps, keepdims=0))
    return graph.join(*pooled)
