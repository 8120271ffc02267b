"""The rules of operators with weights: the sizes of these fit the values and each other."""

from collections.abc import Sequence

from sentiment_cli.onnx.rules.calls import Call
from sentiment_cli.onnx.rules.values import FLOAT, INT8, INT32, UINT8, Value, broadcast, fixed, value


def mat_mul_rule(call: Call) -> Sequence[Value]:
    one, other = call.take(2)
    call.of([FLOAT], call.ranked(one, 2, 5), call.ranked(other, 2, 5))
    inner, outer = one.axes[-1], other.axes[-2]
    if inner.high < outer.low or outer.high < inner.low:
        raise call.wrong("multiplies matrices that do not fit")
    batch, _ = broadcast(one._replace(axes=one.axes[:-2]), other._replace(axes=other.axes[:-2]))
    size = None if other.rank > 2 else one.size // max(1, inner.low) * other.axes[-1].high
    return [value(FLOAT, [*batch, one.axes[-2], other.axes[-1]], size=size)]


def gemm_rule(call: Call) -> Sequence[Value]:
    one, other, more = call.take(3)
    call.of([FLOAT], *(call.ranked(each, 2) for each in (one, other)), call.ranked(more, 1, 2))
    turned = call.attribute("transB", 0, lambda turned: turned in (0, 1))
    inner, columns = other.axes[::-1] if turned else other.axes
    fits = one.axes[1] == inner and inner.is_one and columns.is_one and more.axes[-1] == columns
    if not fits:
        raise call.wrong("multiplies matrices that do not fit")
    return [value(FLOAT, [one.axes[0], columns])]


def along_axis_rule(call: Call) -> Sequence[Value]:
    (one,) = call.take(1)
    call.of([FLOAT], one)
    call.axis(one.rank, -1)
    return [one]


def layer_norm_rule(call: Call) -> Sequence[Value]:
    one, gain, shift = call.take(3)
    call.of([FLOAT], one, gain, shift)
    call.attribute("axis", -1, lambda axis: axis == -1)
    call.attribute("epsilon", 1e-5, lambda epsilon: 0 < epsilon < 1)
    for weight in (gain, shift):
        call.sized(weight, *_last(call, one))
    return [one]


def _last(call: Call, one: Value) -> list[int]:
    """Return the size of the last axis, which is known."""
    if one.rank == 0 or not one.axes[-1].is_one:
        raise call.wrong("is given numbers of no known width")
    return [one.axes[-1].low]


def recurrent_rule(call: Call) -> Sequence[Value]:
    """LSTM, GRU, and the int8 LSTM, which has transposed matrices, followed by scales."""
    operator = call.node.operator
    n_gates, is_whole = (3 if operator == "GRU" else 4), operator == "DynamicQuantizeLSTM"
    n_inputs = 12 if is_whole else 6 if operator == "GRU" else 8
    if len(call.given) > n_inputs:
        raise call.wrong(f"has {len(call.given)} inputs")
    given = [*call.given, *[None] * (n_inputs - len(call.given))]
    width = call.attribute("hidden_size", 0, lambda size: size > 0)
    n = (
        2
        if call.attribute("direction", "forward", lambda one: one in ("forward", "bidirectional")) == "bidirectional"
        else 1
    )
    if operator == "GRU":
        call.attribute("linear_before_reset", 0, lambda linear: linear == 1)
    one, weight, state_weight = given[:3]
    if one is None or weight is None or state_weight is None:
        raise call.wrong("has no weights")
    call.of([FLOAT], call.ranked(one, 3))
    (n_read,), gates = _last(call, one), n_gates * width
    call.of([INT8 if is_whole else FLOAT], weight, state_weight)
    call.sized(weight, n, *((n_read, gates) if is_whole else (gates, n_read)))
    call.sized(state_weight, n, *((width, gates) if is_whole else (gates, width)))
    states = [one.axes[1]]
    for i, sizes in (
        (3, (n, 2 * gates)),
        (7, (n, 3 * width)),
        (8, (n, gates)),
        (9, (n, gates)),
        (10, (n, gates)),
        (11, (n, gates)),
    ):
        if i < n_inputs and (found := given[i]) is not None:
            call.of([INT8 if i in (9, 11) else FLOAT], found)
            call.sized(found, *sizes)
        elif is_whole and i > 7:
            raise call.wrong("has no scales")
    if (lengths := given[4]) is not None:
        call.of([INT32], call.ranked(lengths, 1))
    for start in given[5 : min(7, n_inputs)]:
        if start is not None:
            call.of([FLOAT], call.ranked(start, 3))
            if (start.axes[0], start.axes[2]) != (*fixed(n), *fixed(width)) or not is_whole:
                raise call.wrong("begins with states of another shape")
    step = value(FLOAT, [*fixed(n), *states, *fixed(width)])
    whole = value(FLOAT, [one.axes[0], *fixed(n), *states, *fixed(width)])
    return [whole, step, step][: max(1, len(call.node.outputs))]


def quantize_rule(call: Call) -> Sequence[Value]:
    one, scale, zero = call.take(3)
    call.of([FLOAT], one, call.ranked(scale, 0))
    call.of([UINT8], call.ranked(zero, 0))
    return [value(UINT8, one.axes, size=one.size)]


def whole_product_rule(call: Call) -> Sequence[Value]:
    codes, weight, scale, scales, zero = call.take(5)
    call.of([UINT8], call.ranked(codes, 2, 5), call.ranked(zero, 0))
    call.of([INT8], call.ranked(weight, 2))
    call.of([FLOAT], call.ranked(scale, 0), scales)
    call.sized(weight, *_last(call, codes), *_last(call, weight))
    call.sized(scales, *_last(call, weight))
    return [
        value(
            FLOAT,
            [*codes.axes[:-1], weight.axes[1]],
            size=codes.size // max(1, codes.axes[-1].low) * weight.axes[1].high,
        )
    ]
