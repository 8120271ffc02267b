"""What `sentiment predict` adds to an answer with --explain and --trace: in colours, as plain lines, JSON or a page."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from sentiment_cli import console
from sentiment_cli.storage import store

if TYPE_CHECKING:
    from sentiment_cli.inference.explain.attribution import AttributionMethod as Named
    from sentiment_cli.inference.explain.attribution import Explanation
    from sentiment_cli.inference.explain.trace import Trace
    from sentiment_cli.inference.predictor import Prediction, Predictor

# Styles from weak to strong that can be read on light and on dark terminals; one of fewer colours takes the nearest.
_MORE = ("", "black on #deebf7", "black on #9ecae1", "white on #2171b5", "bold white on #084594")
_LESS = ("", "black on #feedde", "black on #fdbe85", "white on #d94801", "bold white on #8c2d04")
_STRONGEST = 5
_MARKS, _PLAIN_MARKS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
_LINE_WIDTH = 60


class Method(StrEnum):
    auto = "auto"
    gradients = "gradients"
    occlusion = "occlusion"
    attention = "attention"
    weights = "weights"


class ExplainOptions(NamedTuple):
    """What was asked for beside the answers: explanations by a method, traces, a page, and answers as JSON."""

    explain: bool
    method: Method
    trace: bool
    html: Path | None
    as_json: bool

    @property
    def is_any(self) -> bool:
        return self.explain or self.trace or self.html is not None or self.method != Method.auto


def answer_with_reasons(
    predictor: "Predictor",
    texts: Iterable[Sequence[str]],
    wishes: ExplainOptions,
    line_of: Callable[["Prediction"], str],
    out: Path | None = None,
) -> None:
    """Print, or write to `out`, for each text its answer and what was wished for; `texts` come some at a time."""
    from sentiment_cli.inference.explain.attribution import Explainer
    from sentiment_cli.inference.explain.html import page_end, page_part, page_start
    from sentiment_cli.inference.explain.trace import trace_text
    from sentiment_cli.storage.sealed_pages import seal

    is_explained = wishes.explain or wishes.method != Method.auto or not wishes.trace
    explainer = None
    if is_explained:
        explainer = Explainer(predictor, None if wishes.method == Method.auto else cast("Named", wishes.method.value))
    is_coloured = out is None and not wishes.as_json and console.has_colour()
    with contextlib.ExitStack() as stack:
        page = stack.enter_context(store.replacing(wishes.html)) if wishes.html is not None else None
        lines = stack.enter_context(store.replacing(out)) if out is not None else None
        if page is not None:
            page.write(page_start().encode())
        for answer in (answer for chunk in texts for answer in predictor.predict(chunk)):
            explanations = explainer.explain_answer(answer) if explainer is not None else []
            trace = trace_text(predictor, answer.text) if wishes.trace else None
            if page is not None:
                page.write(page_part(answer, explanations, trace).encode())
            if is_coloured:
                _print_coloured(line_of(answer), answer.text, explanations, trace)
                continue
            if wishes.as_json:
                said = _json_of(answer, explanations, trace)
            else:
                said = "\n".join([line_of(answer), *_plain_lines(explanations, trace)])
            if lines is None:
                console.result(said)
            else:
                lines.write(f"{console.sanitize(said)}\n".encode())
        if page is not None:
            page.write(page_end().encode())
            page.write(seal(page.sha256, "html"))


def _json_of(answer: "Prediction", explanations: "Sequence[Explanation]", trace: "Trace | None") -> str:
    from sentiment_cli.inference.explain.attribution import explanations_json

    found = answer.to_json()
    if explanations:
        found |= explanations_json(answer, explanations)
    if trace is not None:
        found["trace"] = trace.to_json()
    return json.dumps(found)


def _plain_lines(explanations: "Sequence[Explanation]", trace: "Trace | None") -> Iterator[str]:
    for explanation in explanations:
        yield f"  {explanation.summary()}"
        for word, added in zip(explanation.words, explanation.added, strict=True):
            state = "" if word.read else "\tnot read"
            yield f"  {added:+.4f}\t{_one_line(word.text)}" + ("\tunknown" if word.unknown else state)
        for text, added in explanation.ngrams:
            yield f"  n-gram {added:+.4f}\t{_one_line(text)}"
    if trace is not None:
        yield from _trace_lines(trace)


def _print_coloured(line: str, text: str, explanations: "Sequence[Explanation]", trace: "Trace | None") -> None:
    from sentiment_cli.inference.explain.words import cut_text

    console.coloured_result([(line, "")])
    for explanation in explanations:
        console.coloured_result([(explanation.summary(), "")], "  ")
        levels = explanation.levels(len(_MORE) - 1)
        pieces = []
        for piece, i in cut_text(text, explanation.words):
            style = ""
            if i is not None:
                word = explanation.words[i]
                style = "dim" if not word.read else (_MORE if levels[i] > 0 else _LESS)[abs(levels[i])]
                style = f"{style} underline" if word.unknown else style
            pieces.append((piece, style))
        console.coloured_result(pieces, "  ")
        for part in _legend(explanation):
            console.coloured_result(part, "  ")
    for said in _trace_lines(trace) if trace is not None else ():
        console.coloured_result([(said.strip(), "")], "  ")


def _legend(explanation: "Explanation") -> Iterator[list[tuple[str, str]]]:
    """Yield lines that say what the colours mean, with the strongest words on either side."""
    by_word = sorted(zip(explanation.added, explanation.words, strict=True), key=lambda pair: -abs(pair[0]))
    for name, style, sign in (("more", _MORE[2], 1), ("less", _LESS[2], -1)):
        words = [f"{word.text} {added:+.2f}" for added, word in by_word if sign * added > 0][:_STRONGEST]
        yield [(name, style), (": " + (", ".join(map(_one_line, words)) or "no word"), "")]
    if ngrams := [f"{_one_line(text)} {added:+.2f}" for text, added in explanation.ngrams[:_STRONGEST]]:
        yield [(f"strongest n-grams: {', '.join(ngrams)}", "")]
    if any(word.unknown for word in explanation.words):
        yield [("unknown", "underline"), (" to the model", "")]
    if not all(word.read for word in explanation.words):
        yield [("not read", "dim"), (", since the text is longer than what the model reads", "")]


def _trace_lines(trace: "Trace") -> Iterator[str]:
    from sentiment_cli.inference.explain.trace import sparkline

    yield f"  {trace.summary()}"
    yield f"  {sparkline(trace, _LINE_WIDTH, _MARKS if console.can_show(_MARKS) else _PLAIN_MARKS)}"
    if turns := trace.turns():
        yield "  turning points: " + "; ".join(_one_line(str(turn)) for turn in turns)


def _one_line(text: str) -> str:
    return " ".join(text.split())
