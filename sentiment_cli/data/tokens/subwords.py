"""Pieces of words: the character n-grams by which a word that is not in the vocabulary is read all the same.

A word stands between two spaces, and its pieces are its n-grams with them (fastText: Bojanowski et al. 2017). As
entries of a vocabulary they begin with ##, which no word does, and follow the words. A tokenizer reads an unknown word
as the unknown entry and the word's known pieces behind it; a known word as itself.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tokenizers import Tokenizer

MARK = "##"
LONGEST = 8
CHARACTERS_READ = 64  # of a word
# Words that have a piece: that of one word says what the word says, and more only of unknown words.
FEWEST_WORDS = 2


def pieces_of(word: str, shortest: int, longest: int) -> list[str]:
    """Return the n-grams of a word of two characters or more, each once, as entries."""
    if len(word) < 2:
        return []
    padded = f" {word[:CHARACTERS_READ]} "
    lengths = range(shortest, min(longest, len(padded)) + 1)
    return list(dict.fromkeys(MARK + padded[i : i + n] for n in lengths for i in range(len(padded) - n + 1)))


def learn_pieces(words: Iterable[str], orders: tuple[int, int], fewest: int = FEWEST_WORDS) -> list[str]:
    """Return the pieces of `fewest` words or more, those of most words first; the first entry is the mark by itself."""
    counts = Counter(piece for word in words for piece in pieces_of(word, *orders))
    kept = [piece for piece, n in counts.items() if n >= fewest]
    return [MARK, *sorted(kept, key=lambda piece: (-counts[piece], piece))]


def has_pieces(tokenizer: Tokenizer) -> bool:
    """Say whether a tokenizer knows pieces of words."""
    return tokenizer.token_to_id(MARK) is not None


class Subwords:
    """Reads words by a tokenizer that knows their pieces."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        unknown_id = tokenizer.token_to_id(tokenizer.model.unk_token)
        assert unknown_id is not None
        self._unknown_id = unknown_id

    def words(self, text: str) -> Iterator[list[int]]:
        """Yield the ids of each word of a text: its own, or the unknown one and those of its known pieces."""
        normal = self._tokenizer.normalizer.normalize_str(text)
        for word, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(normal):
            ids = self._known.get(word)
            if ids is None:
                ids = self._known[word] = self._read(word)
            yield ids

    def _read(self, word: str) -> list[int]:
        own: int | None = self._tokenizer.token_to_id(word)
        if own is not None and own != self._unknown_id:
            return [own]
        found = map(self._tokenizer.token_to_id, pieces_of(word, 1, LONGEST))
        return [self._unknown_id, *(piece for piece in found if piece is not None)]


def find_bags(entries: Sequence[str], first_word: int, n_pieces: int, orders: tuple[int, int]) -> list[list[int]]:
    """Return for each entry the ids of its pieces; an empty list for entries that are not words."""
    first_piece = len(entries) - n_pieces
    place = {piece: i for i, piece in enumerate(entries[first_piece:], first_piece)}
    words = enumerate(entries)
    return [
        [place[piece] for piece in pieces_of(word, *orders) if piece in place] if first_word <= i < first_piece else []
        for i, word in words
    ]
