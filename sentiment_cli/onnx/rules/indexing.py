"""The rules of operators that look up, cut out, pad, count and sort."""

import math
from collections.abc import Sequence

from sentiment_cli.onnx.rules.calls import Call
from sentiment_cli.onnx.rules.values import (
    BOOL,
    FLOAT,
    HALF,
    INT8,
    INT64,
    Range,
    Value,
    axes_of,
    clamped,
    fixed,
    hull,
    integers_of,
    items_of,
    value,
)


def gather_rule(call: Call) -> Sequence[Value]:
    data, ids = call.take(2)
    call.of([INT64], ids)
    call.of([FLOAT, HALF, INT8, INT64, BOOL], data)
    if data.rank == 0:
        raise call.wrong("looks up in a number")
    along = call.axis(data.rank, 0)
    items = None
    if data.rank == 1 and data.items is not None and ids.items is not None and ids.rank <= 1:
        places = integers_of(ids)
        if not all(-len(data.items) <= place < len(data.items) for place in places):
            raise call.wrong("looks up beyond the end")
        items = [data.items[place] for place in places]
    others = math.prod(axis.high for i, axis in enumerate(data.axes) if i != along)
    axes = [*data.axes[:along], *ids.axes, *data.axes[along + 1 :]]
    return [value(data.kind, axes, data.range, items, ids.size * others)]


def gather_elements_rule(call: Call) -> Sequence[Value]:
    data, ids = call.take(2)
    call.of([INT64], data, ids)
    call.axis(call.ranked(data, ids.rank).rank, 0)
    return [value(INT64, ids.axes, data.range, size=ids.size)]


def gather_nd_rule(call: Call) -> Sequence[Value]:
    data, places = call.take(2)
    call.of([FLOAT], data)
    call.of([INT64], call.ranked(places, 2))
    depth = places.axes[1]
    if not depth.is_one or not 1 <= depth.low <= data.rank:
        raise call.wrong(f"looks up by {depth.low} of {data.rank} axes")
    return [value(FLOAT, [places.axes[0], *data.axes[depth.low :]])]


def scatter_rule(call: Call) -> Sequence[Value]:
    data, places, updates = call.take(3)
    call.of([INT64], data, places, updates)
    call.axis(call.ranked(data, places.rank).rank, 0)
    call.ranked(updates, data.rank)
    how = call.attribute("reduction", "none", lambda one: one in ("none", "add", "min"))
    found = hull(data.range, updates.range)
    if how == "add":
        sums = Range(updates.size * min(0, updates.range.low), updates.size * max(0, updates.range.high))
        found = clamped(data.range.low + sums.low, data.range.high + sums.high)
    return [value(INT64, data.axes, found, size=data.size)]


def top_k_rule(call: Call) -> Sequence[Value]:
    one, k = call.take(2)
    call.of([INT64], one, call.ranked(k, 1))
    along = call.axis(one.rank, -1)
    call.attribute("largest", 1, lambda largest: largest in (0, 1))
    (most,) = items_of(k)
    axes = [*one.axes]
    axes[along] = Range(max(0, min(most.low, axes[along].low)), min(most.high, axes[along].high))
    return [value(INT64, axes, one.range), value(INT64, axes, Range(0, max(0, one.axes[along].high - 1)))]


def non_zero_rule(call: Call) -> Sequence[Value]:
    (one,) = call.take(1)
    call.of([BOOL], one)
    most = max((axis.high for axis in one.axes), default=1)
    return [value(INT64, [*fixed(one.rank), Range(0, one.size)], Range(0, max(0, most - 1)))]


def reverse_sequence_rule(call: Call) -> Sequence[Value]:
    one, lengths = call.take(2)
    call.of([FLOAT, BOOL], one)
    call.of([INT64], call.ranked(lengths, 1))
    batch, time = (call.attribute(name, 0, lambda axis: axis in (0, 1)) for name in ("batch_axis", "time_axis"))
    if batch == time or one.rank < 2:
        raise call.wrong("turns rows along one axis")
    return [one._replace(items=None)]


def slice_rule(call: Call) -> Sequence[Value]:
    one, starts, ends, *of = call.take(3, 4)
    call.of([INT64], starts, ends)
    begin, end = items_of(starts), items_of(ends)
    along = axes_of(of[0], one.rank) if of else list(range(len(begin)))
    if not len(begin) == len(end) == len(along) <= one.rank:
        raise call.wrong("cuts more axes than there are")
    axes = list(one.axes)
    for i, first, last in zip(along, begin, end, strict=True):
        if not first.is_one:
            raise call.wrong("begins where nobody knows")
        axes[i] = _cut(axes[i], first.low, last)
    items = None
    if one.items is not None and all(item.is_one for item in (*begin, *end)):
        items = one.items[begin[0].low : end[0].low]
    return [value(one.kind, axes, one.range, items, one.size)]


def _cut(axis: Range, start: int, end: Range) -> Range:
    """Return how long an axis is from `start` to `end`, either of which may count from the end."""
    sizes = []
    for size in axis:
        for last in end:
            stop = min(size, last + size if last < 0 else last)
            sizes.append(max(0, stop - (max(0, start + size) if start < 0 else start)))
    return Range(min(sizes), max(sizes))


def pad_rule(call: Call) -> Sequence[Value]:
    given = [one for one in call.given if one is not None]
    is_as_ours = len(call.given) in (2, 3) or (len(call.given) == 4 and call.given[2] is None)
    if not is_as_ours or len(given) != min(3, len(call.given)) or call.given[0] is None or call.given[1] is None:
        raise call.wrong("has other inputs than ours")
    one, pads = given[:2]
    call.of([INT64], call.ranked(pads, 1))
    along = list(range(one.rank)) if len(call.given) < 4 else axes_of(given[2], one.rank)
    fill = Range(0, 0)
    if len(call.given) == 3:
        call.of([one.kind], call.ranked(given[2], 0))
        fill = given[2].range
    by = items_of(pads)
    if len(by) != 2 * len(along):
        raise call.wrong(f"has {len(by)} pads for {len(along)} axes")
    axes = list(one.axes)
    for i, before, behind in zip(along, by[: len(along)], by[len(along) :], strict=True):
        longest = axes[i].high + before.high + behind.high
        if longest < 0:
            raise call.wrong("leaves less than nothing")
        axes[i] = Range(max(0, axes[i].low + before.low + behind.low), longest)
    call.of([FLOAT, INT64, BOOL], one)
    return [value(one.kind, axes, hull(one.range, fill))]


def range_rule(call: Call) -> Sequence[Value]:
    start, limit, delta = call.take(3)
    call.of([INT64], *(call.ranked(one, 0) for one in (start, limit, delta)))
    if delta.range.low < 1:
        raise call.wrong("may count without an end")
    most = -(-(limit.range.high - start.range.low) // delta.range.low)
    least = -(-(limit.range.low - start.range.high) // delta.range.high)
    axis = Range(max(0, least), max(0, most))
    return [value(INT64, [axis], Range(start.range.low, max(start.range.low, limit.range.high - 1)))]
