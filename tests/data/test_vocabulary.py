import numpy as np

from sentiment_cli.config import schema
from sentiment_cli.data.vocabulary import Vocabulary, build_vocabulary

WORDS, COUNTS = ["a", "b", "c", "d"], np.array([2, 5, 2, 1])


def test_most_frequent_first_and_specials_before_all() -> None:
    vocabulary = build_vocabulary(schema.Vocabulary(min_count=1), WORDS, COUNTS)
    assert vocabulary == Vocabulary(("<pad>", "<unk>", "b", "a", "c", "d"), (0, 0, 5, 2, 2, 1), 1)


def test_size_counts_specials_and_min_count_cuts() -> None:
    assert build_vocabulary(schema.Vocabulary(min_count=1, size=4), WORDS, COUNTS).entries == (
        "<pad>",
        "<unk>",
        "b",
        "a",
    )
    assert build_vocabulary(schema.Vocabulary(min_count=2, size=None), WORDS, COUNTS).entries[2:] == ("b", "a", "c")


def test_a_word_that_looks_like_a_special_is_no_entry() -> None:
    vocabulary = build_vocabulary(schema.Vocabulary(min_count=1), ["<pad>", "<unk>", "b"], np.array([9, 9, 1]))
    assert vocabulary.entries == ("<pad>", "<unk>", "b")


def test_unknown_words_can_share_the_padding() -> None:
    vocabulary = build_vocabulary(schema.Vocabulary(min_count=1, unknown="padding"), WORDS, COUNTS)
    assert vocabulary.entries[:2] == ("<pad>", "b")
    assert vocabulary.unknown_id == 0
