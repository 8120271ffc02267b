"""Rows of JSON files: an object a line, one array of objects, or one object of records; some at a time."""

import functools
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sentiment_cli.data.files.encodings import find_encoding, open_lines, open_text
from sentiment_cli.data.files.unpacking import Stamp, reading, stamp_of, table_kind
from sentiment_cli.data.tables.column_roles import KNOWN_NAMES
from sentiment_cli.data.tables.csv_lines import Overlong, bounded_lines
from sentiment_cli.data.tables.rows import (
    LONGEST_LINE,
    MOST_COLUMNS,
    MOST_NESTED,
    Choose,
    Format,
    Rejects,
    Start,
    TableRecord,
)
from sentiment_cli.errors import DataError

_LARGEST_OBJECT = 1 << 28
_PIECE = 1 << 18
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SPACE = re.compile(r"[\s,]*")
_DEEP = f"its values are nested deeper than {MOST_NESTED} levels"
_EMPTY = 'is empty; each line should be an object such as {"text": "…", "label": "pos"}'

Shape = Literal["lines", "array", "records"]
SAID: dict[Shape, str] = {
    "lines": "an object a line",
    "array": "an array of objects",
    "records": "an object of records",
}


class Layout(NamedTuple):
    """How a JSON file is laid out, its encoding, what to say of it, and what to warn of."""

    shape: Shape
    codec: str
    said: str
    warnings: tuple[str, ...]


def find_layout(path: Path, how: Format) -> Layout:
    """Return the layout of a JSON file. Raises DataError for one that is empty or of no such layout."""
    with reading(path):
        return _find(stamp_of(path), how.encoding)


def json_records(
    path: Path, choose: Choose, rejects: Rejects, how: Format, start: Start | None = None
) -> Iterator[TableRecord]:
    """Yield the objects of a JSON file whole; `choose` gets the names that any of them has."""
    if start is not None:
        choose(start.names)
        yield from _objects(path, rejects, how, start)
        return
    # An object may leave out what it has no value for, such as a label or a group: all of them name the columns.
    names = dict.fromkeys(name for record in _objects(path, Rejects("skip"), how) for name in record.values)
    if names:
        choose(list(names))
    yield from _objects(path, rejects, how)


@functools.lru_cache(maxsize=64)
def _find(stamp: Stamp, encoding: str) -> Layout:
    path = Path(stamp.path)
    found = find_encoding(path, encoding)
    with open_text(path, found.codec) as handle:
        start = handle.read(_PIECE)
        while start and start.isspace():
            start = handle.read(_PIECE)
    if not start.strip():
        raise DataError(f"{path} {_EMPTY}")
    shape: Shape = "lines"
    if re.match(r"\s*\[\s*[{\]]", start):
        shape = "array"
    elif table_kind(path) == ".json" and not _begins_with_objects(path, found.codec):
        shape = "records"
    return Layout(shape, found.codec, f"{found.said}, {SAID[shape]}", (found.warning,) if found.warning else ())


def _begins_with_objects(path: Path, codec: str) -> bool:
    """Say whether a .json file is JSON Lines: its first line or its second is an object, and not one of records."""
    n = 0
    with open_lines(path, codec) as handle:
        for line in bounded_lines(handle):
            if not line.strip():
                continue
            n += 1
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                if n == 2:
                    return False
                continue
            if n == 1 and isinstance(value, dict):
                is_more = any(one.strip() for one in bounded_lines(handle))
                return is_more or _records_of(value) is None
            return isinstance(value, dict)
    return False


def _objects(path: Path, rejects: Rejects, how: Format, start: Start = Start()) -> Iterator[TableRecord]:  # noqa: B008
    layout = find_layout(path, how)
    values, number, seen = _values_of(path, layout, start), start.row, set(start.names)
    for number, (line, value, problem, content) in enumerate(values, start.row + 1):
        problem = problem or _why_no_row(value, seen)
        if problem is None:
            yield TableRecord(number, line, value)
        else:
            rejects.reject(path, number, line, problem, content)
    if number == 0:
        raise DataError(f"{path} {_EMPTY}")


Values = Iterator[tuple[int | None, Any, str | None, Any]]


def _values_of(path: Path, layout: Layout, start: Start) -> Values:
    if layout.shape == "lines":
        return _line_values(path, layout.codec, start.line)
    values = {"array": _array_values, "records": _record_values}[layout.shape]
    return itertools.islice(values(path, layout.codec), start.row, None)


def _line_values(path: Path, codec: str, n_before: int) -> Values:
    with open_lines(path, codec) as handle:
        for number, line in enumerate(itertools.islice(bounded_lines(handle), n_before, None), n_before + 1):
            if type(line) is Overlong:
                yield number, None, f"its line is longer than {LONGEST_LINE:,} characters", None
            elif line.strip():
                try:
                    value = json.loads(line)
                except RecursionError:  # how deep it may be depends on the calls around
                    yield number, None, _DEEP, line
                except ValueError as error:
                    yield number, None, f"no JSON: {error}", line
                else:
                    yield number, value, None, line


def _array_values(path: Path, codec: str) -> Values:
    """Yield the values of an array; memory holds only one value and one block.

    Raises DataError at invalid JSON, after which the next value cannot be found.
    """
    decode = json.JSONDecoder().raw_decode
    with open_text(path, codec) as handle:
        text, line, is_over, at, size = handle.read(_PIECE), 1, False, 0, _PIECE
        at = text.index("[") + 1
        line += text.count("\n", 0, at)
        while True:
            end = _SPACE.match(text, at)
            assert end is not None, "it matches nothing, too"
            line += text.count("\n", at, end.end())
            at = end.end()
            problem: Exception | None = None
            if at < len(text) and text[at] == "]":
                rest = text[at + 1 :] + handle.read(_PIECE)
                if rest.strip():
                    raise DataError(f"{path}, line {line}: there is more after the end of the array")
                return
            try:
                value, stop = decode(text, at)
                if stop < len(text) or is_over:  # else a number may go on
                    yield line, value, None, None if isinstance(value, dict) else value
                    line += text.count("\n", at, stop)
                    at, size = stop, _PIECE
                    continue
            except (ValueError, RecursionError) as error:
                problem = error
            if is_over or len(text) - at > LONGEST_LINE or isinstance(problem, RecursionError):
                reason = f"a value is longer than {LONGEST_LINE:,} characters" if not is_over else problem
                raise DataError(f"{path}, line {line}: no JSON: {reason or 'the array does not end'}")
            more = handle.read(size)
            size = min(2 * size, LONGEST_LINE)  # a long value is tried anew each time
            is_over = not more
            text, at = text[at:] + more, 0


def _record_values(path: Path, codec: str) -> Values:
    with open_text(path, codec) as handle:
        text = handle.read(_LARGEST_OBJECT + 1)
    if len(text) > _LARGEST_OBJECT:
        raise DataError(f"{path} is one object of more than {_LARGEST_OBJECT:,} characters; JSON Lines may be longer")
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON, neither as a whole nor line by line: {error}") from error
    records = _records_of(whole) if isinstance(whole, dict) else None
    if records is None and isinstance(whole, dict):
        records = [whole]
    if records is None:
        raise DataError(f"{path} is a JSON {type(whole).__name__}; objects, a line each or in an array, are read")
    for value in records:
        yield None, value, None, None


def _records_of(whole: dict[str, Any]) -> list[Any] | None:
    """Return the rows of an object that holds them: by columns, by keys, or in the one list it has."""
    values = list(whole.values())
    if whole and all(isinstance(value, (dict, list)) for value in values):
        if any(name.strip().lower() in KNOWN_NAMES for name in whole):
            columns = [list(value.values()) if isinstance(value, dict) else value for value in values]
            if len({len(column) for column in columns}) == 1:
                return [dict(zip(whole, row, strict=True)) for row in zip(*columns, strict=True)]
            return None
        if all(isinstance(value, dict) for value in values):
            return values
    lists = [value for value in values if isinstance(value, list) and value and isinstance(value[0], dict)]
    return lists[0] if len(lists) == 1 else None


def _why_no_row(value: Any, seen: set[str]) -> str | None:
    """Return what keeps a value from being a row; `seen` are the names of the rows before."""
    if not isinstance(value, dict):
        return f"a JSON {type(value).__name__} where an object should be"
    if _is_deep(value):
        return _DEEP
    fresh = value.keys() - seen
    if not fresh:
        return None
    if len(value) > MOST_COLUMNS:
        return f"it has {len(value):,} keys; a row may have {MOST_COLUMNS:,}"
    if len(seen) + len(fresh) > MOST_COLUMNS:
        return f"with its keys the table would have more than {MOST_COLUMNS:,} columns"
    for name in fresh:
        if not name.isascii() and _SURROGATE.search(name):
            return f"its key {name!r} holds half a surrogate pair, which is no character"
    seen |= fresh
    return None


def _is_deep(value: Any) -> bool:
    level, n = [value], 0
    while level:
        n += 1
        if n > MOST_NESTED:
            return True
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, (dict, list))
        ]
    return False


def looks_like_objects(lines: list[str]) -> bool:
    """Say whether lines of a text, without the blank ones, are JSON objects."""
    full = [line for line in lines if line.strip()]
    return bool(full) and all(line.lstrip().startswith("{") and _is_object(line, json.loads) for line in full)


def _is_object(line: str, parse: Callable[[str], Any]) -> bool:
    try:
        return isinstance(parse(line), dict)
    except (ValueError, RecursionError):
        return False
