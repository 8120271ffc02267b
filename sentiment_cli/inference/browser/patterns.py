"""Regular expressions of the `tokenizers` library (Oniguruma's) as JavaScript's, with every class spelled out.

What `\\w` or `\\p{Han}` holds differs between the two, and between versions of Unicode: the library itself is asked for
each class, and its characters stand in the result as ranges.
"""

import functools
import re
from collections.abc import Iterator

from tokenizers import Regex, pre_tokenizers

_LAST, _SURROGATES = 0x10FFFF, (0xD800, 0xE000)
_GROUPS = ("(?:", "(?=", "(?!", "(?<=", "(?<!")
_QUANTIFIER = re.compile(r"[*+?]|\{\d+(?:,\d*)?\}")
_PROPERTY = re.compile(r"\\[pP]\{\^?[\w ]+\}")
_CLASSES = "wWsSdDhH"
_HEXADECIMAL = re.compile(r"\\x[0-9a-fA-F]{2}|\\x\{[0-9a-fA-F]{1,6}\}|\\u[0-9a-fA-F]{4}")
_CONTROLS = "nrtfv"


class ForeignPattern(Exception):  # noqa: N818 - the message says what it is
    """A pattern has a part that is not translated; the message names it."""


def translate(pattern: str) -> str:
    """Return the source of a JavaScript expression for the flag u. Raises ForeignPattern."""
    return "".join(_parts(pattern))


def _parts(pattern: str) -> Iterator[str]:
    place = 0
    while place < len(pattern):
        rest = pattern[place:]
        group = next((one for one in _GROUPS if rest.startswith(one)), None)
        if group is not None:
            part = group
            yield part
        elif rest.startswith("(?") or rest[0] in "^$":
            raise ForeignPattern(f"{rest[:4]!r} in {pattern!r}")
        elif rest[0] == "(":
            part = "("
            yield "(?:"
        elif rest[0] in ")|":
            part = rest[0]
            yield part
        elif quantifier := _QUANTIFIER.match(rest):
            part = quantifier[0]
            yield part
            if rest[len(part) :].startswith("?"):
                part += "?"
                yield "?"
            elif rest[len(part) :].startswith("+"):
                raise ForeignPattern(f"{rest[: len(part) + 1]!r} in {pattern!r}")
        else:
            part = _atom(rest, pattern)
            yield _spelled(part)
        place += len(part)


def _atom(rest: str, pattern: str) -> str:
    """Return what stands for one character at the start of the rest of a pattern."""
    if rest[0] == "[":
        depth, place = 0, 0
        while place < len(rest):
            if rest[place] == "\\":
                place += 1
            elif rest[place] == "[":
                depth += 1
            elif rest[place] == "]":
                depth -= 1
                if not depth:
                    return rest[: place + 1]
            place += 1
        raise ForeignPattern(f"{rest[:20]!r} in {pattern!r}")
    if rest[0] != "\\":
        return rest[0]
    found = _PROPERTY.match(rest) or _HEXADECIMAL.match(rest)
    if found:
        return found[0]
    if len(rest) > 1 and (rest[1] in _CLASSES + _CONTROLS or not rest[1].isalnum()):
        return rest[:2]
    raise ForeignPattern(f"{rest[:2]!r} in {pattern!r}")


@functools.lru_cache
def _spelled(atom: str) -> str:
    """Return a class of JavaScript with the characters that the library takes an atom for."""
    try:
        runs = pre_tokenizers.Split(Regex(f"(?:{atom})+"), "removed", invert=True).pre_tokenize_str(_everything())
    except Exception as error:  # the library has no class of its own for it
        raise ForeignPattern(f"{atom!r}: {error}") from error
    ranges: list[tuple[int, int]] = []
    for _, (start, end) in runs:
        low, high = _code(start), _code(end - 1)
        if low < _SURROGATES[0] and high >= _SURROGATES[1]:
            ranges += [(low, _SURROGATES[0] - 1), (_SURROGATES[1], high)]
        else:
            ranges.append((low, high))
    return "[" + "".join(_escape(low) if low == high else f"{_escape(low)}-{_escape(high)}" for low, high in ranges) + "]"


@functools.lru_cache
def _everything() -> str:
    return "".join(chr(code) for code in range(_LAST + 1) if not _SURROGATES[0] <= code < _SURROGATES[1])


def _code(place: int) -> int:
    """Return the character at a place of all that there are, surrogates left out."""
    return place if place < _SURROGATES[0] else place + _SURROGATES[1] - _SURROGATES[0]


def _escape(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else f"\\u{{{code:x}}}"
