"""The inference graph in onnxruntime."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.capi import onnxruntime_pybind11_state as state

from sentiment_cli.errors import MachineError
from sentiment_cli.onnx.verify import check_graph
from sentiment_cli.storage.store import IntegrityError

# What a model is to those who ask it: from ids_BL and length_B to logit_B or logit_BC.
ScoreFn = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]


_ERRORS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)
_INPUTS = {"ids_BL": "tensor(int64)", "length_B": "tensor(int64)"}


def open_graph(data: bytes) -> tuple[ScoreFn, int]:
    """Return a graph's function, which computes in the thread that calls it, and its number of outputs per row.

    Several threads may call it at the same time. Raises IntegrityError for a foreign graph.
    """
    checked = check_graph(data)
    options = SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    # Two threads of its own take as long as one for a text of 230 words, half as much again of the processor, and up
    # to twice the time of two batches at once in one thread each.
    options.intra_op_num_threads = 1
    try:
        session = InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except _ERRORS as error:
        raise IntegrityError(f"onnxruntime does not take the graph: {error}") from error
    session._model_bytes = b""  # kept for a change of provider: as much memory as the graph
    inputs = {value.name: value.type for value in session.get_inputs()}
    outputs = [(value.name, value.type) for value in session.get_outputs()]
    if inputs != _INPUTS or outputs != [("logits", "tensor(float)")]:
        raise IntegrityError(f"the graph reads {inputs} and gives {outputs}")
    axes = session.get_outputs()[0].shape
    if len(axes) not in (1, 2) or not all(isinstance(n, int) and n > 1 for n in axes[1:]):
        raise IntegrityError(f"the graph's logits are of the shape {axes}")

    def answer(ids_BL: NDArray[np.int64], length_B: NDArray[np.int64]) -> NDArray[np.float32]:
        checked.check_batch(*ids_BL.shape)
        try:
            found: list[Any] = session.run(["logits"], {"ids_BL": ids_BL, "length_B": length_B})
        except _ERRORS as error:
            if "allocate" in str(error):
                raise MachineError(f"there is not enough memory for {ids_BL.size:,} tokens at once: {error}") from error
            raise IntegrityError(f"the graph cannot be computed: {error}") from error
        logits: NDArray[np.float32] = found[0]
        return logits

    return answer, 1 if len(axes) == 1 else axes[1]


def n_cores() -> int:
    """Return how many cores this process may use; onnxruntime would pin its threads to all that the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
