"""Rows of CSV, TSV, JSON Lines (each also gzipped) and Parquet files, one at a time; columns found by their names."""

import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from sentiment_cli import console
from sentiment_cli.errors import DataError, MachineError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_TEXT_NAMES = ("text", "review", "review_text", "content", "sentence", "comment", "body", "message", "tweet")
_LABEL_NAMES = ("label", "sentiment", "class", "category", "polarity", "target")
_GROUP_NAMES = ("group", "movie")
_DELIMITERS = ",;\t|"
# The csv module's own 131,072 would refuse an honest long text; a quote left open must still end somewhere.
_LONGEST_FIELD = 16_000_000
_ROWS_AT_ONCE = 1024
# A JSON object may leave out what it has no value for, such as a label: the first ones together name the columns.
_OBJECTS_LOOKED_AT = 100
_HOW_TO_SKIP = "--set data.on_error=skip leaves such rows out and lists them"


class Columns(NamedTuple):
    """Names of the columns; None is found by name, or absent."""

    text: str | None = None
    label: str | None = None
    group: str | None = None


class Row(NamedTuple):
    """A row's values as the file has them, its number from 1, and the line on which it ends, where there are lines."""

    number: int
    line: int | None
    text: Any
    label: Any
    group: Any


class Rejects:
    """What becomes of rows that cannot be read: the first one stops the work, or all are kept as a list."""

    def __init__(self, on_error: str) -> None:
        self._on_error = on_error
        self.found: list[dict[str, Any]] = []

    def reject(self, path: Path, number: int, line: int | None, reason: str) -> None:
        """Raise DataError with the row's place, or note it."""
        if self._on_error == "stop":
            place = f"row {number}" if line is None else f"row {number} (line {line})"
            raise DataError(f"{path}, {place}: {reason}", _HOW_TO_SKIP)
        self.found.append({"file": path.name, "row": number, "line": line, "reason": reason})


def table_kind(path: Path) -> str | None:
    """Return which of SUFFIXES a name ends in, before .gz; None for what is no table."""
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    return kind if kind in SUFFIXES else None


def read_table(
    path: Path, asked: Columns, rejects: Rejects, *, has_labels: bool, is_told: bool = True
) -> Iterator[Row]:
    """Yield the rows of a table in their order; `is_told` says whether its columns are talked of.

    Raises DataError for a file that is none, for a column that is not there, and, by `rejects`, for a bad row.
    """
    rows = {
        ".parquet": _parquet_rows,
        ".jsonl": _json_rows,
        ".ndjson": _json_rows,
        ".csv": _csv_rows,
        ".tsv": _csv_rows,
    }[str(table_kind(path))]
    try:
        yield from rows(path, lambda names: _find_columns(path, names, asked, has_labels, is_told), rejects)
    except (OSError, EOFError, zlib.error) as error:  # gzip raises all three
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {reason}") from error


def _find_columns(path: Path, names: Sequence[str], asked: Columns, has_labels: bool, is_told: bool) -> Columns:
    """Return the columns to read: those asked for, or else the one with a name that says what it is."""
    found: list[str | None] = []
    for role, name, known in zip(
        ("text", "label", "group"), asked, (_TEXT_NAMES, _LABEL_NAMES, _GROUP_NAMES), strict=True
    ):
        if role == "label" and not has_labels:
            found.append(None)
            continue
        if name is None:
            fits = [column for word in known for column in names if column.strip().lower() == word]
        else:
            fits = [name] if name in names else []
        if not fits and (name is not None or role != "group"):
            there = ", ".join(map(repr, names))
            wanted = f"no column {name!r}" if name is not None else f"no column that is clearly the {role}"
            raise DataError(f"{path} has {wanted}; it has {there}", f"--set data.{role}_column=NAME")
        found.append(fits[0] if fits else None)
    columns = Columns(*found)
    for name in filter(None, columns):
        if names.count(name) > 1:
            raise DataError(f"{path} has {names.count(name)} columns named {name!r}; each needs a name of its own")
    said = [f"{role} in {name!r}" for role, name in zip(columns._fields, columns, strict=True) if name is not None]
    others = [name for name in names if name not in columns]
    if is_told:
        console.say(f"data: {path.name}: {', '.join(said)}" + (f"; not read: {', '.join(others)}" if others else ""))
    return columns


FindColumns = Callable[[Sequence[str]], Columns]


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    handle = path.open("rb")
    start = handle.read(2)
    handle.seek(0)
    if start == b"\x1f\x8b":
        handle.close()
        return gzip.open(path)
    if start in (b"\xff\xfe", b"\xfe\xff"):
        handle.close()
        raise DataError(f"{path} is UTF-16 text; UTF-8 is read", f"iconv -f UTF-16 -t UTF-8 {path.name} > utf8.csv")
    return handle


def _csv_rows(path: Path, find_columns: FindColumns, rejects: Rejects) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    # newline="": the csv module wants to see line ends itself, those inside quotes too
    with _open(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", "replace", newline="") as handle:
        header = handle.readline()
        if not header.strip():
            raise DataError(f"{path} is empty; its first line should name the columns, such as text,label")
        delimiter = "\t" if table_kind(path) == ".tsv" else max(_DELIMITERS, key=header.count)
        names = next(csv.reader([header], delimiter=delimiter))
        columns = find_columns(names)
        places = [None if name is None else names.index(name) for name in columns]
        reader = csv.reader(handle, delimiter=delimiter, strict=True)
        number = 0
        while True:
            number += 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                rejects.reject(path, number, reader.line_num + 1, f"{error}")
                continue
            if not fields:
                number -= 1  # a blank line
                continue
            if len(fields) != len(names):
                reason = f"{len(fields)} fields where the header names {len(names)}"
                rejects.reject(path, number, reader.line_num + 1, reason)
                continue
            yield Row(number, reader.line_num + 1, *(None if place is None else fields[place] for place in places))


def _json_rows(path: Path, find_columns: FindColumns, rejects: Rejects) -> Iterator[Row]:
    looked_at = itertools.islice(_json_objects(path, Rejects("skip")), _OBJECTS_LOOKED_AT)
    names = list(dict.fromkeys(name for _, _, values in looked_at for name in values))
    columns = find_columns(names) if names else Columns()
    for number, line, values in _json_objects(path, rejects):
        yield Row(number, line, *(None if name is None else values.get(name) for name in columns))


def _json_objects(path: Path, rejects: Rejects) -> Iterator[tuple[int, int, dict[str, Any]]]:
    number = 0
    with _open(path) as raw:
        for line, data in enumerate(raw, 1):
            if not data.strip():
                continue
            number += 1
            try:
                values = json.loads(data.decode("utf-8-sig" if line == 1 else "utf-8", "replace"))
            except (ValueError, RecursionError) as error:
                rejects.reject(path, number, line, f"no JSON: {error}")
                continue
            if not isinstance(values, dict):
                rejects.reject(path, number, line, f"a JSON {type(values).__name__} where an object should be")
                continue
            yield number, line, values
    if number == 0:
        raise DataError(f'{path} is empty; each line should be an object such as {{"text": "…", "label": "pos"}}')


def _parquet_rows(path: Path, find_columns: FindColumns, rejects: Rejects) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MachineError(f"{path} needs pyarrow to be read", "pip install 'sentiment-cli[parquet]'") from None
    try:
        with parquet.ParquetFile(path) as file:
            columns = find_columns(file.schema_arrow.names)
            read = [name for name in columns if name is not None]
            number = 0
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=read):
                values = batch.to_pydict()
                empty = [None] * batch.num_rows
                of_columns = (empty if name is None else values[name] for name in columns)
                for text, label, group in zip(*of_columns, strict=True):
                    number += 1
                    yield Row(number, None, text, label, group)
    except (ArrowException, UnicodeDecodeError) as error:  # Parquet promises UTF-8, and pyarrow takes its word
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error
