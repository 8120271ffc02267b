"""What a row's label is: a text, whatever type the file gave it, renamed as the user asked; and which labels agree."""

import json
import math
import os
import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sentiment_cli.config.values import split_pair
from sentiment_cli.data.files.file_kinds import show_command
from sentiment_cli.errors import Change, DataError

# More classes than this are a column of numbers or texts taken for one of labels.
MOST_LABELS = 1000
# Spellings of a missing value, in lower case: what programs write where they have none.
_MISSING = frozenset(
    (
        *("nan", "n/a", "na", "n.a.", "null", "(null)", "[null]", "none", "nil", "<na>", "nat", "-", "--", "?", "\\n"),
        *("missing", "undefined", "blank", "(blank)", "empty", "(empty)", "not available", "none given", "n/d", "n.d."),
        *("k.a.", "#n/a", "#na", "#ref!", "#value!", "#null!", "#name?", "#div/0!"),
    )
)
_MOST_NUMBERS = 20  # fractions that a hint spells out
_DASHES = re.compile("[\u2010-\u2015\u2212]")
_BETWEEN = re.compile(r"(?<=\w)[ _-]+(?=\w)")  # control characters are shown escaped, and look alike to nobody
_QUOTES = "'\"`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a\u00ab\u00bb \t"
_WHOLE = re.compile(r"(-?)\+?0*([0-9]+?)(?:[.,]0+)?")
_PLAIN = re.compile(r"[\w.+-]+")  # a label that needs no quoting in OLD=NEW,OLD=NEW


class LabelError(DataError):
    """Labels that do not go together: how many rows have each (`counts`), after the renaming that was given."""

    def __init__(self, message: str, hint: str | None, counts: Counter[str], renamed: Mapping[str, str]) -> None:
        super().__init__(message, hint)
        self.counts, self.renamed = counts, renamed


def parse_label(value: Any) -> str | None:
    """Return a label as text: True is "true", 1 and 1.0 are "1"; None for one that is missing.

    Raises ValueError for values that are not classes: a fraction, a list, an object.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"its label is a {type(value).__name__}, not a class")
    text = str(value).strip()
    number = _number(text)
    if number is not None:
        if not number.is_integer():
            raise ValueError(f"its label {text} is a fraction, not a class")
        return str(int(number))
    return text or None


def find_label(value: Any, renamed: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return a value's label as the map or else the file spells it, and the label that it is renamed to.

    The map comes first, so that it can name values that are not labels by themselves: a fraction, a date. Both are None
    where the label is missing; the second is "" for a row that is left out. Raises ValueError as `parse_label` does.
    """
    for spelling in _spellings(value) if renamed else ():
        if spelling in renamed:
            return spelling, renamed[spelling]
    if isinstance(value, (list, tuple)) and len(value) == 1:
        (value,) = value
    label = parse_label(value)
    return label, label if label is None else renamed.get(label, label)


def _spellings(value: Any) -> Iterator[str]:
    """Yield what a map may call a value: as the file has it, and as a number is written shortest."""
    if value is None or isinstance(value, (bytes, list, tuple, dict, set)) or value != value:
        return
    text = str(value).strip()
    yield text
    if isinstance(value, bool):
        yield text.lower()
    elif (number := _number(text)) is not None:
        yield str(int(number)) if number.is_integer() else repr(number)


def _number(text: str) -> float | None:
    """Return the number that a text with a decimal point is."""
    try:
        number = float(text) if "." in text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def parse_label_map(pairs: Sequence[str]) -> dict[str, str]:
    """Read the OLD=NEW pairs of data.label_map; a NEW that is empty leaves the rows out."""
    return {found[0]: found[1] for pair in pairs if (found := split_pair(pair))}


def dump_label_map(renamed: Mapping[str, str]) -> str:
    """Write a label map as JSON that YAML reads, too; null leaves the rows out."""
    return "{" + ", ".join(f"{_quoted(old)}: {_quoted(new) if new else 'null'}" for old, new in renamed.items()) + "}"


def _quoted(text: str) -> str:
    # YAML takes no control characters as they are, and does not join the two halves that JSON makes of U+1F44D.
    parts = (json.dumps(char)[1:-1] if ord(char) < 128 else char if char.isprintable() else "" for char in text)
    escaped = (
        part or (f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}")
        for part, c in zip(parts, text, strict=True)
    )
    return '"' + "".join(escaped).replace("\x7f", "\\u007f") + '"'


def map_setting(renamed: Mapping[str, str]) -> Change:
    """Return the --set that renames labels so; as text it is quoted for a shell."""
    return Change("--set", f"data.label_map={dump_label_map(renamed)}")


def map_option(renamed: Mapping[str, str]) -> Change:
    """Return the --label-map that renames labels so; as text it is quoted for a shell."""
    is_plain = all(_PLAIN.fullmatch(old) and (not new or _PLAIN.fullmatch(new)) for old, new in renamed.items())
    pairs = ",".join(f"{old}={new}" for old, new in renamed.items())
    return Change("--label-map", pairs if is_plain and renamed else dump_label_map(renamed))


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Order labels: numbers by value, then words by letter; "nan" is a word, since it has no place among numbers."""

    def place(label: str) -> tuple[bool, float, str]:
        try:
            number = float(label)
        except ValueError:
            number = math.nan
        return (True, 0.0, label) if math.isnan(number) else (False, number, label)

    return tuple(sorted(labels, key=place))


def check_labels(path: str, counts: Counter[str], renamed: Mapping[str, str]) -> None:
    """Raise LabelError for labels that cannot be meant: too many, or such as look alike."""
    if len(counts) > MOST_LABELS:
        raise LabelError(
            f"{path} has more than {MOST_LABELS:,} different labels; is that the label column?",
            shlex.join(["head", "-c", "500", path]),
            counts,
            renamed,
        )
    alike = defaultdict(list)
    for label in counts:
        alike[_look_of(label)].append(label)
    kept = {
        label: max(variants, key=lambda label: (counts[label], label))
        for variants in alike.values()
        if len(variants) > 1
        for label in variants
    }
    if kept:
        is_case = all(label.casefold() == other.casefold() for label, other in kept.items())
        how = "differ in case alone" if is_case else "look alike"
        raise LabelError(
            f"{path} has labels that {how}: {said(Counter({label: counts[label] for label in kept}))}",
            map_setting(compose_map(renamed, kept)),
            counts,
            renamed,
        )


def _look_of(label: str) -> str:
    """Return what a label has in common with those that look the same or are the same number.

    Case, composed and full-width forms, invisible characters, dashes, quotes around it, and what parts its words.
    """
    text = unicodedata.normalize("NFKC", label).casefold()
    text = "".join(char for char in text if unicodedata.category(char) != "Cf" and not "\ufe00" <= char <= "\ufe0f")
    text = _BETWEEN.sub(" ", _DASHES.sub("-", text))
    text = text.strip(_QUOTES) or text
    number = _WHOLE.fullmatch(text)
    return "".join(number.groups()) if number else text


def compose_map(renamed: Mapping[str, str], then: Mapping[str, str]) -> dict[str, str]:
    """Return the map that renames as `renamed` does and, what comes of it, as `then` does."""
    further = {label: then[label] for label in sort_labels(then) if label not in renamed and label != then[label]}
    return {old: then.get(new, new) for old, new in renamed.items()} | further


def refuse_unused(renamed: Mapping[str, str], seen: Counter[str]) -> None:
    """Raise DataError for a renamed label that no row has; `seen` counts the labels as the files have them."""
    absent = [old for old in renamed if old not in seen]
    if absent:
        raise DataError(
            f"data.label_map renames {', '.join(map(repr, absent))}, and no row is labelled so: {said(seen)}",
            map_setting({old: new for old, new in renamed.items() if old in seen}),
        )


def refuse_unknown(
    what: str, counts: Counter[str], labels: Sequence[str], renamed: Mapping[str, str], *, is_eval: bool = False
) -> None:
    """Raise LabelError that shows both sides where rows are labelled otherwise than `labels`.

    `renamed` is the map that was given already. The hint is an option of `eval` or a setting.
    """
    if any(label not in labels for label in counts):
        straight = straight_map(counts, renamed, labels)
        message = f"{what} is labelled {said(counts)}; the training labels are {', '.join(map(repr, labels))}"
        if straight is None:
            how = "--label-map OLD=NEW,OLD=NEW" if is_eval else "data.label_map"
            is_there = os.path.exists(what)  # noqa: PTH110 - says no, where Path.exists raises, to odd names
            hint = show_command(Path(what)) if is_there else "sentiment eval --help"
            raise LabelError(f"{message}. {how} says which is which", hint, counts, renamed)
        raise LabelError(message, map_option(straight) if is_eval else map_setting(straight), counts, renamed)


def straight_map(counts: Counter[str], renamed: Mapping[str, str], labels: Sequence[str]) -> dict[str, str] | None:
    """Return the map from the labels of rows to those of `labels` that they begin like.

    Labels that resemble none of them are left out where all of `labels` have rows. None where one has none, or no row
    would be left: a guess could swap labels. What is left over by a map that was given is one pair, or no guess either.
    """
    unknown = {label: _alike(label, labels) for label in counts if label not in labels}
    if not any(unknown.values()) and len(unknown) == len(counts):
        return None
    left = [label for label, found in unknown.items() if found is None]
    without_rows = [label for label in labels if label not in {*counts, *unknown.values()}]
    if left and without_rows:
        if not renamed or len(left) != 1 or len(without_rows) != 1:
            return None
        unknown[left[0]] = without_rows[0]
    return compose_map(renamed, {label: found or "" for label, found in unknown.items()})


def _alike(label: str, labels: Sequence[str]) -> str | None:
    """Return the one label that begins as this one does or the other way round; a guess would turn labels round."""
    if same := [known for known in labels if _look_of(known) == _look_of(label)]:
        return same[0]
    folded = label.casefold()
    fits = [k for k in labels if folded.startswith(k.casefold()) or k.casefold().startswith(folded)] if folded else []
    return fits[0] if len(fits) == 1 else None


def missing_spellings(labels: Iterable[str], renamed: Mapping[str, str]) -> list[str]:
    """Return the labels that spell a missing value and that the user has not named as labels."""
    meant = set(renamed.values())
    return [label for label in labels if _look_of(label) in _MISSING and label not in meant]


def halves_of(values: Sequence[str], renamed: Mapping[str, str]) -> dict[str, str] | None:
    """Return a map that makes two classes of numbers, below and from their middle on; None for too many or for one."""
    numbers = sorted({value for value in values if value not in renamed}, key=float)
    if not 2 <= len(numbers) <= _MOST_NUMBERS:
        return None
    middle = len(numbers) // 2
    halves = {value: "low" if i < middle else "high" for i, value in enumerate(numbers)}
    return {**renamed, **halves}


def said(counts: Counter[str]) -> str:
    """Show labels with their counts, the commonest first."""
    return ", ".join(f"{label!r} ({count:,})" for label, count in counts.most_common(8)) + (
        ", …" if len(counts) > 8 else ""
    )
