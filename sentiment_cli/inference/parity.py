"""Whether a graph answers as the model in torch does: one that does not is not kept."""

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.batching.truncation import TextLimits
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.errors import MachineError
from sentiment_cli.inference.scoring import score_ids
from sentiment_cli.inference.torch_model import answers_of
from sentiment_cli.models.classifier import AnyClassifier
from sentiment_cli.models.device import memory_errors
from sentiment_cli.onnx.builder import NoGraphError
from sentiment_cli.onnx.classifier import build_graph
from sentiment_cli.onnx.runtime import open_graph
from sentiment_cli.storage.store import IntegrityError

MOST_APART = 1e-4
_MOST_BYTES = 2**31 - 2**24  # protobuf's 2 GiB, less room for all but the weights
_N_ROWS, _LONGEST_MADE_UP = 256, 1024


def checked_graph(model: AnyClassifier, rows_ids: list[NDArray[np.int32]], text: TextLimits) -> bytes:
    """Build a model's graph. Raises NoGraphError if it cannot be built or its outputs differ from the model's.

    Both read the rows as prediction does, in batches of unlike lengths; the model, on the CPU, is in evaluation mode.
    """
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if n_bytes > _MOST_BYTES:
        raise NoGraphError(f"its weights take {n_bytes / 1e9:.1f} GB, and an ONNX file holds no more than 2")
    try:
        with memory_errors():
            graph = build_graph(model)
            apart = largest_difference(model, graph, rows_ids, text)
    except (IntegrityError, MachineError) as error:  # no reason to lose what was trained
        raise NoGraphError(str(error)) from error
    if not apart <= MOST_APART:
        raise NoGraphError(f"its logits are up to {apart:.1e} from torch's on {len(rows_ids)} texts")
    return graph


def largest_difference(
    model: AnyClassifier, graph: bytes, rows_ids: list[NDArray[np.int32]], text: TextLimits
) -> float:
    """Return how far a graph's outputs lie from the model's at most; NaN where one of them is."""
    both = answers_of(model), open_graph(graph)[0]
    one, other = (score_ids(answers, rows_ids, text, model.n_logits) for answers in both)
    return float(np.abs(one - other).max())


def rows_to_compare(corpus: Corpus) -> list[NDArray[np.int32]]:
    """Return 256 rows: an empty one, a single word, and of validation and training those at even steps of length."""
    rows = [np.zeros(0, dtype=np.int32), np.full(1, len(corpus.vocabulary.entries) - 1, dtype=np.int32)]
    for split, upto in (("valid", _N_ROWS // 2), ("train", _N_ROWS)):
        packed = corpus.split(split)
        by_length_N = np.argsort(packed.length_N, kind="stable")
        for row in by_length_N[np.linspace(0, len(by_length_N) - 1, upto - len(rows)).round().astype(np.int64)]:
            rows.append(packed.ids_T[packed.starts_N1[row] : packed.starts_N1[row + 1]])
    return rows


def made_up_rows(n_entries: int) -> list[NDArray[np.int32]]:
    """Return 256 random rows of 1 to 1,024 tokens, for use without a corpus."""
    generator = np.random.default_rng(0)
    lengths = np.geomspace(1, _LONGEST_MADE_UP, _N_ROWS).round().astype(int)
    return [generator.integers(0, n_entries, length, dtype=np.int32) for length in lengths]
