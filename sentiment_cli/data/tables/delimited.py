"""Rows of CSV and TSV files, one at a time, in the dialect that was found."""

import csv
from collections.abc import Iterator
from pathlib import Path

from sentiment_cli.data.files.encodings import open_text
from sentiment_cli.data.tables.csv_lines import CsvLines, bounded_lines
from sentiment_cli.data.tables.dialects import Dialect, find_dialect
from sentiment_cli.data.tables.protection import unprotected
from sentiment_cli.data.tables.quoting import csv_rows
from sentiment_cli.data.tables.rows import LONGEST_LINE, Choose, Format, Rejects, Start, TableRecord


def csv_records(
    path: Path,
    choose: Choose,
    rejects: Rejects,
    how: Format,
    asked: list[str],
    start: Start = Start(),  # noqa: B008 - a tuple
) -> Iterator[TableRecord]:
    """Yield the rows' values in the columns that `choose` names. Raises DataError for a file that is not a table."""
    dialect = find_dialect(path, how, asked)
    names = dialect.names
    places = [(name, names.index(name)) for name in choose(names)]
    with open_text(path, dialect.codec) as handle:
        unread = bounded_lines(handle)
        n_before = max(dialect.n_before, start.line)
        for _ in range(n_before):
            next(unread, None)
        lines = CsvLines(unread, n_before)
        rows = csv_rows(lines, dialect.delimiter, dialect.quoting)
        number = start.row
        while True:
            number += 1
            lines.begin_row()
            try:
                fields = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                lines.leave_row()
                rejects.reject(path, number, lines.number, _said(error))
                continue
            if not fields:
                number -= 1  # a blank line
                continue
            if lines.has_overlong:
                rejects.reject(path, number, lines.number, f"its line is longer than {LONGEST_LINE:,} characters")
                continue
            if len(fields) != len(names):
                rejects.reject(path, number, lines.number, _wrong_number(len(fields), dialect), fields)
                continue
            if dialect.is_answered:
                fields = list(map(unprotected, fields))
            yield TableRecord(number, lines.number, {name: fields[place] for name, place in places})


def _said(error: csv.Error) -> str:
    return str(error).replace("'\t'", "a tab")


def _wrong_number(n: int, dialect: Dialect) -> str:
    whose = "the header names" if dialect.has_header else "the first row has"
    return f"{n} fields where {whose} {len(dialect.names)}"
