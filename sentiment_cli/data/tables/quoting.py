r"""What quotes mean in a delimited file: doubled within quotes, escaped by a backslash, or nothing at all.

Many published files quote nothing, and a text that begins with a quote then swallows the lines up to the next one. They
are known by lines that each have the right number of fields and that a quoted reading makes one row of.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sentiment_cli.data.files.encodings import open_text
from sentiment_cli.data.tables.csv_lines import CsvLines, bounded_lines
from sentiment_cli.data.tables.rows import LONGEST_FIELD, Quoting

# A backslash that escapes neither a quote nor another backslash is one: C:\new stays as it is.
_BACKSLASH = re.compile(r'\\(["\\])|\\')
_MOST_VALUES = 50  # of a column that tells rows apart


class Survey(NamedTuple):
    """How well a reading of quotes fits: lines it cannot use, lines it merges, and the first of those."""

    n_bad: int
    n_merged: int
    n_merges: int
    first_merge: int | None
    n_plain_bad: int
    n_enclosed: int
    has_backslash: bool
    is_like_others: bool


def csv_rows(lines: Iterator[str], delimiter: str, quoting: Quoting, *, is_strict: bool = True) -> Iterator[list[str]]:
    """Return the csv module's reader of lines."""
    csv.field_size_limit(LONGEST_FIELD)
    if quoting == "none":
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=is_strict)
    if quoting == "backslash":
        kept = (_BACKSLASH.sub(_keep, line) if "\\" in line else line for line in lines)
        return csv.reader(kept, delimiter=delimiter, escapechar="\\", doublequote=False, strict=is_strict)
    return csv.reader(lines, delimiter=delimiter, strict=is_strict)


def _keep(found: re.Match[str]) -> str:
    return found.group() if found[1] else r"\\"


def find_quoting(path: Path, codec: str, delimiter: str, n_fields: int, n_before: int) -> tuple[Quoting, str | None]:
    """Return how a file is quoted, and a warning where lines are merged that may be rows of their own.

    The first `n_before` lines are not rows. Where one reading leaves fewer lines unused or merged it is taken; of equal
    ones that of doubled quotes. With other delimiters than tabs, which are in texts too, no quotes are only believed
    where all lines agree: each has the right number of fields, no field is properly quoted, and the merged lines have
    values in common with the others.
    """
    double = _survey(path, codec, delimiter, "double", n_fields, n_before)
    costs: dict[Quoting, int] = {"double": double.n_bad + double.n_merged}
    if costs["double"] == 0:
        return "double", None
    if double.has_backslash:
        escaped = _survey(path, codec, delimiter, "backslash", n_fields, n_before)
        costs["backslash"] = escaped.n_bad + escaped.n_merged
    agrees = double.n_plain_bad == 0 and double.n_enclosed == 0 and double.n_merges > 0 and double.is_like_others
    if delimiter == "\t" or agrees:
        costs["none"] = double.n_plain_bad
    best = min(costs, key=lambda quoting: costs[quoting])
    if best == "double" and double.n_merges and (delimiter == "\t" or double.is_like_others):
        rows = "1 row" if double.n_merges == 1 else f"{double.n_merges:,} rows"
        return best, (
            f"{path.name}: {double.n_merged:,} lines that each have {n_fields} fields are read as {rows}, "
            f"the first at line {double.first_merge}, because quotes enclose them (--set data.quoting=none reads "
            "them as rows)"
        )
    return best, None


def has_quotes(path: Path, codec: str) -> bool:
    """Say whether a file has a quote anywhere."""
    with open_text(path, codec) as handle:
        while block := handle.read(1 << 20):
            if '"' in block:
                return True
    return False


def _survey(path: Path, codec: str, delimiter: str, quoting: Quoting, n_fields: int, n_before: int) -> Survey:
    n_bad = n_merged = n_merges = n_enclosed = 0
    first_merge: int | None = None
    seen: list[Counter[str]] = [Counter() for _ in range(n_fields)]
    merged_values: list[list[str]] = []
    with open_text(path, codec) as handle:
        plain = _Plain(bounded_lines(handle), delimiter, n_fields)
        for _ in range(n_before):
            next(plain.lines, None)
        lines = CsvLines(iter(plain), n_before)
        rows = csv_rows(lines, delimiter, quoting)
        while True:
            lines.begin_row()
            try:
                fields = next(rows)
            except StopIteration:
                break
            except csv.Error:
                n_bad += 1
                lines.leave_row()
                continue
            if not fields:
                continue
            if len(lines.taken) > 1 and all(line.count(delimiter) + 1 == n_fields for line in lines.taken):
                n_merges += 1
                n_merged += len(lines.taken)
                first_merge = first_merge or lines.number - len(lines.taken) + 1
                if len(merged_values) < 1000:
                    merged_values += [line.rstrip("\r\n").split(delimiter) for line in lines.taken]
            elif len(fields) != n_fields:
                n_bad += 1
            elif len(lines.taken) == 1:
                line = lines.taken[0]
                if '"' in line:
                    n_enclosed += any(
                        len(one) > 1 and one[0] == one[-1] == '"' for one in line.rstrip("\r\n").split(delimiter)
                    )
                for column, value in zip(seen, fields, strict=True):
                    if len(column) <= _MOST_VALUES:
                        column[value] += 1
    is_like_others = any(
        1 < len(values) <= _MOST_VALUES and all(row[place] in values for row in merged_values)
        for place, values in enumerate(seen)
    )
    return Survey(n_bad, n_merged, n_merges, first_merge, plain.n_bad, n_enclosed, plain.has_backslash, is_like_others)


class _Plain:
    """Lines on their way to the csv module, counted as they are without quotes."""

    def __init__(self, lines: Iterator[str], delimiter: str, n_fields: int) -> None:
        self.lines, self._delimiter, self._n = lines, delimiter, n_fields
        self.n_bad = 0
        self.has_backslash = False

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.n_bad += line.count(self._delimiter) + 1 != self._n and not line.isspace()
            self.has_backslash = self.has_backslash or '\\"' in line
            yield line
