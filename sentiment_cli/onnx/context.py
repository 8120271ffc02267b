"""What each state remembers of those before it, by attention, as nodes."""

from sentiment_cli.models.layers.context import Context
from sentiment_cli.onnx.builder import Graph
from sentiment_cli.onnx.masking import Rows, cut, uncut


def write_context(graph: Graph, context: Context, states_LBD: str, rows: Rows) -> str:
    """Return context_LBD, to be joined to the states, of which padding's are finite.

    Rows are cut into N pieces of K steps, each of which sees J steps: of its own piece, and where attention is local of
    the one before it. Global attention has one piece.
    """
    size_1 = rows.n_steps_1
    if context.window is not None:
        size_1 = graph.node("Min", size_1, graph.constant([context.window]))
    states_NKBD = cut(graph, states_LBD, rows, size_1)
    piece_NBKD = key_NBJD = graph.node("Transpose", states_NKBD, perm=[0, 2, 1, 3])
    step_NK = key_step_NJ = cut(graph, rows.step_L, rows, size_1)
    if context.window is not None:  # what fills the last piece up is step 0, a window and more before it
        before_NBKD = graph.node("Pad", piece_NBKD, graph.constant([1, 0, 0, 0, -1, 0, 0, 0]))
        key_NBJD = graph.node("Concat", before_NBKD, piece_NBKD, axis=2)
        nothing = graph.node("Neg", graph.node("Squeeze", size_1))  # is a window before step 0
        before_NK = graph.node("Pad", step_NK, graph.constant([1, 0, -1, 0]), nothing)
        key_step_NJ = graph.node("Concat", before_NK, step_NK, axis=1)
    step_N1K1 = graph.node("Unsqueeze", step_NK, graph.constant([1, 3]))
    past_N1KJ = graph.node("Sub", step_N1K1, graph.node("Unsqueeze", key_step_NJ, graph.constant([1, 2])))
    is_near_N1KJ = graph.node("Less", past_N1KJ, size_1)
    is_seen_N1KJ = graph.node("And", is_near_N1KJ, graph.node("GreaterOrEqual", past_N1KJ, graph.constant(0)))
    query_NBKD = graph.linear(piece_NBKD, context.query.weight / context.query.in_features**0.5, None)
    score_NBKJ = graph.node("MatMul", query_NBKD, graph.node("Transpose", key_NBJD, perm=[0, 1, 3, 2]))
    score_NBKJ = graph.node("Where", is_seen_N1KJ, score_NBKJ, graph.constant(float("-inf")))
    context_NBKD = graph.node("MatMul", graph.node("Softmax", score_NBKJ, axis=-1), key_NBJD)
    return uncut(graph, graph.node("Transpose", context_NBKD, perm=[0, 2, 1, 3]), rows)
