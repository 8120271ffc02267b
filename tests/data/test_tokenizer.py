import pytest

from sentiment_cli.config.schema import Text
from sentiment_cli.data.tokenizer import all_words, build_tokenizer, encode


def tokens(text: Text, review: str) -> list[str]:
    words = all_words(text, [review])
    tokenizer = build_tokenizer(text, ["?", *words], "?")
    (ids,) = encode(tokenizer, [review])
    return [["?", *words][i] for i in ids]


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
    words = all_words(Text(), reviews)
    ids = [row.tolist() for row in encode(build_tokenizer(Text(), words, words[0]), reviews)]
    assert ids == [[words.index(review)] for review in reviews]
