"""Inputs of batch prediction: the rows of files, with all their columns."""

import errno
import itertools
import os
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sentiment_cli import console
from sentiment_cli.data.files.encodings import find_encoding, open_lines
from sentiment_cli.data.files.file_kinds import JSON_SUFFIXES, missing_file
from sentiment_cli.data.tables.csv_lines import Overlong, bounded_lines
from sentiment_cli.data.tables.parquet_files import batches_from
from sentiment_cli.data.tables.readers import (
    Columns,
    Format,
    Rejects,
    Say,
    Start,
    TextColumns,
    fields_of_lines,
    find_columns,
    kind_of_file,
    read_records,
    reading,
    reading_parquet,
    table_kind,
    text_of,
    unless_all_fail,
    why_no_text,
)
from sentiment_cli.data.tables.writers import Kind, kind_of, objects_of, well_formed
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.inference.batch.chunks import (
    CHUNKS_A_PART,
    LINE_COLUMNS,
    OVERLONG,
    ROWS_AT_ONCE,
    SKIP_OPTION,
    BatchSource,
    Chunk,
    ChunkRange,
    Known,
    group_rows,
)
from sentiment_cli.inference.batch.streams import lines_as_they_come
from sentiment_cli.storage import store

_HELP = "sentiment predict --help"


def open_file(
    path: Path,
    text_column: TextColumns,
    on_error: str,
    how: Format = Format(),  # noqa: B008
    known: Known | None = None,
    say: Say = console.say,
) -> BatchSource:
    """Return the rows of a table, or the lines of any other text file, after reading through it once.

    Bad rows and missing columns are thus found before anything slow begins. Raises DataError for them and for files
    without text, and UsageError for a column of a file that has no columns. With what is `known` from an earlier time
    the file is not read through.
    """
    path = Path(os.path.expanduser(path))  # noqa: PTH111 - Path's raises for the home of nobody
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise DataError(f"{path} cannot be read: {reason}") from error
        raise missing_file(path, "--file", f"it cannot be read: {reason}") from error
    if stat.S_ISDIR(mode):
        raise DataError(f"--file is {path}: a directory, not a file", shlex.join(["ls", str(path)]))
    is_pipe = not stat.S_ISREG(mode)
    kind = table_kind(path) if is_pipe else kind_of_file(path, how)
    if kind is None and not is_pipe and text_column is not None and fields_of_lines(path, how) > 1:
        how = how._replace(delimiter="tab")
        kind = ".csv"
    if kind is None and text_column is not None:
        raise UsageError(
            f"--text-column goes with a table, and {path} is read line by line",
            shlex.join(["sentiment", "predict", "--file", str(path)]),
        )
    if kind is None and is_pipe:
        with reading(path):
            return lines_as_they_come(os.open(path, os.O_RDONLY), path.name, how)
    if is_pipe:
        copy = shlex.quote(str(store.unused_path(Path(f"rows{kind}"))))
        raise DataError(
            f"{path} is not a regular file, and a file is read twice",
            f"cat {shlex.quote(str(path))} > {copy} && sentiment predict --file {copy}",
        )
    if kind == ".parquet":
        return _parquet_file(path, text_column, on_error, how, known, say)
    if kind is None:
        return _text_file(path, on_error, how, known, say)
    return _table_file(path, text_column, on_error, how, kind, known, say)


def _text_file(path: Path, on_error: str, how: Format, known: Known | None, say: Say) -> BatchSource:
    encoding = find_encoding(path, how.encoding)

    def read_from(rejects: Rejects, start: ChunkRange = _BEGINNING) -> Iterator[Chunk]:
        with open_lines(path, encoding.codec) as handle:
            lines = itertools.islice(bounded_lines(handle), start.line, None)
            yield from group_rows(_whole_lines(path, lines, rejects, start.line))

    known = known or _look_through(read_from, on_error, lambda chunk: _Place(chunk.numbers[-1], chunk.numbers[-1]))
    say(f"data: {path.name}: a text a line; {encoding.said}")
    if encoding.warning:
        console.warn(encoding.warning)
    if fields_of_lines(path, how) > 1:
        say(f"data: {path.name}: each line has tabs; --set data.delimiter=tab reads it as a table")
    return _file_source(path, LINE_COLUMNS, "text", known, read_from, is_table=False)


def _table_file(
    path: Path, asked: TextColumns, on_error: str, how: Format, kind: str, known: Known | None, say: Say
) -> BatchSource:
    columns: dict[str, Kind | None] = {}
    found: Columns | None = None
    place = _Place(0, 0)
    is_json = kind in (*JSON_SUFFIXES, ".fasttext", ".arrow")
    wanted = Columns(asked)

    def choose(names: Sequence[str]) -> Sequence[str]:
        nonlocal found
        if found is None:
            found = find_columns(path, names, wanted, how, needs_label=False, say=say)
        for name in names:
            columns.setdefault(name, None if is_json else "text")
        return names

    def rows(rejects: Rejects, start: ChunkRange) -> Iterator[tuple[int, str, dict[str, Any]]]:
        nonlocal place
        begin = Start(start.row, start.line, tuple(known.kinds)) if known is not None and start.row else None
        for number, line, values in read_records(path, choose, rejects, how, wanted, begin):
            if number <= start.row:
                continue
            text = text_of(values, found.text if found else None)
            if (reason := why_no_text(text)) is None:
                place = _Place(number, line or 0)
                yield number, text, values
            else:
                rejects.reject(path, number, line, reason, values)

    def learn(chunk: Chunk) -> _Place:
        for row in chunk.rows if is_json else ():
            for name, value in row.items():
                columns[name] = kind_of(value, columns.get(name))
        return place

    def read_from(rejects: Rejects, start: ChunkRange = _BEGINNING) -> Iterator[Chunk]:
        return group_rows(rows(rejects, start))

    if known is None:
        seen = _look_through(read_from, on_error, learn)
        known = seen._replace(kinds={name: kind or "text" for name, kind in columns.items()})
    column = _said(found.text if found else None)
    return _file_source(path, known.kinds, column, known, read_from)


def _parquet_file(
    path: Path, asked: TextColumns, on_error: str, how: Format, known: Known | None, say: Say
) -> BatchSource:
    with reading(path), reading_parquet(path) as file:
        schema = file.schema_arrow
    names = list(schema.names)
    found = find_columns(path, names, Columns(asked), how, needs_label=False, say=say)
    of_text = Columns(found.text).named()

    number = 0

    def read_from(rejects: Rejects, start: ChunkRange = _BEGINNING, only: list[str] | None = None) -> Iterator[Chunk]:
        nonlocal number
        number = start.row
        with reading(path), reading_parquet(path) as file:
            for batch in batches_from(file, start.row, ROWS_AT_ONCE, only):
                parts = {name: batch.column(batch.schema.names.index(name)).to_pylist() for name in of_text}
                values = [
                    text_of(dict(zip(parts, row, strict=True)), found.text) for row in zip(*parts.values(), strict=True)
                ]
                before, number = number, number + len(values)
                good = [place for place, value in enumerate(values) if isinstance(value, str)]
                bad = sorted(set(range(len(values))) - set(good))
                for place, row in zip(bad, objects_of(batch.take(bad)) if bad else (), strict=True):
                    rejects.reject(path, before + place + 1, None, str(why_no_text(values[place])), row)
                rows = batch if len(good) == len(values) else batch.take(good)
                yield Chunk(
                    [before + place + 1 for place in good], [well_formed(values[place]) for place in good], rows
                )

    known = known or _look_through(
        lambda rejects, start: read_from(rejects, start, of_text),
        on_error,
        lambda chunk: _Place(number, 0),
    )
    return _file_source(path, schema, _said(found.text), known, read_from)


def _file_source(
    path: Path,
    columns: Any,
    text_column: str,
    known: Known,
    read_from: Callable[..., Iterator[Chunk]],
    *,
    is_table: bool = True,
) -> BatchSource:
    return BatchSource(
        path.name,
        columns,
        text_column,
        known.n_rows,
        read_from,
        is_table=is_table,
        is_file=True,
        paths=(path,),
        known=known,
        read_from=read_from,
    )


def _said(columns: TextColumns) -> str:
    return " and ".join(Columns(columns).named()) or "text"


class _Place(NamedTuple):
    """The number of rows and of lines of a file that have been read."""

    row: int
    line: int


_BEGINNING = ChunkRange(0, 0, 0, 0)


def _look_through(
    read: Callable[[Rejects, ChunkRange], Iterator[Chunk]], on_error: str, learn: Callable[[Chunk], _Place]
) -> Known:
    """Return the number of rows, good and bad, and the parts; raise DataError for a bad row unless it is to be skipped.

    `learn` looks at a chunk and returns the place after it.
    """
    n_rows, after = 0, _Place(0, 0)
    ranges: list[ChunkRange] = []

    def count(place: dict[str, Any], content: Any) -> None:
        nonlocal n_rows
        n_rows += 1

    with unless_all_fail(lambda rejects: read(rejects, _BEGINNING)):
        for chunk in read(Rejects(on_error, count, SKIP_OPTION), _BEGINNING):
            n_rows += len(chunk.texts)
            if not ranges or ranges[-1].n_chunks == CHUNKS_A_PART:
                ranges.append(ChunkRange(0, after.row, after.line, 0))
            ranges[-1] = ranges[-1]._replace(n_chunks=ranges[-1].n_chunks + 1)
            after = learn(chunk)
    return Known(n_rows, {}, tuple(ranges))


def _whole_lines(
    path: Path, lines: Iterable[str], rejects: Rejects, n_before: int
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield each line as a row, without its end, which is LF or CRLF and nothing else."""
    for number, line in enumerate(lines, n_before + 1):
        if type(line) is Overlong:
            rejects.reject(path, number, number, OVERLONG)
            continue
        text = line.removesuffix("\n").removesuffix("\r")
        yield number, text, {"text": text}
