import pytest

from sentiment_cli.config.schema import Text, Vocabulary
from sentiment_cli.data.tokenizer import encode, train_tokenizer

EVERY = Vocabulary(size=None, min_count=1)


def tokens(text: Text, review: str) -> list[str]:
    tokenizer, entries = train_tokenizer(text, EVERY, [[review]])
    (ids,) = encode(tokenizer, [review])
    return [entries[i] for i in ids]


def entries(rows: str, **settings: object) -> list[str]:
    vocabulary = Vocabulary(**{"min_count": 1, **settings})
    return train_tokenizer(Text(tokenizer="whitespace"), vocabulary, [rows.split("|")])[1]


@pytest.mark.parametrize(
    ("review", "expected"),
    [
        ("I DON'T like it...", ["i", "don't", "like", "it", ".", ".", "."]),
        ("well-made<br /><br />10/10!", ["well", "-", "made", "10", "/", "10", "!"]),
        ("_really_ <BR>good", ["_", "really", "_", "good"]),
        ("Café d’or 🎬", ["café", "d’or", "🎬"]),
        ("Cafe\u0301", ["café"]),  # NFD reads as NFC
        ("<br />", []),
        ("  ", []),
        ("", []),
    ],
)
def test_words(review: str, expected: list[str]) -> None:
    assert tokens(Text(), review) == expected


def test_the_tutorial_pipeline() -> None:
    text = Text(tokenizer="whitespace", markup="keep", punctuation="delete")
    assert tokens(text, "Don't!<br /><br />It's OK... ") == ["dontbr", "br", "its", "ok"]


def test_case_and_markup_can_be_kept() -> None:
    assert tokens(Text(lowercase=False, markup="keep"), "A<br />b") == ["A", "<", "br", "/", ">", "b"]


def test_rows_come_out_in_order_and_complete() -> None:
    reviews = [f"w{i}" for i in range(3000)]
    tokenizer, words = train_tokenizer(Text(), EVERY, [reviews])
    ids = [row.tolist() for row in encode(tokenizer, reviews)]
    assert ids == [[words.index(review)] for review in reviews]


def test_most_frequent_words_first_equals_by_letter_and_specials_before_all() -> None:
    assert entries("b b b a a|d c c") == ["<pad>", "<unk>", "b", "a", "c", "d"]


def test_size_counts_specials_and_min_count_cuts() -> None:
    assert entries("b b b a a|d c c", size=4) == ["<pad>", "<unk>", "b", "a"]
    assert entries("b b b a a|d c c", size=None, min_count=2) == ["<pad>", "<unk>", "b", "a", "c"]


def test_a_word_that_looks_like_a_special_is_no_entry() -> None:
    assert entries("<pad> <pad> <unk> <unk> b c", size=4) == ["<pad>", "<unk>", "b", "c"]


def test_unknown_words_can_share_the_padding() -> None:
    assert entries("b b a", unknown="padding") == ["<pad>", "b", "a"]


def test_byte_pairs_join_what_is_frequent_know_everything_and_come_back_whole() -> None:
    rows = ["the lower newest widest film"] * 50 + ["the lowest new wide film"] * 50
    tokenizer, learnt = train_tokenizer(Text(tokenizer="bpe"), Vocabulary(size=512, min_count=2), [rows])
    assert learnt[:2] == ["<pad>", "<unk>"]
    assert len(learnt) == len(set(learnt)) <= 512
    for text, most in (("the film", 2), ("a newest café 🎬 \x00 <pad> <unk>", 60)):
        (ids,) = encode(tokenizer, [text])
        assert ids.min() >= 2
        assert len(ids) <= most
        assert tokenizer.decode(ids.tolist()).strip() == text


def test_byte_pairs_of_rare_text_stop_where_nothing_repeats() -> None:
    _, learnt = train_tokenizer(Text(tokenizer="bpe"), Vocabulary(size=5000, min_count=2), [["abab", "cdcd"]])
    assert 2 + 256 < len(learnt) < 300
