"""A finished model's graph in other precisions, for files that onnxruntime reads without this tool."""

import shlex
from collections.abc import Sequence

from sentiment_cli import console
from sentiment_cli.errors import DataError
from sentiment_cli.onnx.quantize import Lowered, Precision, lower_precision, precision_of
from sentiment_cli.onnx.verify import check_graph
from sentiment_cli.runs.saved_model import GRAPH, Artefact


def graphs_of(artefact: Artefact, precisions: Sequence[Precision]) -> dict[Precision, Lowered]:
    """Return a model's graph in each precision: its own graph, or else one built from its weights.

    Raises NoGraphError for a model that no graph can be built of, with the operator that is missing, or whose graph
    answers otherwise than the weights, and DataError for one whose graph has lost its float32 weights, where another
    precision is asked for.
    """
    if artefact.no_graph is not None:
        own, of = _build(artefact), "fp32"
    else:
        own = artefact.read(GRAPH)
        check_graph(own)
        of = precision_of(own)
    if others := [one for one in precisions if of not in (one, "fp32")]:
        raise DataError(
            f"{artefact.path} holds its weights in {of} alone, of which no {others[0]} can be made",
            f"sentiment export {shlex.quote(str(artefact.path))} --precision {of}",
        )
    return {one: Lowered(own) if one == of else lower_precision(own, one) for one in precisions}


def _build(artefact: Artefact) -> bytes:
    """Build the graph of an older run, or raise the reason for its absence."""
    console.say(f"loading torch to build the graph: {artefact.no_graph}")
    from sentiment_cli.data.corpus.packed import open_corpus
    from sentiment_cli.inference.parity import checked_graph, made_up_rows, rows_to_compare
    from sentiment_cli.inference.torch_model import load_model

    corpus = open_corpus(artefact.data_key, ("train", "valid"))
    rows_ids = made_up_rows(len(artefact.vocabulary.entries)) if corpus is None else rows_to_compare(corpus)
    return checked_graph(load_model(artefact), rows_ids, artefact.reading)
