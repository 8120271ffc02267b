"""Cells of CSV that no spreadsheet computes and no terminal obeys, and the same cells as they were."""

import re

from sentiment_cli import console

# The last four are the full-width forms.
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def spreadsheet_cell(text: str) -> str:
    """Return a cell of text that no spreadsheet computes and no terminal obeys.

    What begins as a formula does, and is no number, gets an apostrophe before it, and so does what looks like a cell
    that has got one: `unprotected` then gives back every text. Control characters are escaped.
    """
    if not text.isprintable():
        text = "\r\n".join(map(console.sanitize, text.split("\r\n")))
    return f"'{text}" if _is_formula(text) else text


def unprotected(cell: str) -> str:
    """Return a cell as it was before `spreadsheet_cell` put an apostrophe in front of it."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    text = text.lstrip("'") if text.startswith("'") else text
    begins = text.lstrip().startswith(_FORMULA_STARTS) or text.startswith(("\t", "\n", "\r"))
    return begins and not _NUMBER.fullmatch(text)
