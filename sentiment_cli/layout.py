"""Tables and sentences laid out for a width, where no word is broken, and figures as people say them."""

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_GAP = "  "
_NARROWEST = 24  # columns that a sentence needs beside other cells


class Column(NamedTuple):
    """A column's title; numbers stand on the right; columns of the highest `drop` go first where there is no room."""

    title: str
    is_right: bool = False
    drop: int = 0


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return the lines of a table within a width; None is as wide as the cells are.

    Where there is no room, droppable columns go, then the last column is wrapped, then each row is set vertically.
    """
    kept = list(range(len(columns)))
    while width is not None and _total(columns, rows, kept) > width:
        droppable = [i for i in kept if columns[i].drop]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda i: columns[i].drop))
    widths = [_width_of(columns, rows, i) for i in kept]
    if width is None or sum(widths) + len(_GAP) * (len(widths) - 1) <= width:
        return [_line(columns, kept, widths, cells) for cells in _lines(columns, rows)]
    before = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    if columns[kept[-1]].is_right or width - before < _NARROWEST:
        return _vertical(columns, rows, kept, width)
    lines = []
    for cells in _lines(columns, rows):
        first, *rest = wrapped(cells[kept[-1]], width - before) or [""]
        lines.append(_line(columns, kept, widths, [*cells[: kept[-1]], first, *cells[kept[-1] + 1 :]]))
        lines += [" " * before + part for part in rest]
    return lines


def wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    """Return a sentence in lines that are no longer than a width; continued lines begin with `indent`."""
    if width is None:
        return [text]
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def counted(n: int, one: str) -> str:
    """Return a number and its noun: 1 epoch, 1,200 epochs."""
    return f"{n:,} {one}{'' if n == 1 else 's'}"


def spoken(seconds: float) -> str:
    """Return a duration as people say it: 8 s, 16 min 28 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def spoken_size(n_bytes: int) -> str:
    """Return a number of bytes as people say it: 12 MB, 1.2 GB."""
    if n_bytes >= 1e9:
        return f"{n_bytes / 1e9:.1f} GB"
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes >= 1e7 else f"{max(n_bytes / 1e6, 0.1):.1f} MB"


def cell_width(text: str) -> int:
    """Return the columns of a terminal that a text takes: two for a wide character, none for a combining one."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def _lines(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Iterable[Sequence[str]]:
    if any(column.title for column in columns):
        yield [column.title for column in columns]
    yield from rows


def _width_of(columns: Sequence[Column], rows: Sequence[Sequence[str]], i: int) -> int:
    return max(cell_width(cells[i]) for cells in ([column.title for column in columns], *rows))


def _total(columns: Sequence[Column], rows: Sequence[Sequence[str]], kept: Sequence[int]) -> int:
    return sum(_width_of(columns, rows, i) for i in kept) + len(_GAP) * (len(kept) - 1)


def _line(columns: Sequence[Column], kept: Sequence[int], widths: Sequence[int], cells: Sequence[str]) -> str:
    parts = []
    for i, width in zip(kept, widths, strict=True):
        space = " " * (width - cell_width(cells[i]))
        parts.append(space + cells[i] if columns[i].is_right else cells[i] + space)
    return _GAP.join(parts).rstrip()


def _vertical(columns: Sequence[Column], rows: Sequence[Sequence[str]], kept: Sequence[int], width: int) -> list[str]:
    """Return each row as lines of title and cell, rows apart by an empty line."""
    margin = max(cell_width(columns[i].title) for i in kept)
    lines: list[str] = []
    for row in rows:
        lines += [""] if lines else []
        for i in kept:
            title = columns[i].title + " " * (margin - cell_width(columns[i].title))
            lines += wrapped(f"{title}{_GAP}{row[i]}".rstrip(), width, " " * (margin + len(_GAP)))
    return lines
