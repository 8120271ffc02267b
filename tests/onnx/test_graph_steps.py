"""Parts of graphs in onnxruntime against the torch modules they are written from."""

import functools
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.models.cells.lstm_2d import LONGEST_LINE, Lstm2d, reversed_ends, sentence_ends
from sentiment_cli.models.cells.lstm_grid import LstmGrid
from sentiment_cli.models.cells.orthogonal import GORU, Orthogonal
from sentiment_cli.models.layers.encoders import flipped_places
from sentiment_cli.models.layers.ngrams import count_ngrams
from sentiment_cli.models.layers.transformer import TransformerEncoder
from sentiment_cli.models.linear import LinearClassifier
from sentiment_cli.onnx.builder import Graph
from sentiment_cli.onnx.grids import write_lstm_2d, write_lstm_grid, write_sentence_ends
from sentiment_cli.onnx.linear import write_linear
from sentiment_cli.onnx.rules.values import FLOAT
from sentiment_cli.onnx.scans import write_goru, write_orthogonal
from sentiment_cli.onnx.transformer import write_transformer

N_ENTRIES = 30
SHAPES = [(1, 1), (3, 1), (1, 7), (5, 12), (2, 40)]


def batch_of(batch: int, length: int) -> tuple[Tensor, Tensor]:
    """Rows of random ids and mixed lengths, the last as long as the batch is wide; padding is no other id."""
    generator = torch.Generator().manual_seed(batch)
    length_B = torch.randint(1, length + 1, (batch,), generator=generator)
    length_B[-1] = length
    ids_BL = torch.randint(1, N_ENTRIES, (batch, length), generator=generator)
    return ids_BL.masked_fill(torch.arange(length) >= length_B[:, None], 9), length_B


def drawn(module: nn.Module) -> nn.Module:
    """The module in evaluation mode with weights none of which is 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    return module.eval()


def assert_same(
    write: Callable[[Graph, str, str], str],
    read: Callable[[Tensor, Tensor], Tensor],
    axes: list[str],
    shapes: list[tuple[int, int]] = SHAPES,
) -> None:
    """What is written from the names of ids_BL and length_B gives what `read` gives of the two."""
    graph = Graph()
    data = graph.finish({"ids_BL": ["B", "L"], "length_B": ["B"]}, write(graph, "ids_BL", "length_B"), "out", axes)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for batch, length in shapes:
        ids_BL, length_B = batch_of(batch, length)
        (found,) = session.run(None, {"ids_BL": ids_BL.numpy(), "length_B": length_B.numpy()})
        with torch.no_grad():
            expected = read(ids_BL, length_B)
        atol = 1e-5 * max(1.0, float(expected.abs().max()))  # of the largest value: what is summed rounds with it
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=atol, rtol=0)


def vectors(width: int) -> Tensor:
    """A vector for each id, which stands for an embedding."""
    return torch.randn(N_ENTRIES, width, generator=torch.Generator().manual_seed(1))


LAYERS = {
    "orthogonal": (Orthogonal, write_orthogonal),
    "goru": (GORU, write_goru),
    "lstm-grid of one layer": (functools.partial(LstmGrid, depth=1), write_lstm_grid),
    "lstm-grid": (functools.partial(LstmGrid, depth=3), write_lstm_grid),
}


@pytest.mark.parametrize("input_width", [6, 4])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_read_forward(name: str, input_width: int) -> None:
    cell, write = LAYERS[name]
    layer, vectors_VD = drawn(cell(input_width, 6)), vectors(input_width)
    assert_same(
        lambda graph, ids_BL, _: write(graph, layer, graph.node("Gather", graph.constant(vectors_VD), ids_BL)),
        lambda ids_BL, _: layer(vectors_VD[ids_BL])[0],
        ["B", "L", "D"],
    )


def test_sentence_ends() -> None:
    is_mark_V = torch.arange(N_ENTRIES) % 3 == 1
    assert_same(
        lambda graph, ids_BL, _: graph.node("Cast", write_sentence_ends(graph, ids_BL, is_mark_V), to=FLOAT),
        lambda ids_BL, _: sentence_ends(ids_BL, is_mark_V).float(),
        ["B", "L"],
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n_marks", [0, 2, 15])
def test_lstm_2d_of_lines_of_any_length(n_marks: int, reverse: bool) -> None:
    is_mark_V = torch.arange(N_ENTRIES) >= N_ENTRIES - n_marks
    layer, vectors_VD = drawn(Lstm2d(4, 6)), vectors(4)

    def write(graph: Graph, ids_BL: str, length_B: str) -> str:
        input_BLD = graph.node("Gather", graph.constant(vectors_VD), ids_BL)
        ends_BL = write_sentence_ends(graph, ids_BL, is_mark_V)
        return write_lstm_2d(graph, layer, input_BLD, length_B, ends_BL, reverse=reverse)

    def read(ids_BL: Tensor, length_B: Tensor) -> Tensor:
        input_BLD, ends_BL = vectors_VD[ids_BL], sentence_ends(ids_BL, is_mark_V)
        if not reverse:
            return layer(input_BLD, length_B, ends_BL)[0]
        flip_N = flipped_places(length_B, ids_BL.shape[1])
        turned_BLD = input_BLD.flatten(0, 1)[flip_N].view_as(input_BLD)
        states_BLD = layer(turned_BLD, length_B, reversed_ends(ends_BL, flip_N))[0]
        return states_BLD.flatten(0, 1)[flip_N].view_as(states_BLD)

    assert_same(write, read, ["B", "L", "D"], [*SHAPES, (4, 2 * LONGEST_LINE + 9)])


@pytest.mark.parametrize(("width", "heads", "input_width", "layers"), [(8, 2, 8, 1), (8, 4, 5, 2), (9, 1, 9, 1)])
def test_transformer(width: int, heads: int, input_width: int, layers: int) -> None:
    settings = schema.Encoder(width=width, heads=heads, layers=layers)
    encoder, vectors_VD = drawn(TransformerEncoder(settings, input_width)), vectors(input_width)
    assert_same(
        lambda graph, ids_BL, length_B: write_transformer(
            graph, encoder, graph.node("Gather", graph.constant(vectors_VD), ids_BL), length_B
        ),
        lambda ids_BL, length_B: encoder(vectors_VD[ids_BL], length_B).states_BLD,
        ["B", "L", "D"],
    )


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("longest", [1, 2, 4])
def test_linear(longest: int, n_labels: int) -> None:
    n_entries, unknown_id = 6, 1
    (known_BL, _), generator = batch_of(30, 30), torch.Generator().manual_seed(0)
    known_BL = torch.nn.functional.pad(known_BL % n_entries, (0, 1))
    row_T = np.repeat(np.arange(30, dtype=np.int32), 31)
    counted = count_ngrams(known_BL.flatten().numpy(), row_T, n_entries, unknown_id, longest=longest, min_count=2)
    model = LinearClassifier(schema.Linear(ngrams=longest), n_entries, unknown_id, n_labels)
    model.keys = torch.from_numpy(counted.key_K)
    model.weight = torch.randn(len(counted.start_F1) - 1, model.n_logits, generator=generator)
    model.bias = torch.randn(model.n_logits, generator=generator)
    for n_keys in (None, 13, 6, 3, 1, 0):  # all n-grams, then the first so many
        model.keys = model.keys[:n_keys]
        model.weight = model.weight[: n_entries + len(model.keys)]
        assert_same(
            lambda graph, ids_BL, length_B: write_linear(
                graph, model, graph.node("Mod", ids_BL, graph.constant(n_entries)), length_B
            ),
            lambda ids_BL, length_B: model(ids_BL % n_entries, length_B),
            ["B"] if n_labels == 2 else ["B", "C"],
        )
