"""The rows of a padded batch as nodes, a step of all rows beside each other: LBD."""

from typing import NamedTuple

from sentiment_cli.onnx.builder import Graph


class RowMask(NamedTuple):
    """n_steps_1, which padding is part of; step_L, 0 to the last one; is_token_LB1, whether a row reaches a step.

    ends_BL says after which tokens a sentence ends, where an encoder asks.
    """

    length_B: str
    n_steps_1: str
    step_L: str
    is_token_LB1: str
    ends_BL: str = ""


def write_rows(graph: Graph, length_B: str, n_steps_1: str) -> RowMask:
    """Return the rows of these lengths, padded to a number of steps."""
    step_L = _count(graph, n_steps_1)
    step_L11 = graph.node("Unsqueeze", step_L, graph.constant([1, 2]))
    is_token_LB1 = graph.node("Less", step_L11, graph.node("Unsqueeze", length_B, graph.constant([1])))
    return RowMask(length_B, n_steps_1, step_L, is_token_LB1)


def fill_padding(graph: Graph, values_LBD: str, rows: RowMask, value: float = 0.0) -> str:
    """Return the values with padding replaced by `value`."""
    return graph.node("Where", rows.is_token_LB1, values_LBD, graph.constant(value))


def step_before(graph: Graph, values_LBD: str, *, reverse: bool) -> str:
    """Return the values shifted by one step, or back by one in reverse; zeros at the end."""
    pads = [-1, 0, 0, 1, 0, 0] if reverse else [1, 0, 0, -1, 0, 0]
    return graph.node("Pad", values_LBD, graph.constant(pads))


def write_last_states(graph: Graph, values_LBD: str, rows: RowMask) -> str:
    """Return the values at each row's last token."""
    last_B = graph.node("Sub", rows.length_B, graph.constant(1))
    row_B = _count(graph, graph.node("Shape", rows.length_B))
    place_B2 = graph.join(*(graph.node("Unsqueeze", index_B, graph.constant([1])) for index_B in (last_B, row_B)))
    return graph.node("GatherND", values_LBD, place_B2)


def cut_mask(graph: Graph, values_L: str, rows: RowMask, size_1: str) -> str:
    """Cut the first axis into N pieces of K steps, which become the first two; zeros fill the last one up."""
    missing_1 = graph.node("Mod", graph.node("Neg", rows.n_steps_1), size_1)
    values_L = graph.node("Pad", values_L, graph.join(graph.constant([0]), missing_1), "", graph.constant([0]))
    shape = graph.join(graph.constant([-1]), size_1, graph.node("Shape", values_L, start=1))
    return graph.node("Reshape", values_L, shape)


def uncut(graph: Graph, values_NK: str, rows: RowMask) -> str:
    """Join segments again, without the padding of the last one."""
    shape = graph.join(graph.constant([-1]), graph.node("Shape", values_NK, start=2))
    return graph.node("Slice", graph.node("Reshape", values_NK, shape), graph.constant([0]), rows.n_steps_1)


def _count(graph: Graph, n_1: str) -> str:
    return graph.node("Range", graph.constant(0), graph.node("Squeeze", n_1), graph.constant(1))
