"""Answers for Arrow record batches: one function for engines, such as Spark, Ray and DuckDB, which imports no torch."""

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment_cli.data.tables.parquet_files import import_parquet
from sentiment_cli.data.tables.writers import arrow_fields
from sentiment_cli.errors import UsageError
from sentiment_cli.inference.batch.answer_columns import added_columns, answer_fields
from sentiment_cli.inference.batch.chunks import group_rows
from sentiment_cli.inference.predictor import Predictor, open_predictor
from sentiment_cli.runs.directory import find_model

if TYPE_CHECKING:
    import pyarrow

_OPEN_AT_ONCE = 4  # models that a process keeps


def score_records(
    records: "Iterable[pyarrow.RecordBatch]",
    model: Predictor | str | os.PathLike[str],
    text_column: str = "text",
) -> "Iterator[pyarrow.RecordBatch]":
    """Yield each record batch with its answers' columns behind its own, those of `predict --out answers.parquet`.

    Rows keep their order and number; one whose text is null has null answers. A model that is named is opened once in
    a process. Raises UsageError where a batch has no such column of texts, and where its schema is another than the
    first one's.
    """
    pyarrow, _ = import_parquet("scoring of record batches")
    predictor = model if not isinstance(model, str | os.PathLike) else _open(os.fspath(model))
    first: Any = None
    schema: Any = None
    name_of: dict[str, str] = {}
    for batch in records:
        if first is None:
            first = batch.schema
            name_of, kinds = added_columns(predictor, first.names, is_flat=True, shown=str)
            schema = pyarrow.schema([*first, *arrow_fields(kinds)], first.metadata)
        if not batch.schema.equals(first):
            raise UsageError(f"record batches of two schemas: {first.names}, then {batch.schema.names}")
        fields = answers_to(predictor, _texts_of(batch, text_column))
        arrays = [
            pyarrow.array([None if one is None else one[name] for one in fields], schema.field(free).type)
            for name, free in name_of.items()
        ]
        yield pyarrow.RecordBatch.from_arrays([*batch.columns, *arrays], schema=schema)


def _open(name: str) -> Predictor:
    path = find_model(name)
    file = path if path.is_file() else path / "model" / "manifest.json"
    return _open_once(path, file.stat().st_mtime_ns if file.exists() else 0)


@functools.lru_cache(_OPEN_AT_ONCE)
def _open_once(path: Path, changed_ns: int) -> Predictor:
    return open_predictor(path, n_threads=1)  # an engine has a task for each core


def _texts_of(batch: Any, column: str) -> Sequence[str | None]:
    place = batch.schema.get_field_index(column)
    if place < 0:
        raise UsageError(f"there is no column {column!r} in the record batch; it has {batch.schema.names}")
    texts: list[str | None] = batch.column(place).to_pylist()
    odd = next((text for text in texts if text is not None and not isinstance(text, str)), None)
    if odd is not None:
        raise UsageError(f"the column {column!r} is of type {batch.schema.field(place).type}, not text")
    return texts


def answers_to(predictor: Predictor, texts: Sequence[str | None]) -> list[dict[str, Any] | None]:
    """Return the flat fields of each text's answer, chunk by chunk; None for a text that is None."""
    found: list[dict[str, Any] | None] = [None] * len(texts)
    for chunk in group_rows((place, text, {}) for place, text in enumerate(texts) if text is not None):
        for place, answer in zip(chunk.numbers, predictor.predict(chunk.texts), strict=True):
            found[place] = answer_fields(answer, is_flat=True, shown=str)
    return found
