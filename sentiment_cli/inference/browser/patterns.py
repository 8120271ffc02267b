"""Regular expressions of the `tokenizers` library (Oniguruma's) as JavaScript's, with every class spelled out.

What `\\w` or `\\p{Han}` holds differs between the two, and between versions of Unicode: the library itself is asked for
each class, and its characters stand in the result as ranges.
"""

import functools
import re
from collections.abc import Iterator

from tokenizers import Regex, pre_tokenizers

_SURROGATES = range(0xD800, 0xE000)
_BLOCK = 2048  # of characters; the library takes more than twice the time for twice as many
_GROUPS = ("(?:", "(?=", "(?!", "(?<=", "(?<!")
_QUANTIFIER = re.compile(r"[*+?]|\{\d+(?:,\d*)?\}")
_PROPERTY = re.compile(r"\\[pP]\{\^?[\w ]+\}")
_CLASSES = "wWsSdDhH"
_HEXADECIMAL = re.compile(r"\\x[0-9a-fA-F]{2}|\\x\{[0-9a-fA-F]{1,6}\}|\\u[0-9a-fA-F]{4}")
_CONTROLS = "nrtfv"
# SARA AM of Thai and Lao extends a cluster; these marks of Myanmar, Tai Tham and Ahom do not (UAX 29, table 2).
_AM = r"\x{0e33}\x{0eb3}"
_NO_SPACING_MARKS = (
    r"\x{102b}\x{102c}\x{1038}\x{1062}-\x{1064}\x{1067}-\x{106d}\x{1083}\x{1087}-\x{108c}\x{108f}"
    r"\x{109a}-\x{109c}\x{1a61}\x{1a63}\x{1a64}\x{aa7b}\x{aa7d}\x{11720}\x{11721}"
)
# One character or class, \\K, and what follows: a match begins behind the first, as behind a lookbehind.
_KEPT = re.compile(r"(?<![^|(])(\[[^\[\]\\]+\])\\K")
# A character, again and again, \\K, and more of the same.
_REPEATED = re.compile(r"\((\\p\{\w+\})\)((?:\\1)*)\\K\\1\+")


class ForeignPattern(Exception):  # noqa: N818 - the message says what it is
    """A pattern has a part that is not translated; the message names it."""


def translate(pattern: str) -> str:
    """Return the source of a JavaScript expression for the flag u. Raises ForeignPattern."""
    if repeated := _REPEATED.fullmatch(pattern):
        return rf"(?<={repeated[2]}({_spelled(repeated[1])}))\1+"  # JavaScript reads a lookbehind from its end
    return "".join(_parts(_KEPT.sub(r"(?<=\1)", pattern)))


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
        elif rest.startswith("\\X"):
            part = "\\X"
            yield _grapheme()
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
def _grapheme() -> str:
    """Return an extended grapheme cluster by its rules (UAX 29, tables 1b and 2), for which JavaScript has no escape.

    Left out are clusters of prepended marks and of Hangul's parts, with which no `\\X` of ours begins.
    """
    behind = _spelled(rf"[[\p{{Grapheme_Extend}}\p{{Emoji_Modifier}}\p{{Mc}}\x{{200d}}{_AM}]&&[^{_NO_SPACING_MARKS}]]")
    extend, picture = _spelled(r"[\p{Grapheme_Extend}\p{Emoji_Modifier}]"), _spelled(r"\p{Extended_Pictographic}")
    shown, flag = _spelled(r"[^\p{Cc}]"), _spelled(r"\p{Regional_Indicator}")
    core = rf"{flag}{flag}|{picture}(?:{extend}*\u{{200d}}{picture})*|{shown}"
    return rf"(?:(?:{core}){behind}*|[\s\S])"


@functools.lru_cache
def _spelled(atom: str) -> str:
    """Return a class of JavaScript with the characters that the library takes an atom for."""
    if atom.isascii() and atom.isalnum():
        return atom
    try:
        splitter = pre_tokenizers.Split(Regex(f"(?:{atom})+"), "removed", invert=True)
    except Exception as error:  # the library has no class of its own for it
        raise ForeignPattern(f"{atom!r}: {error}") from error
    ranges: list[tuple[int, int]] = []
    for low, high, asked in _blocks():
        for _, (start, end) in splitter.pre_tokenize_str(asked):
            first, last = (low, high) if len(asked) == 1 else (low + start, low + end - 1)
            if ranges and ranges[-1][1] == first - 1:
                first = ranges.pop()[0]
            ranges.append((first, last))
    parts = (_escape(low) if low == high else f"{_escape(low)}-{_escape(high)}" for low, high in ranges)
    return f"[{''.join(parts)}]"


@functools.lru_cache
def _blocks() -> list[tuple[int, int, str]]:
    """Return all characters in blocks: the first, the last, and those to ask for.

    Planes 4 to 13 are unassigned and 15 and 16 are for private use; of each of these two one character stands for all.
    """
    planes = [range(plane << 16, (plane + 1) << 16) for plane in (0, 1, 2, 3)]
    starts = [start for plane in planes for start in plane[::_BLOCK] if start not in _SURROGATES]
    found = [(start, start + _BLOCK - 1) for start in starts]
    blocks = [(low, high, "".join(map(chr, range(low, high + 1)))) for low, high in found]
    blocks.append((0x40000, 0xDFFFF, chr(0x40000)))
    blocks += [
        (low, low + _BLOCK - 1, "".join(map(chr, range(low, low + _BLOCK)))) for low in range(0xE0000, 0xF0000, _BLOCK)
    ]
    return [*blocks, (0xF0000, 0x10FFFF, chr(0xF0000))]


def _escape(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else f"\\u{{{code:x}}}"
