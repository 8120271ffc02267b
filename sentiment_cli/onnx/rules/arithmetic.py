"""Rules for elementwise and reducing operators: types, and ranges of integers."""

import math
from collections.abc import Callable, Sequence

from sentiment_cli.onnx.rules.calls import Call
from sentiment_cli.onnx.rules.values import (
    ANY,
    BOOL,
    FLOAT,
    INT32,
    INT64,
    TYPE_NAMES,
    UNIT,
    Range,
    Value,
    axes_of,
    axis_of,
    broadcast,
    clamped,
    hull,
    integers_of,
    items_of,
    refused,
    value,
)

_NUMBERS = (FLOAT, INT64)


def same_rule(*kinds: int) -> Callable[[Call], Sequence[Value]]:
    """An operator on each number by itself."""

    def rule(call: Call) -> Sequence[Value]:
        (one,) = call.take(1)
        call.of(kinds, one)
        return [one._replace(range=Range(0, 1) if one.kind == BOOL else ANY, items=None)]

    return rule


def identity_rule(call: Call) -> Sequence[Value]:
    return call.take(1)


def neg_rule(call: Call) -> Sequence[Value]:
    (one,) = call.take(1)
    call.of(_NUMBERS, one)
    items = None if one.items is None else [clamped(-item.high, -item.low) for item in one.items]
    return [value(one.kind, one.axes, clamped(-one.range.high, -one.range.low), items, one.size)]


def _ranges(operator: str, a: Range, b: Range) -> Range:
    """Return the range of an operator's result on two integers."""
    if operator == "Add":
        return clamped(a.low + b.low, a.high + b.high)
    if operator == "Sub":
        return clamped(a.low - b.high, a.high - b.low)
    if operator == "Mul":
        corners = [x * y for x in a for y in b]
        return clamped(min(corners), max(corners))
    if operator == "Min":
        return Range(min(a.low, b.low), min(a.high, b.high))
    if operator == "Max":
        return Range(max(a.low, b.low), max(a.high, b.high))
    if b.low < 1:  # whole numbers divided by 0 end the process
        raise refused("divides by what may be 0")
    if operator == "Mod":
        return Range(a.low % b.low, a.low % b.low) if a.is_one and b.is_one else Range(0, b.high - 1)
    corners = [x // y if x >= 0 else -(-x // y) for x in a for y in b]
    return Range(min(corners), max(corners))


def arithmetic_rule(*kinds: int) -> Callable[[Call], Sequence[Value]]:
    def rule(call: Call) -> Sequence[Value]:
        one, other = call.take(2)
        kind = call.of(kinds, one, other)
        axes, size = broadcast(one, other)
        if kind != INT64:
            return [value(kind, axes, size=size)]
        operator, items = call.node.operator, None
        if len(axes) <= 1 and (one.items is not None or other.items is not None):
            items = _paired(operator, one, other)
        return [value(kind, axes, _ranges(operator, one.range, other.range), items, size)]

    return rule


def _paired(operator: str, one: Value, other: Value) -> list[Range] | None:
    first, second = (list(each.items or [each.range]) for each in (one, other))
    n = max(len(first), len(second))
    if {len(first), len(second)} - {1, n} or any(
        each.items is None and each.rank and each.axes[0] != UNIT for each in (one, other)
    ):
        return None
    return [_ranges(operator, first[i % len(first)], second[i % len(second)]) for i in range(n)]


def compare_rule(*kinds: int) -> Callable[[Call], Sequence[Value]]:
    def rule(call: Call) -> Sequence[Value]:
        one, other = call.take(2)
        call.of(kinds, one, other)
        axes, size = broadcast(one, other)
        return [value(BOOL, axes, size=size)]

    return rule


def where_rule(call: Call) -> Sequence[Value]:
    condition, one, other = call.take(3)
    call.of([BOOL], condition)
    kind = call.of(_NUMBERS, one, other)
    axes, size = broadcast(condition, one, other)
    return [value(kind, axes, hull(one.range, other.range), size=size)]


def clip_rule(call: Call) -> Sequence[Value]:
    one, low, high = call.take(3)
    call.of([INT64], one, low, high)
    for limit in (low, high):
        call.ranked(limit, 0)
    return [value(INT64, one.axes, Range(low.range.low, max(low.range.high, high.range.high)), size=one.size)]


def cast_rule(call: Call) -> Sequence[Value]:
    (one,) = call.take(1)
    kind = call.attribute("to", 0, lambda to: to in (FLOAT, INT32, INT64))
    if kind != FLOAT and one.kind not in (BOOL, INT64, INT32):
        raise call.wrong(f"makes whole numbers of {TYPE_NAMES[one.kind]}")
    range_ = ANY if kind == FLOAT else one.range
    if kind == INT32 and not -(2**31) <= range_.low <= range_.high < 2**31:
        range_ = Range(-(2**31), 2**31 - 1)
    return [value(kind, one.axes, range_, None if kind == FLOAT else one.items, one.size)]


def cum_sum_rule(call: Call) -> Sequence[Value]:
    one, axis = call.take(2)
    call.of([INT64], one, call.ranked(axis, 0))
    along = axis_of(integers_of(axis)[0], one.rank)
    call.attribute("exclusive", 0, lambda exclusive: exclusive in (0, 1))
    n = one.axes[along].high
    found = clamped(n * min(0, one.range.low), n * max(0, one.range.high))
    return [value(INT64, one.axes, found, size=one.size)]


def reduce_rule(call: Call) -> Sequence[Value]:
    one, *of = call.take(1, 2)
    kind = call.of(_NUMBERS, one)
    along = axes_of(of[0], one.rank) if of else list(range(one.rank))
    keeps = call.attribute("keepdims", 1, lambda keeps: keeps in (0, 1))
    axes = [UNIT if i in along else axis for i, axis in enumerate(one.axes) if keeps or i not in along]
    n, found = math.prod(one.axes[i].high for i in along), one.range
    if kind == INT64 and call.node.operator == "ReduceSum":
        found = clamped(n * min(0, found.low), n * max(0, found.high))
    elif kind == INT64 and call.node.operator == "ReduceProd":
        items = items_of(one)
        if any(item.low < 0 for item in items):
            raise call.wrong("multiplies what may be below 0")
        found = clamped(math.prod(item.low for item in items), math.prod(item.high for item in items))
    return [value(kind, axes, found)]
