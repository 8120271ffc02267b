"""Where the answers and the rejects of a file go, and which file already there predict may replace.

A file is known by its content, never by its name: answers by the columns that predict adds, rejects by the seal of each
line. Whatever else is at one of the places is a user's, and is refused before any text is judged.
"""

import csv
import gzip
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sentiment_cli.data.tables.parquet_files import import_parquet
from sentiment_cli.data.tables.writers import dump
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.storage import store

if TYPE_CHECKING:
    from sentiment_cli.inference.batch.chunks import BatchSource

COLUMN_PREFIX = "prediction_"  # before the name of an added column that the input has already
COUNTED = ("tokens", "unknown", "truncated", "low_evidence")
_REJECT = ("file", "row", "line", "reason", "content", "seal")
_LARGEST_ROW = 1 << 20
_LINE_OF_ANSWER = re.compile(r"[^\t\n]+\t(?:[01]\.\d{4}(?:, [01]\.\d{4})*|-?\d+\.\d stars)\t")


class Seal:
    """Seals the lines of a list of rejects: each line carries a hash of itself and of the lines before it."""

    def __init__(self) -> None:
        self._chain = hashlib.sha256(b"sentiment rejects")

    def line(self, place: dict[str, Any], content: Any) -> bytes:
        """Return a reject as a sealed line."""
        fields = {**place, "content": content}
        return f"{dump({**fields, 'seal': self._next(dump(fields))})}\n".encode()

    def is_intact(self, line: bytes) -> bool:
        """Return whether `line` is the next line as it was written."""
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if not isinstance(fields, dict) or tuple(fields) != _REJECT:
            return False
        seal = fields.pop("seal")
        return bool(self._next(dump(fields)) == seal)

    def _next(self, text: str) -> str:
        self._chain.update(text.encode())
        return self._chain.hexdigest()[:16]


def rejects_path(source: "BatchSource", out: Path | None) -> Path:
    """Return where rejects are listed: beside `out`, or in the current directory where answers go to no file."""
    is_file = out is not None and (not store.is_there(out) or out.is_file())  # and no pipe
    return Path(f"{out if is_file else source.name}.rejects.jsonl")


def check_places(source: "BatchSource", out: Path | None, form: str, on_error: str) -> None:
    """Raise UsageError if the output or the rejects would replace the input or a file that predict did not write."""
    places = [] if out is None else [(out, "answers", is_answers)]
    if source.is_table and on_error == "skip":
        places.append((rejects_path(source, out), "rejects", is_rejects))
    for path, what, is_ours in places:
        if is_same_file(path, source.path):
            raise UsageError(
                f"{path} is the file that is read, and the {what} would replace it",
                _elsewhere(source, out, form),
            )
        store.check_replaceable(path, is_ours, _elsewhere(source, out, form))


def is_same_file(path: Path, other: Path | None) -> bool:
    """Return whether two paths name one file, also through links."""
    try:
        return other is not None and path.samefile(other)
    except OSError:
        return False


def is_rejects(path: Path) -> bool:
    """Return whether a file is an unchanged list of rejects of predict."""
    seal, n_lines = Seal(), 0
    with store.open_named(path) as handle:
        for line in handle:
            if not seal.is_intact(line):
                return False
            n_lines += 1
    return n_lines > 0


def is_answers(path: Path) -> bool:
    """Return whether a file holds predictions: its first row has the columns that predict adds."""
    with store.open_named(path) as handle:
        start = handle.read(4)
        handle.seek(0)
        if start == b"PAR1":
            return _has_answers(_parquet_names(path))
        try:
            if start[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=handle) as opened:
                    return _is_answer_line(opened)
            return _is_answer_line(handle)
        except (OSError, EOFError, zlib.error):
            return False


def _is_answer_line(handle: "IO[bytes] | gzip.GzipFile") -> bool:
    start = handle.read(_LARGEST_ROW)
    line = start.partition(b"\n")[0].decode("utf-8", "replace")
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            return False
        return isinstance(fields, dict) and _has_answers(list(fields))
    return bool(_LINE_OF_ANSWER.match(line)) or any(_has_answers(_header(start, mark)) for mark in ",\t")


def _header(start: bytes, delimiter: str) -> list[str]:
    """Return the names in the first record of a table, which may go over several lines."""
    try:
        return next(csv.reader(io.StringIO(start.decode("utf-8", "replace"), newline=""), delimiter=delimiter), [])
    except csv.Error:
        return []


def _parquet_names(path: Path) -> list[str]:
    pyarrow, parquet = import_parquet("a Parquet file")
    try:
        return list(parquet.read_schema(path).names)
    except (pyarrow.ArrowException, OSError, ValueError):
        return []


def _has_answers(names: list[str]) -> bool:
    """Return whether the columns of a prediction follow each other, under their own or prefixed names."""
    plain = [re.sub(f"^(?:{COLUMN_PREFIX})+", "", name.strip()) for name in names]
    if any(tuple(plain[i : i + len(COUNTED)]) == COUNTED for i in range(len(plain))):
        return "label" in plain and bool({"probability", "stars"} & set(plain))
    return False


def _elsewhere(source: "BatchSource", out: Path | None, form: str) -> Change:
    """Return the change to an output file that is free."""
    return Change("--out", str(next(path for path in _names(source, out, form) if not _is_taken(path))))


def _names(source: "BatchSource", out: Path | None, form: str) -> Iterator[Path]:
    suffix = f".{'txt' if form == 'text' else form}"
    path = out if out is not None else Path(f"{Path(source.name).stem}-answers{suffix}")
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
        path = path / f"answers{suffix}"
        yield path
    ending = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    stem = path.name.removesuffix(ending) or "answers"
    if out is None:
        yield path
    n = 2
    while True:
        yield path.with_name(f"{stem}-{n}{ending}")
        n += 1


def _is_taken(path: Path) -> bool:
    return store.is_there(path) or store.is_there(path.with_name(f"{path.name}.rejects.jsonl"))
