import pytest

from sentiment_cli.config.schema import Text, Vocabulary
from sentiment_cli.data.tokens.tokenizer import encode, train_tokenizer
from sentiment_cli.inference.generate.detokenizer import spell

SENTENCES = [
    "the plot was good, and the cast (all of it) was better.",
    "it isn't \"great\", is it? no: it's a well-made 7.5/10!",
    "he said: 'what a film!' and left at 10:30; it cost $5.",
    "so bad... i gave it 1,000 chances and/or more, 50% of them wasted",
    "“quoted” and [bracketed] – as ‘they’ say",
]


@pytest.mark.parametrize("text", SENTENCES)
def test_words_and_marks_are_set_as_they_stood(text: str) -> None:
    tokenizer, entries = train_tokenizer(Text(characters="raw"), Vocabulary(min_count=1), [[text]])
    (ids_L,) = encode(tokenizer, [text])
    pieces = list(spell("words", tokenizer, entries, ids_L.tolist()))
    assert len(pieces) == len(ids_L)
    assert "".join(pieces) == text.replace(" – ", "–")  # a dash and a hyphen are set alike


def test_a_mark_that_is_paired_opens_and_closes_by_turns() -> None:
    entries = ["a", '"', "b", "."]
    assert "".join(spell("words", None, entries, [0, 1, 2, 1, 0, 1, 2, 3, 1, 0])) == 'a "b" a "b." a'


@pytest.mark.parametrize("text", [*SENTENCES, "café 🎬 naïve", " two  spaces"])
def test_byte_pairs_give_the_text_back_character_by_character(text: str) -> None:
    settings = Text(tokenizer="bpe", characters="raw")
    tokenizer, entries = train_tokenizer(settings, Vocabulary(size=512, min_count=1), [["some other text"]])
    (ids_L,) = encode(tokenizer, [text])
    pieces = list(spell("bpe", tokenizer, entries, ids_L.tolist()))
    assert len(pieces) == len(ids_L)
    assert "".join(pieces) == text.removeprefix(" ")
    assert not any("\ufffd" in piece for piece in pieces)  # half a character waits for the other half
    assert ("" in pieces[1:]) == (not text.isascii())


def test_what_white_space_separated_is_set_with_spaces() -> None:
    assert "".join(spell("whitespace", None, ["a,", "b."], [0, 1, 0])) == "a, b. a,"


@pytest.mark.parametrize("text", ["这部电影很好", "とても面白い", "ดีมาก", "iPhone 很好 phone"])
def test_scripts_without_spaces_are_set_without_them(text: str) -> None:
    tokenizer, entries = train_tokenizer(Text(lowercase=False), Vocabulary(min_count=1), [[text]])
    (ids_L,) = encode(tokenizer, [text])
    assert "".join(spell("words", tokenizer, entries, ids_L.tolist())) == text
