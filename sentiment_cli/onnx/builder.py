"""Building an ONNX graph, a node at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor

from sentiment_cli.onnx.rules.values import FLOAT, INT64

# The newest opset that every onnxruntime since 1.18 reads.
_OPSET, _IR = 21, 10


class NoGraphError(Exception):
    """A model has a part that no ONNX operator computes; the message names it."""


class Graph:
    """A graph under construction. Values are names: of a constant, an input, or a node's output.

    The body of a loop (`body`) is a graph of its own that sees the values of the one around it.
    """

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._outermost = self
        self._n_names = 0

    def constant(self, value: "NDArray[Any] | Tensor | Sequence[int] | float | int", dtype: Any = None) -> str:
        """Return the name of a constant; integers become int64 and other numbers float32 by default.

        Equal constants are kept once, in the outermost graph.
        """
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if dtype is None and not isinstance(value, np.ndarray | Tensor):
            dtype = np.int64 if array.dtype.kind == "i" else np.float32
        array = np.asarray(array, dtype=dtype, order="C")  # ascontiguousarray makes a vector of a number
        top = self._outermost
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in top._constants:
            top._constants[key] = self._new_name("c")
            top._initializers.append(numpy_helper.from_array(array, top._constants[key]))
        return top._constants[key]

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output and return its name; an input that is left out is ""."""
        return self.nodes(operator, 1, *inputs, **attributes)[0]

    def nodes(self, operator: str, n_outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node of several outputs and return their names."""
        outputs = [self._new_name(operator.lower()) for _ in range(n_outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs

    def linear(self, values: str, weight: Tensor, bias: Tensor | None) -> str:
        """Return values · weightᵀ + bias, over the last axis, as torch's Linear does."""
        product = self.node("MatMul", values, self.constant(weight.t()))
        return product if bias is None else self.node("Add", product, self.constant(bias))

    def blend(self, share: str, one: str, other: str) -> str:
        """Return share * one + (1 - share) * other."""
        return self.node("Add", other, self.node("Mul", share, self.node("Sub", one, other)))

    def join(self, *values: str) -> str:
        """Return the values behind each other along the last axis."""
        return values[0] if len(values) == 1 else self.node("Concat", *values, axis=-1)

    def turn(self, values: str) -> str:
        """Return values_BLD as values_LBD, or the other way round."""
        return self.node("Transpose", values, perm=[1, 0, 2])

    def body(self, n_inputs: int, write: Callable[..., Sequence[str]]) -> onnx.GraphProto:
        """Return the body of a Scan: `write(body, *inputs)` adds its nodes and returns its outputs."""
        inner = Graph()
        inner._outermost = self._outermost
        names = [inner._new_name("b") for _ in range(n_inputs)]
        outputs: list[str] = []
        for name in write(inner, *names):  # an output is the body's own, and stands once
            is_output = name not in outputs and any(name in node.output for node in inner._nodes)
            outputs.append(name if is_output else inner.node("Identity", name))
        return helper.make_graph(
            inner._nodes,
            "body",
            [helper.make_empty_tensor_value_info(name) for name in names],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
        )

    def scan(self, step: Callable[..., str], *inputs_LBD: str, reverse: bool = False) -> str:
        """Return states_LBD of `step(body, state_BD, *inputs_BD)`, which begins with zeros as wide as the first input.

        In reverse the last step comes first, and each state still stands at its own step.
        """
        start_BD = self.node("ConstantOfShape", self.node("Shape", inputs_LBD[0], start=1))
        way = [int(reverse)]
        _, states_LBD = self.nodes(
            "Scan",
            2,
            start_BD,
            *inputs_LBD,
            body=self.body(1 + len(inputs_LBD), lambda *names: (step(*names),) * 2),
            num_scan_inputs=len(inputs_LBD),
            scan_input_directions=way * len(inputs_LBD),
            scan_output_directions=way,
        )
        return states_LBD

    def finish(self, inputs: dict[str, list[str]], value: str, output: str, axes: Sequence[str | int]) -> bytes:
        """Return the model, checked, as bytes: its int64 inputs by name with their axes, and `value` as its output."""
        graph = helper.make_graph(
            [*self._nodes, helper.make_node("Identity", [value], [output])],
            "classifier",
            [helper.make_tensor_value_info(name, INT64, of) for name, of in inputs.items()],
            [helper.make_tensor_value_info(output, FLOAT, axes)],
            self._initializers,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR, producer_name="sentiment"
        )
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    def _new_name(self, of: str) -> str:
        self._outermost._n_names += 1
        return f"{of}_{self._outermost._n_names}"
