"""The LSTMs of two dimensions as graphs."""

from typing import NamedTuple

import torch

from sentiment_cli.models.cells.lstm_2d import LONGEST_LINE, Lstm2d
from sentiment_cli.models.cells.lstm_grid import GridBlock, LstmGrid
from sentiment_cli.onnx.builder import Graph
from sentiment_cli.onnx.rules.values import INT64

_RIGHT, _LEFT = [0, 1, 0, -1], [0, -1, 0, 1]  # pads that move the columns of _BL by one


def write_lstm_grid(graph: Graph, cell: LstmGrid, input_BLD: str) -> str:
    """Write `LstmGrid` as it reads rows forward from zeros; return states_BLD."""
    if isinstance(cell.enter, torch.nn.Linear):
        input_BLD = graph.linear(input_BLD, cell.enter.weight, None)
    states_LBD, memory_LBD = graph.turn(input_BLD), None
    for block in cell.blocks:
        assert isinstance(block, GridBlock)
        states_LBD, memory_LBD = _block(graph, block, states_LBD, memory_LBD)
    return graph.turn(states_LBD)


def _block(graph: Graph, block: GridBlock, below_LBD: str, from_below_LBD: str | None) -> tuple[str, str]:
    """Write a block; return h and c along depth.

    Along time it is an LSTM that reads what comes from below. Nothing that goes along depth comes back to it, so that
    it is written of all steps at once, from the LSTM's states one step before.
    """
    width = block.width
    order = [0, 4, 2, 6, 1, 3, 5, 7]  # time's in, out, forget, new, as ONNX has them; depth's in, forget, out, new
    input_weight_GD, state_weight_GD, bias_G = (
        torch.cat([values.detach().chunk(8)[k] for k in order])
        for values in (block.input_weight, block.state_weight, block.bias)
    )
    of_time = [graph.constant(weight_GD[None, : 4 * width]) for weight_GD in (input_weight_GD, state_weight_GD)]
    both_biases = graph.constant(torch.cat([bias_G[: 4 * width], torch.zeros(4 * width)])[None])
    states_L1BD = graph.node("LSTM", below_LBD, *of_time, both_biases, hidden_size=width)
    states_LBD = graph.node("Squeeze", states_L1BD, graph.constant([1]))
    before_LBD = graph.node("Pad", states_LBD, graph.constant([1, 0, 0, -1, 0, 0]))

    from_below_LBG = graph.linear(below_LBD, input_weight_GD[4 * width :], bias_G[4 * width :])
    gates_LBG = graph.node("Add", from_below_LBG, graph.linear(before_LBD, state_weight_GD[4 * width :], None))
    sizes = graph.constant([3 * width, width])
    open_LBG, new_LBD = graph.nodes("Split", 2, gates_LBG, sizes, axis=2)
    in_LBD, forget_LBD, out_LBD = graph.nodes("Split", 3, graph.node("Sigmoid", open_LBG), axis=2, num_outputs=3)
    memory_LBD = graph.node("Mul", in_LBD, graph.node("Tanh", new_LBD))
    if from_below_LBD is not None:
        memory_LBD = graph.node("Add", memory_LBD, graph.node("Mul", forget_LBD, from_below_LBD))
    return graph.node("Mul", out_LBD, graph.node("Tanh", memory_LBD)), memory_LBD


def write_sentence_ends(graph: Graph, ids_BL: str, is_mark_V: torch.Tensor) -> str:
    """Write `sentence_ends`; return ends_BL."""
    is_mark_BL = graph.node("Gather", graph.constant(is_mark_V), ids_BL)
    is_next_mark_BL = graph.node("Pad", is_mark_BL, graph.constant(_LEFT))
    return graph.node("And", is_mark_BL, graph.node("Not", is_next_mark_BL))


def write_lstm_2d(graph: Graph, cell: Lstm2d, input_BLD: str, length_B: str, ends_BL: str, *, reverse: bool) -> str:
    """Write `Lstm2d`; return states_BLD, zero at padding.

    With `reverse` it reads each row from its own end. Input, ends and states stand in the order of the text either way.

    As in the module all cells of a diagonal are computed at once, by one step of a Scan. The neighbours of a cell are
    on the diagonal before, which is all that a step carries.
    """
    begins_BL = graph.node("Pad", ends_BL, graph.constant(_RIGHT))
    turn = {"batch_axis": 0, "time_axis": 1}
    if reverse:
        input_BLD = graph.node("ReverseSequence", input_BLD, length_B, **turn)
        turned_BL = graph.node("ReverseSequence", begins_BL, length_B, **turn)
        begins_BL = graph.node("Pad", turned_BL, graph.constant(_RIGHT))
    states_BLD = _scan_diagonals(graph, cell, input_BLD, _lay_out(graph, length_B, begins_BL))
    return graph.node("ReverseSequence", states_BLD, length_B, **turn) if reverse else states_BLD


class _Layout(NamedTuple):
    """The cells of a padded batch by the diagonals of their rows' grids: S of them, with room for K cells each.

    size_S1: how many cells a diagonal has; place_SK: where their words stand in the flat batch; near_SK2: where their
    left and upper neighbours stand on the diagonal before, K for none; rank_BL: where the cell of each word stands
    among S x (K + 1), the K of the first diagonal for padding; n_slots: K, of shape [1].
    """

    size_S1: str
    place_SK: str
    near_SK2: str
    rank_BL: str
    n_slots: str


def _lay_out(graph: Graph, length_B: str, begins_BL: str) -> _Layout:
    """Add nodes that compute `lstm_2d.lay_out`; begins_BL marks words that begin a sentence."""
    node, constant = graph.node, graph.constant
    zero, one, flat = constant(0), constant(1), constant([-1])
    shape = node("Shape", begins_BL)
    column_BL = node("Expand", node("Range", zero, node("Gather", shape, one), one), shape)
    is_word_BL = node("Less", column_BL, node("Unsqueeze", length_B, constant([1])))
    line_BL, first_BL = _lines(graph, column_BL, begins_BL)
    word_BL = node("Sub", column_BL, first_BL)
    diagonal_BL = node("Where", is_word_BL, node("Add", line_BL, word_BL), zero)

    place_T = node("Squeeze", node("NonZero", node("Reshape", is_word_BL, flat)), constant([0]))
    diagonal_T = node("Gather", node("Reshape", diagonal_BL, flat), place_T)
    diagonal_T, order_T = graph.nodes("TopK", 2, diagonal_T, node("Shape", diagonal_T), largest=0)
    place_T = node("Gather", place_T, order_T)
    n_diagonals = node("Add", node("ReduceMax", diagonal_T, keepdims=1), constant([1]))
    each_T = node("Expand", one, node("Shape", diagonal_T))
    size_S = node("ScatterElements", node("Expand", zero, n_diagonals), diagonal_T, each_T, reduction="add")
    n_slots = node("ReduceMax", size_S, keepdims=1)
    before_T = node("Gather", node("CumSum", size_S, zero, exclusive=1), diagonal_T)
    slot_T = node("Sub", node("CumSum", each_T, zero, exclusive=1), before_T)

    no_slot_N = node("Expand", n_slots, node("ReduceProd", shape, keepdims=1))
    slot_BL = node("Reshape", node("ScatterElements", no_slot_N, place_T, slot_T), shape)
    before_first_BL = node("Max", node("Sub", first_BL, one), zero)
    above_BL = node("Add", node("GatherElements", first_BL, before_first_BL, axis=1), word_BL)
    has_above_BL = node("And", node("Greater", line_BL, zero), node("Less", above_BL, first_BL))
    left_BL = node("Where", node("Greater", word_BL, zero), node("Pad", slot_BL, constant(_RIGHT)), n_slots)
    upper_BL = node("Where", has_above_BL, node("GatherElements", slot_BL, above_BL, axis=1), n_slots)
    near_BL2 = node("Concat", *(node("Unsqueeze", near_BL, constant([2])) for near_BL in (left_BL, upper_BL)), axis=2)

    cell_T = node("Add", node("Mul", diagonal_T, n_slots), slot_T)
    place_C = node("ScatterElements", node("Expand", zero, node("Mul", n_diagonals, n_slots)), cell_T, place_T)
    place_SK = node("Reshape", place_C, node("Concat", n_diagonals, n_slots, axis=0))
    return _Layout(
        node("Unsqueeze", size_S, constant([1])),
        place_SK,
        node("Gather", node("Reshape", near_BL2, constant([-1, 2])), place_SK),
        node("Add", node("Mul", diagonal_BL, node("Add", n_slots, one)), slot_BL),
        n_slots,
    )


def _lines(graph: Graph, column_BL: str, begins_BL: str) -> tuple[str, str]:
    """Write the number of each word's line, and the column where it begins."""
    sentence_BL = _count(graph, begins_BL)
    in_sentence_BL = graph.node("Sub", column_BL, _first_columns(graph, column_BL, sentence_BL))
    in_line_BL = graph.node("Mod", in_sentence_BL, graph.constant(LONGEST_LINE))
    is_first_BL = graph.node("Equal", in_line_BL, graph.constant(0))
    line_BL = graph.node("Sub", _count(graph, is_first_BL), graph.constant(1))
    return line_BL, graph.node("Sub", column_BL, in_line_BL)


def _count(graph: Graph, is_true_BL: str) -> str:
    """Write how many are true so far, from the left."""
    return graph.node("CumSum", graph.node("Cast", is_true_BL, to=INT64), graph.constant(1))


def _first_columns(graph: Graph, column_BL: str, group_BL: str) -> str:
    """Write the column where each word's group begins; groups are numbered."""
    shape = graph.node("Shape", column_BL)
    behind_BL = graph.node("Expand", graph.node("Gather", shape, graph.constant(1)), shape)
    first_BL = graph.node("ScatterElements", behind_BL, group_BL, column_BL, axis=1, reduction="min")
    return graph.node("GatherElements", first_BL, group_BL, axis=1)


def _scan_diagonals(graph: Graph, cell: Lstm2d, input_BLD: str, layout: _Layout) -> str:
    """Write the recurrence; return states_BLD."""
    width = cell.width
    input_ND = graph.node("Reshape", input_BLD, graph.constant([-1, cell.input_weight.shape[1]]))
    weight = graph.constant(torch.cat([cell.input_weight, cell.state_weight], dim=1).t())
    bias, first, one = graph.constant(cell.bias), graph.constant([0]), graph.constant([1])
    of_gates, of_sums = graph.constant([4 * width, width]), graph.constant([width, 2 * width, width])
    joined, apart = graph.constant([-1, 2 * width]), graph.constant([-1, 2, width])
    n_rows = graph.node("Add", layout.n_slots, one)

    def step(
        body: Graph, before_KD: str, before_memory_KD: str, size: str, place_K: str, near_K2: str
    ) -> tuple[str, str, str]:
        """Compute the cells of a diagonal; rows of zeros follow them."""
        place_K, near_K2 = (body.node("Slice", values, first, size) for values in (place_K, near_K2))
        read_KE = body.node("Reshape", body.node("Gather", before_KD, near_K2), joined)
        read_KF = body.node("Concat", body.node("Gather", input_ND, place_K), read_KE, axis=1)
        open_KF, new_KD = body.nodes("Split", 2, body.node("Gemm", read_KF, weight, bias), of_gates, axis=1)
        in_KD, forget_KE, out_KD = body.nodes("Split", 3, body.node("Sigmoid", open_KF), of_sums, axis=1)
        near_memory_K2D = body.node("Gather", before_memory_KD, near_K2)
        kept_K2D = body.node("Mul", body.node("Reshape", forget_KE, apart), near_memory_K2D)
        kept_KD = body.node("ReduceSum", kept_K2D, one, keepdims=0)
        memory_KD = body.node("Add", body.node("Mul", in_KD, body.node("Tanh", new_KD)), kept_KD)
        state_KD = body.node("Mul", out_KD, body.node("Tanh", memory_KD))
        pads = body.node("Concat", first, first, body.node("Sub", n_rows, size), first, axis=0)
        state_KD, memory_KD = (body.node("Pad", values_KD, pads) for values_KD in (state_KD, memory_KD))
        return state_KD, memory_KD, state_KD

    start_KD = graph.node("ConstantOfShape", graph.node("Concat", n_rows, graph.constant([width]), axis=0))
    along = [layout.size_S1, layout.place_SK, layout.near_SK2]
    _, _, states_SKD = graph.nodes("Scan", 3, start_KD, start_KD, *along, body=graph.body(5, step), num_scan_inputs=3)
    states_ND = graph.node("Reshape", states_SKD, graph.constant([-1, width]))
    return graph.node("Gather", states_ND, layout.rank_BL)
