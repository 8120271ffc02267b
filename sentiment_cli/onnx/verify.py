"""Check that a file is a graph as this program writes them, from its bytes, before anything else reads them.

onnxruntime follows what a graph says: to other files for the numbers of a tensor, to operators of other libraries, into
loops without an end. What this program writes needs none of that, so a short list of what is allowed is enough.
It is held against the protobuf messages themselves (https://protobuf.dev/programming-guides/encoding/), which takes
milliseconds where importing onnx takes 150; numbers are stepped over, not copied. A message that two readers could take
for different ones is refused too: a field given twice, of another wire type, or that is not in the list. What the
operators are given, and how much they compute, is then followed node by node (`sizes`).
"""

import math
import struct
from typing import Any, NamedTuple

from sentiment_cli.onnx.rules.calls import Node
from sentiment_cli.onnx.rules.sizes import Body, Checked
from sentiment_cli.onnx.rules.values import BOOL, INT32, INT64, TYPE_NAMES, Range, Value, fixed, refused, value

_MOST_FIELDS = 200_000  # the linear model's graph has 1,233
_MOST_NODES = 20_000
_LONGEST_NAME = 200  # bytes
_VERSIONS = {"": 21, "com.microsoft": 1}  # of operators
_IR = 10
_FEW = 64  # whole numbers of a constant that are read
_LARGEST = 2**31 - 1  # of an axis
_DOMAINS = ("", "com.microsoft")
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
    14: _Field("metadata_props", _REFUSED),
    20: _Field("training_info", _REFUSED),
    25: _Field("functions", _REFUSED),
}
_OPSET = {1: _Field("domain"), 2: _Field("version", _VARINT)}
_GRAPH = {
    1: _Field("node", is_repeated=True),
    2: _Field("name"),
    5: _Field("initializer", is_repeated=True),
    10: _Field("doc_string"),
    11: _Field("input", is_repeated=True),
    12: _Field("output", is_repeated=True),
    13: _Field("value_info", _REFUSED),
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
    5: _Field("t", _REFUSED),
    6: _Field("g"),
    7: _Field("floats", _REFUSED),
    8: _Field("ints", _VARINT, is_repeated=True),
    9: _Field("strings", _REFUSED),
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
    4: _Field("float_data", _REFUSED),
    5: _Field("int32_data", _REFUSED),
    7: _Field("int64_data", _REFUSED),
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


_ATTRIBUTE_TYPES = {1: "f", 2: "i", 3: "s", 5: "g", 7: "ints"}  # of AttributeProto.AttributeType, those that ours have


def check_graph(data: bytes) -> Checked:
    """Return a graph that may be computed; raise IntegrityError unless it is such as this program writes."""
    return _Reader(data).check_model()


class _Reader:
    """The bytes, and how many more fields may be read. A message is the range of bytes that it takes up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._fields_left, self._nodes_left = _MOST_FIELDS, _MOST_NODES

    def check_model(self) -> Checked:
        model = self._read(range(len(self._data)), _MODEL)
        versions: dict[str, int] = {}
        for where in model["opset_import"]:
            opset = self._read(where, _OPSET)
            domain, version = self._domain(opset), _only(opset, "version", 0)
            if domain in versions or version != _VERSIONS[domain]:
                raise refused(f"has version {version} of operators of {domain!r}")
            versions[domain] = version
        if "" not in versions:
            raise refused("does not say which version of operators it takes")
        if _only(model, "ir_version", 0) != _IR or not model["graph"]:
            raise refused("is of another version, or has nothing in it")
        graph = self._read(model["graph"][0], _GRAPH)
        constants: dict[str, Value] = {}
        for where in graph["initializer"]:
            name, constant = self._constant(where)
            if name in constants:
                raise refused(f"has two values {name!r:.40}")
            constants[name] = constant
        return Checked(self._body(graph, depth=1), constants)

    def _body(self, graph: dict[str, list[Any]], depth: int) -> Body:
        inputs, outputs = ([self._declared(where) for where in graph[name]] for name in ("input", "output"))
        return Body([self._node(where, depth) for where in graph["node"]], inputs, outputs)

    def _node(self, where: range, depth: int) -> Node:
        self._nodes_left -= 1
        if self._nodes_left < 0:
            raise refused(f"has more than {_MOST_NODES} nodes")
        node = self._read(where, _NODE)
        operator = self._text(node, "op_type")
        attributes: dict[str, Any] = {}
        for where_attribute in node["attribute"]:
            name, found = self._attribute(where_attribute, operator, depth)
            if name in attributes:
                raise refused(f"has an operator {operator!r} with {name} twice")
            attributes[name] = found
        inputs, outputs = (tuple(map(self._name, node[name])) for name in ("input", "output"))
        self._text(node, "name")
        return Node(operator, inputs, outputs, attributes, self._domain(node))

    def _attribute(self, where: range, operator: str, depth: int) -> tuple[str, Any]:
        attribute = self._read(where, _ATTRIBUTE)
        name, kind = self._text(attribute, "name"), _ATTRIBUTE_TYPES.get(_only(attribute, "type", 0))
        held = {field for field in _ATTRIBUTE_TYPES.values() if attribute[field]}
        if kind is None or held - {kind}:
            raise refused(f"has an operator {operator!r} with {name} of several types")
        if kind == "g":
            if operator != "Scan" or depth > 1 or not attribute["g"]:
                raise refused(f"has an operator {operator!r} with a graph in it")
            body = self._read(attribute["g"][0], _GRAPH)
            if body["initializer"]:
                raise refused("has weights in a loop")
            return name, self._body(body, depth + 1)
        if kind == "ints":
            return name, tuple(map(_signed, attribute["ints"]))
        if kind == "i":
            return name, _signed(_only(attribute, "i", 0))
        if kind == "s":
            return name, self._text(attribute, "s")
        (span,) = attribute["f"] or [range(0)]
        if len(span) != 4:
            raise refused(f"has an operator {operator!r} with {name} without a number")
        number: float = struct.unpack("<f", self._data[span.start : span.stop])[0]
        return name, number

    def _constant(self, where: range) -> tuple[str, Value]:
        """Return a tensor's name and value; raise IntegrityError if its size does not match its axes."""
        tensor = self._read(where, _TENSOR)
        if _only(tensor, "data_location", 0):
            raise refused("has a tensor whose numbers are elsewhere")
        data_type, sizes = _only(tensor, "data_type", 0), tensor["dims"]
        if data_type not in _SIZES:
            raise refused(f"has numbers of type {data_type}")
        if len(sizes) > 8 or any(size > _LARGEST for size in sizes):
            raise refused("has a tensor of too many or too long axes")
        n, span = math.prod(sizes), _only(tensor, "raw_data", range(0))
        if len(span) != n * _SIZES[data_type]:
            raise refused(f"has a tensor of {n} numbers that holds {len(span) / _SIZES[data_type]:g}")
        items = None
        if data_type in (INT64, INT32) and n <= _FEW and len(sizes) <= 1:
            numbers = struct.unpack(f"<{n}{'q' if data_type == INT64 else 'i'}", self._data[span.start : span.stop])
            items = [Range(number, number) for number in numbers]
        elif data_type == BOOL and self._data[span.start : span.stop].strip(b"\0\1"):
            raise refused("has truths that are neither 0 nor 1")
        return self._text(tensor, "name"), value(data_type, fixed(*sizes), items=items)

    def _declared(self, where: range) -> str:
        """Return the name of an input or output, whose type is optional."""
        declared = self._read(where, _VALUE)
        for of_type in declared["type"]:
            for of_tensor in self._read(of_type, _TYPE)["tensor_type"]:
                tensor_type = self._read(of_tensor, _TENSOR_TYPE)
                if _only(tensor_type, "elem_type", 1) not in TYPE_NAMES:
                    raise refused(f"has numbers of type {_only(tensor_type, 'elem_type', 1)}")
                for shape in tensor_type["shape"]:
                    for where_dim in self._read(shape, _SHAPE)["dim"]:
                        dim = self._read(where_dim, _DIMENSION)
                        self._text(dim, "dim_param")
                        if _only(dim, "dim_value", 0) > _LARGEST:
                            raise refused("has too long an axis")
        return self._text(declared, "name")

    def _domain(self, fields: dict[str, list[Any]]) -> str:
        domain = self._text(fields, "domain")
        if domain not in _DOMAINS:
            raise refused(f"has operators of {domain!r}")
        return domain

    def _text(self, fields: dict[str, list[Any]], name: str) -> str:
        return self._name(_only(fields, name, range(0)))

    def _name(self, span: range) -> str:
        """Return a text; all of ours are short and printable, but for dots and strokes letters, digits and spaces."""
        data = self._data[span.start : span.stop]
        text = data[:_LONGEST_NAME].decode("ascii", "backslashreplace")
        if len(data) > _LONGEST_NAME or not data.isascii() or not text.isprintable():
            raise refused(f"has a name {text!r:.60}, as none of ours has")
        return text

    def _read(self, where: range, layout: dict[int, _Field]) -> dict[str, list[Any]]:
        """Return the fields of a message by name: integers as values, anything else as its position."""
        fields: dict[str, list[Any]] = {field.name: [] for field in layout.values()}
        at, end = where.start, where.stop
        while at < end:
            tag, at = self._varint(at, end)
            field = layout.get(tag >> 3)
            if field is None or field.wire == _REFUSED:
                raise refused(f"has {'a field ' + str(tag >> 3) if field is None else field.name}, as none of ours has")
            if tag & 7 != field.wire:
                raise refused(f"has {field.name} of wire type {tag & 7}")
            value: int | range
            if field.wire == _VARINT:
                value, at = self._varint(at, end)
            else:
                size = 4
                if field.wire == _BYTES:
                    size, at = self._varint(at, end)
                if size > end - at:
                    raise refused("is cut off")
                value = range(at, at + size)
                at += size
            fields[field.name].append(value)
            if len(fields[field.name]) > 1 and not field.is_repeated:
                raise refused(f"has {field.name} twice in one place")
            self._fields_left -= 1
            if self._fields_left < 0:
                raise refused(f"has more than {_MOST_FIELDS} fields")
        return fields

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Return an unsigned integer, and the position after it."""
        value = 0
        for shift in range(0, 70, 7):
            if at == end:
                raise refused("is cut off")
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80 and value < 2**64:
                return value, at
        raise refused("has a number of more than 64 bits")


def _only(fields: dict[str, list[Any]], name: str, default: Any) -> Any:
    """Return the value of a field that is not repeated."""
    return fields[name][0] if fields[name] else default


def _signed(number: int) -> int:
    """Return a signed 64-bit integer that was read as unsigned."""
    return number - 2**64 if number >= 2**63 else number
