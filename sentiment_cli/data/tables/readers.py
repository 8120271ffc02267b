"""Rows of tables, one at a time: CSV, TSV, JSON, Parquet and fastText's files, each in whatever form it is in."""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sentiment_cli import console
from sentiment_cli.data.files.encodings import find_encoding
from sentiment_cli.data.files.file_kinds import JSON_SUFFIXES, SUFFIXES, show_command
from sentiment_cli.data.files.unpacking import reading, table_kind
from sentiment_cli.data.tables import column_roles
from sentiment_cli.data.tables.arrow_files import SCHEMA_KINDS, arrow_records, class_names, class_of
from sentiment_cli.data.tables.delimited import csv_records
from sentiment_cli.data.tables.dialects import find_dialect
from sentiment_cli.data.tables.json_rows import find_layout, json_records
from sentiment_cli.data.tables.labelled_lines import labelled_records
from sentiment_cli.data.tables.parquet_files import import_parquet, parquet_records, reading_parquet
from sentiment_cli.data.tables.rows import (
    BadRow,
    Choose,
    Columns,
    Format,
    LabelledRow,
    Rejects,
    Start,
    TableRecord,
    TextColumns,
    text_of,
    why_no_text,
)
from sentiment_cli.data.tables.text_kinds import fields_of_lines, kind_of_file
from sentiment_cli.errors import DataError

__all__ = [
    "SUFFIXES",
    "Choose",
    "Columns",
    "Format",
    "LabelledRow",
    "Rejects",
    "Say",
    "Start",
    "TableRecord",
    "TextColumns",
    "column_names",
    "fields_of_lines",
    "find_columns",
    "has_names",
    "import_parquet",
    "kind_of_file",
    "read_records",
    "read_table",
    "reading",
    "reading_parquet",
    "table_kind",
    "text_of",
    "unless_all_fail",
    "why_no_text",
]

Say = Callable[[str], object]
_FAIL_ALIKE = 20
_WORDS_OF_ROW = 3  # a name with this many words may be a text


def read_table(
    path: Path,
    asked: Columns,
    rejects: Rejects,
    *,
    has_labels: bool,
    is_told: bool = True,
    how: Format = Format(),  # noqa: B008
    say: Say = console.say,
) -> Iterator[LabelledRow]:
    """Yield the rows of a table in their order; what was found out of it goes to `say` if `is_told`.

    Raises DataError for a file that is none, for a column that is not there, and, by `rejects`, for a bad row.
    """
    found, classes = Columns(), None

    def choose(names: Sequence[str]) -> list[str]:
        nonlocal found, classes
        found = find_columns(path, names, asked, how, needs_label=has_labels, say=say if is_told else None)
        kind = kind_of_file(path, how)
        if kind in SCHEMA_KINDS and found.label is not None:
            classes = class_names(path, kind, found.label)
        return found.named()

    for number, line, values in read_records(path, choose, rejects, how, asked):
        label = None if found.label is None else values.get(found.label)
        if classes is not None:
            label = class_of(path, number, label, classes)
        group = None if found.group is None else values.get(found.group)
        yield LabelledRow(number, line, text_of(values, found.text), label, group)


def read_records(
    path: Path,
    choose: Choose,
    rejects: Rejects,
    how: Format = Format(),  # noqa: B008
    asked: Columns = Columns(),  # noqa: B008
    start: Start | None = None,
) -> Iterator[TableRecord]:
    """Yield what the rows of a table hold, in their order; `choose` gets the columns and names those to read.

    With `start` the rows before it are left out.

    Raises DataError as `read_table` does. Objects of JSON come whole.
    """
    kind = kind_of_file(path, how)
    with reading(path):
        if kind == ".parquet":
            yield from parquet_records(path, choose)
        elif kind == ".arrow":
            yield from arrow_records(path, choose)
        elif kind == ".fasttext":
            yield from labelled_records(path, choose, rejects, how)
        elif kind in JSON_SUFFIXES:
            yield from json_records(path, choose, rejects, how, start)
        else:
            yield from csv_records(path, choose, rejects, how, asked.named(), start or Start())


def column_names(path: Path, how: Format = Format(), asked: Columns = Columns()) -> list[str]:  # noqa: B008
    """Return the names of a table's columns. Raises DataError as `read_table` does."""
    found: list[str] = []

    def choose(names: Sequence[str]) -> Sequence[str]:
        found.extend(names)
        return names[:1]

    next(iter(read_records(path, choose, Rejects("skip"), how, asked)), None)
    return found


def has_names(path: Path, how: Format) -> bool:
    """Say whether a table names its columns itself."""
    return not _is_delimited(path, how) or find_dialect(path, how).has_header


def find_columns(
    path: Path,
    names: Sequence[str],
    asked: Columns,
    how: Format,
    *,
    needs_label: bool,
    say: Say | None,
) -> Columns:
    """Return the columns to read: those asked for, else those whose names tell, else those whose contents do."""
    delimited = _is_delimited(path, how)
    dialect = find_dialect(path, how, asked.named()) if delimited else None
    twins = dialect.twins if dialect else [name for name in names if list(names).count(name) > 1]
    text: TextColumns
    if isinstance(asked.text, tuple):
        text = tuple(str(column_roles.by_name(path, names, "text", name)) for name in asked.text)
    else:
        text = column_roles.by_name(path, names, "text", asked.text, twins)
    of_text = Columns(text).named()
    label = (
        column_roles.by_name(path, names, "label", asked.label, twins, of_text) if needs_label or asked.label else None
    )
    group = column_roles.by_name(path, names, "group", asked.group)
    found = column_roles.Found(Columns(text, label if needs_label else None, group))
    named_alike = column_roles.named_alike(names, asked, found.columns)
    if text is None or (needs_label and label is None):
        rows = (record.values for record in read_records(path, lambda every: every, Rejects("skip"), how, asked))
        try:
            found = column_roles.by_content(path, names, found.columns, rows, needs_label=needs_label)
        except DataError as error:
            if dialect and dialect.has_header and how.header == "auto" and "clearly" in str(error):
                raise DataError(f"{error}; --set data.header=false reads the first line as a row", error.hint) from None
            raise
    if "text" in found.by_content and dialect and dialect.has_header and how.header == "auto":
        name = str(found.columns.text)
        if len(name.split()) >= _WORDS_OF_ROW and not name.endswith(("?", ":")):
            note = f"the first line is read as names, such as {name!r}; --set data.header=false reads it as a row"
            found = found._replace(notes=(*found.notes, note))
    found = found._replace(notes=(*named_alike, *found.notes))
    if say is not None:
        _say_table(path, how, asked, names, found, twins, say)
    return found.columns


def _say_table(
    path: Path,
    how: Format,
    asked: Columns,
    names: Sequence[str],
    found: column_roles.Found,
    twins: Sequence[str],
    say: Say,
) -> None:
    """Report in one line how the table is read, and warn of ambiguities."""
    columns = found.columns
    said = []
    for role, value in zip(columns._fields, columns, strict=True):
        if value is not None:
            shown = repr(value) if isinstance(value, str) else " and ".join(map(repr, value))
            said.append(f"{role} in {shown}" + (" (by what it holds)" if role in found.by_content else ""))
    others = [name for name in names if name not in columns.named()]
    if others:
        more = f", … ({len(others):,} in all)" if len(others) > 20 else ""
        said.append(f"not read: {', '.join(others[:20])}{more}")
    facts, warnings = _facts(path, how, asked)
    if twins:
        said.append(f"columns of one name numbered: {', '.join(map(repr, twins))}")
    say(f"data: {path.name}: {said[0]}" + _rest(said, facts))
    for note in found.notes:
        say(f"data: {path.name}: {note}")
    for warning in warnings:
        say(f"warning: {warning}")


def _rest(said: Sequence[str], facts: str) -> str:
    roles_said = [one for one in said[1:] if re.match("(text|label|group) in ", one)]
    others = [one for one in said[1:] if one not in roles_said]
    return "".join([*(f", {one}" for one in roles_said), *(f"; {one}" for one in [*others, facts])])


def _facts(path: Path, how: Format, asked: Columns) -> tuple[str, tuple[str, ...]]:
    if _is_delimited(path, how):
        dialect = find_dialect(path, how, asked.named())
        return dialect.said, dialect.warnings
    kind = kind_of_file(path, how)
    if kind in JSON_SUFFIXES:
        layout = find_layout(path, how)
        return layout.said, layout.warnings
    if kind == ".fasttext":
        encoding = find_encoding(path, how.encoding)
        return f"{encoding.said}, labels as fastText has them", (encoding.warning,) if encoding.warning else ()
    return str(kind).removeprefix(".").title(), ()


def _is_delimited(path: Path, how: Format) -> bool:
    return kind_of_file(path, how) not in (*SCHEMA_KINDS, ".fasttext", *JSON_SUFFIXES)


@contextlib.contextmanager
def unless_all_fail(read_again: Callable[[Rejects], Iterator[Any]]) -> Iterator[None]:
    """Take the hint to skip bad rows from an error of the first row, where the rows after it fail, too."""
    try:
        yield
    except BadRow as error:
        if error.number == 1:
            n_rejected = 0

            def count(place: dict[str, Any], content: Any) -> None:
                nonlocal n_rejected
                n_rejected += 1
                if n_rejected >= _FAIL_ALIKE:
                    raise _AllFail

            try:
                is_any_good = next(iter(read_again(Rejects("skip", count))), None) is not None
            except (_AllFail, DataError):
                is_any_good = False
            if not is_any_good and n_rejected > 1:
                many = f"the first {n_rejected}" if n_rejected >= _FAIL_ALIKE else f"all {n_rejected}"
                raise DataError(f"{error}; {many} rows cannot be read", show_command(error.path)) from error
        raise


class _AllFail(Exception):  # noqa: N818 - ends the reading
    pass
