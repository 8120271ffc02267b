"""Reviews of a folder that has one file for each class: each line is a text, and the file's name tells the label."""

from collections.abc import Callable, Iterator
from pathlib import Path

from sentiment_cli.data.files.encodings import find_encoding, open_lines
from sentiment_cli.data.sources.review import Review
from sentiment_cli.data.tables.csv_lines import Overlong, bounded_lines
from sentiment_cli.data.tables.rows import LONGEST_LINE
from sentiment_cli.errors import DataError


def lines_of_classes(
    root: Path, files: dict[str, Path], split: str, encoding: str, say: Callable[[str], object]
) -> Iterator[tuple[str, Review]]:
    """Yield each line of files that are named by their class, without the blank ones."""
    said = ", ".join(f"{path.name} are labelled {label!r}" for label, path in files.items())
    encodings = {path: find_encoding(path, encoding) for path in files.values()}
    codecs = ", ".join(dict.fromkeys(found.said for found in encodings.values()))
    say(f"data: {root.name}: each line is a text; those of {said}; {codecs}")
    for label, path in files.items():
        if encodings[path].warning:
            say(f"warning: {encodings[path].warning}")
        with open_lines(path, encodings[path].codec) as handle:
            for number, line in enumerate(bounded_lines(handle), 1):
                if type(line) is Overlong:
                    raise DataError(f"{path}, line {number}: it is longer than {LONGEST_LINE:,} characters")
                if line.strip():
                    yield split, Review(f"{path.name}/{number}", line.strip("\r\n"), label, None, None)
