"""A node with the known properties of its inputs, and the checks that rules make."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sentiment_cli.onnx.rules.values import TYPE_NAMES, Value, axis_of, fixed, refused


class Node(NamedTuple):
    """An operator: names of its inputs ("" for an omitted one) and outputs, and its attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    domain: str = ""


class Call(NamedTuple):
    """A node with the known properties of its inputs, None for an omitted one."""

    node: Node
    given: "tuple[Value | None, ...]"

    def take(self, least: int, most: int | None = None) -> list[Value]:
        """Return the inputs; raise IntegrityError unless there are `least` to `most`, none omitted."""
        found = [one for one in self.given if one is not None]
        if len(found) < len(self.given) or not least <= len(found) <= (least if most is None else most):
            raise self.wrong(f"has {len(found)} of {len(self.given)} inputs")
        return found

    def attribute(self, name: str, default: Any, allowed: Callable[[Any], bool]) -> Any:
        found = self.node.attributes.get(name, default)
        if type(found) is not type(default) or not allowed(found):
            raise self.wrong(f"has {name} {found!r:.40}")
        return found

    def axis(self, rank: int, default: int, name: str = "axis") -> int:
        return axis_of(self.attribute(name, default, lambda one: True), rank)

    def of(self, kinds: Sequence[int], *values: Value) -> int:
        """Return the one kind of the values; raise IntegrityError unless it is among these."""
        found = {one.kind for one in values}
        if len(found) != 1 or not found <= set(kinds):
            raise self.wrong(f"is given {', '.join(TYPE_NAMES[kind] for kind in sorted(found))}")
        return found.pop()

    def ranked(self, one: Value, least: int, most: int | None = None) -> Value:
        if not least <= one.rank <= (least if most is None else most):
            raise self.wrong(f"is given {one.rank} axes")
        return one

    def sized(self, one: Value, *sizes: int) -> None:
        if one.axes != fixed(*sizes):
            raise self.wrong(
                f"has weights of the shape {[list(axis) for axis in one.axes]}, where {list(sizes)} is meant"
            )

    def wrong(self, why: str) -> Exception:
        return refused(f"has an operator {self.node.operator!r} that {why}")
