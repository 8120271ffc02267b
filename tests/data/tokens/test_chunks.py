import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, trainers

from sentiment_cli.config.schema import Text, Vocabulary
from sentiment_cli.data.tokens import chunks
from sentiment_cli.data.tokens.characters import with_pipeline
from sentiment_cli.data.tokens.chunks import ChunkEncoder, count_words, cutter
from sentiment_cli.data.tokens.tokenizer import encode, train_tokenizer

SETTINGS = [
    Text(tokenizer=kind, characters=characters, lowercase=lowercase, markup=markup, punctuation=punctuation)
    for kind, characters, lowercase, markup, punctuation in itertools.product(
        ("words", "whitespace"), ("plain", "raw"), (True, False), ("break", "keep"), ("keep", "delete")
    )
]
# Characters and markup on which the rules of the tokenizers depend, white space among them that only Python splits at.
PARTS = [
    *(
        "a",
        "B",
        "aaaa",
        "it's",
        "a`b",
        "`",
        "1½",
        "™",
        "é",
        "e\u0301",
        "\u0301",
        "σ",
        "Σ",
        "好",
        "ก็",
        'א"ב',
        "🇩🇪",
        "👩\u200d🚀",
    ),
    *(
        "<br />",
        "<BR/>",
        "<b\u200br />",
        "＜br />",
        "<br /\u0338>",
        "<br />\u0338",
        "<br\u00a0/>",
        "<",
        ">",
        "br",
        "/",
        "&",
    ),
    *(
        "&lt;",
        "&lt;br&gt;",
        "&#39;",
        "&amp;quot;",
        "&nbsp;",
        "http://x.y/z",
        "www.",
        "@a",
        "#b",
        "_",
        ".",
        "-",
        "—",
        "“",
    ),
    *(" ", "\n", "\t", "\x0b", "\x1c", "\x85", "\u2028", "\u3000", "\u00a0", "\u200b", "\u00ad", "\x00"),
]
texts = st.lists(st.lists(st.sampled_from(PARTS), max_size=12).map("".join), max_size=6)


@pytest.mark.parametrize("text", [SETTINGS[0], SETTINGS[4], SETTINGS[9], SETTINGS[18], SETTINGS[29]], ids=str)
@given(rows=texts)
def test_texts_in_chunks_have_the_tokens_they_have_as_a_whole(text: Text, rows: list[str]) -> None:
    tokenizer, _ = train_tokenizer(text, Vocabulary(size=None, min_count=1), [PARTS])
    encoder = ChunkEncoder(tokenizer)
    for _ in range(2):  # the second time from what was kept
        found, expected = encoder(rows), list(encode(tokenizer, rows))
        assert [row.tolist() for row in found] == [row.tolist() for row in expected]
        assert all(row.dtype == np.int32 for row in found)


@pytest.mark.parametrize("text", [SETTINGS[0], SETTINGS[5], SETTINGS[10], SETTINGS[19], SETTINGS[28]], ids=str)
@given(rows=texts)
def test_words_are_counted_as_the_library_counts_them(text: Text, rows: list[str]) -> None:
    """The library's trainer orders words by count, then by their letters, which shows its counts."""
    learner = with_pipeline(Tokenizer(models.WordLevel({"": 0}, unk_token="")), text)
    counts = count_words(learner, [rows])
    for fewest in (1, 2, 3):
        learner.train_from_iterator(
            rows,
            trainers.WordLevelTrainer(min_frequency=fewest, special_tokens=[], vocab_size=999, show_progress=False),
        )
        expected = learner.get_vocab(with_added_tokens=False)
        kept = sorted((word for word in counts if counts[word] >= fewest), key=lambda word: (-counts[word], word))
        assert kept == sorted(expected, key=expected.__getitem__)


def test_every_word_tokenizer_cuts_texts_and_byte_pairs_stay_whole() -> None:
    for text in SETTINGS:
        assert cutter(with_pipeline(Tokenizer(models.WordLevel({"": 0}, unk_token="")), text)) is not None
    assert cutter(train_tokenizer(Text(tokenizer="bpe"), Vocabulary(size=512, min_count=1), [["a b"]])[0]) is None


def test_an_encoder_keeps_a_bounded_number_of_short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_MOST", 10)
    tokenizer, _ = train_tokenizer(Text(), Vocabulary(size=None, min_count=1), [["a b c"]])
    encoder, rows = ChunkEncoder(tokenizer), ["a b c " + "x" * 300, *(f"a w{i} b" for i in range(100))]
    for row in rows:
        assert [ids.tolist() for ids in encoder([row])] == [ids.tolist() for ids in encode(tokenizer, [row])]
    assert len(encoder._ids_of) <= 10
    counts = count_words(tokenizer, [[row] for row in rows])
    assert (counts["a"], counts["w7"], counts["c"]) == (101, 1, 1)


def test_each_distinct_chunk_is_tokenized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, _ = train_tokenizer(Text(), Vocabulary(size=None, min_count=1), [["a b c"]])
    asked: list[str] = []
    monkeypatch.setattr(chunks, "encode", lambda used, rows: asked.extend(rows) or encode(used, rows))
    encoder = ChunkEncoder(tokenizer)
    encoder(["a b a", "b<br />a"])
    encoder(["c a"] * 50)
    assert asked == ["a", "b", "c"]


@given(rows=texts)
def test_pieces_of_words_are_the_same_in_chunks(rows: list[str]) -> None:
    tokenizer, _ = train_tokenizer(Text(), Vocabulary(size=20, min_count=1), [PARTS, ["film filming films"]], (2, 4))
    found, expected = ChunkEncoder(tokenizer)(rows), encode(tokenizer, rows)
    assert [row.tolist() for row in found] == [row.tolist() for row in expected]
