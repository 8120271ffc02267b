"""Traces: the prediction for each prefix of a text."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from sentiment_cli import console
from sentiment_cli.data.corpus.ratings import LEAST, MIDDLE, MOST, ratings_of
from sentiment_cli.inference.explain.words import WordSpan, read_text
from sentiment_cli.inference.predictor import Predictor, class_probabilities, likeliest

_MOST_STEPS = 400
_TOKENS_READ = 4_000_000  # in all: of a text of ten thousand words and more, fewer beginnings are read
_MOST_TURNS = 6
_LEAST_MOVE = 0.05  # of the scale


class TraceStep(NamedTuple):
    """The last word of a prefix, None for the empty one; its label; the probability of the text's label, or stars."""

    word: WordSpan | None
    label: str
    value: float


class Turn(NamedTuple):
    """A step that moved the value far from where it was `before`, or to another label."""

    step: TraceStep
    before: float
    is_new_label: bool

    def __str__(self) -> str:
        word = self.step.word.text if self.step.word is not None else ""
        said = f", now {console.one_line(self.step.label)}" if self.is_new_label else ""
        return f"{word} {self.before:.2f} → {self.step.value:.2f}{said}"


class Trace(NamedTuple):
    """The predictions for the prefixes, for all or for evenly spaced ones of `n_words`; `of` names the value.

    The value is between `low` and `high`; where there are two labels, `middle` parts them.
    """

    of: str
    steps: list[TraceStep]
    n_words: int
    low: float = 0.0
    high: float = 1.0
    middle: float | None = 0.5

    def summary(self) -> str:
        """Return a line that names the traced value."""
        n = len(self.steps) - 1
        words = f"each of {n:,} words" if n == self.n_words else f"{n:,} of {self.n_words:,} words"
        if not n:
            return f"{self.of} before any word"
        return f"{self.of} after {words}, from {self.low:g} to {self.high:g}"

    def turns(self) -> list[Turn]:
        """Return the steps that moved most, by a twentieth of the scale at least, and the last to another label."""
        turns = [Turn(step, before.value, step.label != before.label) for before, step in pairwise(self.steps)]
        least = _LEAST_MOVE * (self.high - self.low)
        far = [i for i, turn in enumerate(turns) if abs(turn.step.value - turn.before) >= least]
        chosen = set(sorted(far, key=lambda i: -abs(turns[i].step.value - turns[i].before))[:_MOST_TURNS])
        chosen |= set([i for i, turn in enumerate(turns) if turn.is_new_label][-1:])
        return [turns[i] for i in sorted(chosen)]

    def to_json(self) -> list[dict[str, Any]]:
        """Return an object per word."""
        name = "stars" if self.of == "stars" else "probability"
        return [
            {"word": word.text, "start": word.start, "end": word.end, "label": label, name: value}
            for word, label, value in self.steps
            if word is not None
        ]


def trace_text(predictor: Predictor, text: str) -> Trace:
    """Return the predictions for all prefixes of a text, or 400 of a long one; the last is the text itself."""
    rows = read_text(predictor, text)
    read_W = np.unique(np.concatenate([row.word_K for row in rows]))
    n_tokens = sum(len(row.kept_K) for row in rows)
    n_steps = min(len(read_W), _MOST_STEPS, max(2, _TOKENS_READ // max(1, n_tokens)))
    chosen_N = read_W[np.linspace(len(read_W) - 1, 0, n_steps).round().astype(np.int64)[::-1]]
    prefixes = []
    for row in rows:
        ends = np.searchsorted(row.word_K, chosen_N, side="right").tolist()
        prefixes.append([row.ids_K[:end] for end in (0, *ends)])
    outputs = predictor.outputs(prefixes)
    words = [None, *(rows[0].words[word] for word in chosen_N.tolist())]
    labels = predictor.labels
    if predictor.target == "stars":
        said = [labels[int(output >= 0)] for output in outputs]
        steps = list(map(TraceStep, words, said, ratings_of(outputs).tolist()))
        return Trace("stars", steps, len(read_W), float(LEAST), float(MOST), MIDDLE)
    probability_NC = class_probabilities(outputs / predictor.temperature)
    best_N = likeliest(probability_NC).tolist()
    values = probability_NC[:, best_N[-1]].tolist()
    steps = list(map(TraceStep, words, (labels[best] for best in best_N), values))
    middle = 0.5 if len(labels) == 2 else None
    return Trace(f"probability of {console.one_line(labels[best_N[-1]])}", steps, len(read_W), middle=middle)


def sparkline(trace: Trace, width: int, marks: str = "▁▂▃▄▅▆▇█") -> str:
    """Draw the values in one line of at most `width` marks, of which the first is the lowest."""
    values = np.array([step.value for step in trace.steps])
    shown = values[np.linspace(len(values) - 1, 0, min(width, len(values))).round().astype(np.int64)[::-1]]
    level_N = np.rint((shown - trace.low) / (trace.high - trace.low) * (len(marks) - 1)).astype(np.int64)
    return "".join(marks[level] for level in level_N.tolist())
