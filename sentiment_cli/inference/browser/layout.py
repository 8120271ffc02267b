"""The frame of a page that answers: a field for a text, a place for files, one style and one script.

The content policy names both by their hashes, and lets nothing else be loaded, applied or run. What comes from outside
enters by `escaped`.
"""

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from sentiment_cli import console

_FOLDER = Path(__file__).parent


def read_part(name: str) -> str:
    """Return one of the files that pages are made of."""
    return (_FOLDER / name).read_text("utf-8")


def escaped(text: str) -> str:
    """Return text that shows as it was written in a page; what a browser would obey, as an escape."""
    return html.escape(console.sanitize(text))


def listed(labels: Sequence[str]) -> str:
    """Return labels as a sentence names them."""
    return f"{', '.join(labels[:-1])} or {labels[-1]}"


def content_policy(style: str, script: str, connects: str = "'none'", forms: str = "'none'") -> str:
    """Return the content policy of a page with this style and this script."""
    parts = {
        "default-src": "'none'",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "img-src": "data:",  # the empty icon, without which browsers ask for one
        "connect-src": connects,
        "form-action": forms,
        "base-uri": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page(
    *,
    title: str,
    about: str,
    facts: Mapping[str, str],
    style: str,
    script: str,
    head: str = "",
    text: str = "",
    answer: Sequence[str] = (),
    problem: str = "",
    tail: str = "",
) -> str:
    """Return the page. `head`, `answer` and `tail` are HTML, all else text; `script` runs at its end."""
    rows = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in facts.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{head}<title>{escaped(title)}</title>'
        f'<link rel="icon" href="data:,"><style>{style}</style></head><body><main>\n'
        f'<h1>{escaped(title)}</h1><p class="soft">{escaped(about)}</p>\n'
        '<form id="form" method="post"><label for="text">Text</label>'
        '<textarea id="text" name="text" dir="auto" required autofocus placeholder="Write or paste a text">'
        # The first line break of a textarea's content is dropped.
        f"\n{escaped(text)}</textarea>"
        '<div class="row"><button>Classify</button><span class="soft">Ctrl + Enter</span>'
        f'<span id="status" class="problem" role="status">{escaped(problem)}</span></div></form>\n'
        f'<section id="answer" class="answer">{"".join(answer)}</section>\n'
        '<section id="files" hidden><h2>A file</h2><label id="drop" class="drop" for="file">'
        "Drop a CSV, TSV or text file here, or <b>choose one</b>"
        '<input id="file" class="away" type="file" accept=".csv,.tsv,.txt,text/plain,text/csv"></label>'
        '<div id="table"></div></section>\n'
        f"<footer><dl>{rows}</dl></footer></main>{tail}<script>{script}</script></body></html>\n"
    )
