"""Tokenize many texts by tokenizing each distinct chunk between white space once.

Among reviews most chunks repeat: the 5.8 million of IMDb's training texts are 0.28 million distinct ones. No rule of
the word tokenizers reaches across ASCII white space but one, `<br />`, so breaks are replaced before a text is cut. A
text in which another rule could still make a break stays whole. Byte pairs depend on the white space around them.
"""

import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models

from sentiment_cli.data.tokens.characters import BREAK, reads_entities, spell_out, with_pipeline
from sentiment_cli.data.tokens.encoding import encode

_break = re.compile(BREAK, re.ASCII)
# NFKC makes < of the second and third; U+0338 takes < and > into a character of its own.
_may_become_a_break = re.compile("[<\ufe64\uff1c\u0338]").search
_LONGEST = 256  # bytes of a chunk that is kept
_MOST = 1 << 18  # chunks that are kept


def cutter(tokenizer: Tokenizer) -> Callable[[str], list[bytes]] | None:
    """Return the function that cuts a text into chunks whose tokens, joined, are the text's; None where there is none.

    Entities are to be spelled out first where the tokenizer reads them.
    """
    if not isinstance(tokenizer.model, models.WordLevel):
        return None
    return _CUTTERS.get(_cutters().get(_steps_of(tokenizer), ""))


def _cut(text: str) -> list[bytes]:
    return text.encode().split()


def _cut_at_breaks(text: str) -> list[bytes]:
    without = _break.sub("\n", text) if "<" in text else text
    if not text.isascii() and _may_become_a_break(without):
        return [text.encode()]
    return without.encode().split()


_CUTTERS = {"keep": _cut, "break": _cut_at_breaks}


def _steps_of(tokenizer: Tokenizer) -> tuple[bytes, bytes]:
    if tokenizer.normalizer is None or tokenizer.pre_tokenizer is None:
        return b"", b""
    return tokenizer.normalizer.__getstate__(), tokenizer.pre_tokenizer.__getstate__()


@functools.cache
def _cutters() -> dict[tuple[bytes, bytes], str]:
    """Return the value of text.markup by the steps of each word tokenizer that settings can describe."""
    found = {}
    flags = (True, False)
    for kind, characters, lowercase, markup, punctuation in itertools.product(
        ("words", "whitespace"), ("plain", "raw"), flags, ("break", "keep"), ("keep", "delete")
    ):
        from sentiment_cli.config.schema import Text  # pydantic, which a prediction does without

        text = Text.model_validate(
            {
                "tokenizer": kind,
                "characters": characters,
                "lowercase": lowercase,
                "markup": markup,
                "punctuation": punctuation,
            }
        )
        found[_steps_of(with_pipeline(Tokenizer(models.WordLevel({}, unk_token="")), text))] = markup
    return found


class ChunkEncoder:
    """Encodes texts by a tokenizer; threads may share it. Keeps the ids of short chunks, up to a number of them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._reads_entities = tokenizer, reads_entities(tokenizer)
        self._cut = cutter(tokenizer)
        self._ids_of: dict[bytes, bytes] = {}

    def __call__(self, rows: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return each text's token ids, in order."""
        if self._cut is None:
            return list(encode(self._tokenizer, rows))
        chunks = [self._cut(spell_out(text) if self._reads_entities else text) for text in rows]
        ids_of = self._ids_of
        distinct = set(itertools.chain.from_iterable(chunks))
        new = sorted(distinct.difference(ids_of))
        made = encode(self._tokenizer, [chunk.decode() for chunk in new])
        found = {chunk: ids.tobytes() for chunk, ids in zip(new, made, strict=True)}
        if len(ids_of) + len(found) <= _MOST and max(map(len, new), default=0) <= _LONGEST:
            ids_of.update(found)
            known = ids_of
        else:
            known = ids_of | found
        return [np.frombuffer(b"".join(map(known.__getitem__, row)), dtype=np.int32) for row in chunks]


def count_words(tokenizer: Tokenizer, rows: Iterable[Sequence[str]]) -> Counter[str]:
    """Count the words of texts by a word tokenizer's steps. Entities are to be spelled out before."""
    cut = cutter(tokenizer)
    assert cut is not None, "byte pairs are not words"
    words: Counter[str] = Counter()
    chunks: Counter[bytes] = Counter()
    for some in rows:
        for text in some:
            chunks.update(cut(text))
        if len(chunks) > _MOST:
            _count_in(tokenizer, chunks, words)
            chunks.clear()
    _count_in(tokenizer, chunks, words)
    return words


def _count_in(tokenizer: Tokenizer, chunks: Counter[bytes], words: Counter[str]) -> None:
    normalize, split = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
    for chunk, n in chunks.items():
        for word, _ in split(normalize(chunk.decode())):
            words[word] += n
