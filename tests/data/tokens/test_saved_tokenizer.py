"""Tokenizers of strangers: only steps, entries and merges of our own kind are used."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from sentiment_cli.config.schema import Text, Vocabulary
from sentiment_cli.data.tokens.saved_tokenizer import panics, rebuild_tokenizer
from sentiment_cli.data.tokens.tokenizer import train_tokenizer
from sentiment_cli.errors import DataError

ROWS = [["the plot was weak", "the cast was lovely, don't miss it<br />the end", "café naïve"] * 5]
TEXT = "The plot<BR/>wasn't LOVELY, café ' _ 12"


def made(kind: str = "words", **settings: Any) -> tuple[dict[str, Any], list[str], int, dict[str, Any]]:
    """The parsed file, the entries, the unknown id and the settings of a tokenizer that was learnt."""
    text = Text(tokenizer=kind, **settings)
    size = 600 if kind == "bpe" else 40
    tokenizer, entries = train_tokenizer(text, Vocabulary(size=size, min_count=1), ROWS)
    return json.loads(tokenizer.to_str()), entries, entries.index("<unk>"), text.model_dump()


def rebuilt(found: Any, entries: list[str], unknown_id: int, text: dict[str, Any]) -> Any:
    return rebuild_tokenizer(json.dumps(found).encode(), entries, unknown_id, text)


@pytest.mark.parametrize("kind", ["words", "whitespace", "bpe"])
def test_what_was_learnt_reads_as_before(kind: str) -> None:
    for lowercase, markup, punctuation in itertools.product([True, False], ["break", "keep"], ["keep", "delete"]):
        text = Text(tokenizer=kind, lowercase=lowercase, markup=markup, punctuation=punctuation)
        size = 600 if kind == "bpe" else 40
        tokenizer, entries = train_tokenizer(text, Vocabulary(size=size, min_count=1), ROWS)
        again = rebuild_tokenizer(tokenizer.to_str().encode(), entries, entries.index("<unk>"), text.model_dump())
        assert again.to_str() == tokenizer.to_str()
        assert again.encode(TEXT).ids == tokenizer.encode(TEXT).ids


def test_a_file_of_an_earlier_version_reads_as_before() -> None:
    found, entries, unknown_id, text = made(characters="raw")
    assert found["normalizer"]["normalizers"][1]["pattern"] == {"Regex": r"<\s*[bB][rR]\s*(?:/\s*)?>"}
    found["normalizer"]["normalizers"][1]["pattern"] = {"Regex": r"<\s*[bB][rR]\s*/?\s*>"}
    older = {key: value for key, value in text.items() if key in ("tokenizer", "lowercase", "markup")}
    assert rebuilt(found, entries, unknown_id, older).encode(TEXT).tokens


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def steps(found: dict[str, Any], *more: dict[str, Any]) -> None:
    found["normalizer"]["normalizers"] += more


GROWING = [replace({"String": "a"}, "a" * 10)] * 7
PADDING = {
    "strategy": {"Fixed": 10**9},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "x",
}
TRUNCATION = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 4}
ADDED = {
    "id": 0,
    "content": "a",
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}
TEMPLATE = {"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]}

REFUSED = r"holds no tokenizer|knows"
# A3: what ran for ever, took 8 GB or panicked, and its kin.
STRANGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a replacement that grows": lambda f: steps(f, *GROWING),
    "an empty pattern": lambda f: steps(f, replace({"Regex": ""}, "xxxxxxxx")),
    "a pattern of exponential time": lambda f: steps(f, replace({"Regex": "(a+)+$"}, "")),
    "a pattern of words of exponential time": lambda f: f["pre_tokenizer"].update(pattern={"Regex": "(a+)+$"}),
    "a pattern that is none": lambda f: f["pre_tokenizer"].update(pattern={"Regex": "("}),
    "garbage in Precompiled": lambda f: steps(f, {"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    "Prepend": lambda f: steps(f, {"type": "Prepend", "prepend": "x" * 1000}),
    "one step less": lambda f: f["normalizer"]["normalizers"].pop(),
    "no steps": lambda f: f.update(normalizer=None),
    "nested sequences": lambda f: f.update(normalizer={"type": "Sequence", "normalizers": [f["normalizer"]]}),
    "padding": lambda f: f.update(padding=PADDING),
    "truncation with a stride": lambda f: f.update(truncation=TRUNCATION),
    "an added token": lambda f: f.update(added_tokens=[ADDED]),
    "a post-processor": lambda f: f.update(post_processor=TEMPLATE),
    "another decoder": lambda f: f.update(decoder={"type": "Fuse"}),
    "another version": lambda f: f.update(version="9.9"),
    "an unknown part": lambda f: f.update(plugin={"path": "/tmp/x.so"}),
    "a missing unknown token": lambda f: f["model"].update(unk_token="nowhere"),
    "another unknown token": lambda f: f["model"].update(unk_token="the"),
    "no unknown token": lambda f: f["model"].pop("unk_token"),
    "an unknown token that is no text": lambda f: f["model"].update(unk_token=7),
    "other entries": lambda f: f["model"]["vocab"].update({"stranger": f["model"]["vocab"].pop("the")}),
    "an id beyond the last": lambda f: f["model"]["vocab"].update(the=2**40),
    "an id that is no number": lambda f: f["model"]["vocab"].update({"<unk>": True}),
    "an entry more": lambda f: f["model"]["vocab"].update(stranger=99),
    "no entries": lambda f: f["model"].update(vocab=[]),
    "another model": lambda f: f.update(model={"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 5}),
    "WordPiece": lambda f: f["model"].update(type="WordPiece", max_input_chars_per_word=10**9),
    "no model": lambda f: f.update(model=None),
}
STRANGE_PAIRS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dropout": lambda m: m.update(dropout=0.5),
    "a prefix": lambda m: m.update(continuing_subword_prefix="##"),
    "byte fallback": lambda m: m.update(byte_fallback=True),
    "a merge of what is unknown": lambda m: m["merges"].append(["nowhere", "x"]),
    "a merge into what is unknown": lambda m: m["merges"].append(["z", "z"]),
    "a merge of three": lambda m: m["merges"].append(["a", "b", "c"]),
    "a merge of numbers": lambda m: m["merges"].append([1, 2]),
    "a merge of lists": lambda m: m["merges"].append([["a"], ["b"]]),
    "a merge of nothing": lambda m: m["merges"].append(None),
    "more merges than entries": lambda m: m.update(merges=m["merges"] * 1000),
    "no merges": lambda m: m.pop("merges"),
    "an unknown token": lambda m: m.update(unk_token="a"),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a3_a_stranger_s_tokenizer_is_refused(what: str) -> None:
    found, *rest = made()
    STRANGE[what](found)
    with pytest.raises(DataError, match=REFUSED):
        rebuilt(found, *rest)


@pytest.mark.parametrize("what", STRANGE_PAIRS)
def test_a3_a_stranger_s_byte_pairs_are_refused(what: str) -> None:
    found, *rest = made("bpe")
    STRANGE_PAIRS[what](found["model"])
    with pytest.raises(DataError, match=REFUSED):
        rebuilt(found, *rest)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"[" * 100_000, b"\xff", b'{"model": 1}', b"1" * 5000])
def test_a3_what_is_no_tokenizer_is_refused(data: bytes) -> None:
    _, *rest = made()
    with pytest.raises(DataError, match="holds no tokenizer"):
        rebuild_tokenizer(data, *rest)


@pytest.mark.parametrize(
    "settings", [{"tokenizer": "own"}, {"lowercase": False}, {"markup": "keep"}, {"tokenizer": "bpe"}]
)
def test_a3_steps_of_other_settings_than_the_model_s_are_refused(settings: dict[str, Any]) -> None:
    found, entries, unknown_id, text = made()
    with pytest.raises(DataError, match=REFUSED):
        rebuilt(found, entries, unknown_id, {**text, **settings})


def test_entries_that_are_no_utf_8_are_refused() -> None:
    found, entries, unknown_id, text = made()
    found["model"]["vocab"]["\ud800"] = len(entries)
    with pytest.raises(DataError, match="holds no tokenizer"):
        rebuilt(found, [*entries, "\ud800"], unknown_id, text)


def test_a3_a_panic_of_the_library_is_an_error_and_no_other_is() -> None:
    class PanicException(BaseException):
        pass

    with pytest.raises(DataError, match="give up: in Rust"), panics():
        raise PanicException("in Rust")
    for other in (KeyboardInterrupt, SystemExit, ValueError):
        with pytest.raises(other), panics():
            raise other
