"""The constants of a graph as arrays, read from its bytes without onnx."""

import math

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.onnx.verify import GRAPH_FIELDS, MODEL_FIELDS, TENSOR_FIELDS, Reader, check_graph

_TYPES = {1: "<f4", 7: "<i8", 10: "<f2"}  # by TensorProto.DataType


def read_constants(data: bytes) -> list[NDArray[np.generic]]:
    """Return a graph's constants of whole and of floating-point numbers, in their order.

    Raises IntegrityError for a graph that is not such as this program writes.
    """
    check_graph(data)
    reader, found = Reader(data), list[NDArray[np.generic]]()
    model = reader.read(range(len(data)), MODEL_FIELDS)
    for where in reader.read(model["graph"][0], GRAPH_FIELDS)["initializer"]:
        tensor = reader.read(where, TENSOR_FIELDS)
        (data_type,), sizes = tensor["data_type"], tensor["dims"]
        if data_type in _TYPES and math.prod(sizes):
            (span,) = tensor["raw_data"]
            array = np.frombuffer(data, _TYPES[data_type], math.prod(sizes), span.start)
            found.append(array.reshape(sizes))
    return found
