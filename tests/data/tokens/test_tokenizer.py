import json
import resource
import sys
import time
import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sentiment_cli.config.schema import Text, Vocabulary
from sentiment_cli.data.batching.truncation import max_own_tokens
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.tokens import encoding
from sentiment_cli.data.tokens.tokenizer import encode, find_words, train_tokenizer

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
        ("Café d’or 🎬", ["café", "d'or", "🎬"]),
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


KINDS = ("words", "whitespace", "bpe")


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    rows = ["a quite ordinary film, it's fine! <br /><br />", "Café d’or 🎬 電影 e\u0301"] * 5
    return train_tokenizer(Text(tokenizer=request.param), Vocabulary(size=600, min_count=1), [rows])[0]


@pytest.mark.parametrize("text", ["", " \t\n", "x", "?!...", "zyx qwv", "<br />", "<br /><br />", "\x00", "\ufeff"])
def test_b06_any_text_however_poor_has_ids(tokenizer: Tokenizer, text: str) -> None:
    (ids,) = encode(tokenizer, [text])
    assert ids.dtype == np.int32
    assert (ids > 0).all()  # padding is no word
    if not text.strip():
        assert len(ids) == 0 or tokenizer.decode(ids.tolist()).strip() == ""


def test_b06_poor_rows_are_packed(own) -> None:
    poor = ["", " ", "x", "?!", "zzz yyy", "<br />", "a b"]
    lines = [json.dumps({"text": f"{text}", "label": i % 2}) for i in range(4) for text in poor]
    for kind in KINDS:
        corpus = prepare(own("x.jsonl", "\n".join(lines), f"text.tokenizer={kind}", "data.valid.share=0.3"))
        packs = [corpus.split(split) for split in ("train", "valid", "test")]
        assert sum(len(pack.label_N) for pack in packs) == 28
        assert all((pack.length_N >= 0).all() and pack.starts_N1[-1] == len(pack.ids_T) for pack in packs)


def test_b06_rows_of_nothing_at_all_are_packed(own) -> None:
    content = "text,label\n" + "".join(f'"{" " * i}",{i % 2}\n' for i in range(40))
    corpus = prepare(own("x.csv", content))
    assert len(corpus.split("train").ids_T) == 0
    assert len(corpus.vocabulary.entries) == 2


LONG_SHAPES = {
    "ordinary text": "a quite ordinary film, it's fine! ",
    "one token": "x",
    "a ": "a ",
    "marks": "\u0301",
    "apostrophes": "a'",
    "spaces": " ",
    "opened breaks": "<br",
    "a break that never ends": "\t",
    "a tag that never ends": "< ",
    "digits": "7",
    "CJK": "電",
    "joined emoji": "👩\u200d",
}


@pytest.mark.parametrize("shape", LONG_SHAPES)
def test_b07_time_is_linear_in_a_texts_length(tokenizer: Tokenizer, shape: str) -> None:
    """B07: long texts. Ten times the text takes about ten times the processor time; quadratic time would be 100."""
    part = LONG_SHAPES[shape]
    n_bytes = 400_000 if shape in ("ordinary text", "a ") else 200_000
    start = "<br" if shape == "a break that never ends" else ""

    def seconds(n: int) -> float:
        text = start + part * (n // len(part.encode()))
        began = time.process_time()
        list(encode(tokenizer, [text]))
        return time.process_time() - began

    short = min(seconds(n_bytes // 10) for _ in range(3))
    long = seconds(n_bytes)
    assert long <= 40 * short


def test_b07_a_long_text_needs_little_memory(forked) -> None:
    def encode_much() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        learnt, _ = train_tokenizer(Text(tokenizer="bpe"), Vocabulary(size=600, min_count=1), [["a film"]])
        list(encode(learnt, ["a quite ordinary film, it's fine! " * 100_000]))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown * (1 if sys.platform == "darwin" else 1024) < 200_000_000

    assert forked(encode_much) == 0


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*"ab1 \n'’éİ_,.電🎬\x00", *["a b", "<br />", "< br / >", " \u0301"]]), min_size=20))
def test_a_text_in_pieces_has_the_ids_it_has_as_a_whole(tokenizer: Tokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    (whole,) = encode(tokenizer, [text])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_LONGEST_PIECE", 7)
        patch.setattr(encoding, "_CHARACTERS_AT_ONCE", 50)
        again, empty, other = encode(tokenizer, [text, "", text])
    assert again.tolist() == other.tolist() == whole.tolist()
    assert len(empty) == 0


def test_pieces_are_cut_where_they_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_LONGEST_PIECE", 4)
    batches = list(encoding.batches(["a b<br / >c d e f g", "short", ""]))
    assert batches == [[("a b<br / >c", False), (" d e", False), (" f g", True), ("short", True), ("", True)]]


@pytest.mark.parametrize(
    "odd",
    [
        "a\x00b",
        "a \ufffd b",
        "\ufeffa film",
        "a\r\nfilm\rfine",
        "a\u2028film\u2029fine\x85",
        "fi\u200blm zero\u00adwidth",
        "e\u0301\u0323 many\u0302\u0303 marks",
        "👩\u200d👩\u200d👧 family",
        "\u202eשלום עולם",
        "電影很好",
        "İSTANBUL ǅ ﬁlm",
        "x\u0301" * 50,
    ],
)
def test_b08_odd_texts_have_ids_the_same_ones_composed_or_not(tokenizer: Tokenizer, odd: str) -> None:
    learnt, entries = train_tokenizer(Text(), EVERY, [[odd]])
    for known in (tokenizer, learnt):
        composed, decomposed = encode(known, [unicodedata.normalize(form, odd) for form in ("NFC", "NFD")])
        assert composed.tolist() == decomposed.tolist()
        assert len(composed) > 0
    assert not set(entries) & {"\r", "\n", "\u2028", ""}


def test_b08_line_ends_of_every_kind_part_words() -> None:
    for end in ("\n", "\r\n", "\r", "\u2028", "\u2029", "\x85", "\t", "\u00a0", "\u3000"):
        assert tokens(Text(), f"one{end}two") == ["one", "two"]


@pytest.mark.parametrize("text", ["<br>", "<br/>", "< BR / >", "<br \t>", "<Br  />", "<br\n/>"])
def test_line_breaks_in_every_spelling(text: str) -> None:
    assert tokens(Text(), f"a{text}b") == ["a", "b"]


@pytest.mark.parametrize("text", ["<b>", "<br", "<br / /", "<brr>", "br />"])
def test_what_is_no_line_break_stays_text(text: str) -> None:
    assert len(tokens(Text(), f"a{text}b")) > 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("unknown", "specials"), [("own", ["<pad>", "<start>", "<unk>"]), ("padding", ["<pad>", "<start>"])]
)
def test_a_start_token_has_entry_1_and_no_text_is_given_it(kind: str, unknown: str, specials: list[str]) -> None:
    settings = Vocabulary(size=600, min_count=1, unknown=unknown)
    learnt, words = train_tokenizer(Text(tokenizer=kind, start=True), settings, [["a film a film"]])
    assert words[: len(specials)] == specials
    assert not set(words[len(specials) :]) & {"<pad>", "<start>", "<unk>"}
    (ids,) = encode(learnt, ["a film zzzz"])
    assert 1 not in ids
    if kind != "bpe":
        assert ids.tolist() == [
            words.index("a"),
            words.index("film"),
            specials.index("<unk>") if unknown == "own" else 0,
        ]


def test_words_of_a_frequency_list_are_numbered_from_3() -> None:
    """0 is padding, 1 the start, 2 what is unknown, 3 the most frequent word."""
    tokenizer, words = train_tokenizer(Text(start=True), Vocabulary(size=6, min_count=1), [["c b a a b a d"]])
    assert words == ["<pad>", "<start>", "<unk>", "a", "b", "c"]
    assert [ids.tolist() for ids in encode(tokenizer, ["a b c d"])] == [[3, 4, 5, 2]]


@pytest.mark.parametrize(
    ("start", "truncate", "most"), [(False, "head", 9), (True, "head", 8), (True, "ends", 8), (True, "tail", 9)]
)
def test_the_start_token_takes_a_place_unless_it_is_cut_off(start: bool, truncate: str, most: int) -> None:
    assert max_own_tokens(Text(max_tokens=9, truncate=truncate, start=start)) == most
    assert max_own_tokens(Text(max_tokens=None, truncate=truncate, start=start)) is None


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ({}, "I really  loved<br />the (film), don't!", "I really loved the ( film ) , don't !"),
        ({}, "cafe\u0301 na\u00efve caf\u00e9", "cafe\u0301 na\u00efve caf\u00e9"),
        ({}, "🎬 \u0130stanbul \ufb01ne", "🎬 \u0130stanbul \ufb01ne"),
        ({}, "", ""),
        ({}, " \n ", ""),
        ({"tokenizer": "whitespace", "punctuation": "delete"}, "a (film), don't !", "a film don't"),
        ({"tokenizer": "bpe"}, "unheard of  cafe\u0301 🎬!", "unheard of cafe\u0301 🎬!"),
    ],
)
def test_words_are_found_where_they_stand(kind, text: str, words: str) -> None:
    spoken = Text(**kind)
    size = 600 if spoken.tokenizer == "bpe" else None
    tokenizer, _ = train_tokenizer(spoken, Vocabulary(min_count=1, size=size), [["a film of it, unheard of"]])
    found = find_words(tokenizer, text)
    np.testing.assert_array_equal(found.ids_L, next(encode(tokenizer, [text])))
    assert len(found.word_L) == len(found.ids_L)
    assert sorted(set(found.word_L.tolist())) == list(range(len(found.places)))
    shown = [text[start:end] for start, end in found.places]
    assert [word for word in shown if word.strip()] == words.split()
    assert all(start >= end for (_, end), (start, _) in zip(found.places, found.places[1:], strict=False))


def test_words_of_a_long_text_are_found_behind_its_first_piece() -> None:
    tokenizer, _ = train_tokenizer(Text(), Vocabulary(min_count=1), [["good film"]])
    text = "good film " * 20_000
    found = find_words(tokenizer, text)
    np.testing.assert_array_equal(found.ids_L, next(encode(tokenizer, [text])))
    assert found.word_L.tolist() == list(range(40_000))
    assert {text[start:end] for start, end in found.places} == {"good", "film"}
