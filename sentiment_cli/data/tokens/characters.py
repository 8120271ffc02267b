"""How characters are read: the steps from a text as it was written to the pieces that become tokens.

There are two readings. Reading 1 takes characters as they are (`text.characters: raw`), and so does a model of a
version that knew no other. Reading 2 (`plain`) takes those that look or mean alike as one: typographic quotes, dashes,
full-width and compatibility forms, invisible characters, HTML entities where markup is interpreted. Its words are split
by characters where the script has no spaces. A saved tokenizer holds all steps but one: entities beyond quotes are
spelled out before it, which `reads_entities` says of a tokenizer.
"""

import functools
import html
import html.entities
import re
import string
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers

if TYPE_CHECKING:
    from sentiment_cli.config.schema import Text

READING = 2  # the newest
# Scripts that put no space between words: Han and kana; Thai, Lao, Burmese and Khmer, all without their digits.
_IDEOGRAMS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_SYLLABLES = (
    "\u0e01-\u0e3e\u0e40-\u0e4e\u0e81-\u0ecf\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u109a-\u109f"
    "\u1780-\u17d3\u17d7\u17dc\u17dd\ua9e0-\ua9ef\uaa60-\uaa7f"
)
_UNSPACED = _IDEOGRAMS + _SYLLABLES

BREAK = r"<\s*[bB][rR]\s*(?:/\s*)?>"  # no two \s* side by side: those take quadratic time over many spaces
# Letters and digits with apostrophes inside are one token (don't, it's), every other mark is one by itself.
_WORDS_1 = r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_"
_LETTERS = rf"[\w&&[^_{_UNSPACED}]]+"
_WORDS_2 = "|".join(
    [
        r"(?:https?://|www\.)[!-;=?-~]*[0-9A-Za-z/#=_-]",  # a URL, less the marks behind it
        rf"(?<!\w)[@#](?=\p{{L}})[\w&&[^{_UNSPACED}]]+",  # a handle or a hashtag
        rf'{_LETTERS}(?:\'{_LETTERS}|(?<=[\u05d0-\u05ea])"[\u05d0-\u05ea]+)*',  # Hebrew has gershayim in abbreviations
        rf"(?=[{_UNSPACED}\p{{Extended_Pictographic}}\p{{Regional_Indicator}}])\X",  # with its marks, skin tone, flag
        r"[^\w\s]\u20e3?|_|\S",
    ]
)
_APOSTROPHES = r"[’‘‛ʼʻʽʹ′´׳᾽᾿ꞌ]|`(?<=\p{L}`)(?=\p{L})|&(?:apos|#0*39|#[xX]0*27);"
_QUOTES = r"[“”„‟«»″‶〝〞〟״]|&(?:quot|#0*34|#[xX]0*22);"
_HYPHENS = "[‐‑‒–—―−]"
# NFKC would make ™ the letters TM, and of 3½ a number of two digits. What \K has before it stays.
_APART = "[™℠]|[0-9]\\K(?=[²³¹¼-¾⁰-⁹⅐-⅞])"
_INVISIBLE = (
    "[\u00ad\u034f\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufe00-\ufe0f"
    # Arabic and Hebrew vowel signs, which few write, and the Arabic letter stretcher.
    "\u0640\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed"
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"
    r"|\u200d(?!\p{Extended_Pictographic})"  # which joins emoji
)
_LENGTHENED = r"(\p{L})\1\1\K\1+"  # soooo reads as sooo
_ENTITY = re.compile(r"&(?P<again>amp;)?(?P<name>#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][0-9A-Za-z]{1,31});")


def reading_of(text: "Text") -> int:
    """Return the reading that settings ask for."""
    return 1 if text.characters == "raw" else READING


def with_pipeline(tokenizer: Tokenizer, text: "Text") -> Tokenizer:
    """Give a tokenizer its steps: all that settings say of a text, up to the pieces that its model looks up."""
    is_plain = reading_of(text) > 1
    tokenizer.normalizer = normalizers.Sequence(_plain_steps(text) if is_plain else _raw_steps(text))
    if text.tokenizer == "words":
        words = Regex(_WORDS_2 if is_plain else _WORDS_1)
        tokenizer.pre_tokenizer = pre_tokenizers.Split(words, "removed", invert=True)
    elif text.tokenizer == "whitespace":
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _raw_steps(text: "Text") -> list[normalizers.Normalizer]:
    steps: list[normalizers.Normalizer] = [normalizers.NFC()]
    if text.markup == "break":
        steps.append(_replace(BREAK, "\n"))
    if text.lowercase:
        steps.append(normalizers.Lowercase())
    return steps + _deletion(text)


def _plain_steps(text: "Text") -> list[normalizers.Normalizer]:
    apostrophes, quotes = _APOSTROPHES, _QUOTES
    if text.markup == "keep":
        apostrophes, quotes = (pattern.rpartition("|&")[0] for pattern in (apostrophes, quotes))
    steps: list[normalizers.Normalizer] = [
        _replace(apostrophes, "'"),
        _replace(quotes, '"'),
        _replace(_HYPHENS, "-"),
        _replace(_APART, " "),
        normalizers.NFKC(),
        _replace(_INVISIBLE, ""),
    ]
    if text.markup == "break":
        steps.append(_replace(BREAK, "\n"))
    if text.lowercase:  # Turkish: İ would leave a dot behind, and capitals do not tell its two letters i apart
        steps += [_replace("İ|ı", "i"), normalizers.Lowercase()]
    if text.tokenizer == "words":
        steps.append(_replace(_LENGTHENED, ""))
    return steps + _deletion(text)


def _deletion(text: "Text") -> list[normalizers.Normalizer]:
    return [_replace(f"[{re.escape(string.punctuation)}]", "")] if text.punctuation == "delete" else []


def _replace(pattern: str, content: str) -> normalizers.Normalizer:
    return normalizers.Replace(Regex(pattern), content)


def is_unspaced(entry: str) -> bool:
    """Say whether an entry is of a script without spaces, in which a character is what a word is elsewhere."""
    return _unspaced().match(entry) is not None


@functools.cache
def _unspaced() -> re.Pattern[str]:
    """Compile the set of characters when it is asked for: that takes as long as loading this module's packages."""
    return re.compile(f"[{_UNSPACED}]")


def reads_entities(tokenizer: Tokenizer) -> bool:
    """Say whether a tokenizer's text is one whose entities are spelled out first."""
    return b"&(?:apos" in tokenizer.normalizer.__getstate__()


def spell_out(text: str) -> str:
    """Return the text with its HTML entities, escaped once or twice, replaced by their characters."""
    return _ENTITY.sub(_character, text) if "&" in text else text


def _character(match: re.Match[str]) -> str:
    spelled, end = _read_entity(match)
    return spelled + match.string[end : match.end()]


def _read_entity(match: re.Match[str]) -> tuple[str, int]:
    """Return the character of an entity and where it ends; of a name that is none, the `&` or `&amp;` before it."""
    name = match["name"]
    character = html.unescape(f"&{name};") if name[0] == "#" else html.entities.html5.get(f"{name};")
    if character is not None:
        return character, match.end()
    return "&", match.end("again") if match["again"] else match.start() + 1


class Spelled:
    """A text with its entities replaced, and the place of each character in the original text."""

    def __init__(self, written: str) -> None:
        self.text = spell_out(written)
        self._starts = self._ends = None
        if self.text == written:
            return
        starts: list[int] = []
        ends: list[int] = []
        cursor = 0
        for entity in _ENTITY.finditer(written):
            start, (character, end) = entity.start(), _read_entity(entity)
            starts += [*range(cursor, start), *[start] * len(character)]
            ends += [*range(cursor + 1, start + 1), *[end] * len(character)]
            cursor = end
        starts += range(cursor, len(written))
        ends += range(cursor + 1, len(written) + 1)
        self._starts, self._ends = starts, ends

    def place_in_text(self, start: int, end: int) -> tuple[int, int]:
        """Return the start and end of these characters in the original text."""
        if self._starts is None or self._ends is None:
            return start, end
        return self._starts[start], self._ends[end - 1]
