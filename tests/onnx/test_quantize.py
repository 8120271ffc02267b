"""Weights in other precisions: against the float32 graph, and each row by itself."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from torch import Tensor

from sentiment_cli.onnx.builder import Graph
from sentiment_cli.onnx.quantize import lower_precision, precision_of
from sentiment_cli.onnx.rules.values import INT32

N_ENTRIES, WIDTH, LENGTHS = 60, 32, (9, 1, 5, 9)


def drawn(*shape: int, std: float = 0.3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * std


def looked_up(graph: Graph, table: Tensor) -> str:
    return graph.node("Gather", graph.constant(table), graph.node("Transpose", "ids_BL"))


def embedded(graph: Graph) -> str:
    """Look vectors up in two tables, as for words and n-grams; entry 7 is as large in both, and beyond all others."""
    tables = [drawn(N_ENTRIES, WIDTH), drawn(N_ENTRIES + 1, WIDTH)]
    for table in tables:
        table[7] = 5 * table[8].abs()
    return graph.node("Add", *(looked_up(graph, table) for table in tables))


def lstm(graph: Graph, values_LBD: str, n_inputs: int, *, peephole: bool = False) -> str:
    weights = [drawn(2, 4 * WIDTH, n_inputs), drawn(2, 4 * WIDTH, WIDTH), drawn(2, 8 * WIDTH)]
    names = [graph.constant(weight) for weight in weights]
    lengths = graph.node("Cast", "length_B", to=INT32)
    extra = ("", "", graph.constant(drawn(2, 3 * WIDTH))) if peephole else ()
    states = graph.node("LSTM", values_LBD, *names, lengths, *extra, direction="bidirectional", hidden_size=WIDTH)
    return graph.node("Reshape", graph.node("Transpose", states, perm=[0, 2, 1, 3]), graph.constant([0, 0, -1]))


def stacked(graph: Graph) -> str:
    return lstm(graph, lstm(graph, embedded(graph), WIDTH), 2 * WIDTH, peephole=True)


def gru(graph: Graph) -> str:
    names = [graph.constant(drawn(1, 3 * WIDTH, WIDTH)), graph.constant(drawn(1, 3 * WIDTH, WIDTH, std=0.2))]
    lengths = graph.node("Cast", "length_B", to=INT32)
    states = graph.node("GRU", embedded(graph), *names, "", lengths, hidden_size=WIDTH, linear_before_reset=1)
    return graph.node("Squeeze", states, graph.constant([1]))


def products(graph: Graph) -> str:
    """One product of known values, one of normed ones, one of a square, whose bound nobody knows."""
    known = graph.linear(embedded(graph), drawn(40, WIDTH), drawn(40))
    normed = graph.node("LayerNormalization", known, graph.constant(drawn(40, std=1)), graph.constant(drawn(40)))
    hidden = graph.linear(normed, drawn(48, 40), None)
    return graph.linear(graph.node("Mul", hidden, hidden), drawn(36, 48), None)


def loop(graph: Graph) -> str:
    """A recurrence step by step, with its weights inside the loop, and twice in the graph."""
    weight = graph.constant(drawn(WIDTH, WIDTH, std=0.1))

    def step(body: Graph, state: str, values: str) -> tuple[str, str]:
        new = body.node("Tanh", body.node("Gemm", state, weight, values))
        return new, new

    start = graph.node(
        "Reshape", graph.node("Gather", embedded(graph), graph.constant([0])), graph.constant([-1, WIDTH])
    )
    inputs = graph.node("MatMul", embedded(graph), weight)
    body = graph.body(2, step)
    return graph.nodes("Scan", 2, start, inputs, body=body, num_scan_inputs=1)[1]


def built(write: Callable[[Graph], str]) -> bytes:
    graph = Graph()
    states_LBD = write(graph)
    last = graph.node("Sub", "length_B", graph.constant(1))
    row = graph.node("Range", graph.constant(0), graph.node("Squeeze", graph.node("Shape", last)), graph.constant(1))
    place = graph.node(
        "Transpose",
        graph.node("Concat", *(graph.node("Unsqueeze", one, graph.constant([0])) for one in (last, row)), axis=0),
    )
    value = graph.node("ReduceSum", graph.node("GatherND", states_LBD, place), graph.constant([1]), keepdims=0)
    return graph.finish({"ids_BL": ["B", "L"], "length_B": ["B"]}, value, "logits", ["B"])


def answer(data: bytes, rows: list[NDArray[np.int64]]) -> NDArray[np.float32]:
    length_B = np.array([len(row) for row in rows])
    ids_BL = np.zeros((len(rows), length_B.max()), np.int64)
    for place, row in zip(ids_BL, rows, strict=True):
        place[: len(row)] = row
    session = InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.array(session.run(None, {"ids_BL": ids_BL, "length_B": length_B})[0])


def rows() -> list[NDArray[np.int64]]:
    generator = np.random.default_rng(0)
    found = [generator.integers(8, N_ENTRIES, length) for length in LENGTHS]
    found[-1][4] = 7  # the loud one
    return found


def operators(data: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(data).graph.node}


GRAPHS = {"lstm": stacked, "gru": gru, "products": products, "loop": loop}


@pytest.mark.parametrize("precision", ["int8", "fp16"])
@pytest.mark.parametrize("name", GRAPHS)
def test_another_precision_answers_nearly_the_same_and_is_smaller(name: str, precision) -> None:
    data = built(GRAPHS[name])
    lowered = lower_precision(data, precision).data
    expected, found = answer(data, rows()), answer(lowered, rows())
    spread = np.abs(expected).max()
    assert 0 < np.abs(found - expected).max() < (0.1 if precision == "int8" else 0.003) * spread
    assert len(lowered) < 0.62 * len(data)
    assert (precision_of(data), precision_of(lowered)) == ("fp32", precision)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_row_in_eight_bits_does_not_depend_on_the_others(name: str) -> None:
    """The loud row would move every other's scale."""
    data = lower_precision(built(GRAPHS[name]), "int8").data
    together = answer(data, rows())
    alone = np.concatenate([answer(data, [row]) for row in rows()])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5 * np.abs(together).max())


def test_operators_in_whole_numbers_stand_where_numbers_are_bounded() -> None:
    """What has no such operator, or an input that nobody knows the bound of, is told."""
    in_int8 = {name: lower_precision(built(GRAPHS[name]), "int8") for name in GRAPHS}
    assert {name: one.kept for name, one in in_int8.items()} == {
        "lstm": (),
        "gru": ("GRU",),
        "products": ("MatMul",),
        "loop": ("Gemm",),
    }
    assert "DynamicQuantizeLSTM" in operators(in_int8["lstm"].data) - {"LSTM"}
    assert "MatMulIntegerToFloat" in operators(in_int8["products"].data) & operators(in_int8["loop"].data)
    # An LSTM that starts from a state, or has other squashing functions, may leave what the range is made for.
    graph = Graph()
    names = [graph.constant(drawn(1, 4 * WIDTH, WIDTH)), graph.constant(drawn(1, 4 * WIDTH, WIDTH, std=0.2))]
    other = {"activations": ["Sigmoid", "Relu", "Relu"]}
    states = graph.node("LSTM", embedded(graph), *names, hidden_size=WIDTH, **other)
    data = graph.finish({"ids_BL": ["B", "L"]}, graph.node("ReduceSum", states), "logits", [1, 1, 1, 1])
    assert lower_precision(data, "int8").kept == ("LSTM",)


def test_products_stay_within_sixteen_bits() -> None:
    """Two of 8 by 8 bits would not, on processors that add them so; of 8 by 7 they do."""
    for name in ("lstm", "products"):
        model = onnx.load_from_string(lower_precision(built(GRAPHS[name]), "int8").data)
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        read = {"DynamicQuantizeLSTM": (1, 2), "MatMulIntegerToFloat": (1,)}
        weights = [arrays[node.input[i]] for node in model.graph.node for i in read.get(node.op_type, ())]
        assert weights
        assert all(np.abs(weight.astype(int)).max() == 63 for weight in weights)


def test_numbers_beyond_half_precision_stay_finite() -> None:
    table = drawn(N_ENTRIES, WIDTH)
    table[9, 0] = 1e6
    data = built(lambda graph: graph.node("Gather", graph.constant(table), graph.node("Transpose", "ids_BL")))
    assert np.isfinite(answer(lower_precision(data, "fp16").data, [np.array([9])])).all()


def test_nothing_is_divided_by_the_bound_of_zeros() -> None:
    data = built(lambda graph: graph.linear(looked_up(graph, 0 * drawn(50, WIDTH)), drawn(40, WIDTH), drawn(40)))
    lowered, rows = lower_precision(data, "int8"), [np.array([3, 4, 5])]
    assert lowered.kept == ("MatMul",)
    np.testing.assert_array_equal(answer(lowered.data, rows), answer(data, rows))
