"""Rows of fastText's training files: one or more words that begin with __label__, then the text, a row a line."""

from collections.abc import Iterator
from pathlib import Path

from sentiment_cli.data.files.encodings import find_encoding, open_lines
from sentiment_cli.data.tables.csv_lines import Overlong, bounded_lines
from sentiment_cli.data.tables.rows import LONGEST_LINE, Choose, Format, Rejects, TableRecord

PREFIX = "__label__"


def labelled_records(path: Path, choose: Choose, rejects: Rejects, how: Format) -> Iterator[TableRecord]:
    """Yield each line as a text and its label: None where it has none, a list where it has several."""
    choose(["text", "label"])
    number = 0
    with open_lines(path, find_encoding(path, how.encoding).codec) as handle:
        for line_number, line in enumerate(bounded_lines(handle), 1):
            if line.isspace():
                continue
            number += 1
            if type(line) is Overlong:
                reason = f"its line is longer than {LONGEST_LINE:,} characters"
                rejects.reject(path, number, line_number, reason)
                continue
            labels, text = [], line.strip()
            while text.startswith(PREFIX):
                word, _, text = text.partition(" ") if " " in text else (text, "", "")
                if "\t" in word:
                    word, _, rest = word.partition("\t")
                    text = f"{rest} {text}".strip()
                labels.append(word.removeprefix(PREFIX).rstrip(","))
                text = text.lstrip(" \t,")
            label = labels[0] if len(labels) == 1 else labels or None
            yield TableRecord(number, line_number, {"text": text, "label": label})


def looks_labelled(lines: list[str]) -> bool:
    """Say whether the first lines of a text have labels in fastText's form."""
    full = [line for line in lines if line.strip()]
    return bool(full) and sum(line.startswith(PREFIX) for line in full) * 2 > len(full)
