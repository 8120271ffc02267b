"""A document as Markdown: a model card that is readable as plain text. Charts become words and tables.

No text of a user's can become markup: inside a line every sign that Markdown knows is escaped, and whole texts stand in
a fence longer than any row of backticks in them. There is no HTML in it.
"""

import re
import textwrap

from sentiment_cli import console
from sentiment_cli.reports.blocks import (
    Block,
    Code,
    Document,
    Figure,
    Fold,
    Items,
    KeyFigures,
    Notice,
    Paragraph,
    Quote,
    SideBySide,
    Table,
)

_WIDTH = 100
_SIGNS = re.compile(r"[\\`*_\[\]<>|~&$@]|(?<=http):|(?<=https):|(?<=ftp):|(?<=www)\.", re.IGNORECASE)
# At the start of a line alone: a heading, a list, a rule.
_OPENING = re.compile(r"^(?P<number>\d+(?=[.)](?: |$)))?(?P<sign>[#+=.)-])")
_CLOSING = re.compile(r" (?=#+$)")  # signs at the end of a heading, which would close it


def render_card(document: Document) -> bytes:
    """Return the document as Markdown (CommonMark with tables)."""
    parts = [f"# {_escape(document.title)}", f"**{_escape(document.lead)}**"]
    for section in document.sections:
        parts.append(f"## {_escape(section.title)}")
        parts += [part for block in section.blocks for part in _block(block)]
    return ("\n\n".join(parts) + "\n").encode()


def _block(block: Block) -> list[str]:
    match block:
        case Paragraph(text):
            return [_escape(text)]
        case Items(texts):
            return ["\n".join(f"- {_escape(text)}" for text in texts)]
        case Code(text):
            return [_fence(console.sanitize(text))]
        case Quote(about, text):
            lines = [wrapped for line in text.splitlines() for wrapped in textwrap.wrap(line, _WIDTH) or [""]]
            words = _fence(console.sanitize("\n".join(lines)))
            return [_escape(about), words] if about else [words]
        case Notice(text, command):
            return [_escape(text), _fence(console.sanitize(command))]
        case Fold(title, blocks):
            return [f"### {_escape(title)}", *(part for inner in blocks for part in _block(inner))]
        case KeyFigures(figures):
            return ["\n".join(f"- {_escape(label)}: **{_escape(text)}**" for text, label in figures)]
        case SideBySide(groups):
            return [part for group in groups for inner in group for part in _block(inner)]
        case Figure(_, title, _, alt, table):
            return [f"### {_escape(title)}", _escape(alt), _table(table)]
        case Table():
            caption = [f"**{_escape(block.caption)}**"] if block.caption else []
            return [*caption, _table(block)]


def _table(table: Table) -> str:
    rule = ["---"] + ["---:" if table.is_numeric else "---"] * (len(table.head) - 1)
    rows = [[_escape(cell) for cell in row] for row in (table.head, *table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def _fence(text: str) -> str:
    """Put lines between two rows of backticks that are longer than any of theirs."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def _escape(text: str) -> str:
    """Return a text as one line in which no sign means more than itself."""
    line = " ".join(console.sanitize(text).split())
    line = _SIGNS.sub(lambda match: f"\\{match.group()}", line)
    line = _OPENING.sub(lambda match: f"{match['number'] or ''}\\{match['sign']}", line)
    return _CLOSING.sub(r" \\", line)
