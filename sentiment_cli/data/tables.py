"""Rows of CSV, TSV, JSON Lines (each also gzipped) and Parquet files, one at a time; columns found by their names."""

import contextlib
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from sentiment_cli import console
from sentiment_cli.data.csv_lines import Lines
from sentiment_cli.errors import DataError, MachineError

Role = Literal["text", "label", "group"]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_NAMES_OF: dict[Role, tuple[str, ...]] = {
    "text": ("text", "review", "review_text", "content", "sentence", "comment", "body", "message", "tweet"),
    "label": ("label", "sentiment", "class", "category", "polarity", "target"),
    "group": ("group", "movie"),
}
_DELIMITERS = ",;\t|"
# The csv module's own 131,072 would refuse an honest long text; a quote left open must still end somewhere.
_LONGEST_FIELD = 16_000_000
_ROWS_AT_ONCE = 1024
_READ_AHEAD = 1 << 18  # else, and with pre_buffer, pyarrow takes a whole column of a row group into memory
_HOW_TO_SKIP = "--set data.on_error=skip leaves such rows out and lists them"


Choose = Callable[[Sequence[str]], Sequence[str]]


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


class Record(NamedTuple):
    """All that a row holds, by the names of the columns; what an object leaves out is not there."""

    number: int
    line: int | None
    values: dict[str, Any]


class Rejects:
    """What becomes of rows that cannot be read: the first one stops the work, or all are kept.

    `keep` takes where a row stands and why it is none, and what it holds as far as that is known; without one the
    places make a list.
    """

    def __init__(
        self,
        on_error: str,
        keep: Callable[[dict[str, Any], Any], object] | None = None,
        how_to_skip: str = _HOW_TO_SKIP,
    ) -> None:
        self._on_error, self._how_to_skip = on_error, how_to_skip
        self.found: list[dict[str, Any]] = []
        self._keep = keep or (lambda place, _: self.found.append(place))

    def reject(self, path: Path, number: int, line: int | None, reason: str, content: Any = None) -> None:
        """Raise DataError with the row's place, or keep it."""
        if self._on_error == "stop":
            place = f"row {number}" if line is None else f"row {number} (line {line})"
            raise DataError(f"{path}, {place}: {reason}", self._how_to_skip)
        self._keep({"file": path.name, "row": number, "line": line, "reason": reason}, content)


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
    found = Columns()

    def choose(names: Sequence[str]) -> list[str]:
        nonlocal found
        found = _find_columns(path, names, asked, has_labels, is_told)
        return [name for name in found if name is not None]

    for number, line, values in read_records(path, choose, rejects):
        yield Row(number, line, *(None if name is None else values.get(name) for name in found))


def read_records(path: Path, choose: Choose, rejects: Rejects) -> Iterator[Record]:
    """Yield what the rows of a table hold, in their order; `choose` is told the columns and names those to read.

    Raises DataError as `read_table` does. Objects of JSON Lines come whole.
    """
    records = {".parquet": _parquet_records, ".jsonl": _json_records, ".ndjson": _json_records}
    with reading(path):
        yield from records.get(str(table_kind(path)), _csv_records)(path, choose, rejects)


def column_names(path: Path) -> list[str]:
    """Return the names of a table's columns. Raises DataError as `read_table` does."""
    found: list[str] = []

    def choose(names: Sequence[str]) -> Sequence[str]:
        found.extend(names)
        return names[:1]

    next(iter(read_records(path, choose, Rejects("skip"))), None)
    return found


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise DataError for what the disk or gzip has against reading `path`."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:  # gzip raises all three
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {reason}") from error


def find_column(path: Path, names: Sequence[str], role: Role, asked: str | None, how_to_name: str) -> str | None:
    """Return the column of this name, or the one with a name that says what it is; a group alone may be missing."""
    if asked is None:
        fits = [column for word in _NAMES_OF[role] for column in names if column.strip().lower() == word]
    else:
        fits = [asked] if asked in names else []
    if not fits and (asked is not None or role != "group"):
        there = ", ".join(map(repr, names))
        wanted = f"no column {asked!r}" if asked is not None else f"no column that is clearly the {role}"
        raise DataError(f"{path} has {wanted}; it has {there}", how_to_name)
    return fits[0] if fits else None


def has_role(name: str) -> bool:
    """Say whether a column's name says that it is the text, the label or the group."""
    return any(name.strip().lower() in words for words in _NAMES_OF.values())


def check_unique(path: Path, names: Iterable[str], all_names: Sequence[str]) -> None:
    """Raise DataError where one of `names` is that of several columns."""
    for name in names:
        if all_names.count(name) > 1:
            raise DataError(f"{path} has {all_names.count(name)} columns named {name!r}; each needs a name of its own")


def why_no_text(value: Any) -> str | None:
    """Return what is wrong with the text of a row; None where it is one."""
    if isinstance(value, str):
        return None
    return f"its text is {'missing' if value is None else f'a {type(value).__name__}'}, not text"


def _find_columns(path: Path, names: Sequence[str], asked: Columns, has_labels: bool, is_told: bool) -> Columns:
    """Return the columns to read: those asked for, or else the one with a name that says what it is."""
    roles: tuple[Role, ...] = ("text", "label", "group")
    columns = Columns(
        *(
            find_column(path, names, role, name, f"--set data.{role}_column=NAME")
            if has_labels or role != "label"
            else None
            for role, name in zip(roles, asked, strict=True)
        )
    )
    check_unique(path, filter(None, columns), names)
    said = [f"{role} in {name!r}" for role, name in zip(columns._fields, columns, strict=True) if name is not None]
    others = [name for name in names if name not in columns]
    if is_told:
        console.say(f"data: {path.name}: {', '.join(said)}" + (f"; not read: {', '.join(others)}" if others else ""))
    return columns


def open_bytes(path: Path) -> IO[bytes] | gzip.GzipFile:
    """Open a file of text, unpacked where it is gzipped. Raises DataError for UTF-16."""
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


def _csv_records(path: Path, choose: Choose, rejects: Rejects) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_FIELD)
    # newline="": the csv module wants to see line ends itself, those inside quotes too
    with open_bytes(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", "replace", newline="") as handle:
        header = handle.readline()
        if not header.strip():
            raise DataError(f"{path} is empty; its first line should name the columns, such as text,label")
        delimiter = "\t" if table_kind(path) == ".tsv" else max(_DELIMITERS, key=header.count)
        try:
            names = next(csv.reader([header], delimiter=delimiter))
        except csv.Error as error:
            raise DataError(f"{path}: its first line, which should name the columns, is no CSV: {error}") from error
        places = [(name, names.index(name)) for name in choose(names)]
        lines = Lines(handle)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        number = 0
        while True:
            number += 1
            lines.begin_row()
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                lines.leave_row()
                rejects.reject(path, number, lines.number, f"{error}")
                continue
            if not fields:
                number -= 1  # a blank line
                continue
            if len(fields) != len(names):
                reason = f"{len(fields)} fields where the header names {len(names)}"
                rejects.reject(path, number, lines.number, reason, fields)
                continue
            yield Record(number, lines.number, {name: fields[place] for name, place in places})


def _json_records(path: Path, choose: Choose, rejects: Rejects) -> Iterator[Record]:
    # An object may leave out what it has no value for, such as a label or a group: all of them name the columns.
    names = list(dict.fromkeys(name for record in _json_objects(path, Rejects("skip")) for name in record.values))
    if names:
        choose(names)
    yield from _json_objects(path, rejects)


def _json_objects(path: Path, rejects: Rejects) -> Iterator[Record]:
    number = 0
    with open_bytes(path) as raw:
        for line, data in enumerate(raw, 1):
            if not data.strip():
                continue
            number += 1
            text = data.decode("utf-8-sig" if line == 1 else "utf-8", "replace")
            try:
                values = json.loads(text)
            except (ValueError, RecursionError) as error:
                rejects.reject(path, number, line, f"no JSON: {error}", text)
                continue
            if not isinstance(values, dict):
                rejects.reject(path, number, line, f"a JSON {type(values).__name__} where an object should be", text)
                continue
            yield Record(number, line, values)
    if number == 0:
        raise DataError(f'{path} is empty; each line should be an object such as {{"text": "…", "label": "pos"}}')


def _parquet_records(path: Path, choose: Choose, rejects: Rejects) -> Iterator[Record]:
    number = 0
    with reading_parquet(path) as file:
        names = choose(file.schema_arrow.names)
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names):
            for values in batch.to_pylist():
                number += 1
                yield Record(number, None, values)


@contextlib.contextmanager
def reading_parquet(path: Path) -> Iterator[Any]:
    """Open a Parquet file, of which some rows at a time can be read. Raises DataError for what is none."""
    pyarrow, parquet = import_parquet(str(path))
    try:
        with parquet.ParquetFile(path, buffer_size=_READ_AHEAD, pre_buffer=False) as file:
            yield file
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:  # Parquet promises UTF-8, and pyarrow takes its word
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error


def import_parquet(what: str) -> tuple[Any, Any]:
    """Return pyarrow and its module for Parquet. Raises MachineError where they are not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MachineError(f"{what} needs pyarrow", "pip install 'sentiment-cli[parquet]'") from None
    return pyarrow, parquet
