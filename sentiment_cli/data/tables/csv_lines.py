"""The lines of a text file, none longer than memory allows, and of a CSV file, where a bad row may swallow others."""

import io
from collections import deque
from collections.abc import Iterable, Iterator

from sentiment_cli.data.tables.rows import LONGEST_LINE

# Rows that each run to the end of a file, and give all but a line back, would be read again and again. No more lines
# are read once more than these and as many as have been read: stray quotes, as each ends at the next, need no more.
_SPARE_LINES = 1_000_000


class Overlong(str):
    """The start of a line that is longer than LONGEST_LINE; the rest of it is passed over."""

    __slots__ = ()


def bounded_lines(handle: io.TextIOWrapper, most: int | None = None) -> Iterator[str]:
    """Yield the lines of a file with their ends; of an overlong one its start, as Overlong."""
    most = LONGEST_LINE if most is None else most
    while line := handle.readline(most):
        if len(line) < most or line.endswith(("\n", "\r")):
            yield line
            continue
        rest = handle.readline(most)
        is_over = not rest
        while rest and not rest.endswith(("\n", "\r")):
            rest = handle.readline(most)
        yield line if is_over else Overlong(line)


class CsvLines:
    """Lines to be parsed as rows: those that a broken row took in, but for its first, can be read once more.

    A quote that is never closed runs on to the next quote, or to the end of the file. `number` is that of the line
    read last, from 1; `n_before` lines have been read. `taken` are the lines of the present row.
    """

    def __init__(self, lines: Iterable[str], n_before: int = 1) -> None:
        self._lines, self._again, self.taken, self.number = iter(lines), deque[str](), list[str](), n_before
        self._n_read = self._n_again = 0
        self.has_overlong = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._again:
            line = self._again.popleft()
        else:
            line = next(self._lines)
            self._n_read += 1
        self.taken.append(line)
        self.number += 1
        self.has_overlong = self.has_overlong or type(line) is Overlong
        return line

    def begin_row(self) -> None:
        self.taken.clear()
        self.has_overlong = False

    def leave_row(self) -> None:
        """Have all lines since `begin_row` but the first read once more, unless too many were already."""
        others = self.taken[1:]
        if self._n_again + len(others) > _SPARE_LINES + self._n_read:
            return
        self._n_again += len(others)
        self._again.extendleft(reversed(others))
        self.number -= len(others)
