"""Lines of a pipe or a terminal as they arrive."""

import codecs
import os
import select
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sentiment_cli.data.files.file_kinds import refuse_stream
from sentiment_cli.data.tables.json_rows import looks_like_objects
from sentiment_cli.data.tables.rows import LONGEST_LINE, Format, Rejects
from sentiment_cli.errors import DataError
from sentiment_cli.inference.batch.chunks import (
    CHARACTERS_AT_ONCE,
    LINE_COLUMNS,
    OVERLONG,
    BatchSource,
    Chunk,
    group_rows,
)

_BLOCK = 1 << 16  # bytes that a pipe holds
_LINES_LOOKED_AT = 20
_HELP = "sentiment predict --help"
# A line is answered when no other arrives within the pause, or when the first has waited for the longest wait.
_PAUSE_S, _LONGEST_WAIT_S = 0.002, 0.05


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
            yield from group_rows(_decoded(lines, number, Path(name), codec, rejects))
            number += len(lines)

    return BatchSource(name, LINE_COLUMNS, "text", None, read, is_typed=is_typed)


def _refuse_objects(name: str, lines: list[bytes]) -> None:
    texts = [one.decode("utf-8-sig", "replace") for one in lines if len(one) < CHARACTERS_AT_ONCE]
    if looks_like_objects(texts):
        raise DataError(
            f"{name} holds JSON objects, and each line would be read as a text; a file whose name ends in .jsonl is a "
            "table",
            _HELP,
        )


def _decoded(
    lines: Iterable[bytes | None], n_before: int, path: Path, codec: str, rejects: Rejects
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield each line of bytes as a row; `n_before` lines came before, and None is a line that is too long."""
    for number, line in enumerate(lines, n_before + 1):
        if line is None:
            rejects.reject(path, number, number, OVERLONG)
            continue
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode(codec, "replace")
        yield number, text, {"text": text}


def _arriving(descriptor: int, name: str | None) -> Iterator[list[bytes | None]]:
    """Yield the lines that have come to a pipe or a terminal, those together that came together.

    A line that is too long is None. Raises DataError for a first block of no text; without a name none is looked at.
    """
    blocks: list[bytes] = []
    is_over, is_first, is_too_long, n_kept, has_ended = False, name is not None, False, 0, False
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
            is_late = time.monotonic() > until or n_bytes >= CHARACTERS_AT_ONCE
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
            is_too_long, n_kept, has_ended = False, len(rest), True
        elif n_kept > LONGEST_LINE:
            blocks, is_too_long, n_kept = [], True, 0
    if blocks or is_too_long:
        rest = b"".join(blocks)
        alone = [rest] if has_ended else rest.removesuffix(b"\r").split(b"\r")  # lines of old programs for the Mac
        yield [None] if is_too_long else [*alone]
