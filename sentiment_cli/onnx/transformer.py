"""The Transformer encoder as a graph."""

import torch

from sentiment_cli.models.layers.transformer import TransformerBlock, TransformerEncoder
from sentiment_cli.onnx.builder import Graph
from sentiment_cli.onnx.rules.values import FLOAT


def write_transformer(graph: Graph, encoder: TransformerEncoder, input_BLD: str, length_B: str) -> str:
    """Write the encoder; return states_BLD."""
    length = graph.node("Squeeze", graph.node("Shape", input_BLD, start=1, end=2))
    place_L = graph.node("Range", graph.constant(0), length, graph.constant(1))
    is_token_B11L = graph.node("Less", place_L, graph.node("Unsqueeze", length_B, graph.constant([1, 2, 3])))
    mask_B11L = graph.node("Where", is_token_B11L, graph.constant(0.0), graph.constant(-torch.inf))
    states_BLD = input_BLD
    if isinstance(encoder.enter, torch.nn.Linear):
        states_BLD = graph.linear(input_BLD, encoder.enter.weight, encoder.enter.bias)
    states_BLD = graph.node("Add", states_BLD, _sinusoids(graph, place_L, encoder.width))
    for block in encoder.blocks:
        assert isinstance(block, TransformerBlock)
        states_BLD = _block(graph, block, states_BLD, mask_B11L)
    return _norm(graph, encoder.norm, states_BLD)


def _sinusoids(graph: Graph, place_L: str, width: int) -> str:
    """Write position_LD, of as many places as the batch is wide."""
    rate_E = 10_000 ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    place_L1 = graph.node("Unsqueeze", graph.node("Cast", place_L, to=FLOAT), graph.constant([1]))
    angle_LE = graph.node("Mul", place_L1, graph.constant(rate_E))
    both = [graph.node("Unsqueeze", graph.node(function, angle_LE), graph.constant([2])) for function in ("Sin", "Cos")]
    position_LD = graph.node("Reshape", graph.node("Concat", *both, axis=2), graph.constant([0, 2 * len(rate_E)]))
    if width % 2 == 0:
        return position_LD
    return graph.node("Slice", position_LD, graph.constant([0]), graph.constant([width]), graph.constant([1]))


def _block(graph: Graph, block: TransformerBlock, states_BLD: str, mask_B11L: str) -> str:
    attended_BLD = _attention(graph, block, _norm(graph, block.attention_norm, states_BLD), mask_B11L)
    states_BLD = graph.node("Add", states_BLD, attended_BLD)
    inner_BLE = graph.linear(_norm(graph, block.inner_norm, states_BLD), block.inner.weight, block.inner.bias)
    outer_BLD = graph.linear(graph.node("Gelu", inner_BLE), block.outer.weight, block.outer.bias)
    return graph.node("Add", states_BLD, outer_BLD)


def _attention(graph: Graph, block: TransformerBlock, states_BLD: str, mask_B11L: str) -> str:
    width = block.joined.in_features
    weights, biases = block.query_key_value.weight.chunk(3), block.query_key_value.bias.chunk(3)
    scale = (width // block.heads) ** -0.5
    perms = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])  # keys stand in columns
    query_BHLD, key_BHDL, value_BHLD = (
        graph.node("Transpose", _heads(graph, block.heads, graph.linear(states_BLD, weight, bias)), perm=perm)
        for weight, bias, perm in zip(
            (weights[0] * scale, *weights[1:]), (biases[0] * scale, *biases[1:]), perms, strict=True
        )
    )
    score_BHLL = graph.node("Add", graph.node("MatMul", query_BHLD, key_BHDL), mask_B11L)
    share_BHLL = graph.node("Softmax", score_BHLL, axis=-1)
    value_BLHD = graph.node("Transpose", graph.node("MatMul", share_BHLL, value_BHLD), perm=[0, 2, 1, 3])
    joined_BLD = graph.node("Reshape", value_BLHD, graph.constant([0, 0, width]))
    return graph.linear(joined_BLD, block.joined.weight, block.joined.bias)


def _heads(graph: Graph, heads: int, values_BLD: str) -> str:
    return graph.node("Reshape", values_BLD, graph.constant([0, 0, heads, -1]))


def _norm(graph: Graph, norm: torch.nn.LayerNorm, values_BLD: str) -> str:
    weight, bias = graph.constant(norm.weight), graph.constant(norm.bias)
    return graph.node("LayerNormalization", values_BLD, weight, bias, axis=-1, epsilon=norm.eps)
