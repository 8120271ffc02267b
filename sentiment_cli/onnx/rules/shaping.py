"""The rules of operators that give a tensor other axes and the same numbers."""

import math
from collections.abc import Sequence

from sentiment_cli.onnx.rules.calls import Call
from sentiment_cli.onnx.rules.values import (
    BOOL,
    FLOAT,
    INT64,
    UNIT,
    Range,
    Value,
    axes_of,
    broadcast,
    clamped,
    fixed,
    hull,
    integers_of,
    items_of,
    value,
)


def shape_rule(call: Call) -> Sequence[Value]:
    (one,) = call.take(1)
    start, end = (call.attribute(name, default, lambda n: -8 <= n <= 8) for name, default in (("start", 0), ("end", 8)))
    axes = one.axes[start:end]
    return [value(INT64, fixed(len(axes)), hull(*axes, Range(0, 0)), axes)]


def constant_of_shape_rule(call: Call) -> Sequence[Value]:
    (shape,) = call.take(1)
    return [value(FLOAT, _sizes(call, shape))]


def _sizes(call: Call, shape: Value) -> list[Range]:
    call.of([INT64], call.ranked(shape, 1))
    found = list(items_of(shape))
    if any(item.high < 0 for item in found):
        raise call.wrong("makes an axis of less than nothing")
    return [Range(max(0, item.low), item.high) for item in found]


def expand_rule(call: Call) -> Sequence[Value]:
    one, shape = call.take(2)
    axes, size = broadcast(one, value(BOOL, _sizes(call, shape)))
    return [value(one.kind, axes, one.range, size=size)]


def reshape_rule(call: Call) -> Sequence[Value]:
    one, shape = call.take(2)
    call.of([INT64], call.ranked(shape, 1))
    axes: list[Range | None] = []
    for i, item in enumerate(items_of(shape)):
        if item == Range(-1, -1):
            axes.append(None)
        elif item == Range(0, 0):  # takes the size of the axis that stands there
            if i >= one.rank:
                raise call.wrong("keeps an axis that is not there")
            axes.append(one.axes[i])
        elif item.low < 1:  # a computed size that may be any
            axes.append(Range(0, max(item.high, one.size)))
        else:
            axes.append(item)
    if axes.count(None) > 1:
        raise call.wrong("leaves two axes open")
    if None in axes:
        known = [axis for axis in axes if axis is not None]
        least = math.prod(max(1, axis.low) for axis in known)
        rest = Range(0 if any(axis.low == 0 for axis in one.axes) else 1, max(1, one.size // least))
        if all(axis.is_one for axis in known) and all(axis.is_one for axis in one.axes):
            rest = fixed(one.size // max(1, least))[0]
        elif (kept := _kept_axis(one, axes)) is not None:
            rest = kept
        axes[axes.index(None)] = rest
    items = one.items if len(axes) <= 1 else None
    return [value(one.kind, [axis for axis in axes if axis is not None], one.range, items, one.size)]


def _kept_axis(one: Value, axes: "list[Range | None]") -> Range | None:
    """Return the open axis where all others but the last ones stay, and these are of known sizes."""
    place = axes.index(None)
    behind, own = axes[place + 1 :], one.axes[place:]
    if axes[:place] != list(one.axes[:place]) or not all(axis is not None and axis.is_one for axis in (*behind, *own)):
        return None
    least = math.prod(axis.low for axis in behind if axis is not None)
    return fixed(math.prod(axis.low for axis in own) // max(1, least))[0]


def squeeze_rule(call: Call) -> Sequence[Value]:
    one, *of = call.take(1, 2)
    gone = axes_of(of[0], one.rank) if of else list(range(one.rank))
    if any(one.axes[axis] != UNIT for axis in gone):
        raise call.wrong("leaves out an axis that may be longer than 1")
    return [value(one.kind, [one.axes[i] for i in range(one.rank) if i not in gone], one.range, one.items, one.size)]


def unsqueeze_rule(call: Call) -> Sequence[Value]:
    one, of = call.take(2)
    n_axes = one.rank + len(integers_of(of))
    new, own = axes_of(of, n_axes), iter(one.axes)
    axes = [UNIT if i in new else next(own) for i in range(n_axes)]
    return [value(one.kind, axes, one.range, one.items, one.size)]


def transpose_rule(call: Call) -> Sequence[Value]:
    (one,) = call.take(1)
    perm = call.attribute("perm", tuple(range(one.rank))[::-1], lambda perm: sorted(perm) == list(range(one.rank)))
    return [one._replace(axes=tuple(one.axes[i] for i in perm))]


def concat_rule(call: Call) -> Sequence[Value]:
    values = call.take(1, 16)
    kind, rank = call.of([FLOAT, INT64], *values), values[0].rank
    if rank == 0 or any(one.rank != rank for one in values):
        raise call.wrong("joins tensors of other ranks")
    along = call.axis(rank, 0)
    axes = [
        Range(max(axis.low for axis in column), min(axis.high for axis in column))
        for column in zip(*(one.axes for one in values), strict=True)
    ]
    axes[along] = clamped(sum(one.axes[along].low for one in values), sum(one.axes[along].high for one in values))
    if any(axis.low > axis.high for axis in axes):
        raise call.wrong("joins tensors whose axes differ")
    items = None
    if rank == 1 and kind == INT64 and all(one.axes[0].is_one and one.axes[0].high <= 8 for one in values):
        items = [item for one in values for item in items_of(one)]
    return [value(kind, axes, hull(*(one.range for one in values)), items, sum(one.size for one in values))]


def split_rule(call: Call) -> Sequence[Value]:
    one, *sizes = call.take(1, 2)
    call.of([FLOAT], one)
    along, n = call.axis(one.rank, 0), len(call.node.outputs)
    if not one.axes[along].is_one:
        raise call.wrong("cuts an axis of no fixed size")
    whole = one.axes[along].low
    parts = integers_of(sizes[0]) if sizes else [whole // n] * n
    if not sizes:
        call.attribute("num_outputs", 0, lambda found: found == n)
    if len(parts) != n or sum(parts) != whole or min(parts) < 1:
        raise call.wrong(f"cuts {whole} into {parts}")
    return [value(FLOAT, [*one.axes[:along], *fixed(part), *one.axes[along + 1 :]], size=one.size) for part in parts]
