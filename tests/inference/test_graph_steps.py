"""Parts of graphs in onnxruntime against the torch modules they are written from."""

from collections.abc import Callable

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from sentiment_cli.inference.graphs.builder import Graph
from sentiment_cli.inference.graphs.steps import write_goru, write_orthogonal
from sentiment_cli.models.orthogonal import GORU, Orthogonal

N_ENTRIES = 30
SHAPES = [(1, 1), (3, 1), (1, 7), (5, 12), (2, 40)]


def batch_of(batch: int, length: int) -> tuple[Tensor, Tensor]:
    """Rows of random ids and mixed lengths, the last as long as the batch is wide, padded with 0."""
    generator = torch.Generator().manual_seed(batch)
    length_B = torch.randint(1, length + 1, (batch,), generator=generator)
    length_B[-1] = length
    ids_BL = torch.randint(1, N_ENTRIES, (batch, length), generator=generator)
    return ids_BL.masked_fill(torch.arange(length) >= length_B[:, None], 0), length_B


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
            torch.testing.assert_close(torch.from_numpy(found), read(ids_BL, length_B), atol=1e-5, rtol=0)


def vectors(width: int) -> Tensor:
    """A vector for each id, which stands for an embedding."""
    return torch.randn(N_ENTRIES, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("input_width", [6, 4])
@pytest.mark.parametrize(("cell", "write"), [(Orthogonal, write_orthogonal), (GORU, write_goru)])
def test_orthogonal_layers(cell: type[nn.Module], write: Callable[..., str], input_width: int) -> None:
    layer, vectors_VD = drawn(cell(input_width, 6)), vectors(input_width)
    assert_same(
        lambda graph, ids_BL, _: write(graph, layer, graph.node("Gather", graph.constant(vectors_VD), ids_BL)),
        lambda ids_BL, _: layer(vectors_VD[ids_BL])[0],
        ["B", "L", "D"],
    )
