"""Quantized graphs: weights in int8 or in half precision.

Either way a row's answer depends on nothing else in its batch. That rules out the usual dynamic quantisation, whose
scale depends on the other rows of the batch: it moved probabilities of 1,500 reviews, of an LSTM of width 128, by up to
0.015 from one batch to another. Here scales are of the largest number that can come, where the graph gives it. The
operator of an LSTM chooses its own; what it finds largest are two more inputs and two more states, which no weight
reads and which never change.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

_ORT = "com.microsoft"  # the domain of onnxruntime's own operators
_FEW = 1024  # weights of fewer numbers stay as they are
_NARROW = 8  # a row of fewer numbers would hardly be smaller beside its scale
# Two products of 8 by 8 bits do not fit the 16 bits that processors without VNNI add them in; of 8 by 7 bits they do.
_SEVEN_BITS, _EIGHT_BITS = 63, 127
_OPEN, _FULL = 30.0, 10.0  # a gate's bias whose sigmoid is 1, and a memory whose tanh is 1, to the last bit
_ENDS = np.array([1.0, -1.0], dtype=np.float32)  # of the range of a state; of an input they are multiplied by its bound
# What hands on, of its first input, the numbers that it is given.
_SHAPING = set("Concat Expand Gather GatherND Identity Reshape ReverseSequence Slice Split Squeeze Transpose".split())


Precision = Literal["fp32", "int8", "fp16"]


class Lowered(NamedTuple):
    """A graph, and its operators whose weights stay in half precision instead of int8."""

    data: bytes
    kept: tuple[str, ...] = ()


def lower_precision(data: bytes, precision: Precision) -> Lowered:
    """Return a graph of float32 with its weights in another precision, the same inputs and the same output.

    Half precision is for the file alone, and is computed in float32: of half arithmetic onnxruntime has no LSTM for
    processors, and a MatMul that takes longer.
    """
    if precision == "fp32":
        return Lowered(data)
    draft, kept = _Draft(data), set[str]()
    if precision == "int8":
        changes = {"Gather": _gather_rows, "LSTM": _lstm, "MatMul": _product}
        draft.rewrite(lambda node: changes[node.op_type](draft, node) if node.op_type in changes else None)
        kept = {node.op_type for node in draft.nodes() if any(map(draft.is_weight, node.input))}
    draft.rewrite(lambda node: _gather_halves(draft, node) if node.op_type == "Gather" else None)
    draft.halve()
    return Lowered(draft.finish(), tuple(sorted(kept)))


def precision_of(data: bytes) -> Precision:
    """Return the precision that a graph's weights are stored in."""
    kinds = {tensor.data_type for tensor in onnx.load_from_string(data).graph.initializer}
    if kinds & {TensorProto.INT8, TensorProto.UINT8}:
        return "int8"
    return "fp16" if TensorProto.FLOAT16 in kinds else "fp32"


class _Draft:
    """A graph being rewritten: its constants by name, and the node of each value."""

    def __init__(self, data: bytes) -> None:
        self._model = onnx.load_from_string(data)
        self.arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in self._model.graph.initializer}
        self._added: dict[str, NDArray[Any]] = {}
        original = onnx.load_from_string(data).graph
        self._made_by = {name: node for node in original.node for name in node.output}

    def is_weight(self, name: str) -> bool:
        """Return whether a value is a constant of the outer graph that is large enough to convert."""
        array = self.arrays.get(name)
        return array is not None and array.dtype == np.float32 and array.size >= _FEW

    def constant(self, name: str, array: NDArray[Any]) -> str:
        self._added[name] = np.asarray(array, order="C")
        return name

    def nodes(self) -> Iterator[NodeProto]:
        """Yield all nodes, those in bodies of loops too."""
        for graph in _graphs(self._model.graph):
            yield from graph.node

    def rewrite(self, change: Callable[[NodeProto], list[NodeProto] | None]) -> None:
        """Replace each node by the result of `change`; None keeps it."""
        for graph in _graphs(self._model.graph):
            _replace(graph, [new for node in graph.node for new in change(node) or [node]])

    def halve(self) -> None:
        """Store the weights that are left in half precision; they are cast once, when the graph is loaded."""
        names = sorted({name for node in self.nodes() for name in node.input if self.is_weight(name)})
        casts = [helper.make_node("Cast", [self.half(name)], [name], to=TensorProto.FLOAT) for name in names]
        self.arrays = {name: array for name, array in self.arrays.items() if name not in names}
        _replace(self._model.graph, [*casts, *self._model.graph.node])

    def half(self, name: str) -> str:
        largest = np.finfo(np.float16).max
        return self.constant(f"{name}/half", self.arrays[name].clip(-largest, largest).astype(np.float16))

    def bound(self, name: str) -> float | None:
        """Return a bound of the absolute value, None if there is none."""
        if name in self.arrays:
            largest = float(np.abs(self.arrays[name]).max(initial=0.0))
            return largest * (1 + 1e-6) if np.isfinite(largest) else None  # as float32 may round what is looked up
        node = self._made_by.get(name)
        if node is None:
            return None
        if node.op_type in ("LSTM", "GRU", "RNN", "Tanh"):
            is_state = name in node.output[:2] and not {"activations", "clip"} & {one.name for one in node.attribute}
            return 1.0 if is_state else None
        if node.op_type == "LayerNormalization" and len(node.input) > 2 and {*node.input[1:]} <= self.arrays.keys():
            gain, shift = (self.arrays[name] for name in node.input[1:])  # of numbers whose squares sum to their count
            return float((np.abs(gain) * gain.size**0.5 + np.abs(shift)).max())
        inputs = {
            "Add": node.input,
            "Concat": node.input,
            "Where": node.input[1:],
            "Pad": (*node.input[:1], *node.input[2:3]),
        }
        if node.op_type not in inputs and node.op_type not in _SHAPING:
            return None
        bounds = [self.bound(value) for value in inputs.get(node.op_type, node.input[:1]) if value]
        known = [bound for bound in bounds if bound is not None]
        if len(known) < len(bounds):
            return None
        return sum(known) if node.op_type == "Add" else max(known)

    def finish(self) -> bytes:
        """Return the graph, checked, with the constants that are still used."""
        used = {name for node in self.nodes() for name in node.input}
        arrays = {name: array for name, array in (self.arrays | self._added).items() if name in used}
        del self._model.graph.initializer[:]
        self._model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
        if any(node.domain == _ORT for node in self.nodes()):
            self._model.opset_import.append(helper.make_opsetid(_ORT, 1))
        onnx.checker.check_model(self._model)
        data: bytes = self._model.SerializeToString(deterministic=True)
        return data


def _gather_rows(draft: _Draft, node: NodeProto) -> list[NodeProto] | None:
    """Look up int8 rows, and multiply each by its scale."""
    table, ids = node.input
    if not draft.is_weight(table) or draft.arrays[table].ndim != 2 or node.attribute:
        return None
    if draft.arrays[table].shape[1] < _NARROW:
        return None
    codes_VD, scale_V = _quantised(draft.arrays[table], _EIGHT_BITS)
    names = [f"{node.output[0]}/{part}" for part in ("codes", "numbers", "scale")]
    return [
        helper.make_node("Gather", [draft.constant(f"{table}/codes", codes_VD), ids], [names[0]]),
        helper.make_node("Cast", [names[0]], [names[1]], to=TensorProto.FLOAT),
        helper.make_node("Gather", [draft.constant(f"{table}/scale", scale_V[:, None]), ids], [names[2]]),
        helper.make_node("Mul", names[1:], node.output),
    ]


def _gather_halves(draft: _Draft, node: NodeProto) -> list[NodeProto] | None:
    """Look rows up in half precision, so that the table stays small in memory, too."""
    if not draft.is_weight(node.input[0]):
        return None
    found = f"{node.output[0]}/half"
    look_up = helper.make_node("Gather", [draft.half(node.input[0]), node.input[1]], [found])
    look_up.attribute.extend(node.attribute)
    return [look_up, helper.make_node("Cast", [found], node.output, to=TensorProto.FLOAT)]


def _product(draft: _Draft, node: NodeProto) -> list[NodeProto] | None:
    """Multiply by an int8 matrix, at a scale that is independent of the batch."""
    values, weight = node.input
    bound = draft.bound(values)
    if not bound or not draft.is_weight(weight) or draft.arrays[weight].ndim != 2:
        return None
    codes_ED, scale_E = _quantised(draft.arrays[weight].T, _SEVEN_BITS)
    scale = draft.constant(f"{values}/step", np.array(bound / _EIGHT_BITS, np.float32))
    zero = draft.constant(f"{values}/zero", np.array(_EIGHT_BITS + 1, np.uint8))
    codes = draft.constant(f"{weight}/codes", codes_ED.T)
    inputs = [f"{node.output[0]}/codes", codes, scale, draft.constant(f"{weight}/scale", scale_E), zero]
    return [
        helper.make_node("QuantizeLinear", [values, scale, zero], inputs[:1]),
        helper.make_node("MatMulIntegerToFloat", inputs, node.output, domain=_ORT),
    ]


def _lstm(draft: _Draft, node: NodeProto) -> list[NodeProto] | None:
    """Compute an LSTM's products in int8, at scales that are independent of the batch."""
    inputs: list[str] = [*node.input, *[""] * (8 - len(node.input))]
    values, *weights, bias, lengths, start, memory, peephole = inputs
    attributes: dict[str, Any] = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    is_plain = attributes.keys() <= {"direction", "hidden_size"} and not start and not memory
    bound = draft.bound(values)
    if not bound or not is_plain or not all(map(draft.is_weight, weights)):
        return None
    width, n_directions = attributes["hidden_size"], len(draft.arrays[weights[0]])

    def new(part: str, array: "NDArray[Any] | list[Any] | None" = None) -> str:
        name = f"{node.output[0] or node.output[1]}/{part}"
        return name if array is None else draft.constant(name, np.asarray(array))

    codes, scales = [], []
    for part, name in zip(("input", "state"), weights, strict=True):
        weight_KGD = np.pad(_more_states(draft.arrays[name], width), ((0, 0), (0, 0), (0, len(_ENDS))))
        codes_KGD, scale_KG = _quantised(weight_KGD, _SEVEN_BITS)
        codes.append(new(f"{part} codes", codes_KGD.transpose(0, 2, 1)))
        scales += [new(f"{part} scale", scale_KG), new(f"{part} zero", np.zeros(scale_KG.shape, np.int8))]
    bias_KG = draft.arrays[bias] if bias else np.zeros((n_directions, 8 * width), np.float32)
    bias_KG = _more_states(bias_KG, width)
    # Gates are in, out, forget and new; the new value of these states is tanh(0), so the memory stays.
    bias_KG.reshape(n_directions, 8, -1)[:, 1:3, width:] = _OPEN
    peephole = new("peephole", _more_states(draft.arrays[peephole], width)) if peephole else ""
    ends_K1D = np.tile(np.pad(_ENDS, (width, 0)), (n_directions, 1, 1))
    wide = [new("wide input"), codes[0], codes[1], new("bias", bias_KG), lengths, new("start"), new("memory"), peephole]
    outputs = [name and f"{name}/wide" for name in node.output]
    attributes |= {"hidden_size": width + len(_ENDS)}
    return [
        helper.make_node("Shape", [values], [new("places")], end=2),
        helper.make_node("Concat", [new("places"), new("two", [len(_ENDS)])], [new("ends' shape")], axis=0),
        helper.make_node("Expand", [new("bounds", _ENDS * np.float32(bound)), new("ends' shape")], [new("ends")]),
        helper.make_node("Concat", [values, new("ends")], [wide[0]], axis=2),
        helper.make_node("Shape", [values], [new("rows")], start=1, end=2),
        helper.make_node("Concat", [new("one", [1]), new("rows"), new("one")], [new("states' shape")], axis=0),
        helper.make_node("Expand", [new("first state", ends_K1D), new("states' shape")], [new("start")]),
        helper.make_node("Expand", [new("first memory", _FULL * ends_K1D), new("states' shape")], [new("memory")]),
        helper.make_node("DynamicQuantizeLSTM", [*wide, *scales], outputs, domain=_ORT, **attributes),
        *(
            helper.make_node("Slice", [name, new("from", [0]), new("to", [width]), new("axis", [-1])], [narrow])
            for name, narrow in zip(outputs, node.output, strict=True)
            if name
        ),
    ]


def _more_states(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return weights (direction, gate × state, ...) with zeros for more states than `width`."""
    by_gate = values.reshape(len(values), -1, width, *values.shape[2:])
    pads = [(0, len(_ENDS)) if axis == 2 else (0, 0) for axis in range(by_gate.ndim)]
    return np.pad(by_gate, pads).reshape(len(values), -1, *values.shape[2:])


def _quantised(values: NDArray[np.float32], largest: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return integers from -largest to largest, and the scale of each row (the last axis)."""
    scale = np.abs(values).max(axis=-1) / largest
    scale[scale == 0] = 1.0
    return np.rint(values / scale[..., None]).astype(np.int8), scale.astype(np.float32)


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _replace(graph: GraphProto, nodes: list[NodeProto]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)
