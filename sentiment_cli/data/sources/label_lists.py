"""Several labels of a row: lists of labels, labels with a separator between them, and how a set of them is kept."""

import ast
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sentiment_cli.data.sources.labels import find_label, parse_label

_LONGEST_LIST = 100_000  # characters
SEPARATORS = ("|", ";", ",")  # of the labels of a row, the clearest first


def find_labels(value: Any, renamed: Mapping[str, str], separator: str | None) -> tuple[str | None, str | None]:
    """Return a value's labels, of which there may be several or none, as `dump_labels` writes them: named and renamed.

    They are a list, a text that is a list in JSON or in Python, or a text with a separator between them. Both are None
    where the value is missing; a label that is renamed to nothing is left out. Raises ValueError for what is no list of
    classes.
    """
    found = [find_label(one, renamed) for one in _parts(value, separator)]
    if not found and not isinstance(value, (list, tuple)) and not _is_list(value):
        return None, None
    named = [name for name, _ in found if name is not None]
    return dump_labels(named), dump_labels([label for _, label in found if label])


def _parts(value: Any, separator: str | None) -> Sequence[Any]:
    if isinstance(value, str):
        text = value.strip()
        if _is_list(text):
            value = read_list(text)
        elif separator is not None:
            value = [part for part in text.split(separator) if part.strip()]
    if isinstance(value, (list, tuple)):
        return [one for one in value if one is not None and one != ""]
    return [] if parse_label(value) is None else [value]


def read_list(text: str) -> Any:
    """Return the list that a text is in JSON, or as Python prints one; the text itself where it is neither."""
    if not _is_list(text):
        return text
    for read in (json.loads, ast.literal_eval) if len(text) <= _LONGEST_LIST else ():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes that Python does not know
                return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _is_list(value: Any) -> bool:
    return isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]")


def find_separator(labels: Iterable[str], *, is_told: bool = False) -> str | None:
    """Return what separates labels that stand together: it takes them apart into fewer labels than they are.

    The parts of names such as "movies, music" do not recur alone or with other parts, so that they would be more. Where
    it `is_told` that labels stand together, their parts may be as many.
    """
    known = set(labels)
    if not any(map(str.isalpha, "".join(known))):  # 4,5 is a number
        return None
    for separator in SEPARATORS:
        parts = {part.strip() for label in known for part in label.split(separator) if part.strip()}
        if len(parts) < len(known) + is_told and any(separator in label for label in known):
            return separator
    return None


def dump_labels(labels: Iterable[str]) -> str:
    """Write the labels of a row as one text, the same for the same labels."""
    return json.dumps(sorted(set(labels)), ensure_ascii=False)


def load_labels(text: str) -> tuple[str, ...]:
    """Return the labels of a text that `dump_labels` wrote."""
    return tuple(json.loads(text))
