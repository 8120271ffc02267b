"""Counts and times of a server, in the text form of Prometheus.

No label of a metric holds what a client sent: a path that is none of ours is counted as `other`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64)


class Histogram:
    """How many values were at most each bound, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.total, self.n = bounds, [0] * len(bounds), 0.0, 0

    def observe(self, value: float) -> None:
        self.n += 1
        self.total += value
        for i, bound in enumerate(self.bounds):
            if value <= bound:
                self.counts[i] += 1
                break

    def lines(self, name: str) -> Iterator[str]:
        below = 0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{le="{bound:g}"}} {below}'
        yield f'{name}_bucket{{le="+Inf"}} {self.n}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {self.n}"


class Metrics:
    """What is counted; `gauges` are asked when somebody looks."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.refused: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.reloads: Counter[str] = Counter({"done": 0, "refused": 0})
        self.counts: Counter[str] = Counter()
        self.seconds, self.batch = Histogram(_SECONDS), Histogram(_TEXTS)
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self.model: Callable[[], Mapping[str, str]] = dict

    def text(self) -> str:
        """Return all of them, with the help that each has."""
        lines = list(
            self._counter("requests", "Requests answered, by path and status.", ("path", "code"), self.requests)
        )
        lines += self._counter("refused", "Requests refused before the model saw them.", ("reason",), self.refused)
        lines += self._counter("closed", "Connections that the server closed by itself.", ("reason",), self.closed)
        lines += self._counter("reloads", "Reloads of the model.", ("result",), self.reloads)
        for name, what in _COUNTS.items():
            lines += self._counter(name, what, (), {(): self.counts[name]})
        for name, (what, value) in self.gauges.items():
            lines += [f"# HELP sentiment_{name} {what}", f"# TYPE sentiment_{name} gauge"]
            lines.append(f"sentiment_{name} {value():g}")
        for name, what, histogram in (
            ("request_seconds", "Time from a request's head to the end of its answer.", self.seconds),
            ("batch_texts", "Texts that the model read at once.", self.batch),
        ):
            lines += [f"# HELP sentiment_{name} {what}", f"# TYPE sentiment_{name} histogram"]
            lines += histogram.lines(f"sentiment_{name}")
        lines += ["# HELP sentiment_model_info The model that answers.", "# TYPE sentiment_model_info gauge"]
        lines.append(f"sentiment_model_info{_labels(self.model())} 1")
        return "\n".join([*lines, ""])

    def _counter(self, name: str, what: str, labels: tuple[str, ...], values: Mapping[Any, int]) -> Iterator[str]:
        """Yield a counter's lines; a key of `values` holds the values of its labels."""
        yield f"# HELP sentiment_{name}_total {what}"
        yield f"# TYPE sentiment_{name}_total counter"
        for key, value in sorted(values.items(), key=lambda item: str(item[0])):
            parts = key if isinstance(key, tuple) else (key,)
            named = dict(zip(labels, map(str, parts), strict=True))
            yield f"sentiment_{name}_total{_labels(named)} {value}"


_COUNTS = {
    "texts": "Texts answered.",
    "text_errors": "Texts answered with an error.",
    "dropped": "Jobs dropped because their client had gone.",
    "log_lines_lost": "Log lines that nobody took in time.",
    "faults": "Requests that ended in an error of the server's own.",
}


def _labels(named: Mapping[str, str]) -> str:
    def quoted(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "{" + ",".join(f'{name}="{quoted(value)}"' for name, value in named.items()) + "}" if named else ""
