"""How a delimited file is written: encoding, delimiter, quotes, and whether its first line names the columns."""

import csv
import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sentiment_cli.data.files.encodings import find_encoding, open_text
from sentiment_cli.data.files.file_kinds import show_command
from sentiment_cli.data.files.unpacking import Stamp, reading, stamp_of, table_kind
from sentiment_cli.data.tables.column_roles import KNOWN_NAMES, NAMES_OF, Role
from sentiment_cli.data.tables.csv_lines import CsvLines, Overlong, bounded_lines
from sentiment_cli.data.tables.quoting import csv_rows, find_quoting, has_quotes
from sentiment_cli.data.tables.rows import MOST_COLUMNS, Format, Quoting
from sentiment_cli.errors import DataError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
_SEP = re.compile(r'"?sep=(?P<delimiter>.)"?\s*', re.IGNORECASE)
_LINES_LOOKED_AT, _CHARACTERS_LOOKED_AT = 200, 1 << 20
_MOST_TITLES = 10  # lines above the names of the columns
_NAMED: tuple[Role, ...] = ("text", "label")
_FEW_VALUES, _WORDS_OF_TEXT = 50, 8
_QUOTES = {"double": "quotes doubled", "backslash": "quotes escaped by backslashes", "none": "quotes read as they are"}
# The columns that `predict` adds last.
_ADDED = ("tokens", "unknown", "truncated", "low_evidence")


class Dialect(NamedTuple):
    """What is needed to read a file, what to say of it, and what to warn of.

    `names` has a name for each column, no two alike. `n_before` lines come before the first row. `is_answered` says
    that the file is an answered one of our own, whose cells are protected from spreadsheets.
    """

    codec: str
    delimiter: str
    quoting: Quoting
    names: tuple[str, ...]
    twins: tuple[str, ...]
    n_before: int
    has_header: bool
    is_answered: bool
    said: str
    warnings: tuple[str, ...]


def find_dialect(path: Path, how: Format, asked: Sequence[str] = ()) -> Dialect:
    """Return the dialect of a file; columns that are asked for are known to be names. Raises DataError for no table."""
    with reading(path):
        return _find(stamp_of(path), how, tuple(asked))


@functools.lru_cache(maxsize=64)
def _find(stamp: Stamp, how: Format, asked: tuple[str, ...]) -> Dialect:
    path = Path(stamp.path)
    encoding = find_encoding(path, how.encoding)
    sample = _sample(path, encoding.codec)
    n_before = 0
    said_delimiter = None
    if sample and (found := _SEP.fullmatch(sample[0])):
        said_delimiter, n_before = found["delimiter"], 1
        del sample[0]
    n_passed = _lines_to_pass_over(sample, asked, is_open=how.header == "auto")
    n_before += n_passed
    del sample[:n_passed]
    if not sample:
        raise DataError(
            f"{path} is empty; its first line should name the columns, such as text,label",
            show_command(path),
        )
    delimiter = _delimiter_asked(how.delimiter) or said_delimiter or _find_delimiter(sample, table_kind(path))
    try:
        rows, n_of_first = _parse(sample, delimiter, how.quoting)
    except csv.Error as error:
        raise DataError(f"{path}: its first line, which should name the columns, is no CSV: {error}") from error
    first, others = rows[0], rows[1:]
    has_header = _has_header(first, others, asked) if how.header == "auto" else how.header
    line_of_names = n_before + 1
    if has_header:
        n_before += n_of_first
        extra = {len(row) - len(first) for row in others}
        if len(extra) == 1 and (n_extra := extra.pop()) > 0 and not any("".join(row[-n_extra:]) for row in others):
            first = [*first, *[""] * n_extra]  # as spreadsheets leave them at the end of each line
    names, twins = unique_names(first if has_header else [""] * len(first))
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{path} has {len(names):,} columns; a table may have {MOST_COLUMNS:,}")
    warnings = [encoding.warning] if encoding.warning else []
    quoting: Quoting = "double"
    has_any = has_quotes(path, encoding.codec)
    if how.quoting != "auto":
        quoting = how.quoting
    elif has_any:
        quoting, warning = find_quoting(path, encoding.codec, delimiter, len(names), n_before)
        warnings += [warning] if warning else []
    is_answered = (
        has_header
        and len(names) > len(_ADDED)
        and all(
            re.fullmatch(f"(prediction_)*{added}", name)
            for added, name in zip(_ADDED, names[-len(_ADDED) :], strict=True)
        )
    )
    facts = [
        encoding.said,
        f"fields between {DELIMITERS.get(delimiter, repr(delimiter))}" if len(names) > 1 else "one column",
        _say_header(line_of_names, n_passed) if has_header else "no line names the columns",
    ]
    if has_any or quoting != "double":
        facts.append(_QUOTES[quoting])
    return Dialect(
        encoding.codec,
        delimiter,
        quoting,
        tuple(names),
        tuple(twins),
        n_before,
        has_header,
        is_answered,
        ", ".join(facts),
        tuple(warnings),
    )


def _lines_to_pass_over(sample: Sequence[str], asked: Sequence[str], *, is_open: bool) -> int:
    """Return how many lines come before the table: blank ones, and if it `is_open`, titles and comments.

    These are known by a later line that names a text and a label, or all columns that are asked for.
    """
    n_blank = next((i for i, line in enumerate(sample) if line.strip()), len(sample))
    if not is_open:
        return n_blank

    def names_columns(line: str) -> bool:
        for delimiter in DELIMITERS:
            cells = {cell.strip().strip('"').strip().lower() for cell in line.split(delimiter)}
            is_asked = bool(asked) and {name.strip().lower() for name in asked} <= cells
            if len(cells) > 1 and (is_asked or all(cells & {*NAMES_OF[role]} for role in _NAMED)):
                return True
        return False

    later = range(n_blank + 1, min(n_blank + _MOST_TITLES + 1, len(sample)))
    if n_blank == len(sample) or _has_known_name(sample[n_blank], asked):
        return n_blank
    return next((i for i in later if names_columns(sample[i])), n_blank)


def _has_known_name(line: str, asked: Sequence[str]) -> bool:
    cells = (cell.strip().strip('"').strip() for cell in re.split(r"[,;\t|]", line))
    return any(cell.lower() in KNOWN_NAMES or cell in asked for cell in cells)


def _say_header(line: int, n_passed: int) -> str:
    return f"line {line} names the columns" if n_passed else "the first line names the columns"


def unique_names(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return names, each another: `column N` for an empty one, x.1 for the second x; and those that were alike."""
    taken = {name for name in names if name.strip()}
    seen: Counter[str] = Counter()
    unique: list[str] = []
    for number, name in enumerate(names, 1):
        start = name if name.strip() else f"column {number}"
        free, n = start, seen[start]
        while (n or start != name) and free in taken:
            n = max(n, 1)
            free, n = f"{start}.{n}", n + 1
        seen[start] = max(seen[start] + 1, n)
        taken.add(free)
        unique.append(free)
    counts = Counter(names)
    return unique, [name for name, count in counts.items() if count > 1 and name.strip()]


def _sample(path: Path, codec: str) -> list[str]:
    sample, n = [], 0
    with open_text(path, codec) as handle:
        for line in bounded_lines(handle):
            sample.append(line if not isinstance(line, Overlong) else str(line))
            n += len(line)
            if len(sample) == _LINES_LOOKED_AT or n > _CHARACTERS_LOOKED_AT:
                break
    return sample


def _parse(sample: Sequence[str], delimiter: str, quoting: str) -> tuple[list[list[str]], int]:
    """Return the rows of the first lines and how many lines the first row takes.

    Quotes are read as asked, or in the way that keeps more rows of one width.
    """
    asked: list[Quoting] = ["double", "none"] if quoting == "auto" else [quoting]  # type: ignore[list-item]
    readings = [list(_rows_before_error(csv_rows(iter(sample), delimiter, one, is_strict=False))) for one in asked]
    if delimiter == "\t" and len(readings) > 1 and readings[0]:
        widths = [sum(len(row) == len(reading[0]) for row in reading) for reading in readings]
        if widths[1] > widths[0] and len(readings[0][0]) == len(readings[1][0]):
            return [[cell.strip('"') for cell in row] for row in readings[1]], 1
    lines = CsvLines(sample, 0)
    next(csv_rows(lines, delimiter, asked[0], is_strict=False))
    return readings[0], lines.number


def _rows_before_error(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """Yield rows that are not blank, up to one that cannot be read; raise csv.Error where that is the first."""
    n = 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            if n == 0:
                raise
            return
        n += 1
        if row:
            yield row


def _delimiter_asked(asked: str) -> str | None:
    return None if asked == "auto" else {"tab": "\t", "\\t": "\t"}.get(asked, asked)


def _find_delimiter(sample: Sequence[str], kind: str | None) -> str:
    """Return the delimiter of the first line that most rows have as often; a .tsv has tabs where its first line has."""
    header = sample[0]
    if kind == ".tsv" and "\t" in header:
        return "\t"
    there = [delimiter for delimiter in DELIMITERS if delimiter in header]

    def fit(delimiter: str) -> tuple[float, int]:
        try:
            widths = [len(row) for row in csv_rows(iter(sample), delimiter, "double", is_strict=False) if row]
        except csv.Error:
            return 0.0, header.count(delimiter)
        is_wide = widths[0] > 1
        return is_wide * sum(width == widths[0] for width in widths) / len(widths), header.count(delimiter)

    return max(there, key=fit) if there else ("\t" if kind == ".tsv" else ",")


def _has_header(first: Sequence[str], others: Sequence[Sequence[str]], asked: Sequence[str]) -> bool:
    """Say whether the first row names the columns; in doubt it does."""
    names = [name.strip().lower() for name in first]
    if any(name in KNOWN_NAMES for name in names) or any(name in first for name in asked) or not others:
        return True
    return not any(
        _is_value(cell, [row[place] for row in others if place < len(row)]) for place, cell in enumerate(first)
    )


def _is_value(cell: str, column: Sequence[str]) -> bool:
    """Say whether a cell of the first row is surely a value of its column, and no name of it."""
    if not cell.strip() or not column:
        return False
    counts = Counter(column)
    if cell in counts and len(counts) <= max(1, min(_FEW_VALUES, len(column) * 2 // 3)):
        return True
    if _is_number(cell):
        return sum(map(_is_number, column)) * 10 >= 9 * len(column)
    n_words = len(cell.split())
    return n_words >= _WORDS_OF_TEXT and not cell.rstrip().endswith(("?", ":"))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
