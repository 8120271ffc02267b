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


def batches_from(file: Any, row: int, n_rows: int, names: list[str] | None) -> Iterator[Any]:
    """Yield the rows of an open file but the first `row`, in batches of `n_rows`; groups before are not read."""
    pyarrow, _ = import_parquet("a Parquet file")
    first = 0
    while first < file.num_row_groups and row >= file.metadata.row_group(first).num_rows:
        row -= file.metadata.row_group(first).num_rows
        first += 1
    groups = list(range(first, file.num_row_groups))
    rest: Any = None
    for batch in file.iter_batches(n_rows, row_groups=groups, columns=names, use_threads=False):
        # Where there are lists or dictionaries, pyarrow ends a batch at the end of each group of rows.
        if rest is None and row == 0 and batch.num_rows == n_rows:
            yield batch
            continue
        skipped = min(row, batch.num_rows)
        row -= skipped
        here = pyarrow.Table.from_batches([batch.slice(skipped)])
        rest = here if rest is None else pyarrow.concat_tables([rest, here])
        while rest is not None and rest.num_rows >= n_rows:
            yield from rest.slice(0, n_rows).combine_chunks().to_batches()
            rest = rest.slice(n_rows) if rest.num_rows > n_rows else None
    if rest is not None and rest.num_rows:
        yield from rest.combine_chunks().to_batches()


def import_parquet(what: str) -> tuple[Any, Any]:
    """Return pyarrow and its module for Parquet. Raises MachineError where they are not installed."""
    extras.require("parquet", what)
    import pyarrow
    from pyarrow import parquet

    return pyarrow, parquet
