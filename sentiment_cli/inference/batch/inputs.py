"""Inputs of batch prediction: given texts, and rows of files with all their columns."""

import errno
import os
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sentiment_cli import console
from sentiment_cli.data.files.encodings import find_encoding, open_text
from sentiment_cli.data.files.file_kinds import JSON_SUFFIXES, missing_file
from sentiment_cli.data.tables.csv_lines import Overlong, bounded_lines
from sentiment_cli.data.tables.readers import (
    Columns,
    Format,
    Rejects,
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
from sentiment_cli.inference.batch.chunks import LINE_COLUMNS, OVERLONG, ROWS_AT_ONCE, BatchSource, Chunk, group_rows
from sentiment_cli.inference.batch.streams import lines_as_they_come

PREDICT_HINT = 'sentiment predict "I just really loved the movie"'
SKIP_OPTION = "--on-error skip"
_HELP = "sentiment predict --help"


def given_texts(texts: Sequence[str]) -> BatchSource:
    """Return texts of the command line; bytes of theirs that are not UTF-8, which are lone surrogates, as U+FFFD."""
    for i, one in enumerate(texts, 1):
        if not one.strip():
            raise UsageError(f"text {i} is empty" if len(texts) > 1 else "the text is empty", PREDICT_HINT)
    given = [one.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for one in texts]
    rows = [(i, text, {"text": text}) for i, text in enumerate(given, 1)]
    return BatchSource("texts", LINE_COLUMNS, "text", len(rows), lambda rejects: group_rows(rows))


def open_file(
    path: Path,
    text_column: TextColumns,
    on_error: str,
    how: Format = Format(),  # noqa: B008
) -> BatchSource:
    """Return the rows of a table, or the lines of any other text file, after reading through it once.

    Bad rows and missing columns are thus found before anything slow begins. Raises DataError for them and for files
    without text, and UsageError for a column of a file that has no columns.
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
        raise DataError(
            f"{path} is not a regular file, and a file is read twice",
            f"cat {shlex.quote(str(path))} > rows{kind} && sentiment predict --file rows{kind}",
        )
    if kind == ".parquet":
        return _parquet_file(path, text_column, on_error, how)
    return _text_file(path, on_error, how) if kind is None else _table_file(path, text_column, on_error, how, kind)


def _text_file(path: Path, on_error: str, how: Format) -> BatchSource:
    encoding = find_encoding(path, how.encoding)

    def read(rejects: Rejects) -> Iterator[Chunk]:
        with open_text(path, encoding.codec, "\n") as handle:
            yield from group_rows(_whole_lines(path, bounded_lines(handle), rejects))

    n_lines = _look_through(read, on_error)
    console.say(f"data: {path.name}: a text a line; {encoding.said}")
    if encoding.warning:
        console.warn(encoding.warning)
    if fields_of_lines(path, how) > 1:
        console.say(f"data: {path.name}: each line has tabs; --set data.delimiter=tab reads it as a table")
    return BatchSource(path.name, LINE_COLUMNS, "text", n_lines, read, is_file=True, path=path)


def _table_file(path: Path, asked: TextColumns, on_error: str, how: Format, kind: str) -> BatchSource:
    columns: dict[str, Kind | None] = {}
    found: Columns | None = None
    is_json = kind in (*JSON_SUFFIXES, ".fasttext")
    wanted = Columns(asked)

    def choose(names: Sequence[str]) -> Sequence[str]:
        nonlocal found
        if found is None:
            found = find_columns(path, names, wanted, how, needs_label=False, say=console.say)
        for name in names:
            columns.setdefault(name, None if is_json else "text")
        return names

    def rows(rejects: Rejects) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for number, line, values in read_records(path, choose, rejects, how, wanted):
            text = text_of(values, found.text if found else None)
            if (reason := why_no_text(text)) is None:
                yield number, text, values
            else:
                rejects.reject(path, number, line, reason, values)

    def learn(chunk: Chunk) -> None:
        for row in chunk.rows if is_json else ():
            for name, value in row.items():
                columns[name] = kind_of(value, columns.get(name))

    n_rows = _look_through(lambda rejects: group_rows(rows(rejects)), on_error, learn)
    kinds: dict[str, Kind] = {name: kind or "text" for name, kind in columns.items()}
    column = _said(found.text if found else None)

    def read(rejects: Rejects) -> Iterator[Chunk]:
        return group_rows(rows(rejects))

    return BatchSource(path.name, kinds, column, n_rows, read, is_table=True, is_file=True, path=path)


def _parquet_file(path: Path, asked: TextColumns, on_error: str, how: Format) -> BatchSource:
    with reading(path), reading_parquet(path) as file:
        schema = file.schema_arrow
    names = list(schema.names)
    found = find_columns(path, names, Columns(asked), how, needs_label=False, say=console.say)
    of_text = Columns(found.text).named()

    def read(rejects: Rejects, only: list[str] | None = None) -> Iterator[Chunk]:
        number = 0
        with reading(path), reading_parquet(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=only, use_threads=False):
                parts = {name: batch.column(batch.schema.names.index(name)).to_pylist() for name in of_text}
                values = [
                    text_of(dict(zip(parts, row, strict=True)), found.text) for row in zip(*parts.values(), strict=True)
                ]
                good = [place for place, value in enumerate(values) if isinstance(value, str)]
                bad = sorted(set(range(len(values))) - set(good))
                for place, row in zip(bad, objects_of(batch.take(bad)) if bad else (), strict=True):
                    rejects.reject(path, number + place + 1, None, str(why_no_text(values[place])), row)
                rows = batch if len(good) == len(values) else batch.take(good)
                yield Chunk(
                    [number + place + 1 for place in good], [well_formed(values[place]) for place in good], rows
                )
                number += len(values)

    n_rows = _look_through(lambda rejects: read(rejects, of_text), on_error)
    return BatchSource(path.name, schema, _said(found.text), n_rows, read, is_table=True, is_file=True, path=path)


def _said(columns: TextColumns) -> str:
    return " and ".join(Columns(columns).named()) or "text"


def _look_through(
    read: Callable[[Rejects], Iterator[Chunk]],
    on_error: str,
    learn: Callable[[Chunk], object] = lambda chunk: None,
) -> int:
    """Return the number of rows, good and bad; raise DataError for a bad one unless they are to be skipped."""
    n_rows = 0

    def count(place: dict[str, Any], content: Any) -> None:
        nonlocal n_rows
        n_rows += 1

    with unless_all_fail(read):
        for chunk in read(Rejects(on_error, count, SKIP_OPTION)):
            n_rows += len(chunk.texts)
            learn(chunk)
    return n_rows


def _whole_lines(path: Path, lines: Iterable[str], rejects: Rejects) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield each line as a row, without its end, which is LF or CRLF and nothing else."""
    for number, line in enumerate(lines, 1):
        if type(line) is Overlong:
            rejects.reject(path, number, number, OVERLONG)
            continue
        text = line.removesuffix("\n").removesuffix("\r")
        yield number, text, {"text": text}
