"""The graph of a trained classifier: token ids and lengths → logits."""

from sentiment_cli.models.classifier import AnyClassifier, Classifier
from sentiment_cli.onnx.builder import Graph
from sentiment_cli.onnx.encoders import write_encoder, write_last
from sentiment_cli.onnx.grids import write_sentence_ends
from sentiment_cli.onnx.layers import write_context, write_embedding, write_pooling, write_regions
from sentiment_cli.onnx.linear import write_features, write_linear, write_ngram_logits, write_ngram_weights
from sentiment_cli.onnx.masking import write_last_states, write_rows


def build_graph(model: AnyClassifier) -> bytes:
    """Return an ONNX graph that computes the model in evaluation mode, for any number and length of rows.

    Its inputs are ids_BL and length_B (int64), its output logits: [B] where there are two labels or stars, else [B, C].
    What stands in ids_BL behind a row's end has no part in it. Raises NoGraphError, which names what cannot be written.
    """
    graph = Graph()
    inputs = {"ids_BL": ["B", "L"], "length_B": ["B"]}
    if isinstance(model, Classifier):
        logits = _write_classifier(graph, model, *inputs)
    else:
        logits = write_linear(graph, model, *inputs)
    return graph.finish(inputs, logits, "logits", ["B"] if model.n_logits == 1 else ["B", model.n_logits])


def _write_classifier(graph: Graph, model: Classifier, ids_BL: str, length_B: str) -> str:
    rows = write_rows(graph, length_B, graph.node("Shape", ids_BL, start=1))
    if model.encoder.needs_ends:
        rows = rows._replace(ends_BL=write_sentence_ends(graph, ids_BL, model.is_mark_V))
    embedded_LBD = write_embedding(graph, model.embedding, graph.node("Transpose", ids_BL))
    beside, added = list[str](), None
    if model.wide is not None:
        found, wide = write_features(graph, model.wide.linear, ids_BL, length_B), model.wide
        if wide.channel is not None:
            weight_BLP = write_ngram_weights(graph, wide.linear, found)
            channel_BLD = graph.linear(weight_BLP, wide.channel.weight * wide.gain, wide.channel.bias)
            beside.append(graph.turn(channel_BLD))
        if wide.scale is not None:
            added = graph.node("Mul", write_ngram_logits(graph, wide.linear, found), graph.constant(wide.scale))
    if model.regions is not None:
        beside.append(write_regions(graph, model.regions, graph.node("Transpose", ids_BL), rows))
    states_LBD = write_encoder(graph, model.encoder, graph.join(embedded_LBD, *beside), rows)
    contexts = [] if model.context is None else [write_context(graph, model.context, states_LBD, rows)]
    of_contexts = [write_last_states(graph, context_LBD, rows) for context_LBD in contexts]
    if model.pooling is None:  # the logit of the last step, at which the backward direction has read one token
        pooled_BD = graph.join(write_last_states(graph, states_LBD, rows), *of_contexts)
    else:
        last_BD = graph.join(write_last(graph, model.encoder, states_LBD, rows), *of_contexts)
        pooled_BD = write_pooling(graph, model.pooling, graph.join(states_LBD, *contexts), last_BD, rows)
    logits = graph.linear(pooled_BD, model.output.weight, model.output.bias)
    logits = graph.node("Squeeze", logits, graph.constant([1])) if model.n_logits == 1 else logits
    return logits if added is None else graph.node("Add", logits, added)
