"""Chunks of texts with the rows that they come from, and the source that yields them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sentiment_cli.data.tables.rows import LONGEST_LINE, Rejects
from sentiment_cli.data.tables.writers import Kind, TableRows, well_formed
from sentiment_cli.errors import UsageError

# Enough rows to batch texts of similar length, and few enough to answer soon and to fit in memory.
ROWS_AT_ONCE, CHARACTERS_AT_ONCE = 2048, 4_000_000
# A part of a file is scored again as a whole where its scoring was interrupted: seconds of one core for an LSTM.
CHUNKS_A_PART = 16
LINE_COLUMNS = {"text": "text"}  # of a source without columns
PREDICT_HINT = 'sentiment predict "I just really loved the movie"'
SKIP_OPTION = "--on-error skip"
OVERLONG = f"its line is longer than {LONGEST_LINE:,} characters"


class Chunk(NamedTuple):
    """Texts that were read together, the numbers of their rows from 1, and the rows themselves."""

    numbers: list[int]
    texts: list[str]
    rows: TableRows


class ChunkRange(NamedTuple):
    """A part of a source: `n_chunks` chunks after the first `row` rows and `line` lines of its `file`-th file."""

    file: int
    row: int
    line: int
    n_chunks: int


class Known(NamedTuple):
    """What reading through a source has found: the number of its rows, the kinds of its columns, and its parts.

    A Parquet file has its kinds in its schema, and none here.
    """

    n_rows: int
    kinds: dict[str, Kind]
    ranges: tuple[ChunkRange, ...]


@dataclass(frozen=True)
class BatchSource:
    """A source of texts and their rows.

    `columns` has the kind of each column, or is the schema of a Parquet file. `n_rows` counts the rows, bad ones too;
    it is None where they are still to come. `read` yields the texts, in their order, again at each call of a file's,
    and `read_from` those from a range on. `paths` are the files.
    """

    name: str
    columns: Any
    text_column: str
    n_rows: int | None
    read: Callable[[Rejects], Iterator[Chunk]]
    is_table: bool = False
    is_file: bool = False
    is_typed: bool = False
    paths: tuple[Path, ...] = ()
    known: Known | None = None
    read_from: Callable[[Rejects, ChunkRange], Iterator[Chunk]] | None = field(default=None, repr=False)

    @property
    def path(self) -> Path | None:
        """The file, or the first of several."""
        return self.paths[0] if self.paths else None

    @property
    def names(self) -> list[str]:
        return list(self.columns) if isinstance(self.columns, dict) else list(self.columns.names)

    def texts(self) -> Iterator[list[str]]:
        """Yield the texts alone; a bad row stops the work."""
        return (chunk.texts for chunk in self.read(Rejects("stop")))


def group_rows(rows: Iterable[tuple[int, str, dict[str, Any]]]) -> Iterator[Chunk]:
    """Yield rows in chunks of limited size."""
    chunk, n_characters = Chunk([], [], []), 0
    for number, text, row in rows:
        chunk.numbers.append(number)
        chunk.texts.append(well_formed(text))
        chunk.rows.append(row)
        n_characters += len(text)
        if len(chunk.texts) == ROWS_AT_ONCE or n_characters >= CHARACTERS_AT_ONCE:
            yield chunk
            chunk, n_characters = Chunk([], [], []), 0
    if chunk.texts:
        yield chunk


def given_texts(texts: Sequence[str]) -> BatchSource:
    """Return texts of the command line; bytes of theirs that are not UTF-8, which are lone surrogates, as U+FFFD."""
    for i, one in enumerate(texts, 1):
        if not one.strip():
            raise UsageError(f"text {i} is empty" if len(texts) > 1 else "the text is empty", PREDICT_HINT)
    given = [one.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for one in texts]
    rows = [(i, text, {"text": text}) for i, text in enumerate(given, 1)]
    return BatchSource("texts", LINE_COLUMNS, "text", len(rows), lambda rejects: group_rows(rows))
