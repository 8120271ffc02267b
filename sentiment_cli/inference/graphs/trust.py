"""Whether a file is a graph such as this program writes, told from its bytes before anything else reads them.

onnxruntime follows what a graph says: to other files for the numbers of a tensor, to operators of other libraries, into
loops without an end. What this program writes needs none of that, so that a short list of what there may be is enough.
It is held against the protobuf messages themselves (https://protobuf.dev/programming-guides/encoding/), which takes
milliseconds where importing onnx takes 150; numbers are stepped over, not copied. A message that two readers could take
for different ones is refused too: a field given twice, of another wire type, or that is not in the list. How much a
graph computes is not bounded: a few numbers that are the size of a tensor may ask for more memory than there is.
"""

import math
from typing import Any, NamedTuple

from sentiment_cli.store import IntegrityError

_MOST_FIELDS = 200_000  # the linear model's graph has 1,233
_MOST_GRAPHS = 4  # inside each other
_LARGEST = 2**31 - 1  # of an axis
_DOMAINS = {"": "", "ai.onnx": "", "com.microsoft": "com.microsoft"}
_OPERATORS = {
    "": frozenset(
        "Abs Add And Cast Clip Concat ConstantOfShape CumSum DequantizeLinear Div DynamicQuantizeLinear Equal Erf Exp"
        " Expand GRU Gather GatherElements GatherND Gelu Gemm Greater GreaterOrEqual Identity LSTM LayerNormalization"
        " Less LessOrEqual Log LogSoftmax MatMul MatMulInteger Max Min Mod Mul Neg NonZero Not Or Pad Pow"
        " QuantizeLinear RNN Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape"
        " ReverseSequence Scan ScatterElements Shape Sigmoid Sign Sin Cos Size Slice Softmax Softplus Split Sqrt"
        " Squeeze Sub Sum Tanh Tile TopK Transpose Unsqueeze Where".split()
    ),
    # What onnxruntime's dynamic quantization puts in the place of LSTM and MatMul.
    "com.microsoft": frozenset("DynamicQuantizeLSTM DynamicQuantizeMatMul MatMulIntegerToFloat".split()),
}
# Bytes of a number, by TensorProto.DataType: float, uint8, int8, int32, int64, bool, float16.
_SIZES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2}
_CONTINUED = bytes(range(128, 256))  # bytes of a varint but for its last one

_VARINT, _BYTES, _FIXED32, _REFUSED = 0, 2, 5, -1


class _Field(NamedTuple):
    name: str
    wire: int = _BYTES
    is_repeated: bool = False


# The messages of onnx.proto: fields that are not listed are refused as those are that no graph of ours has.
_MODEL = {
    1: _Field("ir_version", _VARINT),
    2: _Field("producer_name"),
    3: _Field("producer_version"),
    4: _Field("domain"),
    5: _Field("model_version", _VARINT),
    6: _Field("doc_string"),
    7: _Field("graph"),
    8: _Field("opset_import", is_repeated=True),
    14: _Field("metadata_props", is_repeated=True),
    20: _Field("training_info", _REFUSED),
    25: _Field("functions", _REFUSED),
}
_OPSET = {1: _Field("domain"), 2: _Field("version", _VARINT)}
_ENTRY = {1: _Field("key"), 2: _Field("value")}
_GRAPH = {
    1: _Field("node", is_repeated=True),
    2: _Field("name"),
    5: _Field("initializer", is_repeated=True),
    10: _Field("doc_string"),
    11: _Field("input", is_repeated=True),
    12: _Field("output", is_repeated=True),
    13: _Field("value_info", is_repeated=True),
    15: _Field("sparse_initializer", _REFUSED),
}
_NODE = {
    1: _Field("input", is_repeated=True),
    2: _Field("output", is_repeated=True),
    3: _Field("name"),
    4: _Field("op_type"),
    5: _Field("attribute", is_repeated=True),
    6: _Field("doc_string"),
    7: _Field("domain"),
}
_ATTRIBUTE = {
    1: _Field("name"),
    2: _Field("f", _FIXED32),
    3: _Field("i", _VARINT),
    4: _Field("s"),
    5: _Field("t"),
    6: _Field("g"),
    7: _Field("floats", _FIXED32, is_repeated=True),
    8: _Field("ints", _VARINT, is_repeated=True),
    9: _Field("strings", is_repeated=True),
    10: _Field("tensors", _REFUSED),
    11: _Field("graphs", _REFUSED),
    13: _Field("doc_string"),
    20: _Field("type", _VARINT),
    22: _Field("sparse_tensor", _REFUSED),
    23: _Field("sparse_tensors", _REFUSED),
}
_TENSOR = {
    1: _Field("dims", _VARINT, is_repeated=True),
    2: _Field("data_type", _VARINT),
    4: _Field("float_data"),
    5: _Field("int32_data"),
    7: _Field("int64_data"),
    8: _Field("name"),
    9: _Field("raw_data"),
    12: _Field("doc_string"),
    13: _Field("external_data", _REFUSED),
    14: _Field("data_location", _VARINT),
}
_VALUE = {1: _Field("name"), 2: _Field("type"), 3: _Field("doc_string")}
_TYPE = {1: _Field("tensor_type")}
_TENSOR_TYPE = {1: _Field("elem_type", _VARINT), 2: _Field("shape")}
_SHAPE = {1: _Field("dim", is_repeated=True)}
_DIMENSION = {1: _Field("dim_value", _VARINT), 2: _Field("dim_param")}


def check_graph(data: bytes) -> None:
    """Raise IntegrityError unless these bytes are a graph of operators that this program uses, whole in itself."""
    _Reader(data).check_model()


class _Reader:
    """The bytes, and how many more fields may be read. A message is the range of bytes that it takes up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._fields_left = _MOST_FIELDS

    def check_model(self) -> None:
        model = self._read(range(len(self._data)), _MODEL)
        domains = []
        for where in model["opset_import"]:
            opset = self._read(where, _OPSET)
            domains.append(self._domain(opset))
            if not 1 <= _only(opset, "version", 0) <= _LARGEST:
                raise _refused(f"has version {_only(opset, 'version', 0)} of operators")
        if len(domains) != len(set(domains)) or "" not in domains:
            raise _refused("does not say which version of operators it takes")
        for where in model["metadata_props"]:
            if (key := self._text(self._read(where, _ENTRY), "key")) != "onnx.infer":  # as quantization leaves it
                raise _refused(f"has a setting {key!r}")
        if not model["ir_version"] or not model["graph"]:
            raise _refused("has nothing in it")
        self._check_graph(model["graph"][0], depth=1)

    def _check_graph(self, where: range, depth: int) -> None:
        if depth > _MOST_GRAPHS:
            raise _refused("has graphs too deep inside each other")
        graph = self._read(where, _GRAPH)
        for name in ("input", "output", "value_info"):
            for value in graph[name]:
                self._check_value(value)
        for tensor in graph["initializer"]:
            self._check_tensor(tensor)
        for where_node in graph["node"]:
            node = self._read(where_node, _NODE)
            operator, domain = self._text(node, "op_type"), self._domain(node)
            if operator not in _OPERATORS[domain]:
                raise _refused(f"has an operator {operator!r}")
            for attribute in node["attribute"]:
                self._check_attribute(attribute, operator, depth)

    def _check_attribute(self, where: range, operator: str, depth: int) -> None:
        attribute = self._read(where, _ATTRIBUTE)
        for tensor in attribute["t"]:
            self._check_tensor(tensor)
        for graph in attribute["g"]:
            if operator != "Scan":
                raise _refused(f"has an operator {operator!r} with a graph in it")
            self._check_graph(graph, depth + 1)

    def _check_tensor(self, where: range) -> None:
        """See that a tensor has as many numbers as its axes say."""
        tensor = self._read(where, _TENSOR)
        if _only(tensor, "data_location", 0):
            raise _refused("has a tensor whose numbers are elsewhere")
        data_type = _only(tensor, "data_type", 0)
        if data_type not in _SIZES:
            raise _refused(f"has numbers of type {data_type}")
        if len(tensor["dims"]) > 8 or any(size > _LARGEST for size in tensor["dims"]):
            raise _refused("has a tensor of too many or too long axes")
        expected = math.prod(tensor["dims"])
        found = sum(len(span) / _SIZES[data_type] for span in tensor["raw_data"])
        found += sum(len(span) / _SIZES[1] for span in tensor["float_data"])
        for span in (*tensor["int32_data"], *tensor["int64_data"]):
            found += len(self._data[span.start : span.stop].translate(None, _CONTINUED))
        if found != expected:
            raise _refused(f"has a tensor of {expected} numbers that holds {found:g}")

    def _check_value(self, where: range) -> None:
        for of_type in self._read(where, _VALUE)["type"]:
            for of_tensor in self._read(of_type, _TYPE)["tensor_type"]:
                tensor_type = self._read(of_tensor, _TENSOR_TYPE)
                if _only(tensor_type, "elem_type", 1) not in _SIZES:
                    raise _refused(f"has numbers of type {_only(tensor_type, 'elem_type', 1)}")
                for shape in tensor_type["shape"]:
                    for dim in self._read(shape, _SHAPE)["dim"]:
                        if _only(self._read(dim, _DIMENSION), "dim_value", 0) > _LARGEST:
                            raise _refused("has too long an axis")

    def _domain(self, fields: dict[str, list[Any]]) -> str:
        domain = self._text(fields, "domain")
        if domain not in _DOMAINS:
            raise _refused(f"has operators of {domain!r}")
        return _DOMAINS[domain]

    def _text(self, fields: dict[str, list[Any]], name: str) -> str:
        span = _only(fields, name, range(0))
        text = self._data[span.start : min(span.stop, span.start + 64)]  # more than is looked for
        return text.decode("ascii", "backslashreplace")

    def _read(self, where: range, layout: dict[int, _Field]) -> dict[str, list[Any]]:
        """Return the fields of a message by name: whole numbers as they are, anything else as where it stands."""
        fields: dict[str, list[Any]] = {field.name: [] for field in layout.values()}
        at, end = where.start, where.stop
        while at < end:
            tag, at = self._varint(at, end)
            field = layout.get(tag >> 3)
            if field is None or field.wire == _REFUSED:
                raise _refused(
                    f"has {'a field ' + str(tag >> 3) if field is None else field.name}, as none of ours has"
                )
            if tag & 7 != field.wire:
                raise _refused(f"has {field.name} of wire type {tag & 7}")
            value: int | range
            if field.wire == _VARINT:
                value, at = self._varint(at, end)
            else:
                size = 4
                if field.wire == _BYTES:
                    size, at = self._varint(at, end)
                if size > end - at:
                    raise _refused("is cut off")
                value = range(at, at + size)
                at += size
            fields[field.name].append(value)
            if len(fields[field.name]) > 1 and not field.is_repeated:
                raise _refused(f"has {field.name} twice in one place")
            self._fields_left -= 1
            if self._fields_left < 0:
                raise _refused(f"has more than {_MOST_FIELDS} fields")
        return fields

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Return a whole number, as unsigned, and where what comes behind it begins."""
        value = 0
        for shift in range(0, 70, 7):
            if at == end:
                raise _refused("is cut off")
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80 and value < 2**64:
                return value, at
        raise _refused("has a number of more than 64 bits")


def _only(fields: dict[str, list[Any]], name: str, default: Any) -> Any:
    """Return the value of a field that is not repeated."""
    return fields[name][0] if fields[name] else default


def _refused(why: str) -> IntegrityError:
    return IntegrityError(f"the graph {why}")
