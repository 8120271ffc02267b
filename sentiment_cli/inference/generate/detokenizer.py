"""Tokens back to text that reads well, one after the other as they come."""

from collections.abc import Iterable, Iterator, Sequence

from tokenizers import Tokenizer

from sentiment_cli.data.tokens.characters import is_unspaced

_CLOSING = frozenset(".,!?;:%…)]}’”")  # no space before
_OPENING = frozenset("([{“‘#$£€")  # no space behind
_JOINING = frozenset("-/_*–")  # no space on either side
_PAIRED = frozenset("\"'`")  # by turns as one that opens and one that closes
_IN_NUMBERS = frozenset(".,:")


def spell(kind: str, tokenizer: Tokenizer, entries: Sequence[str], ids: Iterable[int]) -> Iterator[str]:
    """Yield the text of each token, including the space before it.

    `kind` is the setting text.tokenizer. The first token has no space before it. Of byte pairs a piece may be empty,
    until a character is whole.
    """
    if kind == "bpe":
        return _decoded(tokenizer, ids)
    words = (entries[token_id] for token_id in ids)
    return _spaced(words) if kind == "words" else (f" {word}" if i else word for i, word in enumerate(words))


def _spaced(words: Iterable[str]) -> Iterator[str]:
    """Yield words and marks as English sets them ("well-made", "(2 of 10)", "7.5"), without spaces in Chinese."""
    before, earlier, opened = "", "", set[str]()
    for word in words:
        is_closing = word in _CLOSING or word in opened
        is_number = before in _IN_NUMBERS and word[0].isdigit() and earlier[-1:].isdigit()
        follows_opening = before in _OPENING or before in opened
        is_joined = word in _JOINING or before in _JOINING or is_number or (is_unspaced(word) and is_unspaced(before))
        yield word if not before or is_closing or follows_opening or is_joined else f" {word}"
        if word in _PAIRED:
            opened ^= {word}
        before, earlier = word, before


def _decoded(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """Yield the text of byte pairs; an incomplete character is held back."""
    known: list[int] = []
    shown = ""
    for token_id in ids:
        known.append(token_id)
        text = tokenizer.decode(known, skip_special_tokens=False).removeprefix(" ")
        whole = text.rstrip("\ufffd")
        yield whole[len(shown) :]
        shown = max(shown, whole, key=len)
