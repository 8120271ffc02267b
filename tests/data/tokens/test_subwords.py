"""Pieces of words: what they are, and what a tokenizer that knows them makes of unknown words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_cli.config.schema import Text, Vocabulary
from sentiment_cli.data.tokens.subwords import MARK, find_bags, has_pieces, learn_pieces, pieces_of
from sentiment_cli.data.tokens.tokenizer import encode, find_words, train_tokenizer

EVERY = Vocabulary(size=None, min_count=1)
ROWS = ["the walking talker walked and talked", "a fine film, finely filmed", "isn't it good"]


def test_pieces_are_ngrams_with_the_spaces_around_a_word() -> None:
    assert pieces_of("abc", 2, 3) == ["## a", "##ab", "##bc", "##c ", "## ab", "##abc", "##bc "]
    assert pieces_of("aaa", 2, 2) == ["## a", "##aa", "##a "]
    assert pieces_of("ab", 4, 8) == ["## ab "]
    assert pieces_of("a", 1, 5) == []
    assert len(pieces_of("x" * 100_000, 2, 5)) < 20
    assert len(pieces_of("abcdefgh" * 100_000, 2, 5)) < 500  # what is so long is no word


@given(st.lists(st.text("abc", min_size=1, max_size=6), max_size=8, unique=True))
def test_what_is_learnt_stands_in_two_words(words: list[str]) -> None:
    found = learn_pieces(words, (2, 3))
    assert found[0] == MARK
    every = {piece for word in words for piece in pieces_of(word, 2, 3)}
    counts = {piece: sum(piece in pieces_of(word, 2, 3) for word in words) for piece in every}
    assert found[1:] == sorted((p for p in every if counts[p] > 1), key=lambda p: (-counts[p], p))


def test_an_unknown_word_reads_as_its_known_pieces() -> None:
    tokenizer, entries = train_tokenizer(Text(), EVERY, [ROWS], (2, 4))
    assert has_pieces(tokenizer)
    assert tokenizer.get_vocab_size() == len(entries)
    known, unknown, strange = encode(tokenizer, ["The walking film!", "walkable film", "Zzzz 🎬"])
    assert [entries[i] for i in known] == ["the", "walking", "film", "<unk>"]
    names = [entries[i] for i in unknown]
    assert names[0] == "<unk>"
    assert names[-1] == "film"
    assert names[1:-1] == [piece for piece in pieces_of("walkable", 2, 4) if piece in entries]
    assert {"## wa", "##walk"} <= set(names)
    assert [entries[i] for i in strange] == ["<unk>", "<unk>"]


def test_pieces_of_a_word_are_shown_as_the_word() -> None:
    tokenizer, _ = train_tokenizer(Text(), EVERY, [ROWS], (2, 4))
    text = "It isn’t walkable&#33; <br /> Walkéd films"
    found = find_words(tokenizer, text)
    np.testing.assert_array_equal(found.ids_L, next(encode(tokenizer, [text])))
    assert [text[start:end] for start, end in found.places] == ["It", "isn’t", "walkable", "&#33;", "Walkéd", "films"]
    assert sorted(set(found.word_L.tolist())) == list(range(6))


def test_without_pieces_nothing_changes() -> None:
    plain, entries = train_tokenizer(Text(), EVERY, [ROWS])
    _, longer = train_tokenizer(Text(), EVERY, [ROWS], (2, 4))
    assert not has_pieces(plain)
    assert longer[: len(entries)] == entries
    (ids,) = encode(plain, ["## a"])
    assert len(ids) == 3


def test_bags_are_of_words_alone() -> None:
    entries = ["<pad>", "<unk>", "ab", "abc", "x", "##", "## a", "##ab", "##zz"]
    assert find_bags(entries, 2, 4, (2, 2)) == [[], [], [6, 7], [6, 7], [], [], [], [], []]


@pytest.mark.parametrize("n_pieces", [-1, 3, "1", True])
def test_impossible_numbers_of_pieces_are_refused(n_pieces: object) -> None:
    from sentiment_cli.data.tokens.vocabulary import Vocabulary as Entries

    with pytest.raises(ValueError, match="pieces"):
        Entries.from_json({"entries": ["<pad>", "<unk>", "a", "##"], "unknown_id": 1, "n_pieces": n_pieces})
