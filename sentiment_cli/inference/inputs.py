"""Texts to be judged, some at a time: given ones, lines as they come, rows of files with all their columns."""

import codecs
import itertools
import os
import select
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sentiment_cli import console
from sentiment_cli.data.table_writers import Kind, Rows, kind_of, objects_of, well_formed
from sentiment_cli.data.tables import (
    Rejects,
    check_unique,
    find_column,
    open_bytes,
    read_records,
    reading,
    reading_parquet,
    table_kind,
    why_no_text,
)
from sentiment_cli.errors import DataError, UsageError

HINT = 'sentiment predict "I just really loved the movie"'
HOW_TO_SKIP = "--on-error skip leaves such rows out and lists them"
# Enough that rows of like length find each other, and few enough to come soon and to be held in memory.
_ROWS_AT_ONCE, _CHARACTERS_AT_ONCE = 2048, 4_000_000
_BLOCK = 1 << 16  # what a pipe holds
_LINES = {"text": "text"}  # the one column of what has no columns
# A line is answered when no other has come for so long, or when the first has waited so long.
_PAUSE_S, _LONGEST_WAIT_S = 0.002, 0.05


class Chunk(NamedTuple):
    """Texts that were read together, the numbers of their rows from 1, and the rows themselves."""

    numbers: list[int]
    texts: list[str]
    rows: Rows


@dataclass(frozen=True)
class Source:
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


def given_texts(texts: Sequence[str]) -> Source:
    """Return texts of the command line; bytes of theirs that are not UTF-8, which are lone surrogates, as U+FFFD."""
    for i, one in enumerate(texts, 1):
        if not one.strip():
            raise UsageError(f"text {i} is empty" if len(texts) > 1 else "the text is empty", HINT)
    given = [one.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for one in texts]
    rows = [(i, text, {"text": text}) for i, text in enumerate(given, 1)]
    return Source("texts", _LINES, "text", len(rows), lambda rejects: _chunks(rows))


def lines_as_they_come(descriptor: int, name: str) -> Source:
    """Return the lines of a pipe or a terminal: one that has come is not kept waiting for the next."""

    def read(_: Rejects) -> Iterator[Chunk]:
        numbered = itertools.count(1)
        for lines in _arriving(descriptor):
            yield from _chunks(_decoded((next(numbered), line) for line in lines))

    return Source(name, _LINES, "text", None, read, is_typed=os.isatty(descriptor))


def open_file(path: Path, text_column: str | None, on_error: str) -> Source:
    """Return the rows of a table, or the lines of any other file, after reading through it once.

    So a bad row is known, and a column that is not there, before anything slow begins. Raises DataError for them, and
    UsageError for a column of what has none.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", HINT) from error
    kind = table_kind(path)
    if kind is None and text_column is not None:
        raise UsageError(f"--text-column goes with a table, and {path} is read line by line", "--file my.csv")
    if kind is None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        with reading(path):
            return lines_as_they_come(os.open(path, os.O_RDONLY), path.name)
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is no regular file, and a file is read twice", HINT)
    if kind == ".parquet":
        return _parquet_file(path, text_column, on_error)
    return _text_file(path) if kind is None else _table_file(path, text_column, on_error)


def _text_file(path: Path) -> Source:
    with reading(path), open_bytes(path) as handle:
        n_lines, last = 0, b"\n"
        while block := handle.read(_BLOCK):
            n_lines, last = n_lines + block.count(b"\n"), block
        n_lines += not last.endswith(b"\n")

    def read(_: Rejects) -> Iterator[Chunk]:
        with reading(path), open_bytes(path) as handle:
            yield from _chunks(_decoded(enumerate(handle, 1)))

    return Source(path.name, _LINES, "text", n_lines, read, is_file=True, path=path)


def _table_file(path: Path, asked: str | None, on_error: str) -> Source:
    columns: dict[str, Kind | None] = {}
    column = "text"
    is_json = table_kind(path) not in (".csv", ".tsv")

    def choose(names: Sequence[str]) -> Sequence[str]:
        nonlocal column
        column = _find_text(path, names, asked)
        for name in names:
            columns.setdefault(name, None if is_json else "text")
        return names

    def rows(rejects: Rejects) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for number, line, values in read_records(path, choose, rejects):
            text: Any = values.get(column)
            if (reason := why_no_text(text)) is None:
                yield number, text, values
            else:
                rejects.reject(path, number, line, reason, values)

    def learn(chunk: Chunk) -> None:
        for row in chunk.rows if is_json else ():
            for name, value in row.items():
                columns[name] = kind_of(value, columns.get(name))

    n_rows = _look_through(lambda rejects: _chunks(rows(rejects)), on_error, learn)
    console.say(f"data: {path.name}: text in {column!r}")
    kinds: dict[str, Kind] = {name: kind or "text" for name, kind in columns.items()}
    return Source(
        path.name, kinds, column, n_rows, lambda rejects: _chunks(rows(rejects)), is_table=True, is_file=True, path=path
    )


def _parquet_file(path: Path, asked: str | None, on_error: str) -> Source:
    with reading(path), reading_parquet(path) as file:
        schema = file.schema_arrow
        column = _find_text(path, schema.names, asked)

    def read(rejects: Rejects, only: list[str] | None = None) -> Iterator[Chunk]:
        number = 0
        with reading(path), reading_parquet(path) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=only, use_threads=False):
                values = batch.column(batch.schema.names.index(column)).to_pylist()
                good = [place for place, value in enumerate(values) if isinstance(value, str)]
                bad = sorted(set(range(len(values))) - set(good))
                for place, row in zip(bad, objects_of(batch.take(bad)) if bad else (), strict=True):
                    rejects.reject(path, number + place + 1, None, str(why_no_text(values[place])), row)
                rows = batch if len(good) == len(values) else batch.take(good)
                yield Chunk(
                    [number + place + 1 for place in good], [well_formed(values[place]) for place in good], rows
                )
                number += len(values)

    n_rows = _look_through(lambda rejects: read(rejects, [column]), on_error, lambda chunk: None)
    console.say(f"data: {path.name}: text in {column!r}")
    return Source(path.name, schema, column, n_rows, read, is_table=True, is_file=True, path=path)


def _find_text(path: Path, names: Sequence[str], asked: str | None) -> str:
    check_unique(path, names, names)
    return str(find_column(path, names, "text", asked, "--text-column NAME"))


def _look_through(read: Callable[[Rejects], Iterator[Chunk]], on_error: str, learn: Callable[[Chunk], object]) -> int:
    """Return the number of rows, good and bad; raise DataError for a bad one unless they are to be skipped."""
    n_rows = 0

    def count(place: dict[str, Any], content: Any) -> None:
        nonlocal n_rows
        n_rows += 1

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


def _decoded(lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield each line as a row, without its end, which is LF or CRLF and nothing else."""
    for number, line in lines:
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode("utf-8", "replace")
        yield number, text, {"text": text}


def _arriving(descriptor: int) -> Iterator[list[bytes]]:
    """Yield the lines that have come to a pipe or a terminal, those together that came together."""
    blocks: list[bytes] = []
    is_over = False
    while not is_over:
        block = os.read(descriptor, _BLOCK)
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
        if is_line_whole:
            *lines, rest = b"".join(blocks).split(b"\n")
            blocks = [rest] if rest else []
            yield lines
    if blocks:
        yield [b"".join(blocks)]
