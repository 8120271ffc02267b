"""What a file of text is read as, by its name and by its first lines."""

import re
import shlex
from pathlib import Path

from sentiment_cli.data.files.encodings import find_encoding, open_text
from sentiment_cli.data.files.unpacking import table_kind
from sentiment_cli.data.tables.csv_lines import bounded_lines
from sentiment_cli.data.tables.json_rows import looks_like_objects
from sentiment_cli.data.tables.labelled_lines import PREFIX, looks_labelled
from sentiment_cli.data.tables.rows import Format
from sentiment_cli.errors import DataError

_LINES_LOOKED_AT, _LINES_COMPARED = 20, 200
_LABEL_FIELD = re.compile(rf"{PREFIX}\S*[,;\t|]")


def kind_of_file(path: Path, how: Format = Format()) -> str | None:  # noqa: B008 - a tuple
    """Return what a file is read as: one of SUFFIXES, .fasttext, or None for lines of text.

    The name tells, and for other names the first lines: __label__ is fastText's, in a .csv, too, unless a delimiter
    follows. A text with a delimiter that is asked for is a table. Raises DataError for what is no text, and for JSON
    objects under another name.
    """
    kind = table_kind(path)
    if kind not in (None, ".csv", ".tsv"):
        return kind
    if how.delimiter != "auto":
        return kind or ".csv"
    with open_text(path, find_encoding(path, how.encoding).codec) as handle:
        lines = [line for _, line in zip(range(_LINES_LOOKED_AT), bounded_lines(handle), strict=False)]
    if looks_labelled(lines) and (kind is None or not any(_LABEL_FIELD.match(line) for line in lines)):
        return ".fasttext"
    if looks_like_objects(lines):
        name = _renamed(path, ".jsonl")
        raise DataError(
            f"{path} holds JSON objects, and its name does not say so: they would be read as other rows",
            None if name.exists() else shlex.join(["cp", str(path), str(name)]),
        )
    return kind


def fields_of_lines(path: Path, how: Format = Format()) -> int:  # noqa: B008
    """Return how many fields between tabs each of the first lines of a text has; 1 where they differ."""
    with open_text(path, find_encoding(path, how.encoding).codec) as handle:
        lines = [line for _, line in zip(range(_LINES_COMPARED), bounded_lines(handle), strict=False)]
    counts = {line.count("\t") + 1 for line in lines if line.strip()}
    return counts.pop() if len(counts) == 1 else 1


def _renamed(path: Path, suffix: str) -> Path:
    name = path.name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz")
    packed = path.name[len(name) :]
    return path.with_name(f"{Path(name).stem}{suffix}{packed}")
