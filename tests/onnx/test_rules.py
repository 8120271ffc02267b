"""Graphs of our operators, given what none of ours is given: each is refused before onnxruntime reads it."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sentiment_cli.errors import SentimentError
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.onnx.rules import sizes
from sentiment_cli.onnx.rules.values import Range
from sentiment_cli.onnx.verify import check_graph
from sentiment_cli.runs.model_files import pack
from sentiment_cli.runs.saved_model import GRAPH, hashes_of, open_artefact, packed_files
from sentiment_cli.storage import store
from sentiment_cli.storage.store import IntegrityError

INPUTS: dict[str, list[str]] = {"ids_BL": ["B", "L"], "length_B": ["B"]}
FLOATS = np.ones((4, 4), dtype=np.float32)
MS = "com.microsoft"


def model_of(*nodes: onnx.NodeProto, **constants: np.ndarray) -> bytes:
    """A graph of these nodes beside what makes the logits; `vector_BLD` and `x_BL` are there to be used."""
    given = {"table": np.ones((20, 4), np.float32), "zero": np.float32(0), "one": np.array([1]), **constants}
    own = [
        helper.make_node("Gather", ["table", "ids_BL"], ["vector_BLD"]),
        helper.make_node("Cast", ["ids_BL"], ["x_BL"], to=1),
        helper.make_node("ReduceSum", ["x_BL", "one"], ["sum_B"], keepdims=0),
        helper.make_node("Mul", ["sum_B", "zero"], ["logits"]),
    ]
    graph = helper.make_graph(
        [*own[:2], *nodes, *own[2:]],
        "classifier",
        [helper.make_tensor_value_info(name, 7, axes) for name, axes in INPUTS.items()],
        [helper.make_tensor_value_info("logits", 1, ["B"])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in given.items()],
    )
    domains = sorted({"", *(node.domain for node in nodes)})
    opsets = [helper.make_opsetid(domain, 1 if domain else 21) for domain in domains]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def node(operator: str, *inputs: str, n_outputs: int = 1, domain: str = "", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [f"made_{i}" for i in range(n_outputs)], domain=domain, **attributes)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def doubled(n: int) -> list[onnx.NodeProto]:
    names = ["x_BL", *(f"twice_{i}" for i in range(n))]
    return [helper.make_node("Concat", [one, one], [two], axis=1) for one, two in itertools.pairwise(names)]


def body_of(nodes: Sequence[onnx.NodeProto], inputs: Sequence[str], outputs: Sequence[str]) -> onnx.GraphProto:
    empty = helper.make_empty_tensor_value_info
    return helper.make_graph(list(nodes), "body", list(map(empty, inputs)), list(map(empty, outputs)))


def loop(n_steps: int, inner: Sequence[onnx.NodeProto] = (), name: str = "loop") -> list[onnx.NodeProto]:
    """A Scan over so many steps that a constant makes."""
    body = body_of(
        [*inner, helper.make_node("Add", [f"{name}_state", f"{name}_state"], [f"{name}_next"])],
        [f"{name}_state", f"{name}_step"],
        [f"{name}_next"],
    )
    return [
        helper.make_node("ConstantOfShape", [f"{name}_n"], [f"{name}_steps"]),
        helper.make_node("ConstantOfShape", [f"{name}_wide"], [f"{name}_start"]),
        helper.make_node("Scan", [f"{name}_start", f"{name}_steps"], [f"{name}_end"], body=body, num_scan_inputs=1),
    ]


def loops(*sizes: int) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    nodes: list[onnx.NodeProto] = []
    constants = {}
    for i, size in enumerate(sizes):
        nodes = loop(size, nodes, f"loop{i}")
        constants |= {f"loop{i}_n": ints(size), f"loop{i}_wide": ints(4)}
    return nodes, constants


def lstm(**changes: Any) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    shapes = {"w": (1, 16, 4), "r": (1, 16, 4), "b": (1, 32), **changes.pop("shapes", {})}
    made = node("LSTM", "vector_BLD", "w", "r", "b", **{"hidden_size": 4, **changes})
    return [made], {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


def whole_product(n_scales: int, n_inputs: int = 5, **more: np.ndarray) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    nodes = [
        helper.make_node("QuantizeLinear", ["vector_BLD", "scale", "mid"], ["codes"]),
        node("MatMulIntegerToFloat", *["codes", "weight", "scale", "scales", "mid"][:n_inputs], domain=MS),
    ]
    weight = np.ones((4, 8), np.int8)
    constants = {
        "scale": np.float32(1),
        "mid": np.uint8(128),
        "weight": weight,
        "scales": np.ones(n_scales, np.float32),
    }
    return nodes, {**constants, **more}


Case = tuple[list[onnx.NodeProto], dict[str, Any]]
# A1: what made onnxruntime end the process, and its kin. A2: what computes without bound.
CASES: dict[str, Case] = {
    "GatherND with batch_dims below 0": (
        [node("GatherND", "vector_BLD", "places", batch_dims=-2)],
        {"places": ints(0, 0).reshape(1, 2)},
    ),
    "GatherND by more axes than there are": (
        [node("GatherND", "vector_BLD", "p")],
        {"p": ints(0, 0, 0, 0).reshape(1, 4)},
    ),
    "GatherND by no place": ([node("GatherND", "vector_BLD", "p")], {"p": np.zeros((1, 0), np.int64)}),
    "DynamicQuantizeMatMul": (
        [node("DynamicQuantizeMatMul", "vector_BLD", "weight", "scales", domain=MS)],
        {"weight": np.ones((4, 8), np.int8), "scales": np.ones(9, np.float32)},
    ),
    "a product with too long a scale": whole_product(9),
    "a product with too short a scale": whole_product(2),
    "a product without a zero": whole_product(8, n_inputs=4),
    "a product of another width": whole_product(8, weight=np.ones((5, 8), np.int8)),
    "a product of signed zeros": whole_product(8, mid=np.int8(0)),
    "Max without an input": ([node("Max", "length_B", "")], {}),
    "Max of one": ([node("Max", "length_B")], {}),
    "Min of nothing": ([node("Min", "", "")], {}),
    "Min of three": ([node("Min", "length_B", "length_B", "length_B")], {}),
    "Sum": ([node("Sum", "x_BL", "")], {}),
    "Mul without an input": ([node("Mul", "x_BL", "")], {}),
    "Where without a condition": ([node("Where", "", "x_BL", "x_BL")], {}),
    "Concat of a missing input": ([node("Concat", "x_BL", "", axis=0)], {}),
    "an axis beyond the last": ([node("Concat", "x_BL", "x_BL", axis=2)], {}),
    "an axis far below the first": ([node("Softmax", "x_BL", axis=-(2**40))], {}),
    "Gather from a number": ([node("Gather", "zero", "ids_BL")], {}),
    "Gather along no axis": ([node("Gather", "table", "ids_BL", axis=2)], {}),
    "Transpose with an axis twice": ([node("Transpose", "x_BL", perm=[0, 0])], {}),
    "Transpose of other axes": ([node("Transpose", "x_BL", perm=[0, 1, 2])], {}),
    "Split into others": ([node("Split", "vector_BLD", "sizes", axis=2)], {"sizes": ints(9)}),
    "Split below 0": ([node("Split", "vector_BLD", "sizes", n_outputs=2, axis=2)], {"sizes": ints(5, -1)}),
    "Split of an unknown axis": ([node("Split", "vector_BLD", n_outputs=2, axis=1, num_outputs=2)], {}),
    "Pad by less than there is": ([node("Pad", "vector_BLD", "by")], {"by": ints(0, 0, -9, 0, 0, 0)}),
    "Pad of too few axes": ([node("Pad", "vector_BLD", "by")], {"by": ints(0, 0)}),
    "Pad with a mode": ([node("Pad", "x_BL", "by", mode="wrap")], {"by": ints(0, 0, 1, 1)}),
    "Squeeze of a long axis": ([node("Squeeze", "vector_BLD", "of")], {"of": ints(2)}),
    "Unsqueeze to seven axes": ([node("Unsqueeze", "vector_BLD", "of")], {"of": ints(0, 1, 2, 3)}),
    "whole numbers divided by 0": ([node("Div", "ids_BL", "none")], {"none": ints(0)}),
    "the rest of a division by 0": ([node("Mod", "ids_BL", "none")], {"none": ints(0)}),
    "divided by what may be 0": ([node("Div", "ids_BL", "ids_BL")], {}),
    "the rest as of C": ([node("Mod", "ids_BL", "one", fmod=1)], {}),
    "numbers of another type": ([node("Add", "x_BL", "ids_BL")], {}),
    "whole numbers of floats": ([node("Cast", "x_BL", to=7)], {}),
    "Cast to text": ([node("Cast", "x_BL", to=8)], {}),
    "a product that does not fit": ([node("MatMul", "vector_BLD", "weight")], {"weight": np.ones((5, 4), np.float32)}),
    "a sum that does not fit": ([node("Gemm", "x", "x", "bias")], {"x": FLOATS, "bias": np.ones(5, np.float32)}),
    "Gemm with a factor": ([node("Gemm", "x", "x", "x", alpha=2.0)], {"x": FLOATS}),
    "LSTM of another width": lstm(hidden_size=5),
    "LSTM of no width": lstm(hidden_size=0),
    "LSTM of a width below 0": lstm(hidden_size=-4),
    "LSTM with few gates": lstm(shapes={"w": (1, 12, 4)}),
    "LSTM that reads more": lstm(shapes={"w": (1, 16, 5)}),
    "LSTM with a short bias": lstm(shapes={"b": (1, 31)}),
    "LSTM in two directions with weights of one": lstm(direction="bidirectional"),
    "LSTM backwards": lstm(direction="reverse"),
    "LSTM with other functions": lstm(activations=["Affine", "Relu", "Tanh"]),
    "LSTM with a clip": lstm(clip=-1.0),
    "LayerNormalization of another width": (
        [node("LayerNormalization", "vector_BLD", "w", "w", axis=-1)],
        {"w": np.ones(5, np.float32)},
    ),
    "ReverseSequence along one axis": ([node("ReverseSequence", "x_BL", "length_B", batch_axis=1, time_axis=1)], {}),
    "ReverseSequence along no axis": ([node("ReverseSequence", "x_BL", "length_B", batch_axis=7, time_axis=0)], {}),
    "TopK of floats": ([node("TopK", "x_BL", "one", n_outputs=2)], {}),
    "TopK with one output": ([node("TopK", "ids_BL", "one")], {}),
    "an attribute that we do not write": ([node("Add", "x_BL", "x_BL", broadcast=1)], {}),
    "an attribute of another type": ([node("Softmax", "x_BL", axis="last")], {}),
    "an unknown name": ([node("Relu", "nothing")], {}),
    "a name twice": ([helper.make_node("Relu", ["x_BL"], ["x_BL"])], {}),
    "an output too many": ([node("Relu", "x_BL", n_outputs=2)], {}),
    "no output": ([helper.make_node("Relu", ["x_BL"], [])], {}),
    "a huge constant": ([node("ConstantOfShape", "shape")], {"shape": ints(2**30)}),
    "a huge constant of many axes": ([node("ConstantOfShape", "shape")], {"shape": ints(2**10, 2**10, 2**10)}),
    "a huge constant of a computed size": (
        [
            node("Shape", "ids_BL"),
            helper.make_node("Mul", ["made_0", "many"], ["size"]),
            helper.make_node("ConstantOfShape", ["size"], ["z"]),
        ],
        {"many": ints(2**15, 2**15)},
    ),
    "a constant below nothing": ([node("ConstantOfShape", "shape")], {"shape": ints(-1)}),
    "a huge constant with a value": (
        [node("ConstantOfShape", "shape", value=numpy_helper.from_array(np.ones(1, np.float32)))],
        {"shape": ints(2)},
    ),
    "spread out far": ([node("Expand", "zero", "shape")], {"shape": ints(2**31 - 1)}),
    "counted far": ([node("Range", "a", "b", "c")], {"a": np.int64(0), "b": np.int64(2**40), "c": np.int64(1)}),
    "counted without end": ([node("Range", "a", "b", "c")], {"a": np.int64(0), "b": np.int64(9), "c": np.int64(0)}),
    "padded far": ([node("Pad", "x_BL", "by")], {"by": ints(0, 0, 0, 2**40)}),
    "doubled forty times": (doubled(40), {}),
    "a product of everything with everything": (
        [
            node("Reshape", "x_BL", "column"),
            helper.make_node("Reshape", ["x_BL", "row"], ["row_1N"]),
            helper.make_node("MatMul", ["made_0", "row_1N"], ["square"]),
            helper.make_node("Reshape", ["square", "column"], ["long"]),
            helper.make_node("Reshape", ["square", "row"], ["wide"]),
            helper.make_node("MatMul", ["long", "wide"], ["fourth"]),
            helper.make_node("Reshape", ["fourth", "column"], ["longer"]),
            helper.make_node("Reshape", ["fourth", "row"], ["wider"]),
            helper.make_node("MatMul", ["longer", "wider"], ["eighth"]),
        ],
        {"column": ints(-1, 1), "row": ints(1, -1)},
    ),
    "a long loop": loops(10**8),
    "a loop in a loop": loops(10**4, 10**4),
    "loops three deep": loops(10**5, 10**5, 10**5),
    "a short loop in a short loop": loops(2, 2),
}


@pytest.mark.parametrize("what", CASES)
def test_a1_a2_what_none_of_our_graphs_does_is_refused(what: str) -> None:
    nodes, constants = CASES[what]
    with pytest.raises(IntegrityError, match=r"^the graph "):
        check_graph(model_of(*nodes, **constants))


def test_the_graph_that_the_cases_change_is_taken() -> None:
    check_graph(model_of())
    root = [  # of the normalised linear model
        helper.make_node("Cast", ["length_B"], ["size_B"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Max", ["size_B", "size_B"], ["one_B"]),
        helper.make_node("Sqrt", ["one_B"], ["root_B"]),
    ]
    good = [lstm(), whole_product(8), loops(3), (doubled(3), {}), ([node("Max", "length_B", "length_B")], {})]
    good.append((root, {}))
    for nodes, constants in good:
        check_graph(model_of(*nodes, **constants))


def test_a2_a_batch_is_looked_at_before_it_is_computed() -> None:
    """A size may be harmless for one number of rows and tokens, and not for another: those up to 1,024 are one walk."""
    graph = [
        helper.make_node("Shape", ["ids_BL"], ["length_1"], start=1),
        helper.make_node("Sub", ["length_1", "n"], ["past_1"]),
        helper.make_node("Max", ["past_1", "none"], ["over_1"]),
        helper.make_node("Mul", ["over_1", "many"], ["size_1"]),
        helper.make_node("ConstantOfShape", ["size_1"], ["huge"]),
    ]
    checked = check_graph(model_of(*graph, n=ints(999), none=ints(0), many=ints(2**40)))
    checked.check_batch(5, 512)
    for rows, tokens in ((1, 1000), (5, 513)):
        with pytest.raises(IntegrityError, match="numbers"):
            checked.check_batch(rows, tokens)


def test_a_walk_covers_the_batches_up_to_a_power_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server meets thousands of shapes: they need some dozens of walks, and each value's limit is the smallest's."""
    walked: list[tuple[Range, Range]] = []
    follow = sizes._Walk.follow
    monkeypatch.setattr(sizes._Walk, "follow", lambda walk: walked.append(walk._known["ids_BL"].axes) or follow(walk))
    checked = check_graph(model_of())
    for rows in range(1, 65):
        for tokens in range(1, 513):
            checked.check_batch(rows, tokens)
    assert len(walked) == len(set(walked)) == 7 * 10
    for rows, tokens in ((1, 1), (2, 2), (3, 4), (33, 257), (64, 512)):
        assert any(one.low <= rows <= one.high and few.low <= tokens <= few.high for one, few in walked)


# A6: each place of a graph in which a name stands.
NAMED: dict[str, Callable[[onnx.ModelProto], Any]] = {
    "input": lambda m: (m.graph.input[0], "name"),
    "output": lambda m: (m.graph.output[0], "name"),
    "node": lambda m: (m.graph.node[0], "name"),
    "operator": lambda m: (m.graph.node[0], "op_type"),
    "domain": lambda m: (m.graph.node[0], "domain"),
    "constant": lambda m: (m.graph.initializer[0], "name"),
    "dimension": lambda m: (m.graph.input[0].type.tensor_type.shape.dim[0], "dim_param"),
    "attribute": lambda m: (m.graph.node[1].attribute[0], "name"),
    "opset": lambda m: (m.opset_import[0], "domain"),
}


@pytest.mark.parametrize("bad", [b"\xff\xfe\xfa", b"\x80abc", b"\x1b[2J", b"a\x00b", "\u202ename".encode(), b"x" * 300])
@pytest.mark.parametrize("place", NAMED)
def test_a6_names_that_are_no_text_are_refused(place: str, bad: bytes) -> None:
    """A6: names that are not UTF-8 ended in a traceback of onnxruntime's."""
    model = onnx.ModelProto.FromString(model_of())
    holder, field = NAMED[place](model)
    marker = "MARK" + "m" * (len(bad) - 4) if len(bad) > 4 else "Q" * len(bad)
    setattr(holder, field, marker)
    data = model.SerializeToString()
    assert data.count(marker.encode()) == 1
    with pytest.raises(IntegrityError, match=r"^the graph "):
        check_graph(data.replace(marker.encode(), bad))


def test_a1_a_packed_model_with_such_a_graph_ends_with_exit_code_3(three_labels: Path, tmp_path: Path, cli) -> None:
    nodes, constants = CASES["GatherND with batch_dims below 0"]
    files = packed_files(open_artefact(three_labels), model_of(*nodes, **constants))
    path = tmp_path / "stranger.model"
    pack(files, path)
    done = cli("predict", "--run", str(path), "good")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1].startswith(f"error: {path}/graph.onnx: the graph has an operator 'GatherND'")
    assert "Traceback" not in done.stderr
    assert {*hashes_of(files)} >= {GRAPH}
    with pytest.raises(SentimentError):
        open_predictor(path)
    assert store.is_there(path)
