"""Parquet files, some rows at a time, by pyarrow, which need not be installed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentiment_cli import extras
from sentiment_cli.data.tables.rows import Choose, TableRecord
from sentiment_cli.errors import DataError

_ROWS_AT_ONCE = 1024
_READ_AHEAD = 1 << 18  # else, and with pre_buffer, pyarrow takes a whole column of a row group into memory


def parquet_records(path: Path, choose: Choose) -> Iterator[TableRecord]:
    number = 0
    with reading_parquet(path) as file:
        all_names = file.schema_arrow.names
        if len(set(all_names)) < len(all_names):
            twin = next(name for name in all_names if all_names.count(name) > 1)
            raise DataError(f"{path} has {all_names.count(twin)} columns named {twin!r}; each needs a name of its own")
        names = choose(all_names)
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names):
            for values in batch.to_pylist():
                number += 1
                yield TableRecord(number, None, values)


@contextlib.contextmanager
def reading_parquet(path: Path) -> Iterator[Any]:
    """Open a Parquet file to read a block of rows at a time. Raises DataError for another kind of file."""
    pyarrow, parquet = import_parquet(str(path))
    try:
        with parquet.ParquetFile(path, buffer_size=_READ_AHEAD, pre_buffer=False) as file:
            yield file
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:  # Parquet promises UTF-8, and pyarrow takes its word
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error


def import_parquet(what: str) -> tuple[Any, Any]:
    """Return pyarrow and its module for Parquet. Raises MachineError where they are not installed."""
    extras.require("parquet", what)
    import pyarrow
    from pyarrow import parquet

    return pyarrow, parquet
