"""Explanations and traces as one HTML page, a part per text: no network, no script, nothing but its own style.

Whatever came from outside passes `_safe` on its way into the page, and is only ever an element's text or the value of
a `title`. The content policy lets the page load nothing, and apply no style but its own.
"""

import base64
import hashlib
import html
from collections.abc import Iterator, Sequence

from sentiment_cli import console
from sentiment_cli.inference.explain.attribution import Explanation
from sentiment_cli.inference.explain.trace import Trace
from sentiment_cli.inference.explain.words import WordSpan, cut_text
from sentiment_cli.inference.predictor import Prediction

_SHADES = 5
_LEGEND = (
    "Blue words are for a higher {of}, orange words for a lower one; the deeper the colour, the more. A dotted line "
    "marks words that are unknown to the model, and pale words are not read."
)
_WIDTH, _HEIGHT = 720, 120  # of a trace's chart
_LEFT, _BELOW = 34, 78  # its margins, for the scale and the words
_MOST_WORDS = 48  # that fit under a chart; of a longer text every second, third … is named
_LONGEST_WORD = 12

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de;
  --more: #0b62a8; --less: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e4e7eb; --soft: #a3acb7; --line: #3a424c;
  --more: #6cb6ff; --less: #ff9e64; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.6 system-ui, sans-serif; }
main { max-width: 48rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: anywhere; }
section { border-bottom: 1px solid var(--line); padding: .5rem 0 1.5rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin: 1rem 0 .3rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); font-size: .9rem; }
.text { white-space: pre-line; font-size: 1.1rem; line-height: 1.9; }
.text span { border-radius: .2rem; padding: .1rem .05rem; }
.unknown { text-decoration: underline dotted var(--soft); } .unread { opacity: .45; }
svg { width: 100%; height: auto; display: block; } polyline { fill: none; stroke: var(--more); stroke-width: 2; }
line { stroke: var(--line); } svg text { fill: var(--soft); font-size: 11px; }
summary { cursor: pointer; color: var(--soft); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; padding: .15rem .8rem .15rem 0; font-weight: normal; } td { text-align: right; }
""" + "".join(
    f".{side}-{shade} {{ background: color-mix(in srgb, var(--{side}) {14 * shade}%, var(--paper)); }}\n"
    for side in ("more", "less")
    for shade in range(1, _SHADES + 1)
)


def page_start() -> str:
    """Return the page up to its first text."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Why: sentiment</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>Why the model says so</h1>\n"
    )


def page_end() -> str:
    """Return the end of the page."""
    return "</main></body></html>\n"


def page_part(answer: Prediction, explanations: Sequence[Explanation], trace: Trace | None) -> str:
    """Return the part of one text."""
    figure = f"{answer.probability:.1%}" if answer.probability is not None else f"{answer.stars:.1f} stars"
    title = f"{_safe(answer.label)}, {figure}"
    if answer.labels is not None and answer.probabilities is not None:
        given = [f"{_safe(label)}, {answer.probabilities[label]:.1%}" for label in answer.labels]
        title = "; ".join(given) or f"No label; the likeliest is {title}"
    evidence = "<p>Low evidence: no word that the model knows.</p>" if answer.low_evidence else ""
    parts = [f"<section><h2>{title}</h2>{evidence}"]
    for explanation in explanations:
        parts += _explanation(answer.text, explanation)
    if not explanations:
        parts.append(f'<p class="text" dir="auto">{_safe(answer.text)}</p>')
    if trace is not None:
        parts += _trace(trace)
    return "\n".join([*parts, "</section>\n"])


def _explanation(text: str, explanation: Explanation) -> Iterator[str]:
    levels = explanation.levels(_SHADES)
    spans = []
    for piece, i in cut_text(text, explanation.words):
        if i is None:
            spans.append(_safe(piece))
        else:
            added = f"{explanation.added[i]:+.4f}"
            spans.append(f'<span{_classes(explanation.words[i], levels[i])} title="{added}">{_safe(piece)}</span>')
    yield f'<p class="text" dir="auto">{"".join(spans)}</p>'
    yield f'<p class="soft">{_safe(explanation.summary())}</p>'
    yield f'<p class="soft">{_safe(_LEGEND.format(of=explanation.of))}</p>'
    listed = [(word.text, added) for word, added in zip(explanation.words, explanation.added, strict=True) if word.read]
    for title, rows in (("Strongest n-grams", explanation.ngrams), ("All words that were read", listed)):
        if rows:
            cells = "".join(f'<tr><th scope="row">{_safe(name)}</th><td>{added:+.4f}</td></tr>' for name, added in rows)
            yield f"<details><summary>{title}</summary><table>{cells}</table></details>"


def _classes(word: WordSpan, level: int) -> str:
    shade = [f"{'more' if level > 0 else 'less'}-{abs(level)}"] if level else []
    names = shade + ["unknown"] * word.unknown + ["unread"] * (not word.read)
    return f' class="{" ".join(names)}"' if names else ""


def _trace(trace: Trace) -> Iterator[str]:
    yield f'<h2>After each word</h2><p class="soft">{_safe(trace.summary())}</p>'
    last = max(1, len(trace.steps) - 1)

    def height(value: float) -> float:
        return _HEIGHT * (1 - (value - trace.low) / (trace.high - trace.low))

    def place(i: int) -> float:
        return _WIDTH * i / last

    points = " ".join(f"{place(i):.1f},{height(step.value):.1f}" for i, step in enumerate(trace.steps))
    marked = [trace.low, *([] if trace.middle is None else [trace.middle]), trace.high]
    scale = "".join(
        f'<line x1="0" y1="{height(value):.1f}" x2="{_WIDTH}" y2="{height(value):.1f}"/>'
        f'<text x="-6" y="{height(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        for value in marked
    )
    apart = -(-last // _MOST_WORDS)
    words = "".join(
        f'<text transform="translate({place(i) - 3:.1f} {_HEIGHT + 10}) rotate(60)">'
        f"{_safe(_short(step.word.text))}</text>"
        for i, step in enumerate(trace.steps)
        if step.word is not None and i % apart == 0
    )
    # Two pixels of room above and on the right, for the width of the line.
    box = f"-{_LEFT} -6 {_WIDTH + _LEFT + 30} {_HEIGHT + _BELOW}"
    title = f"<title>{_safe(trace.summary())}</title>"
    yield f'<svg viewBox="{box}" role="img">{title}{scale}{words}<polyline points="{points}"/></svg>'
    if turns := trace.turns():
        yield "<p>Turning points:</p><ul>" + "".join(f"<li>{_safe(str(turn))}</li>" for turn in turns) + "</ul>"


def _short(word: str) -> str:
    return word if len(word) <= _LONGEST_WORD else f"{word[: _LONGEST_WORD - 1]}…"


def _safe(text: str) -> str:
    """Return text for a page, with control characters shown as escapes."""
    return html.escape(console.sanitize(text))
