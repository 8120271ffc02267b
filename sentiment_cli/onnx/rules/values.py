"""Known properties of a graph's values before execution: type, axes, size and ranges of integers.

Nothing is exact: an axis or a number is known by its range, for every batch up to the largest size.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sentiment_cli.storage.store import IntegrityError

FLOAT, UINT8, INT8, INT32, INT64, BOOL, HALF = 1, 2, 3, 6, 7, 9, 10
TYPE_NAMES = {
    FLOAT: "float",
    UINT8: "uint8",
    INT8: "int8",
    INT32: "int32",
    INT64: "int64",
    BOOL: "bool",
    HALF: "float16",
}
MOST_AXES = 6
_MOST_ITEMS = 64  # elements of a shape, or of a value that shapes are computed from, that are tracked one by one
_LEAST, _MOST = -(2**63), 2**63 - 1


class Range(NamedTuple):
    """From low to high, both among them."""

    low: int
    high: int

    @property
    def is_one(self) -> bool:
        return self.low == self.high


ANY = Range(_LEAST, _MOST)
UNIT = Range(1, 1)


class Value(NamedTuple):
    """A tensor: its type, axes, maximal size, and, for integers, their range.

    `items` are the ranges of the numbers of a short tensor of at most one axis, each by itself.
    """

    kind: int
    axes: tuple[Range, ...]
    size: int
    range: Range = ANY
    items: tuple[Range, ...] | None = None

    @property
    def rank(self) -> int:
        return len(self.axes)


def refused(why: str) -> IntegrityError:
    """Return the error for a graph that no exported model has."""
    return IntegrityError(f"the graph {why}")


def fixed(*sizes: int) -> tuple[Range, ...]:
    """Return axes of these very sizes."""
    return tuple(Range(size, size) for size in sizes)


def clamped(low: int, high: int) -> Range:
    """Return a range of 64-bit integers; the full range if it overflows."""
    return Range(low, high) if _LEAST <= low <= high <= _MOST else ANY


def hull(*ranges: Range) -> Range:
    """Return the range around all of these."""
    return Range(min(one.low for one in ranges), max(one.high for one in ranges))


def value(
    kind: int,
    axes: Sequence[Range],
    range_: Range = ANY,
    items: Sequence[Range] | None = None,
    size: int | None = None,
) -> Value:
    """Return a value; `size` limits it where the axes alone allow more."""
    if len(axes) > MOST_AXES:
        raise refused(f"has a tensor of {len(axes)} axes")
    most = math.prod(axis.high for axis in axes)
    if kind == BOOL:
        range_ = Range(0, 1)
    if items is not None and (len(items) > _MOST_ITEMS or len(axes) > 1 or kind not in (INT64, INT32)):
        items = None
    if items:
        range_ = hull(*items)
    return Value(
        kind, tuple(axes), most if size is None else min(size, most), range_, None if items is None else tuple(items)
    )


def items_of(one: Value) -> tuple[Range, ...]:
    """Return the ranges of a short tensor's integers; raise IntegrityError if unknown."""
    if one.items is not None:
        return one.items
    is_short = one.rank == 0 or (one.rank == 1 and one.axes[0].is_one and one.axes[0].high <= _MOST_ITEMS)
    if one.kind not in (INT64, INT32) or not is_short:
        raise refused("has a shape that nobody knows before it is computed")
    return (one.range,) * (one.axes[0].high if one.rank else 1)


def integers_of(one: Value) -> list[int]:
    """Return the integers of a constant; raise IntegrityError for other values."""
    items = items_of(one)
    if not all(item.is_one for item in items):
        raise refused("has a computed number where graphs have a constant")
    return [item.low for item in items]


def broadcast(*values: Value) -> tuple[tuple[Range, ...], int]:
    """Return the axes of values that are combined number by number, and how many numbers these are at most."""
    rank = max(one.rank for one in values)
    padded = [(UNIT,) * (rank - one.rank) + one.axes for one in values]
    axes = tuple(_joined(column) for column in zip(*padded, strict=True))
    size = math.prod(axis.high for axis in axes)
    for one, own in zip(values, padded, strict=True):
        others = [other for other in padded if other is not own]
        if all(
            axis == UNIT or (axis.is_one and axis == mine)
            for other in others
            for axis, mine in zip(other, own, strict=True)
        ):
            size = min(size, one.size)
    return axes, size


def _joined(column: Sequence[Range]) -> Range:
    wide = [axis for axis in column if axis != UNIT]
    if any(
        axis.low > 1 and other.low > 1 and (axis.high < other.low or other.high < axis.low)
        for axis in wide
        for other in wide
    ):
        raise refused("combines tensors whose axes differ")
    return Range(max(axis.low for axis in column), max(axis.high for axis in column))


def axis_of(number: int, rank: int) -> int:
    """Return an axis as a number from 0; raise IntegrityError for an invalid one."""
    if not -rank <= number < rank:
        raise refused(f"has an axis {number} of {rank}")
    return number % rank


def axes_of(one: Value, rank: int) -> list[int]:
    """Return the different axes that a constant names."""
    found = [axis_of(number, rank) for number in integers_of(one)]
    if one.kind != INT64 or len(set(found)) < len(found) or not found:
        raise refused("names axes that are none")
    return found
