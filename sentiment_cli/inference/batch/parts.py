"""Parts of a file's answers, kept in a folder so that scoring continues where it was interrupted, or on other machines.

    parts/plan-7d01….json             where the parts begin, for those who score some of them
    parts/part-0b8c…/answers.jsonl    a line for each chunk: its answers, and a hash of its texts
    parts/part-0b8c…/manifest.json    size and sha256

The name of a part is a hash of the content of the source, the rows, the model, the options and the version. Answers
are used for the texts only whose hash stands beside them.
"""

import contextlib
import hashlib
import os
import shlex
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sentiment_cli import __version__, console
from sentiment_cli.data.tables.readers import Format, Rejects, TextColumns
from sentiment_cli.errors import Change, DataError
from sentiment_cli.inference.batch.answers import digest_of, json_bytes, packed, unpacked
from sentiment_cli.inference.batch.chunks import BatchSource, Chunk, ChunkRange, Known
from sentiment_cli.inference.batch.inputs import open_file
from sentiment_cli.inference.batch.pool import AnsweredChunk, Answering, AskedChunk
from sentiment_cli.inference.batch.sources import Files, known_of, open_sources
from sentiment_cli.storage import locks, store

_ANSWERS, _LOCK = "answers.jsonl", ".plan.lock"
_LOOKED_AT = 1 << 16  # bytes at either end of a file by which it is known
_SAID = 5
_STALE = "holds answers to other texts"


def content_of(path: Path) -> list[Any]:
    """Return what a file is known by: its size, and hashes of its beginning and its end."""
    with store.open_named(path) as handle:
        start = handle.read(_LOOKED_AT)
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - _LOOKED_AT))
        return [size, hashlib.sha256(start).hexdigest(), hashlib.sha256(handle.read()).hexdigest()]


@dataclass
class Parts:
    """The parts of a source in a folder. `options` are those that the answers depend on, `model` is its identity."""

    directory: Path
    source: BatchSource
    model: str
    options: Sequence[Any]
    labels: Sequence[str]
    is_complete: bool = False  # a part that is missing or damaged is an error
    _names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        content = [content_of(path) for path in self.source.paths]
        self._names = [
            "part-" + hashlib.sha256(json_bytes([content, self.model, self.options, __version__, one])).hexdigest()[:16]
            for one in self.ranges
        ]

    @property
    def ranges(self) -> tuple[ChunkRange, ...]:
        assert self.source.known is not None, "a file"
        return self.source.known.ranges

    def missing(self) -> list[str]:
        """Return what is to be said of each part that is not there or is damaged."""
        return [said for number in range(len(self._names)) if (said := self._why(number))]

    def check_complete(self) -> None:
        """Raise DataError unless all parts are there and whole."""
        if missing := self.missing():
            more = f", … ({len(missing):,} in all)" if len(missing) > _SAID else ""
            raise DataError(
                f"{len(missing):,} of {len(self._names):,} parts are missing in {self.directory}: "
                + ", ".join(missing[:_SAID])
                + more,
                Change(without=["--merge", "--on"]),
            )

    def answers(
        self, chunks: Iterator[Chunk], answering: Answering, numbers: range | None = None
    ) -> Generator[AnsweredChunk, None, None]:
        """Yield chunks, those of the numbered parts, with their answers, and keep each part when it is finished.

        The answers of parts that were kept before are not computed again.
        """
        numbers = range(len(self._names)) if numbers is None else numbers
        kept: set[int] = set()
        with contextlib.closing(answering(self._asked(chunks, numbers, kept))) as answered:
            for number in numbers:
                lines = []
                for chunk, answers in islice(answered, self.ranges[number].n_chunks):
                    lines.append(json_bytes([digest_of(chunk.texts), packed(answers)]) + b"\n")
                    yield chunk, answers
                if len(lines) == self.ranges[number].n_chunks and number not in kept:
                    with store.new_directory(self.directory / self._names[number]) as draft:
                        draft.write(_ANSWERS, b"".join(lines))

    def shard(self, k: int, n: int) -> range:
        """Return the numbers of the parts of the `k`-th of `n` shards."""
        return range(len(self.ranges) * (k - 1) // n, len(self.ranges) * k // n)

    def score(self, answering: Answering, k: int, n: int) -> tuple[int, int]:
        """Score the parts of the `k`-th of `n` shards that are not kept yet; return how many parts it has, and had."""
        assert self.source.read_from is not None, "a file"
        numbers = self.shard(k, n)
        to_do = [number for number in numbers if self._why(number)]
        if to_do:
            begun = range(to_do[0], to_do[-1] + 1)
            read = self.source.read_from(Rejects("skip", lambda place, content: None), self.ranges[to_do[0]])
            n_chunks = sum(self.ranges[number].n_chunks for number in begun)
            n_read = 0
            with console.progress("predicting", n_chunks) as shown:
                for n_read, _ in enumerate(self.answers(iter(read), answering, begun), 1):
                    shown.update(n_read, f"{n_read:,} of {n_chunks:,} chunks")
            if n_read != n_chunks:
                raise DataError(
                    f"{self.source.name} was changed while it was read",
                    shlex.join(["ls", "-l", str(self.source.path)]),
                )
        return len(numbers), len(numbers) - len(to_do)

    def _asked(
        self, chunks: Iterator[Chunk], numbers: Iterable[int], kept: set[int]
    ) -> Generator[AskedChunk, None, None]:
        for number in numbers:
            lines = self._load(number)
            if lines is not None:
                kept.add(number)
            for i, chunk in enumerate(islice(chunks, self.ranges[number].n_chunks)):
                known = None
                if lines is not None:
                    path = self.directory / self._names[number] / _ANSWERS
                    with store.damage(path):
                        digest, rows = store.parse_json(lines[i], path)
                        if digest == digest_of(chunk.texts):
                            known = unpacked(rows, chunk.texts, self.labels)
                    if known is None:
                        self._leave_out(number, _STALE)
                        kept.discard(number)
                        lines = None
                yield chunk, known

    def beginning(self, number: int) -> str:
        """Return where a part begins."""
        place = self.ranges[number]
        of_file = f" of {self.source.paths[place.file].name}" if len(self.source.paths) > 1 else ""
        return f"from row {place.row + 1:,}{of_file}"

    def _why(self, number: int) -> str | None:
        """Return which part this is, if it is missing or damaged."""
        path = self.directory / self._names[number]
        try:
            if store.is_there(path):
                store.open_directory(path)
                return None
            reason = ""
        except store.IntegrityError:
            reason = " is damaged"
        return f"{path.name}{reason} ({self.beginning(number)})"

    def _load(self, number: int) -> list[bytes] | None:
        """Return the lines of a part that is kept; a damaged one is removed."""
        path = self.directory / self._names[number]
        if not store.is_there(path):
            return None
        try:
            store.open_directory(path)
            lines = store.read_file(path / _ANSWERS).splitlines()
            if len(lines) == self.ranges[number].n_chunks:
                return lines
            said = f"has {len(lines)} chunks"
        except store.IntegrityError as error:
            said = f"is damaged: {error}"
        self._leave_out(number, said)
        return None

    def _leave_out(self, number: int, said: str) -> None:
        path = self.directory / self._names[number]
        if self.is_complete:
            raise DataError(f"{path} {said}", Change(without=["--merge", "--on"]))
        console.warn(f"{path} {said}; its rows are scored again")
        store.remove_directory(path)


def planned_source(directory: Path, files: Files, text_column: TextColumns, how: Format, on_error: str) -> BatchSource:
    """Return files as one source whose bad rows one of many processes looks for; `directory` keeps what it found."""

    def look() -> list[Known]:
        return [known_of(open_file(path, text_column, on_error, how, say=lambda text: None)) for path in files.paths]

    known = plan(directory, files.paths, files.stamps, (text_column, how, on_error), look)
    return open_sources(files, text_column, on_error, how, known)


def plan(
    directory: Path,
    paths: Sequence[Path],
    stamps: Sequence[Any],
    options: Sequence[Any],
    look: Callable[[], list[Known]],
) -> list[Known]:
    """Return what `look` finds in the files, which the first of many processes keeps for the others.

    A plan belongs to the content and the stamp of each file, such as its time of last change, and to the options.
    """
    content = [content_of(path) for path in paths]
    key = hashlib.sha256(json_bytes([content, stamps, options, __version__])).hexdigest()[:16]
    path = directory / f"plan-{key}.json"
    store.ensure_directory(directory)
    with locks.lock(directory / _LOCK, console.say):
        if store.is_there(path):
            try:
                return _read_plan(path, len(paths))
            except store.IntegrityError as error:
                console.warn(f"{error}; it is made anew")
        found = look()
        body = [[one.n_rows, one.kinds, one.ranges] for one in found]
        store.write_file(path, store.dump_json({"sha256": hashlib.sha256(json_bytes(body)).hexdigest(), "files": body}))
        return found


def _read_plan(path: Path, n_files: int) -> list[Known]:
    with store.damage(path):
        body = store.read_json(path)
        if hashlib.sha256(json_bytes(body["files"])).hexdigest() != body["sha256"] or len(body["files"]) != n_files:
            raise store.IntegrityError(f"{path} is damaged")
        return [
            Known(n_rows, kinds, tuple(ChunkRange(*one) for one in ranges)) for n_rows, kinds, ranges in body["files"]
        ]
