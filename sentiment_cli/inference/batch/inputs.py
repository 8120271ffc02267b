"""Texts to be judged, some at a time: given ones, lines as they come, rows of files with all their columns."""

import codecs
import errno
import os
import select
import shlex
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sentiment_cli import console
from sentiment_cli.data.files.encodings import find_encoding, open_text
from sentiment_cli.data.files.file_kinds import JSON_SUFFIXES, missing_file, refuse_stream
from sentiment_cli.data.tables.csv_lines import Overlong, bounded_lines
from sentiment_cli.data.tables.json_rows import looks_like_objects
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
from sentiment_cli.data.tables.rows import LONGEST_LINE
from sentiment_cli.data.tables.writers import Kind, TableRows, kind_of, objects_of, well_formed
from sentiment_cli.errors import DataError, UsageError

PREDICT_HINT = 'sentiment predict "I just really loved the movie"'
HOW_TO_SKIP = "--on-error skip"
# Enough that rows of like length find each other, and few enough to come soon and to be held in memory.
_ROWS_AT_ONCE, _CHARACTERS_AT_ONCE = 2048, 4_000_000
_BLOCK = 1 << 16  # what a pipe holds
_LINES_LOOKED_AT = 20
_LINES = {"text": "text"}  # the one column of what has no columns
_HELP = "sentiment predict --help"
_OVERLONG = f"its line is longer than {LONGEST_LINE:,} characters"
# A line is answered when no other has come for so long, or when the first has waited so long.
_PAUSE_S, _LONGEST_WAIT_S = 0.002, 0.05


class Chunk(NamedTuple):
    """Texts that were read together, the numbers of their rows from 1, and the rows themselves."""

    numbers: list[int]
    texts: list[str]
    rows: TableRows


@dataclass(frozen=True)
class BatchSource:
    """Texts and what comes with them.

    `columns` has the kind of each column, or is the schema of a Parquet file. `n_rows` counts the rows, bad ones too;
    it is None where they are still to come. `read` yields the texts, in their order, again at each call of a file's.
    """

    name: str
    columns: Any
    text_column: str
    n_rows: int | None
    read: Callable[[Rejects], Iterator[Chunk]]
    is_table: bool = False
    is_file: bool = False
    is_typed: bool = False
    path: Path | None = None

    @property
    def names(self) -> list[str]:
        return list(self.columns) if isinstance(self.columns, dict) else list(self.columns.names)

    def texts(self) -> Iterator[list[str]]:
        """Yield the texts alone; a bad row stops the work."""
        return (chunk.texts for chunk in self.read(Rejects("stop")))


def given_texts(texts: Sequence[str]) -> BatchSource:
    """Return texts of the command line; bytes of theirs that are not UTF-8, which are lone surrogates, as U+FFFD."""
    for i, one in enumerate(texts, 1):
        if not one.strip():
            raise UsageError(f"text {i} is empty" if len(texts) > 1 else "the text is empty", PREDICT_HINT)
    given = [one.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for one in texts]
    rows = [(i, text, {"text": text}) for i, text in enumerate(given, 1)]
    return BatchSource("texts", _LINES, "text", len(rows), lambda rejects: _chunks(rows))


def lines_as_they_come(descriptor: int, name: str, how: Format = Format()) -> BatchSource:  # noqa: B008 - a tuple
    """Return the lines of a pipe or a terminal: one that has come is not kept waiting for the next.

    Reading raises DataError for first bytes that are no text, and for first lines that are JSON objects.
    """
    is_typed = os.isatty(descriptor)
    codec = "utf-8" if how.encoding == "auto" else how.encoding

    def read(rejects: Rejects) -> Iterator[Chunk]:
        if "16" in codec or "32" in codec:
            raise DataError(
                f"{name} comes in bytes up to a line end, and {codec} has none; it is read with --file", _HELP
            )
        number = 0
        for lines in _arriving(descriptor, name if how.encoding == "auto" else None):
            if number == 0 and not is_typed:
                _refuse_objects(name, [one for one in lines[:_LINES_LOOKED_AT] if one is not None])
            yield from _chunks(_decoded(lines, number, Path(name), codec, rejects))
            number += len(lines)

    return BatchSource(name, _LINES, "text", None, read, is_typed=is_typed)


def _refuse_objects(name: str, lines: list[bytes]) -> None:
    texts = [one.decode("utf-8-sig", "replace") for one in lines if len(one) < _CHARACTERS_AT_ONCE]
    if looks_like_objects(texts):
        raise DataError(
            f"{name} holds JSON objects, and each line would be read as a text; a file whose name ends in .jsonl is a "
            "table",
            _HELP,
        )


def open_file(
    path: Path,
    text_column: TextColumns,
    on_error: str,
    how: Format = Format(),  # noqa: B008
) -> BatchSource:
    """Return the rows of a table, or the lines of any other text file, after reading through it once.

    So a bad row is known, and a column that is not there, before anything slow begins. Raises DataError for them and
    for files of no text, and UsageError for a column of what has none.
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
            yield from _chunks(_whole_lines(path, bounded_lines(handle), rejects))

    n_lines = _look_through(read, on_error)
    console.say(f"data: {path.name}: a text a line; {encoding.said}")
    if encoding.warning:
        console.warn(encoding.warning)
    if fields_of_lines(path, how) > 1:
        console.say(f"data: {path.name}: each line has tabs; --set data.delimiter=tab reads it as a table")
    return BatchSource(path.name, _LINES, "text", n_lines, read, is_file=True, path=path)


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

    n_rows = _look_through(lambda rejects: _chunks(rows(rejects)), on_error, learn)
    kinds: dict[str, Kind] = {name: kind or "text" for name, kind in columns.items()}
    column = _said(found.text if found else None)
    return BatchSource(
        path.name, kinds, column, n_rows, lambda rejects: _chunks(rows(rejects)), is_table=True, is_file=True, path=path
    )


def _parquet_file(path: Path, asked: TextColumns, on_error: str, how: Format) -> BatchSource:
    with reading(path), reading_parquet(path) as file:
        schema = file.schema_arrow
    names = list(schema.names)
    found = find_columns(path, names, Columns(asked), how, needs_label=False, say=console.say)
    of_text = Columns(found.text).named()

    def read(rejects: Rejects, only: list[str] | None = None) -> Iterator[Chunk]:
        number = 0
        with reading(path), reading_parquet(path) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=only, use_threads=False):
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
        for chunk in read(Rejects(on_error, count, HOW_TO_SKIP)):
            n_rows += len(chunk.texts)
            learn(chunk)
    return n_rows


def _chunks(rows: Iterable[tuple[int, str, dict[str, Any]]]) -> Iterator[Chunk]:
    """Put so many rows together as are read at once."""
    chunk, n_characters = Chunk([], [], []), 0
    for number, text, row in rows:
        chunk.numbers.append(number)
        chunk.texts.append(well_formed(text))
        chunk.rows.append(row)
        n_characters += len(text)
        if len(chunk.texts) == _ROWS_AT_ONCE or n_characters >= _CHARACTERS_AT_ONCE:
            yield chunk
            chunk, n_characters = Chunk([], [], []), 0
    if chunk.texts:
        yield chunk


def _whole_lines(path: Path, lines: Iterable[str], rejects: Rejects) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield each line as a row, without its end, which is LF or CRLF and nothing else."""
    for number, line in enumerate(lines, 1):
        if type(line) is Overlong:
            rejects.reject(path, number, number, _OVERLONG)
            continue
        text = line.removesuffix("\n").removesuffix("\r")
        yield number, text, {"text": text}


def _decoded(
    lines: Iterable[bytes | None], n_before: int, path: Path, codec: str, rejects: Rejects
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield each line of bytes as a row; `n_before` came before them, and None is one that is too long."""
    for number, line in enumerate(lines, n_before + 1):
        if line is None:
            rejects.reject(path, number, number, _OVERLONG)
            continue
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode(codec, "replace")
        yield number, text, {"text": text}


def _arriving(descriptor: int, name: str | None) -> Iterator[list[bytes | None]]:
    """Yield the lines that have come to a pipe or a terminal, those together that came together.

    A line that is too long is None. Raises DataError for a first block of no text; without a name none is looked at.
    """
    blocks: list[bytes] = []
    is_over, is_first, is_too_long, n_kept = False, name is not None, False, 0
    while not is_over:
        block = os.read(descriptor, _BLOCK)
        if is_first and block:
            refuse_stream(str(name), block)
            is_first = False
        until = time.monotonic() + _LONGEST_WAIT_S
        is_line_whole, n_bytes = False, 0
        while block:
            blocks.append(block)
            is_line_whole, n_bytes = is_line_whole or b"\n" in block, n_bytes + len(block)
            is_late = time.monotonic() > until or n_bytes >= _CHARACTERS_AT_ONCE
            if is_late or not select.select([descriptor], [], [], _PAUSE_S)[0]:
                break
            block = os.read(descriptor, _BLOCK)
        is_over = not block
        n_kept += n_bytes
        if is_line_whole:
            first, *lines, rest = b"".join(blocks).split(b"\n")
            blocks = [rest] if rest else []
            whole = [None if len(one) > LONGEST_LINE else one for one in lines]
            yield [None if is_too_long or len(first) > LONGEST_LINE else first, *whole]
            is_too_long, n_kept = False, len(rest)
        elif n_kept > LONGEST_LINE:
            blocks, is_too_long, n_kept = [], True, 0
    if blocks or is_too_long:
        yield [None if is_too_long else b"".join(blocks)]
