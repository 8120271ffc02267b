"""How characters are read: those that look or mean alike, scripts without spaces, emoji, and older models."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sentiment_cli.config.loader import experiment_from_values, experiment_values, load_experiment
from sentiment_cli.config.schema import Text, Vocabulary
from sentiment_cli.data.corpus.prepare import about_tokens, prepare
from sentiment_cli.data.tokens import vocabulary as vocabulary_module
from sentiment_cli.data.tokens.characters import READING, Spelled, reads_entities, spell_out
from sentiment_cli.data.tokens.tokenizer import encode, find_words, train_tokenizer

EVERY = Vocabulary(size=None, min_count=1)


def tokens(written: str, **text: object) -> list[str]:
    tokenizer, entries = train_tokenizer(Text(**text), EVERY, [[written]])
    (ids,) = encode(tokenizer, [written])
    return [entries[i] for i in ids]


def shown(written: str, **text: object) -> list[str]:
    tokenizer, _ = train_tokenizer(Text(**text), EVERY, [[written]])
    return [written[start:end] for start, end in find_words(tokenizer, written).places]


ALIKE = [
    # Case T4 of the list of troubles: apostrophes and quotes of phones, word processors and the web.
    *[(f"isn{mark}t", "isn't") for mark in "’‘‛ʼ′＇´`"],
    *[(f"a {mark}fine{mark} film", 'a "fine" film') for mark in "“”„‟«»″＂〝"],
    ("‘tis", "'tis"),
    ("a well‑made film − fine – good", "a well-made film - fine - good"),
    ("isn&#39;t", "isn't"),
    ("isn&#x27;t isn&apos;t isn&rsquo;t isn&#8217;t", "isn't isn't isn't isn't"),
    ("isn&amp;#39;t", "isn't"),  # escaped twice
    ("&quot;fine&quot; &amp; good", '"fine" & good'),
    ("1 &lt; 2 &gt; 1", "1 < 2 > 1"),
    ("a&nbsp;b&#160;c", "a b c"),
    ("caf&eacute; caf&#233; &hellip;", "café café ..."),
    ("one&lt;br /&gt;two", "one<br />two"),
    ("ＧＯＯＤ　ｆｉｌｍ！　１０／１０", "good film! 10/10"),
    ("ﬁne… ﬂat", "fine... flat"),
    ("ｶﾒﾗ ガ", "カメラ ガ"),
    ("fi\u200blm fi\u00adlm fi\u2060lm \ufefffilm fi\u200dlm", "film film film film film"),
    ("\u202agood\u202c \u200efilm\u200f", "good film"),
    ("a\u00a0b\u202fc\u2009d\u3000e", "a b c d e"),
    ("Barbie™ and Q℠", "barbie and q"),
    ("İSTANBUL İyi ışık", "istanbul iyi işik"),
    ("KIZ", "kız"),
    ("شُكْرًا جميـــل", "شكرا جميل"),
    ("שָׁלוֹם", "שלום"),
    ("ארה״ב", 'ארה"ב'),
    ("Cafe\u0301", "café"),
    ("soooooo goooood", "sooo goood"),
    ("❤️", "❤"),
]


@pytest.mark.parametrize(("written", "plain"), ALIKE)
@pytest.mark.parametrize("kind", ["words", "whitespace", "bpe"])
def test_what_means_the_same_has_the_same_tokens(kind: str, written: str, plain: str) -> None:
    if (kind != "words" and "ooo" in written) or (kind == "bpe" and "™" in written):  # which count spaces
        return
    vocabulary = Vocabulary(size=600, min_count=1) if kind == "bpe" else EVERY
    tokenizer, _ = train_tokenizer(Text(tokenizer=kind), vocabulary, [[plain]])
    other, expected = encode(tokenizer, [written, plain])
    assert other.tolist() == expected.tolist()
    assert len(expected) > 0
    learnt, _ = train_tokenizer(Text(tokenizer=kind), vocabulary, [[written]])
    assert learnt.to_str() == tokenizer.to_str()


SCRIPTS = {
    # Case T6: scripts without spaces, by characters; marks stay with their letter.
    "这部电影很好，iPhone不错！": "这 部 电 影 很 好 , iphone 不 错 !",
    "とても面白かった。ラーメン々": "と て も 面 白 か っ た 。 ラ ー メ ン 々",
    "𠮷野家": "𠮷 野 家",
    "ดีมาก นี้ ๒๕๖๐": "ดี ม า ก นี้ ๒๕๖๐",
    "ຮູບເງົາ": "ຮູ ບ ເ ງົ າ",
    "នេះ": "នេះ",
    "ကောင်း": "ကေ ာ င် း",
    # Scripts with spaces keep their words whole, combining marks and all.
    "영화가 재미있어요": "영화가 재미있어요",
    "यह फ़िल्म बहुत अच्छी है": "यह फ़िल्म बहुत अच्छी है",
    "தமிழ் படம்": "தமிழ் படம்",
    "فيلم رائع جدا": "فيلم رائع جدا",
    "סרט מצוין": "סרט מצוין",
    "çok güzel": "çok güzel",
    "дуже гарний м’який": "дуже гарний м'який",
    "ᄏᄏᄏᄏᄏᄏ": "ᄏᄏᄏ",
    # Emoji are whole: joined ones, skin tones, flags, keycaps.
    "👩‍👩‍👧👍🏽": "👩‍👩‍👧 👍🏽",
    "🇩🇪🇫🇷": "🇩🇪 🇫🇷",
    "good👍bad": "good 👍 bad",
    "🏴󠁧󠁢󠁳󠁣󠁴󠁿": "🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    # What the web has.
    "@user_name loves #BestFilm #1": "@user_name loves #bestfilm # 1",
    "see https://t.co/aB?x=1. (www.a.com/b)": "see https://t.co/ab?x=1 . ( www.a.com/b )",
    "me@mail.com C#": "me @ mail . com c #",
    "http://t.cn/Abc很好": "http://t.cn/abc 很 好",
    "哈哈哈哈哈": "哈 哈 哈",
}


@pytest.mark.parametrize("written", SCRIPTS)
def test_words_of_every_script(written: str) -> None:
    expected = unicodedata.normalize("NFKC", SCRIPTS[written]).split()
    assert tokens(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        "I DON'T like it... 10/10!<br /><br />well-made (7.5) $5 50% A&W rock'n'roll",
        "It was OK -- not *great* -- but `quoted' and ''double''... #1 @ 9:30 ~ [x] {y} \\ ^ | = + < >",
        "Zzz, hmm, www, III, aaa; naïve café déjà-vu, Ünlü",
    ],
)
def test_plain_english_reads_as_it_did(written: str) -> None:
    assert tokens(written) == tokens(written, characters="raw")


def test_raw_characters_are_read_as_they_are() -> None:
    assert tokens("isn’t &#39; 好看", characters="raw") == ["isn’t", "&", "#", "39", ";", "好看"]


def test_entities_stay_where_markup_is_kept() -> None:
    assert tokens("isn’t &#39;", markup="keep") == ["isn't", "&", "#", "39", ";"]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("It isn’t “good”", "It isn’t “ good ”"),
        ("isn&#39;t &amp;amp; caf&eacute;s &foo; x", "isn&#39;t &amp;amp; caf&eacute;s & foo ; x"),
        ("ＦＩＬＭ ﬁlm fi\u200blm…", "ＦＩＬＭ ﬁlm fi\u200blm …"),
        ("Sooooo goooood", "Sooooo goooood"),
        ("❤️ 👍🏽 שָׁלוֹם", "❤️ 👍🏽 שָׁלוֹם"),
        ("好看", "好 看"),
        ("กำ", "กำ"),
    ],
)
def test_words_are_shown_as_they_were_written(written: str, words: str) -> None:
    assert shown(written) == words.split()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([*"ab1 '’“…\u200b\u0301好ก👍&;", "&#39;", "&amp;#39;", "&eacute;", "ﬁ", "<br />", "oooo"]))
)
def test_places_lie_in_the_text_in_order(parts: list[str]) -> None:
    written = "".join(parts)
    tokenizer = _tokenizer()
    found = find_words(tokenizer, written)
    np.testing.assert_array_equal(found.ids_L, next(encode(tokenizer, [written])))
    ends = [0, *(end for _, end in found.places)]
    assert all(before <= start < end <= len(written) for before, (start, end) in zip(ends, found.places, strict=False))


def _tokenizer() -> Tokenizer:
    return train_tokenizer(Text(), EVERY, [["a b isn't 好 fi"]])[0]


@given(st.text(alphabet="&;#x3917amplt e"))
def test_each_spelled_character_has_its_place(written: str) -> None:
    spelled = Spelled(written)
    assert spelled.text == spell_out(written)
    places = [spelled.place_in_text(i, i + 1) for i in range(len(spelled.text))]
    assert all(start < end <= len(written) for start, end in places)
    assert [start for start, _ in places] == sorted({start for start, _ in places})
    assert all(spelled.text[i] == written[start] for i, (start, end) in enumerate(places) if end == start + 1)


def test_a_tokenizer_that_was_saved_before_reads_as_before() -> None:
    """As a version without text.characters wrote it: the whole pipeline stands in the file."""
    old = Tokenizer.from_str(
        json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [],
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}],
                },
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"Regex": r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_"},
                    "behavior": "Removed",
                    "invert": True,
                },
                "post_processor": None,
                "decoder": None,
                "model": {
                    "type": "WordLevel",
                    "vocab": {"<pad>": 0, "<unk>": 1, "isn’t": 2, "isn't": 3, "好看": 4},
                    "unk_token": "<unk>",
                },
            }
        )
    )
    assert not reads_entities(old)
    assert [ids.tolist() for ids in encode(old, ["Isn’t isn't", "isn&#39;t", "好看"])] == [
        [2, 3],
        [1, 1, 1, 1, 1, 1],
        [4],
    ]
    assert find_words(old, "isn’t 好看").places == [(0, 5), (6, 8)]


def test_settings_of_a_run_that_was_trained_before_read_raw(tmp_path: Path) -> None:
    values = experiment_values(load_experiment("sample"))
    assert experiment_from_values(values).text.characters == "plain"
    del values["text"]["characters"]
    assert experiment_from_values(values).text.characters == "raw"
    assert "characters" not in values["text"]
    file = tmp_path / "experiment.yaml"
    file.write_text(json.dumps(values))
    assert load_experiment(file).text.characters == "raw"
    assert load_experiment(file, ["text.characters=plain"]).text.characters == "plain"
    file.write_text("name: x\ntext: {tokenizer: words, lowercase: true}\n")
    assert load_experiment(file).text.characters == "plain"


def test_prepared_data_and_models_record_the_reading(own, small_csv: str) -> None:
    plain, raw = own("x.csv", small_csv), own("x.csv", None, "text.characters=raw")
    assert about_tokens(plain)["reading"] == READING
    assert "reading" not in about_tokens(raw)  # found under the key that it had before
    corpora = [prepare(plain), prepare(raw)]
    assert [corpus.vocabulary.reading for corpus in corpora] == [READING, 1]
    assert corpora[0].key != corpora[1].key


@pytest.mark.parametrize("reading", [READING + 1, 0, "2", True, None])
def test_a_reading_that_is_not_known_is_refused(reading: object) -> None:
    values = {"entries": ["<pad>", "<unk>"], "unknown_id": 1}
    assert vocabulary_module.Vocabulary.from_json(values).reading == 1
    with pytest.raises(ValueError, match="characters are read by version"):
        vocabulary_module.Vocabulary.from_json({**values, "reading": reading})


@pytest.mark.parametrize(("entry", "is_word"), [("好", True), ("กี", True), ("か", True), ("a", False), ("。", False)])
def test_a_character_is_a_word_where_words_have_no_spaces(entry: str, is_word: bool) -> None:
    assert vocabulary_module.Vocabulary(("<pad>", "<unk>", entry), 1).is_word(2) is is_word
