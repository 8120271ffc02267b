"""Columns on disk: raw numbers, written some rows at a time and mapped into memory; ids as texts with NULs between."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.storage import store

_ROWS_AT_ONCE = 1 << 16
_BLOCK = 1 << 18


class ColumnWriter:
    """The columns of one split, being written: `write` takes an array or a list of each column's next values."""

    def __init__(self, outputs: dict[str, store.Output], types: dict[str, str]) -> None:
        self._outputs, self._types = outputs, types

    def write(self, **values: Any) -> None:
        for name, some in values.items():
            self._outputs[name].write(np.asarray(some, dtype=self._types[name]).tobytes())

    def write_ids(self, ids: Iterable[bytes]) -> None:
        """Write the next rows' ids."""
        ids = iter(ids)
        while some := list(itertools.islice(ids, _ROWS_AT_ONCE)):
            self._outputs["id"].write(b"".join(name + b"\0" for name in some))


@contextlib.contextmanager
def writing(draft: store.Draft, split: str, types: dict[str, str]) -> Iterator[ColumnWriter]:
    """Yield a writer of a split's columns, of these types by name, and of its ids."""
    with contextlib.ExitStack() as stack:
        outputs = {
            name: stack.enter_context(draft.create(f"{split}-{name}.{kind}"))
            for name, kind in {**types, "id": "text"}.items()
        }
        yield ColumnWriter(outputs, types)


def read_column(directory: Path, split: str, name: str, kind: str) -> NDArray[Any]:
    """Map a column into memory, copy on write (torch warns about read-only memory)."""
    path = directory / f"{split}-{name}.{kind}"
    if path.stat().st_size == 0:  # which cannot be mapped
        return np.zeros(0, dtype=kind)
    return np.memmap(path, dtype=kind, mode="c")


def read_ids(directory: Path, split: str) -> Iterator[bytes]:
    """Yield the ids of a split's rows."""
    rest = b""
    with (directory / f"{split}-id.text").open("rb") as handle:
        while block := handle.read(_BLOCK):
            *ids, rest = (rest + block).split(b"\0")
            yield from ids


def copy_rows(writer: ColumnWriter, is_wanted_N: NDArray[np.bool_], **columns: NDArray[Any]) -> None:
    """Write the wanted rows of columns, some at a time, so that memory does not grow with them."""
    for first in range(0, len(is_wanted_N), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        writer.write(**{name: column[rows][is_wanted_N[rows]] for name, column in columns.items()})
