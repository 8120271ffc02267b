"""Rows into CSV, TSV, JSON Lines and Parquet files, some at a time: what `tables` reads, with columns added.

Rows are objects by column, or a record batch of Arrow, which Parquet is read in; both come out of every writer.
"""

import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sentiment_cli.data.tables.parquet_files import import_parquet
from sentiment_cli.data.tables.protection import spreadsheet_cell

if TYPE_CHECKING:
    from sentiment_cli.storage.store import Output

Kind = Literal["text", "integer", "number", "truth", "json"]
TableRows = Any  # list[dict[str, Any]], or pyarrow.RecordBatch
Write = Callable[[bytes], object]

_NEEDS_QUOTES = re.compile(r'["\t\r\n,]')
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# A row group is held in memory, and of each some figures until the end, so it is neither large nor small.
_ROWS_OF_GROUP, _BYTES_OF_GROUP = 1 << 14, 1 << 23
_INT64 = range(-(1 << 63), 1 << 63)


class TableWriter(Protocol):
    """What takes rows with their added columns; `close` ends the file."""

    def write(self, rows: TableRows, added: Mapping[str, Sequence[Any]]) -> None: ...

    def close(self) -> None: ...


def well_formed(text: str) -> str:
    """Return the text with half a surrogate pair, which JSON can spell and UTF-8 cannot, as U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def kind_of(value: Any, before: Kind | None) -> Kind | None:
    """Return the kind of a column after one more value; None fits every kind.

    Whole numbers and fractions are numbers together; whatever else is mixed, nested or beyond 64 bits is JSON.
    """
    if value is None:
        return before
    kind: Kind = "json"
    if isinstance(value, str):
        kind = "text"
    elif isinstance(value, bool):
        kind = "truth"
    elif isinstance(value, float) or (isinstance(value, int) and value in _INT64):
        kind = "number" if isinstance(value, float) else "integer"
    return joined_kind(before, kind)


def joined_kind(before: Kind | None, kind: Kind) -> Kind:
    """Return the kind of a column that has values of both."""
    if before in (None, kind):
        return kind
    return "number" if {before, kind} == {"integer", "number"} else "json"


class JsonLines:
    """One object per row, in ASCII, everything else escaped."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def write(self, rows: TableRows, added: Mapping[str, Sequence[Any]]) -> None:
        lines = [dump({**row, **dict(zip(added, values, strict=True))}) for row, values in _joined(rows, added)]
        self._write("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        pass


class Cells:
    """CSV or TSV with a first line of names; `n_altered` counts the cells that `spreadsheet_cell` changed."""

    def __init__(self, write: Write, names: Sequence[str], added: Sequence[str], delimiter: str, is_safe: bool) -> None:
        self._write, self._names, self._delimiter, self._is_safe = write, names, delimiter, is_safe
        self.n_altered = 0
        self._write(self._line([*names, *added]).encode())

    def write(self, rows: TableRows, added: Mapping[str, Sequence[Any]]) -> None:
        lines = [self._line([*map(row.get, self._names), *values]) for row, values in _joined(rows, added)]
        self._write("".join(lines).encode())

    def close(self) -> None:
        pass

    def _line(self, values: Sequence[Any]) -> str:
        return self._delimiter.join(map(self._cell, values)) + "\n"

    def _cell(self, value: Any) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            text = dump(value)
        elif self._is_safe:
            text = spreadsheet_cell(well_formed(value))
            self.n_altered += text != value
        else:
            text = well_formed(value)
        # Not by the csv module, which before Python 3.13 leaves a lone \r without quotes.
        return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


class Parquet:
    """Columns of one type each: those of a Parquet file's schema, or one for every kind."""

    def __init__(self, output: "Output", columns: Any, added: Mapping[str, Kind]) -> None:
        pyarrow, parquet = import_parquet("a Parquet file")
        self._pyarrow = pyarrow
        self._kinds: dict[str, Kind] = columns if isinstance(columns, dict) else {}
        before = [] if isinstance(columns, dict) else list(columns)
        fresh = arrow_fields({**self._kinds, **added})
        metadata = None if isinstance(columns, dict) else columns.metadata
        self._schema = schema = pyarrow.schema([*before, *fresh], metadata)
        self._batches: list[Any] = []
        self._writer = parquet.ParquetWriter(output, schema)

    def write(self, rows: TableRows, added: Mapping[str, Sequence[Any]]) -> None:
        columns = (
            [[_fit(row.get(name), kind) for row in rows] for name, kind in self._kinds.items()]
            if isinstance(rows, list)
            else rows.columns
        )
        arrays = [
            self._pyarrow.array(values, field.type) if isinstance(values, list) else values
            for values, field in zip([*columns, *map(list, added.values())], self._schema, strict=True)
        ]
        self._batches.append(self._pyarrow.record_batch(arrays, schema=self._schema))
        n_rows, n_bytes = (sum(getattr(batch, size) for batch in self._batches) for size in ("num_rows", "nbytes"))
        if n_rows >= _ROWS_OF_GROUP or n_bytes >= _BYTES_OF_GROUP:
            self._end_group()

    def close(self) -> None:
        self._end_group()
        self._writer.close()

    def _end_group(self) -> None:
        if self._batches:
            self._writer.write_table(self._pyarrow.Table.from_batches(self._batches))
            self._batches = []


def arrow_fields(kinds: Mapping[str, Kind]) -> list[Any]:
    """Return an Arrow field for each column by its kind."""
    pyarrow, _ = import_parquet("an Arrow column")
    types = {"integer": pyarrow.int64(), "number": pyarrow.float64(), "truth": pyarrow.bool_()}
    return [pyarrow.field(name, types.get(kind, pyarrow.string())) for name, kind in kinds.items()]


def _joined(rows: TableRows, added: Mapping[str, Sequence[Any]]) -> Iterator[tuple[dict[str, Any], tuple[Any, ...]]]:
    """Pair each row, as an object, with its added values."""
    objects = objects_of(rows)
    return zip(objects, zip(*added.values(), strict=True) if added else itertools.repeat((), len(objects)), strict=True)


def _fit(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind == "json":
        return dump(value)
    return well_formed(value) if kind == "text" else float(value) if kind == "number" else value


def objects_of(rows: TableRows) -> list[dict[str, Any]]:
    """Return rows as objects."""
    if isinstance(rows, list):
        return rows
    columns = map(_values, rows.columns)
    return [dict(zip(rows.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(column: Any) -> list[Any]:
    """Return an Arrow column as JSON's types; dates, times and decimals as their text."""
    pyarrow, _ = import_parquet("a Parquet file")
    if pyarrow.types.is_temporal(column.type) or pyarrow.types.is_decimal(column.type):
        column = column.cast(pyarrow.string())
    try:
        values: list[Any] = column.to_pylist()
    except ValueError:  # nanoseconds within lists and structs, which Python's own times lack
        values = [str(value) for value in column]
    return values


def dump(value: Any) -> str:
    """Return a value as JSON in ASCII, null for what JSON has no number for."""
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)  # as the encoder does, in a tenth of its time
    try:
        return _ENCODER.encode(value)
    except ValueError:
        return _ENCODER.encode(_without_nan(value))


def _plain(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


_ENCODER = json.JSONEncoder(allow_nan=False, default=_plain)


def _without_nan(value: Any) -> Any:
    """Put null for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
