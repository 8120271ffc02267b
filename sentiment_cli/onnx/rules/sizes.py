"""How much a graph computes: followed node by node for a batch, before it is computed, and compared with our own.

The size of a value is limited to a fixed count for each of a row's length squared, as wide as the widest weights. It is
computed for a small batch before onnxruntime reads the graph, and before a batch of another size. Rows and tokens are
ranges there, from above half of a power of two up to it: one walk covers all batches between, at the largest sizes that
values can have and the limit of the smallest batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sentiment_cli.onnx.rules.calls import Call, Node
from sentiment_cli.onnx.rules.table import RULES
from sentiment_cli.onnx.rules.values import FLOAT, INT64, Range, Value, hull, refused, value

INPUTS = {"ids_BL": 2, "length_B": 1}  # and their axes
_SLACK, _LEAST_WIDTH, _LEAST_LENGTH = 16, 64, 64
_FIRST = (3, 7)  # rows and tokens of the small batch
_MOST_ID = 2**31 - 1


class Body(NamedTuple):
    """A graph: its nodes, inputs and outputs."""

    nodes: Sequence[Node]
    inputs: Sequence[str]
    outputs: Sequence[str]


class Checked:
    """A graph with the inputs of exported models; `check_batch` checks the limits of a batch."""

    def __init__(self, graph: Body, constants: dict[str, Value]) -> None:
        if sorted(graph.inputs) != sorted(INPUTS):
            raise refused(f"reads {sorted(graph.inputs)}")
        if list(graph.outputs) != ["logits"]:
            raise refused(f"gives {list(graph.outputs)}")
        self._graph, self._constants = graph, constants
        self._width = max(_LEAST_WIDTH, *map(_width, constants.values()), 1)
        self._weights = sum(one.size for one in constants.values())
        self._seen: set[tuple[Range, Range]] = set()
        self.check_batch(*_FIRST)

    def check_batch(self, rows: int, tokens: int) -> None:
        """Raise IntegrityError for a node that no exported graph has."""
        axes = _doubling(rows), _doubling(tokens)
        if axes not in self._seen:
            least = [axis.low for axis in axes]
            most = _SLACK * least[0] * least[1] * (least[1] + _LEAST_LENGTH) * self._width + self._weights
            _Walk(self._graph, self._constants, axes, most).follow()
            self._seen.add(axes)


def _doubling(size: int) -> Range:
    """Return the sizes from above half of a power of two up to it, this one among them."""
    most = 1 << (size - 1).bit_length()
    return Range(most // 2 + 1, most)


def _width(one: Value) -> int:
    """Return the widest axis but the first one, along which rows of weights are looked up."""
    return max((axis.high for axis in one.axes[1:]), default=1)


class _Walk:
    """A graph evaluated symbolically for batches of limited rows and tokens."""

    def __init__(self, graph: Body, constants: dict[str, Value], axes: tuple[Range, Range], most: int) -> None:
        self._graph, self._most = graph, most
        self._known = dict(constants)
        self._add("ids_BL", value(INT64, axes, Range(0, _MOST_ID)), 1)
        self._add("length_B", value(INT64, axes[:1], Range(1, axes[1].high)), 1)

    def follow(self) -> None:
        self._nodes(self._graph.nodes, 1)
        logits = self._get("logits")
        if logits.kind != FLOAT:
            raise refused("gives logits that are int64 and no float")

    def _nodes(self, nodes: Sequence[Node], n_times: int) -> None:
        for node in nodes:
            given = tuple(self._get(name) if name else None for name in node.inputs)
            if node.operator == "Scan":
                made: Sequence[Value] = self._scan(node, given, n_times)
            else:
                rule = RULES.get((node.domain, node.operator))
                if rule is None:
                    raise refused(f"has an operator {node.operator!r}")
                if unknown := node.attributes.keys() - rule.attributes:
                    raise refused(f"has an operator {node.operator!r} with {sorted(unknown)}")
                if not 1 <= len(node.outputs) <= rule.n_outputs:
                    raise refused(f"has an operator {node.operator!r} with {len(node.outputs)} outputs")
                made = rule.check(Call(node, given))
            if len(made) != len(node.outputs):
                raise refused(f"has an operator {node.operator!r} with {len(node.outputs)} outputs")
            for name, one in zip(node.outputs, made, strict=True):
                if name:
                    self._add(name, one, n_times)

    def _scan(self, node: Node, given: "tuple[Value | None, ...]", n_times: int) -> list[Value]:
        """Follow a loop's body once, for any step."""
        call = Call(node, given)
        body, values = node.attributes.get("body"), call.take(2, 16)
        n_read = call.attribute("num_scan_inputs", 0, lambda n: 1 <= n < len(values))
        ways = {"scan_input_directions": n_read, "scan_output_directions": len(node.outputs) - len(values) + n_read}
        for name, n in ways.items():
            way = call.attribute(name, (0,) * n, lambda way: set(way) <= {0, 1})
            if len(way) != n:
                raise call.wrong(f"has {name} {way!r:.40}")
        n_states = len(values) - n_read
        is_whole = isinstance(body, Body) and len(body.inputs) == len(values) and len(body.outputs) == len(node.outputs)
        if n_times > 1 or not is_whole or node.attributes.keys() - {"body", "num_scan_inputs", *ways}:
            raise call.wrong("is no loop as ours are")
        assert isinstance(body, Body)
        states, read = values[:n_states], values[n_states:]
        call.of([FLOAT], *states)
        if any(one.rank == 0 for one in read):
            raise call.wrong("reads numbers one by one")
        steps = hull(*(one.axes[0] for one in read))
        n_steps = min(one.axes[0].high for one in read)
        for name, one in zip(body.inputs[:n_states], states, strict=True):
            self._add(name, one, n_steps)
        for name, one in zip(body.inputs[n_states:], read, strict=True):
            self._add(name, value(one.kind, one.axes[1:], one.range, size=one.size), 1)  # all steps' are one's own
        self._nodes(body.nodes, max(2, n_steps))
        found = [self._get(name) for name in body.outputs]
        for before, after in zip(states, found[:n_states], strict=True):
            if after.kind != FLOAT or after.rank != before.rank:
                raise call.wrong("has states that become others")
        made = [value(one.kind, [Range(min(steps.low, n_steps), n_steps), *one.axes]) for one in found[n_states:]]
        return [*states, *made]

    def _get(self, name: str) -> Value:
        if name not in self._known:
            raise refused(f"uses {name!r:.40} before it is there")
        return self._known[name]

    def _add(self, name: str, one: Value, n_times: int) -> None:
        if name in self._known:
            raise refused(f"has two values {name!r:.40}")
        if one.size * n_times > self._most:
            raise refused(f"has a value {name!r:.40} of up to {one.size * n_times:,} numbers")
        self._known[name] = one
