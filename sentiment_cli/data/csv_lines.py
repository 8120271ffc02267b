"""The lines of a CSV file, where a row that is none may have swallowed the rows after it."""

from collections import deque
from collections.abc import Iterable, Iterator

# Rows that each run to the end of a file, and give all but a line back, would be read again and again. No more lines
# are read once more than these and as many as have been read: stray quotes, as each ends at the next, need no more.
_SPARE_LINES = 1_000_000


class Lines:
    """Lines to be parsed as rows: those that a broken row took in, but for its first, can be read once more.

    A quote that is never closed runs on to the next quote, or to the end of the file. `number` is that of the line
    read last, from 1; the header has been read.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self._again, self._taken, self.number = iter(lines), deque[str](), list[str](), 1
        self._n_read = self._n_again = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._again:
            line = self._again.popleft()
        else:
            line = next(self._lines)
            self._n_read += 1
        self._taken.append(line)
        self.number += 1
        return line

    def begin_row(self) -> None:
        self._taken.clear()

    def leave_row(self) -> None:
        """Have all lines since `begin_row` but the first read once more, unless too many were already."""
        others = self._taken[1:]
        if self._n_again + len(others) > _SPARE_LINES + self._n_read:
            return
        self._n_again += len(others)
        self._again.extendleft(reversed(others))
        self.number -= len(others)
