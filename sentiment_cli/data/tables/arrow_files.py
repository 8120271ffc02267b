"""Arrow files, as `datasets` saves them, and the class names in the schemas of Arrow and Parquet files."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sentiment_cli.data.tables.parquet_files import import_parquet, reading_parquet
from sentiment_cli.data.tables.rows import Choose, TableRecord
from sentiment_cli.errors import DataError

SCHEMA_KINDS = (".parquet", ".arrow")  # of files that can name their classes
_FILE_MAGIC = b"ARROW1"  # of the file format; the streaming format has none
_MISSING = -1  # what `datasets` writes for a label that is not known
_FEATURES = b"huggingface"


def arrow_records(path: Path, choose: Choose) -> Iterator[TableRecord]:
    """Yield what the rows of an Arrow file hold; each block is validated before it is read."""
    number = 0
    with _reading_arrow(path) as (schema, batches):
        names = choose(schema.names)
        for batch in batches:
            batch.validate(full=True)
            columns = [batch.column(batch.schema.get_field_index(name)).to_pylist() for name in names]
            for values in zip(*columns, strict=True) if names else ((),) * batch.num_rows:
                number += 1
                yield TableRecord(number, None, dict(zip(names, values, strict=True)))


def class_names(path: Path, kind: str, column: str | None) -> tuple[str, ...] | None:
    """Return the names of the classes that a column of whole numbers stands for, by the file's schema; None for none.

    `datasets` writes them as JSON, under the key `huggingface`. Raises DataError for names that are no different texts.
    """
    schema = _schema_of(path, kind)
    try:
        feature = json.loads((schema.metadata or {})[_FEATURES])["info"]["features"][column]
        names = feature["names"] if feature["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    if names is None:
        return None
    if not isinstance(names, list) or not all(type(name) is str for name in names) or len(set(names)) < len(names):
        raise DataError(f"{path}: the class names of {column!r} in its schema are {names!r:.200}, no different texts")
    return tuple(names)


def class_of(path: Path, number: int, value: Any, names: Sequence[str]) -> str | None:
    """Return the name of a class by its number; None for a label that is not known. Raises DataError for any other."""
    if value is None or value == _MISSING:
        return None
    if type(value) is not int or not 0 <= value < len(names):
        raise DataError(f"{path}, row {number}: its label is {value!r:.80}, and the schema names {len(names)} classes")
    return names[value]


def count_class_rows(path: Path, kind: str, column: str) -> tuple[int, int]:
    """Return how many rows of a file whose schema names classes have a label, and how many have none."""
    n_labelled = n_rows = 0
    if kind == ".parquet":
        with reading_parquet(path) as file:
            for batch in file.iter_batches(columns=[column]):
                n_rows += batch.num_rows
                n_labelled += _n_known(batch.column(0).to_pylist())
    else:
        with _reading_arrow(path) as (schema, batches):
            place = schema.get_field_index(column)
            for batch in batches:
                batch.validate(full=True)
                n_rows += batch.num_rows
                n_labelled += _n_known(batch.column(place).to_pylist())
    return n_labelled, n_rows - n_labelled


def _n_known(values: Sequence[Any]) -> int:
    return len(values) - values.count(None) - values.count(_MISSING)


def _schema_of(path: Path, kind: str) -> Any:
    if kind == ".parquet":
        with reading_parquet(path) as file:
            return file.schema_arrow
    with _reading_arrow(path) as (schema, _):
        return schema


@contextlib.contextmanager
def _reading_arrow(path: Path) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Open an Arrow file of either format: its schema, and its blocks of rows. Raises DataError for another file."""
    pyarrow, _ = import_parquet(str(path))
    with path.open("rb") as handle:
        is_file = handle.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    try:
        with pyarrow.OSFile(str(path)) as source:
            reader = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
            n_blocks = reader.num_record_batches if is_file else 0
            yield reader.schema, (reader.get_batch(i) for i in range(n_blocks)) if is_file else iter(reader)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable Arrow file: {error}") from error
