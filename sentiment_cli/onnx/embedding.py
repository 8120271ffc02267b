"""Word vectors, and those of hashed n-grams, as nodes."""

from collections.abc import Iterator

from sentiment_cli.data.batching.truncation import PAD_ID
from sentiment_cli.models.layers.embedding import MULTIPLIER, WordEmbedding
from sentiment_cli.onnx.builder import Graph


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
