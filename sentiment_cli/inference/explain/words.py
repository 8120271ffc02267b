"""The words of a text, their positions, and which of them a model reads."""

import bisect
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.tokens.tokenizer import find_words
from sentiment_cli.inference.predictor import MemberPredictor, Predictor


class WordSpan(NamedTuple):
    """A word of the original text; `unknown` if out of vocabulary, not `read` if beyond the model's limit."""

    text: str
    start: int
    end: int
    unknown: bool
    read: bool


class ExplainedRow(NamedTuple):
    """A text as a model reads it: all tokens, ids_L, the places of those that it reads, kept_K, and their words."""

    ids_L: NDArray[np.int32]
    kept_K: NDArray[np.int64]
    word_K: NDArray[np.int64]
    words: list[WordSpan]

    @property
    def ids_K(self) -> NDArray[np.int32]:
        return self.ids_L[self.kept_K]

    def sum_words(self, added_K: NDArray[np.float64]) -> list[float]:
        """Return the sum over the tokens of each word."""
        sums: list[float] = np.bincount(self.word_K, added_K, minlength=len(self.words)).tolist()
        return sums


def read_text(predictor: Predictor, text: str) -> list[ExplainedRow]:
    """Find the tokens and words of a text as each member of a model reads it; their rows have the same words.

    Those are the first member's, and words of other members that share no character with them. A word is unknown where
    it is unknown to each member that has it, and read where one member reads it.
    """
    rows = [_read(member, text) for member in predictor.members]
    if len(rows) == 1:
        return rows
    words = rows[0].words
    for row in rows[1:]:
        at = [(_place(words, word), word) for word in row.words]
        more = [word for i, word in at if i == len(words) or words[i].start >= word.end]
        words = sorted([*words, *more], key=lambda word: word.start)
    is_known_W, is_read_W = np.zeros((2, len(words)), dtype=bool)
    together = []
    for row in rows:
        place_W = np.array([min(_place(words, word), len(words) - 1) for word in row.words], dtype=np.int64)
        is_known_W[place_W[[not word.unknown for word in row.words]]] = True
        is_read_W[place_W[[word.read for word in row.words]]] = True
        together.append(row._replace(word_K=place_W[row.word_K]))
    shared = [
        word._replace(unknown=not is_known, read=is_read)
        for word, is_known, is_read in zip(words, is_known_W.tolist(), is_read_W.tolist(), strict=True)
    ]
    return [row._replace(words=shared) for row in together]


def _place(words: Sequence[WordSpan], word: WordSpan) -> int:
    """Return the index of the first of the ordered words that ends after the start of another."""
    return bisect.bisect_right(words, word.start, key=lambda one: one.end)


def _read(member: MemberPredictor, text: str) -> ExplainedRow:
    """Find the tokens and words of a text. A word is unknown where all its tokens are, or pieces of words."""
    found = find_words(member.tokenizer, text)
    kept_K = member.kept(found.ids_L)
    word_K = found.word_L[kept_K]
    is_unknown_L = (found.ids_L == member.vocabulary.unknown_id) | (found.ids_L >= member.vocabulary.n_whole)
    n_known_W = np.bincount(found.word_L, ~is_unknown_L, minlength=len(found.places)).tolist()
    n_kept_W = np.bincount(word_K, minlength=len(found.places)).tolist()
    words = [
        WordSpan(text[start:end], start, end, unknown=not n_known, read=bool(n_kept))
        for (start, end), n_known, n_kept in zip(found.places, n_known_W, n_kept_W, strict=True)
    ]
    return ExplainedRow(found.ids_L, kept_K, word_K, words)


def cut_text(text: str, words: Sequence[WordSpan]) -> Iterator[tuple[str, int | None]]:
    """Yield a text in pieces: its words with their indices, and the text between them."""
    cursor = 0
    for i, word in enumerate(words):
        if word.start > cursor:
            yield text[cursor : word.start], None
        yield text[max(cursor, word.start) : word.end], i
        cursor = max(cursor, word.end)
    if cursor < len(text):
        yield text[cursor:], None
