"""Which operators our graphs have, with which attributes: the positive list that graphs are checked by.

An operator that is given anything else (attributes, numbers of inputs, types, ranks, weights of sizes that do not fit)
is refused: what onnxruntime makes of it is not known to be safe.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sentiment_cli.onnx.rules.arithmetic import (
    arithmetic_rule,
    cast_rule,
    clip_rule,
    compare_rule,
    cum_sum_rule,
    identity_rule,
    neg_rule,
    reduce_rule,
    same_rule,
    where_rule,
)
from sentiment_cli.onnx.rules.calls import Call
from sentiment_cli.onnx.rules.indexing import (
    gather_elements_rule,
    gather_nd_rule,
    gather_rule,
    non_zero_rule,
    pad_rule,
    range_rule,
    reverse_sequence_rule,
    scatter_rule,
    slice_rule,
    top_k_rule,
)
from sentiment_cli.onnx.rules.products import (
    along_axis_rule,
    gemm_rule,
    layer_norm_rule,
    mat_mul_rule,
    quantize_rule,
    recurrent_rule,
    whole_product_rule,
)
from sentiment_cli.onnx.rules.shaping import (
    concat_rule,
    constant_of_shape_rule,
    expand_rule,
    reshape_rule,
    shape_rule,
    split_rule,
    squeeze_rule,
    transpose_rule,
    unsqueeze_rule,
)
from sentiment_cli.onnx.rules.values import BOOL, FLOAT, INT64, Value

_NUMBERS = (FLOAT, INT64)


class Rule(NamedTuple):
    """How an operator is checked, and which attributes it may have."""

    check: Callable[[Call], Sequence[Value]]
    attributes: frozenset[str] = frozenset()
    n_outputs: int = 1


def _rule(check: Callable[[Call], Sequence[Value]], *attributes: str, n_outputs: int = 1) -> Rule:
    return Rule(check, frozenset(attributes), n_outputs)


_FLOATS = _rule(same_rule(FLOAT))
_COMPARE, _LOGIC = _rule(compare_rule(INT64, FLOAT)), _rule(compare_rule(BOOL))
_REDUCE = _rule(reduce_rule, "keepdims")
RULES: dict[tuple[str, str], Rule] = {
    **{("", name): _FLOATS for name in "Abs Cos Gelu Relu Sigmoid Sign Sin Sqrt Tanh".split()},
    **{("", name): _COMPARE for name in "Equal Greater GreaterOrEqual Less LessOrEqual".split()},
    **{("", name): _rule(arithmetic_rule(*_NUMBERS)) for name in "Add Div Max Min Mul Sub".split()},
    ("", "Mod"): _rule(arithmetic_rule(INT64)),
    **{("", name): _LOGIC for name in "And Or".split()},
    **{("", name): _REDUCE for name in "ReduceMax ReduceProd ReduceSum".split()},
    **{("", name): _rule(along_axis_rule, "axis") for name in "LogSoftmax Softmax".split()},
    ("", "Cast"): _rule(cast_rule, "to"),
    ("", "Clip"): _rule(clip_rule),
    ("", "Concat"): _rule(concat_rule, "axis"),
    ("", "ConstantOfShape"): _rule(constant_of_shape_rule),
    ("", "CumSum"): _rule(cum_sum_rule, "exclusive"),
    ("", "Expand"): _rule(expand_rule),
    ("", "GRU"): _rule(recurrent_rule, "direction", "hidden_size", "linear_before_reset"),
    ("", "Gather"): _rule(gather_rule, "axis"),
    ("", "GatherElements"): _rule(gather_elements_rule, "axis"),
    ("", "GatherND"): _rule(gather_nd_rule),
    ("", "Gemm"): _rule(gemm_rule, "transB"),
    ("", "Identity"): _rule(identity_rule),
    ("", "LSTM"): _rule(recurrent_rule, "direction", "hidden_size", n_outputs=3),
    ("", "LayerNormalization"): _rule(layer_norm_rule, "axis", "epsilon"),
    ("", "MatMul"): _rule(mat_mul_rule),
    ("", "Neg"): _rule(neg_rule),
    ("", "NonZero"): _rule(non_zero_rule),
    ("", "Not"): _rule(same_rule(BOOL)),
    ("", "Pad"): _rule(pad_rule),
    ("", "QuantizeLinear"): _rule(quantize_rule),
    ("", "Range"): _rule(range_rule),
    ("", "Reshape"): _rule(reshape_rule),
    ("", "ReverseSequence"): _rule(reverse_sequence_rule, "batch_axis", "time_axis"),
    ("", "ScatterElements"): _rule(scatter_rule, "axis", "reduction"),
    ("", "Shape"): _rule(shape_rule, "start", "end"),
    ("", "Slice"): _rule(slice_rule),
    ("", "Split"): _rule(split_rule, "axis", "num_outputs", n_outputs=8),
    ("", "Squeeze"): _rule(squeeze_rule),
    ("", "TopK"): _rule(top_k_rule, "axis", "largest", n_outputs=2),
    ("", "Transpose"): _rule(transpose_rule, "perm"),
    ("", "Unsqueeze"): _rule(unsqueeze_rule),
    ("", "Where"): _rule(where_rule),
    ("com.microsoft", "DynamicQuantizeLSTM"): _rule(recurrent_rule, "direction", "hidden_size", n_outputs=3),
    ("com.microsoft", "MatMulIntegerToFloat"): _rule(whole_product_rule),
}
