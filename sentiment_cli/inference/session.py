"""The inference graph in onnxruntime."""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from sentiment_cli.inference.scoring import Answers


def open_graph(data: bytes) -> Answers:
    """Return what a graph computes. Raises IntegrityError for what is no graph of ours, and for other outputs."""
    from sentiment_cli.inference.graphs.trust import check_graph

    check_graph(data)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def answer(ids_BL: NDArray[np.int64], length_B: NDArray[np.int64]) -> NDArray[np.float32]:
        found: list[Any] = session.run(["logits"], {"ids_BL": ids_BL, "length_B": length_B})
        logits: NDArray[np.float32] = found[0]
        return logits

    return answer
