"""The linear model as a graph."""

import torch
import torch.nn.functional as F

from sentiment_cli.data.tokens.vocabulary import PAD_ID
from sentiment_cli.models.layers.ngrams import NONE
from sentiment_cli.models.linear import LinearClassifier
from sentiment_cli.onnx.builder import Graph

_END = 2**63 - 1  # of an axis, for Slice


def write_linear(graph: Graph, model: LinearClassifier, ids_BL: str, length_B: str) -> str:
    """Write the model; return logit_B, or logit_BC."""
    return write_ngram_logits(graph, model, write_features(graph, model, ids_BL, length_B))


def write_features(graph: Graph, model: LinearClassifier, ids_BL: str, length_B: str) -> list[str]:
    """Return the features of the n-grams that begin at each place, as `LinearClassifier.features` has them."""
    length = graph.node("Squeeze", graph.node("Shape", ids_BL, start=1, end=2))
    place_L = graph.node("Range", graph.constant(0), length, graph.constant(1))
    is_token_BL = graph.node("Less", place_L, graph.node("Unsqueeze", length_B, graph.constant([1])))
    ids_BL = graph.node("Where", is_token_BL, ids_BL, graph.constant(PAD_ID))
    no_word = [graph.node("Equal", ids_BL, graph.constant(number)) for number in (PAD_ID, model.unknown_id)]
    feature_BL = graph.node("Where", graph.node("Or", *no_word), graph.constant(NONE), ids_BL)
    found = [feature_BL]
    for n in range(2, model.longest + 1 if len(model.keys) else 2):
        next_BL = _columns(graph, ids_BL, n - 1, _END)
        feature_BL = _longer_features(graph, model, _columns(graph, feature_BL, 0, -1), next_BL)
        found.append(feature_BL)
    return found


def write_ngram_logits(graph: Graph, model: LinearClassifier, found: list[str]) -> str:
    """Return logit_B, or logit_BC, of rows with these features."""
    counted_BP = _each_once(graph, graph.node("Concat", *found, axis=1))
    weight = _weights(graph, model)
    bias = graph.constant(model.bias.squeeze(0) if model.n_logits == 1 else model.bias)
    weight_BPC = graph.node("Gather", weight, counted_BP)
    total = graph.node("ReduceSum", weight_BPC, graph.constant([1]), keepdims=0)
    if model.is_normalized:
        size_BP = graph.node("Gather", graph.constant(F.pad(model.size, (0, 1))), counted_BP)
        size_B1 = graph.node("ReduceSum", size_BP, graph.constant([1]), keepdims=int(model.n_logits > 1))
        root_B1 = graph.node("Sqrt", graph.node("Max", size_B1, graph.constant(1.0)))
        total = graph.node("Div", total, root_B1)
    return graph.node("Add", total, bias)


def write_ngram_weights(graph: Graph, model: LinearClassifier, found: list[str]) -> str:
    """Return weight_BLP: of each token the weights of the n-grams that end with it, by length and logit."""
    weight, parts = _weights(graph, model), []
    length_1 = graph.node("Shape", found[0], start=1)
    for n, feature_BL in enumerate(found):
        if n:  # n places later; a row shorter than n has none, and is cut to its length again
            feature_BL = graph.node("Pad", feature_BL, graph.constant([0, n, 0, 0]), graph.constant(NONE))
            feature_BL = graph.node("Slice", feature_BL, graph.constant([0]), length_1, graph.constant([1]))
        weight_BLC = graph.node("Gather", weight, feature_BL)
        parts.append(graph.node("Unsqueeze", weight_BLC, graph.constant([2])) if model.n_logits == 1 else weight_BLC)
    return graph.join(*parts)


def _weights(graph: Graph, model: LinearClassifier) -> str:
    weight_FC = F.pad(model.weight, (0, 0, 0, 1))  # NONE, which is -1, looks up a last weight of 0
    return graph.constant(weight_FC.squeeze(1) if model.n_logits == 1 else weight_FC)


def _longer_features(graph: Graph, model: LinearClassifier, feature_BL: str, next_BL: str) -> str:
    """Write the feature of each n-gram with one more word behind it, as `ngrams.longer_features` has it."""
    keys, n_entries = graph.constant(model.keys), graph.constant(model.n_entries)
    key_BL = graph.node("Add", graph.node("Mul", feature_BL, n_entries), next_BL)
    place_BL = _search(graph, model.keys, key_BL)
    is_found_BL = graph.node("Equal", graph.node("Gather", keys, place_BL), key_BL)
    return graph.node("Where", is_found_BL, graph.node("Add", place_BL, n_entries), graph.constant(NONE))


def _search(graph: Graph, key_K: torch.Tensor, wanted_BL: str) -> str:
    """Write the place of the last key that is not above the wanted one; 0 where all are.

    A binary search with its rounds written out: of `left` keys from `place` on, take the upper half where its first
    key is not above. An odd key stays in either half, so that a round's halves are of one size everywhere.
    """
    keys, place, left = graph.constant(key_K), graph.constant(0), len(key_K)
    while left > 1:
        middle = graph.node("Add", place, graph.constant(left // 2))
        is_low = graph.node("LessOrEqual", graph.node("Gather", keys, middle), wanted_BL)
        place = graph.node("Where", is_low, middle, place)
        left -= left // 2
    return place


def _each_once(graph: Graph, feature_BP: str) -> str:
    """Sort the features of each row and replace duplicates by NONE."""
    n_places = graph.node("Shape", feature_BP, start=1, end=2)
    sorted_BP, _ = graph.nodes("TopK", 2, feature_BP, n_places, axis=1, largest=0)
    before_BP = graph.node("Pad", sorted_BP, graph.constant([0, 1, 0, -1]), graph.constant(NONE))
    return graph.node("Where", graph.node("Equal", sorted_BP, before_BP), graph.constant(NONE), sorted_BP)


def _columns(graph: Graph, values_BL: str, first: int, end: int) -> str:
    return graph.node("Slice", values_BL, graph.constant([first]), graph.constant([end]), graph.constant([1]))
