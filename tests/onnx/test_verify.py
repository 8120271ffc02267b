"""Graphs that were tampered with, none of which is to reach onnxruntime."""

import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

import sentiment_cli
from sentiment_cli.models.cells.lstm_grid import LstmGrid
from sentiment_cli.models.cells.orthogonal import GORU
from sentiment_cli.onnx import verify
from sentiment_cli.onnx.builder import Graph
from sentiment_cli.onnx.grids import write_lstm_grid
from sentiment_cli.onnx.rules.table import RULES
from sentiment_cli.onnx.scans import write_goru
from sentiment_cli.onnx.verify import check_graph
from sentiment_cli.storage.store import IntegrityError


def build() -> bytes:
    """A graph with what graphs have: many operators, constants of four types, and a body."""
    torch.manual_seed(0)
    graph = Graph()
    is_low_BL = graph.node("Less", "ids_BL", graph.constant(10))
    vector_BLD = graph.node("Gather", graph.constant(torch.randn(20, 4)), "ids_BL")
    vector_BLD = graph.node("Where", graph.node("Unsqueeze", is_low_BL, graph.constant([2])), vector_BLD, vector_BLD)
    states_BLD = write_lstm_grid(graph, LstmGrid(4, 4), write_goru(graph, GORU(4, 4), vector_BLD))
    return graph.finish({"ids_BL": ["B", "L"], "length_B": ["B"]}, states_BLD, "logits", ["B", "L", 4])


GOOD = build()


def body_of(model: onnx.ModelProto) -> onnx.GraphProto:
    (scan,) = (node for node in model.graph.node if node.op_type == "Scan")
    (body,) = (attribute.g for attribute in scan.attribute if attribute.name == "body")
    return body


def external(location: str, tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "64"}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def numbers(name: str = "numbers") -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(16, dtype=np.float32), name)


def sparse() -> onnx.SparseTensorProto:
    place = numpy_helper.from_array(np.arange(16), "place")
    return helper.make_sparse_tensor(external("../secret", numbers()), place, [99])


def graph_of(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "inner", [], [])


def scans_inside(depth: int) -> onnx.NodeProto:
    inner = graph_of(*[scans_inside(depth - 1)] if depth else [])
    return helper.make_node("Scan", ["a"], ["b"], body=inner, num_scan_inputs=1)


def add_node(model: onnx.ModelProto, operator: str, domain: str = "", **attributes: object) -> None:
    model.graph.node.append(helper.make_node(operator, [], ["made"], domain=domain, **attributes))


def add_function(model: onnx.ModelProto) -> None:
    opset = [helper.make_opsetid("", 21)]
    model.functions.append(
        helper.make_function("local", "Add", [], ["made"], [helper.make_node("Loop", [], [])], opset)
    )


def set_dims(model: onnx.ModelProto, *dims: int, data: bytes | None = None) -> None:
    tensor = model.graph.initializer[0]
    tensor.dims[:] = dims
    tensor.raw_data = tensor.raw_data if data is None else data


TAMPERED: dict[str, Callable[[onnx.ModelProto], object]] = {
    "external path above": lambda m: external("../secret", m.graph.initializer[0]),
    "external absolute path": lambda m: external("/etc/passwd", m.graph.initializer[0]),
    "external link": lambda m: external("link", m.graph.initializer[0]),
    "external in the body": lambda m: body_of(m).initializer.append(external("link", numbers())),
    "external in an attribute": lambda m: add_node(m, "ConstantOfShape", value=external("link", numbers())),
    "external without a path": lambda m: setattr(m.graph.initializer[0], "data_location", 1),
    "path without external": lambda m: m.graph.initializer[0].external_data.add(key="location", value="link"),
    "external in a sparse constant": lambda m: m.graph.sparse_initializer.append(sparse()),
    "external in a sparse attribute": lambda m: add_node(m, "Shape", sparse_value=sparse()),
    "external in a list of tensors": lambda m: add_node(m, "Shape", values=[external("link", numbers())]),
    "operator of another library": lambda m: add_node(m, "Add", "com.example"),
    "operator of another library in the body": lambda m: body_of(m).node.add(op_type="Add", domain="com.example"),
    "operator that is not on the list": lambda m: add_node(m, "EPContext", "com.microsoft"),
    "operators of another library declared": lambda m: m.opset_import.add(domain="com.example", version=1),
    "operators declared twice": lambda m: m.opset_import.add(domain="ai.onnx", version=9),
    "operators of no version": lambda m: setattr(m.opset_import[0], "version", 0),
    "no operators declared": lambda m: m.ClearField("opset_import"),
    "Loop": lambda m: add_node(m, "Loop", body=graph_of()),
    "If": lambda m: add_node(m, "If", then_branch=graph_of(), else_branch=graph_of()),
    "Loop in the body": lambda m: body_of(m).node.append(helper.make_node("Loop", [], [], body=graph_of())),
    "graph in another operator": lambda m: add_node(m, "Add", body=graph_of()),
    "graphs in a list": lambda m: add_node(m, "Scan", bodies=[graph_of(), graph_of()]),
    "graphs five deep": lambda m: m.graph.node.append(scans_inside(4)),
    "graphs ninety deep": lambda m: m.graph.node.append(scans_inside(30)),
    "function": add_function,
    "training": lambda m: m.training_info.add(initialization=graph_of()),
    "setting of onnxruntime": lambda m: m.metadata_props.add(key="ort_config", value="{}"),
    "huge axis": lambda m: set_dims(m, 2**40),
    "axes of a huge product": lambda m: set_dims(m, 2**31 - 1, 2**31 - 1, 2**31 - 1, 4),
    "huge axis beside an empty one": lambda m: set_dims(m, 2**40, 0, data=b""),
    "axis below zero": lambda m: set_dims(m, -1),
    "fewer numbers than its axes say": lambda m: setattr(m.graph.initializer[0], "raw_data", b"1234"),
    "more numbers than its axes say": lambda m: m.graph.initializer[0].dims.insert(0, 0),
    "numbers in two places": lambda m: m.graph.initializer[0].float_data.append(1),
    "numbers of another type": lambda m: setattr(m.graph.initializer[0], "data_type", onnx.TensorProto.DOUBLE),
    "text for numbers": lambda m: m.graph.initializer.append(helper.make_tensor("t", 8, [1], [b"x"])),
    "huge declared axis": lambda m: m.graph.input.append(helper.make_tensor_value_info("x", 1, [2**40])),
    "declared text": lambda m: m.graph.value_info.append(helper.make_tensor_value_info("x", 8, [2])),
    "sequence for a tensor": lambda m: m.graph.input.append(helper.make_tensor_sequence_value_info("x", 1, [2])),
    "no graph": lambda m: m.ClearField("graph"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_m08_tampered_graphs_are_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(np.ones(16, dtype=np.float32).tobytes())
    (tmp_path / "link").symlink_to("secret")
    monkeypatch.chdir(tmp_path)
    model = onnx.ModelProto.FromString(GOOD)
    TAMPERED[what](model)
    with pytest.raises(IntegrityError, match=r"^the graph "):
        check_graph(model.SerializeToString())


def varint(value: int) -> bytes:
    return b"" if value < 0 else bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def with_more(more: bytes) -> bytes:
    """The good graph with these bytes behind its own."""
    model = onnx.ModelProto.FromString(GOOD)
    graph = model.graph.SerializeToString() + more
    model.ClearField("graph")
    return model.SerializeToString() + field(7, graph)


def with_constant(more: bytes) -> bytes:
    """The good graph with one more constant, which has these bytes behind its own."""
    return with_more(field(5, numbers().SerializeToString() + more))


MALFORMED = {
    "external by a number that is cut to 32 bits": with_constant(varint(14 << 3) + varint(2**32 + 1)),
    "numbers twice": with_constant(field(9, bytes(64))),
    "graph twice": GOOD + field(7, b""),
    "text that is a number": GOOD + varint(6 << 3) + b"\0",
    "field as a group": GOOD + varint(7 << 3 | 3) + varint(7 << 3 | 4),
    "unknown field": GOOD + field(99, b""),
    "field 0": GOOD + field(0, b""),
    "number that does not end": GOOD + b"\x08" + b"\xff" * 20,
    "number of 21 bytes": GOOD[2:] + b"\x08" + b"\x80" * 20 + b"\0",
    "number that ends behind its message": with_more(field(1, field(4, b"Add") + field(5, b"\x18") + field(3, b"x"))),
    "number of 70 bits": GOOD[2:] + b"\x08" + b"\xff" * 9 + b"\x7f",
    "length of 64 bits": GOOD + varint(6 << 3 | 2) + varint(2**64 - 1),
    "length behind the end": GOOD + varint(6 << 3 | 2) + b"\x01",
    "nothing": b"",
    "text": b"graph",
    "hundreds of thousands of fields": with_more(field(13, b"") * verify._MOST_FIELDS),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_m08_malformed_messages_are_refused(what: str) -> None:
    with pytest.raises(IntegrityError, match=r"^the graph "):
        check_graph(MALFORMED[what])


def test_m08_graphs_cut_off_are_refused() -> None:
    check_graph(GOOD)
    for k in range(20):
        with pytest.raises(IntegrityError):
            check_graph(GOOD[: len(GOOD) * k // 20])
    for n in range(1, 64):
        with pytest.raises(IntegrityError):
            check_graph(GOOD[:-n])


def test_m08_flipped_bits_raise_nothing_else() -> None:
    """A flip may make a graph of other weights, which is the manifest's to tell."""
    draw, refused = random.Random(0), 0
    places = [at for at in range(len(GOOD)) if GOOD[at - 3 : at + 3].strip(b"\0")]
    for _ in range(1000):
        damaged = bytearray(GOOD)
        for _ in range(draw.choice([1, 1, 8])):
            damaged[draw.choice(places)] ^= 1 << draw.randrange(8)
        try:
            check_graph(bytes(damaged))
        except IntegrityError:
            refused += 1
    assert refused > 300


def test_our_graphs_pass_and_load() -> None:
    check_graph(GOOD)
    check_graph(with_constant(b""))
    assert onnxruntime.InferenceSession(GOOD, providers=["CPUExecutionProvider"]).get_outputs()[0].name == "logits"


def test_graphs_that_onnxruntime_quantized_are_refused(tmp_path: Path) -> None:
    """Its operators are others than those of `precision`, and one of them reads beyond the end of a wrong scale."""
    from onnxruntime.quantization import quantize_dynamic

    (tmp_path / "fp32.onnx").write_bytes(GOOD)
    quantize_dynamic(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", extra_options={"EnableSubgraph": True})
    with pytest.raises(IntegrityError, match=r"^the graph has metadata_props"):
        check_graph((tmp_path / "int8.onnx").read_bytes())


def test_every_operator_that_graphs_are_written_of_is_known() -> None:
    folder = Path(sentiment_cli.__file__).parent / "onnx"
    written = "".join(path.read_text() for path in folder.glob("*.py"))
    operators = set(re.findall(r"\bnodes?\(\s*\"(\w+)\"", written))
    assert {"Scan", "LSTM", "TopK"} <= operators
    assert operators - {"Scan"} <= {operator for _, operator in RULES}


def test_large_weights_cost_nothing() -> None:
    weights = numpy_helper.from_array(np.zeros(10_000_000, dtype=np.float32), "weights")
    model = onnx.ModelProto.FromString(GOOD)
    model.graph.initializer.append(weights)
    data, before_s = model.SerializeToString(), time.process_time()
    check_graph(data)
    assert time.process_time() - before_s < 0.1


def test_the_check_imports_nothing_slow() -> None:
    program = "import sys, sentiment_cli.onnx.verify; print({'onnx', 'torch', 'numpy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
