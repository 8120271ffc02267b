"""What a row's label is: a text, whatever type the file gave it, renamed as the user asked; and which labels agree."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sentiment_cli.errors import DataError

# More classes than this are a column of numbers or texts taken for one of labels.
MOST_LABELS = 1000


def parse_label(value: Any) -> str | None:
    """Return a label as text: True is "true", 1 and 1.0 are "1"; None for one that is missing.

    Raises ValueError for what is no class: a fraction, a list, an object.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"its label is a {type(value).__name__}, not a class")
    text = str(value).strip()
    try:
        number = float(text) if "." in text else math.nan
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        if not number.is_integer():
            raise ValueError(f"its label {text} is a fraction, not a class")
        return str(int(number))
    return text or None


def parse_label_map(pairs: Sequence[str]) -> dict[str, str]:
    """Read OLD=NEW pairs."""
    return {old.strip(): new.strip() for old, _, new in (pair.partition("=") for pair in pairs)}


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Order labels: numbers by value, then words by letter."""

    def place(label: str) -> tuple[bool, float, str]:
        try:
            return False, float(label), label
        except ValueError:
            return True, 0.0, label

    return tuple(sorted(labels, key=place))


def check_labels(path: str, counts: Counter[str]) -> None:
    """Raise DataError for labels that cannot be meant: too many, or differing in case alone."""
    if len(counts) > MOST_LABELS:
        raise DataError(
            f"{path} has more than {MOST_LABELS:,} different labels; is that the label column?",
            "--set data.label_column=NAME",
        )
    alike = defaultdict(list)
    for label in counts:
        alike[label.casefold()].append(label)
    for variants in alike.values():
        if len(variants) > 1:
            kept = max(variants, key=lambda label: (counts[label], label))
            pairs = ", ".join(f"{label}={kept}" for label in sorted(variants) if label != kept)
            raise DataError(
                f"{path} has labels that differ in case alone: {said(Counter({v: counts[v] for v in variants}))}",
                f"--set 'data.label_map=[{pairs}]'",
            )


def refuse_unused(renamed: dict[str, str], seen: Counter[str]) -> None:
    """Raise DataError for a renaming of what no row is labelled; `seen` counts the labels as the files have them."""
    absent = [old for old in renamed if old not in seen]
    if absent:
        kept = ", ".join(f"{old}={new}" for old, new in renamed.items() if old in seen)
        raise DataError(
            f"data.label_map renames {', '.join(map(repr, absent))}, and no row is labelled so: {said(seen)}",
            f"--set 'data.label_map=[{kept}]'",
        )


def refuse_unknown(what: str, counts: Counter[str], labels: Sequence[str], option: str) -> None:
    """Raise DataError that shows both sides where rows are labelled otherwise than `labels`.

    `option` is what to type, with {} for the pairs of a label map.
    """
    unknown = sort_labels(label for label in counts if label not in labels)
    if unknown:
        pairs = ",".join(f"{label}={_alike(label, labels)}" for label in unknown)
        raise DataError(
            f"{what} is labelled {said(counts)}; the training labels are {', '.join(map(repr, labels))}",
            option.format(pairs),
        )


def _alike(label: str, labels: Sequence[str]) -> str:
    """Return the one label that begins as this one does or the other way round; a guess would turn labels round."""
    folded = label.casefold()
    fits = [k for k in labels if folded.startswith(k.casefold()) or k.casefold().startswith(folded)]
    return fits[0] if len(fits) == 1 else "LABEL"


def said(counts: Counter[str]) -> str:
    """Show labels with their counts, the commonest first."""
    return ", ".join(f"{label!r} ({count:,})" for label, count in counts.most_common(8)) + (
        ", …" if len(counts) > 8 else ""
    )
