"""The types of single settings, and the checks of their values."""

import codecs
import math
import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
MOST_TOKENS = 1_000_000  # of a row, as `data.reading` has it
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Width = Annotated[int, Field(ge=1, le=65_536)]
_NOT_OF_FILES = ("undefined", "unicode_escape", "raw_unicode_escape", "idna", "punycode", "unicode-escape", "mbcs")


def without_repeats(rows: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(rows)) < len(rows):
        raise ValueError("an entry stands twice")
    return rows


def as_list(names: object) -> object:
    return () if names is None else (names,) if isinstance(names, str) else names


def rising(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if list(numbers) != sorted(set(numbers)):
        raise ValueError("each should be greater than the one before")
    return numbers


def odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("it should be odd: a word in the middle, and as many before it as after it")
    return number


def from_to(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if numbers and (len(numbers) != 2 or numbers[0] > numbers[1]):
        raise ValueError(f"{list(numbers)} is neither [] nor two numbers, from and to")
    return numbers


def split_pair(pair: str) -> tuple[str, str] | None:
    r"""Return OLD and NEW of `OLD=NEW`, where `\=` is an equals sign of OLD and `\\` a backslash; None for no pair."""
    found = re.fullmatch(r"((?:[^=\\]|\\[\\=]|\\(?![\\=]))*)=(.*)", pair, re.DOTALL)
    return None if found is None else (re.sub(r"\\([\\=])", r"\1", found[1]).strip(), found[2].strip())


def join_pair(old: str, new: str) -> str:
    """Return the pair that `split_pair` takes apart."""
    escaped = re.sub(r"[\\=]", r"\\\g<0>", old)
    return f"{escaped}={new}"


def listed_pairs(value: object) -> object:
    """Return a mapping of labels as OLD=NEW pairs; an empty target stays empty."""
    if not isinstance(value, dict):
        return () if value is None else value
    texts = {True: "true", False: "false", None: ""}
    pairs = []
    for old, new in value.items():
        if isinstance(new, (dict, list)):
            raise ValueError(f"{old!r} is renamed to {new!r:.60}, which is no label")
        pairs.append(join_pair(str(old), texts[new] if new is None or isinstance(new, bool) else str(new)))
    return pairs


def label_pairs(pairs: tuple[str, ...]) -> tuple[str, ...]:
    seen: dict[str, str] = {}
    for pair in pairs:
        if not (found := split_pair(pair)) or not found[0]:
            raise ValueError(f"{pair!r} is not OLD=NEW")
        if found[0] in seen and seen[found[0]] != found[1]:
            raise ValueError(f"{found[0]!r} is renamed twice, to {seen[found[0]]!r} and to {found[1]!r}")
        seen[found[0]] = found[1]
    return without_repeats(pairs)


def weight_pairs(value: object) -> object:
    """Return a mapping of labels to weights as LABEL=WEIGHT pairs, and a word as it is."""
    if isinstance(value, dict):
        return [join_pair(str(label), str(weight)) for label, weight in value.items()]
    if isinstance(value, str) and value not in ("none", "balanced"):
        raise ValueError(f"{value!r} is neither none nor balanced nor a mapping of labels to weights")
    return value


def checked_weights(pairs: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
    if isinstance(pairs, tuple):
        label_weights(pairs)
    return pairs


def label_weights(pairs: tuple[str, ...]) -> dict[str, float]:
    """Return the weight of each label of LABEL=WEIGHT pairs. Raises ValueError for others, and for odd weights."""
    found: dict[str, float] = {}
    for pair in pairs:
        both = split_pair(pair)
        try:
            weight = float(both[1]) if both else math.nan
        except ValueError:
            weight = math.nan
        if both is None or not 0 < weight < math.inf:
            raise ValueError(f"{pair!r} is not LABEL=WEIGHT with a weight above 0")
        if both[0] in found:
            raise ValueError(f"{both[0]!r} has two weights")
        found[both[0]] = weight
    return found


def column_name(name: object) -> object:
    """Take a column's place for its name: 2 is the second column, unless one is called so."""
    is_place = isinstance(name, int) and not isinstance(name, bool)
    return str(name) if is_place else [column_name(one) for one in name] if isinstance(name, list) else name


def encoding_name(name: str) -> str:
    if name == "auto":
        return name
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        raise ValueError(f"{name!r} is not an encoding; try utf-8, latin-1, cp1252, cp1251, utf-16") from None
    if not getattr(found, "_is_text_encoding", True) or found.name in _NOT_OF_FILES:
        raise ValueError(f"{name!r} is not an encoding of text files; try utf-8, latin-1, cp1252, cp1251, utf-16")
    return name


_DELIMITERS = {"comma": ",", "semicolon": ";", "pipe": "|", "tabulator": "tab", "space": " ", "colon": ":"}


def delimiter_name(text: str) -> str:
    text = _DELIMITERS.get(text.lower(), text)
    if text in ("auto", "tab", "\\t") or (len(text) == 1 and text not in '"\\\r\n'):
        return text
    raise ValueError(f"{text!r} is not one character, tab, comma, semicolon, pipe, or auto")


class Section(BaseModel):
    """Strict and frozen: no conversion between types, no unknown keys, no change after validation."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        defer_build=True,
        allow_inf_nan=False,
        validate_default=True,
        validate_by_name=True,
    )
