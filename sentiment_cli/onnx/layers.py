"""Writes embedding, pooling and the context layer as ONNX nodes."""

import math
from collections.abc import Iterator

from sentiment_cli.data.tokens.vocabulary import PAD_ID
from sentiment_cli.models.layers.context import Context
from sentiment_cli.models.layers.embedding import MULTIPLIER, WordEmbedding
from sentiment_cli.models.layers.pooling import Pooling
from sentiment_cli.models.regions import RegionEmbedding
from sentiment_cli.onnx.builder import Graph
from sentiment_cli.onnx.masking import RowMask, cut_mask, fill_padding, uncut
from sentiment_cli.onnx.rules.values import FLOAT


def write_embedding(graph: Graph, embedding: WordEmbedding, ids_LB: str) -> str:
    """Return embedded_LBD."""
    embedded_LBD = graph.node("Gather", graph.constant(embedding.weight), ids_LB)
    if embedding.ngrams is not None:
        table = graph.constant(embedding.ngrams.weight)
        for row_LB in _ngram_rows(graph, ids_LB, embedding.longest, embedding.buckets):
            embedded_LBD = graph.node("Add", embedded_LBD, graph.node("Gather", table, row_LB))
    return embedded_LBD


def _ngram_rows(graph: Graph, ids_LB: str, longest: int, buckets: int) -> Iterator[str]:
    """Yield row_LB for n = 2 ... longest, as models.embedding.ngram_rows.

    BitShift takes no signed numbers. Mod has the sign of its divisor, so that what it leaves divides without rest.
    """
    multiplier, none, high = graph.constant(MULTIPLIER), graph.constant(PAD_ID), graph.constant(2**33)
    hash_LB, first_LB = graph.node("Mul", ids_LB, multiplier), ids_LB
    whole_LB = graph.node("Not", graph.node("Equal", ids_LB, none))
    for _ in range(2, longest + 1):
        first_LB = graph.node("Pad", first_LB, graph.constant([1, 0, -1, 0]), none)  # one step later
        hash_LB = graph.node("Mul", graph.node("Add", hash_LB, first_LB), multiplier)
        whole_LB = graph.node("And", whole_LB, graph.node("Not", graph.node("Equal", first_LB, none)))
        low_LB = graph.node("Mod", hash_LB, high)
        high_LB = graph.node("Div", graph.node("Sub", hash_LB, low_LB), high)
        row_LB = graph.node("Add", graph.node("Mod", high_LB, graph.constant(buckets)), graph.constant(1))
        yield graph.node("Where", whole_LB, row_LB, none)


def write_regions(graph: Graph, regions: RegionEmbedding, ids_LB: str, rows: RowMask) -> str:
    """Return region_LBD."""
    vector_LBD = fill_padding(graph, graph.node("Gather", graph.constant(regions.vectors.weight), ids_LB), rows)
    half, parts = regions.window // 2, []
    padded_LBD = graph.node("Pad", vector_LBD, graph.constant([half, 0, 0, half, 0, 0]))
    for shift in range(regions.window):
        end_1 = graph.node("Add", rows.n_steps_1, graph.constant([shift]))
        parts.append(graph.node("Slice", padded_LBD, graph.constant([shift]), end_1))
    return graph.node("Tanh", graph.linear(graph.join(*parts), regions.map.weight, regions.map.bias))


def write_pooling(graph: Graph, pooling: Pooling, states_LBD: str, last_BD: str, rows: RowMask) -> str:
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


def write_context(graph: Graph, context: Context, states_LBD: str, rows: RowMask) -> str:
    """Return context_LBD, to be joined to the states, of which padding's are finite.

    Rows are cut into N pieces of K steps, each of which sees J steps: of its own piece, and where attention is local of
    the one before it. Global attention has one piece.
    """
    size_1 = rows.n_steps_1
    if context.window is not None:
        size_1 = graph.node("Min", size_1, graph.constant([context.window]))
    states_NKBD = cut_mask(graph, states_LBD, rows, size_1)
    piece_NBKD = key_NBJD = graph.node("Transpose", states_NKBD, perm=[0, 2, 1, 3])
    step_NK = key_step_NJ = cut_mask(graph, rows.step_L, rows, size_1)
    if context.window is not None:  # what fills the last piece up is step 0, a window and more before it
        before_NBKD = graph.node("Pad", piece_NBKD, graph.constant([1, 0, 0, 0, -1, 0, 0, 0]))
        key_NBJD = graph.node("Concat", before_NBKD, piece_NBKD, axis=2)
        nothing = graph.node("Neg", graph.node("Squeeze", size_1))  # is a window before step 0
        before_NK = graph.node("Pad", step_NK, graph.constant([1, 0, -1, 0]), nothing)
        key_step_NJ = graph.node("Concat", before_NK, step_NK, axis=1)
    step_N1K1 = graph.node("Unsqueeze", step_NK, graph.constant([1, 3]))
    past_N1KJ = graph.node("Sub", step_N1K1, graph.node("Unsqueeze", key_step_NJ, graph.constant([1, 2])))
    is_near_N1KJ = graph.node("Less", past_N1KJ, size_1)
    is_seen_N1KJ = graph.node("And", is_near_N1KJ, graph.node("GreaterOrEqual", past_N1KJ, graph.constant(0)))
    query_NBKD = graph.linear(piece_NBKD, context.query.weight / context.query.in_features**0.5, None)
    score_NBKJ = graph.node("MatMul", query_NBKD, graph.node("Transpose", key_NBJD, perm=[0, 1, 3, 2]))
    score_NBKJ = graph.node("Where", is_seen_N1KJ, score_NBKJ, graph.constant(float("-inf")))
    context_NBKD = graph.node("MatMul", graph.node("Softmax", score_NBKJ, axis=-1), key_NBJD)
    return uncut(graph, graph.node("Transpose", context_NBKD, perm=[0, 2, 1, 3]), rows)
