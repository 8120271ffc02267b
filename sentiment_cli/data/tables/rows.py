"""What a table's reader yields: rows and records, and what becomes of rows that cannot be read."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sentiment_cli.errors import DataError

Quoting = Literal["double", "backslash", "none"]
HOW_TO_SKIP = "--set data.on_error=skip"
MOST_COLUMNS = 4096  # beyond, the time of writing Parquet grows with their square
MOST_NESTED = 100  # levels of a JSON value; writing it again takes one call a level, and Python allows 1,000
# The csv module's own 131,072 would refuse an honest long text; a quote left open must still end somewhere.
LONGEST_FIELD = 16_000_000
LONGEST_LINE = 1 << 25

Choose = Callable[[Sequence[str]], Sequence[str]]
TextColumns = str | tuple[str, ...] | None


class Format(NamedTuple):
    """How a table's file is read; "auto" is found out from the file."""

    header: bool | Literal["auto"] = "auto"
    encoding: str = "auto"
    delimiter: str = "auto"
    quoting: Quoting | Literal["auto"] = "auto"


class Start(NamedTuple):
    """Where in a file reading begins: after `row` rows and `line` lines; `names` are its columns.

    A reader that cannot skip lines begins at the first row.
    """

    row: int = 0
    line: int = 0
    names: tuple[str, ...] = ()


class Columns(NamedTuple):
    """Names of the columns; None is found by name or content, or absent. Several of text are joined."""

    text: TextColumns = None
    label: str | None = None
    group: str | None = None

    def named(self) -> list[str]:
        """Return the names in one list."""
        texts = (self.text,) if self.text is None or isinstance(self.text, str) else self.text
        return [name for name in (*texts, self.label, self.group) if name is not None]


class LabelledRow(NamedTuple):
    """A row's values as the file has them, its number from 1, and the line on which it ends, where there are lines."""

    number: int
    line: int | None
    text: Any
    label: Any
    group: Any


class TableRecord(NamedTuple):
    """All that a row holds, by the names of the columns; what an object leaves out is not there."""

    number: int
    line: int | None
    values: dict[str, Any]


class BadRow(DataError):  # noqa: N818 - a fault of the file
    """The first row that cannot be read, where that stops the work."""

    def __init__(self, message: str, hint: str, path: Path, number: int) -> None:
        super().__init__(message, hint)
        self.path, self.number = path, number


class Rejects:
    """What becomes of rows that cannot be read: the first one stops the work, or all are kept.

    `keep` takes where a row is and why it cannot be read, and what it holds as far as that is known; without one the
    places make a list.
    """

    def __init__(
        self,
        on_error: str,
        keep: Callable[[dict[str, Any], Any], object] | None = None,
        how_to_skip: str = HOW_TO_SKIP,
    ) -> None:
        self._on_error, self._how_to_skip = on_error, how_to_skip
        self.found: list[dict[str, Any]] = []
        self._keep = keep or (lambda place, _: self.found.append(place))

    def reject(self, path: Path, number: int, line: int | None, reason: str, content: Any = None) -> None:
        """Raise BadRow with the row's place, or keep it."""
        if self._on_error == "stop":
            place = f"row {number}" if line is None else f"row {number} (line {line})"
            raise BadRow(f"{path}, {place}: {reason}", self._how_to_skip, path, number)
        self._keep({"file": path.name, "row": number, "line": line, "reason": reason}, content)


def text_of(values: dict[str, Any], columns: TextColumns) -> Any:
    """Return the text of a row: a column's value, or those of several joined by line ends, without the empty ones."""
    if columns is None or isinstance(columns, str):
        return None if columns is None else values.get(columns)
    parts = [values.get(name) for name in columns]
    odd = [part for part in parts if part is not None and not isinstance(part, str)]
    if odd:
        return odd[0]
    texts = [part for part in parts if part is not None]
    return "\n".join(filter(None, texts)) if texts else None


def why_no_text(value: Any) -> str | None:
    """Return what is wrong with the text of a row; None where it is one."""
    if isinstance(value, str):
        return None
    return f"its text is {'missing' if value is None else f'a {type(value).__name__}'}, not text"
