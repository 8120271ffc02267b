"""Robustness case B12: labels as people write them."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment_cli.data.checks.checks import check_data
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.corpus.raw_texts import Texts, prepare_texts
from sentiment_cli.data.sources.labels import parse_label, refuse_unknown, sort_labels, straight_map
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.errors import DataError


def texts_of(own: Callable, labels: list[object], *settings: str) -> Texts:
    lines = [json.dumps({"text": f"text {i}", "label": label}) for i, label in enumerate(labels)]
    return prepare_texts(find_source(own("x.jsonl", "\n".join(lines), *settings).data), "labelled")


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("positive", "positive"),
        (" Pos ", "Pos"),
        (1, "1"),
        ("1", "1"),
        (1.0, "1"),
        ("1.0", "1"),
        (-1, "-1"),
        (True, "true"),
        ("True", "True"),
        ("4.5 stars", "4.5 stars"),
        ("v1.0", "v1.0"),
        (None, None),
        ("", None),
        (" \t", None),
        (float("nan"), None),
    ],
)
def test_b12_a_label_is_text_whatever_type_the_file_gave_it(value: object, label: str | None) -> None:
    assert parse_label(value) == label


@pytest.mark.parametrize("value", [0.5, "0.5", "-1.25", [1], {"a": 1}, b"pos"])
def test_b12_what_is_no_class_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a class"):
        parse_label(value)


def test_labels_are_ordered_by_value_or_letter() -> None:
    assert sort_labels(["pos", "10", "neg", "9", "-1"]) == ("-1", "9", "10", "neg", "pos")


def test_b12_one_and_1_and_true_are_what_they_are(own) -> None:
    assert texts_of(own, [1, "1", 1.0, "1.0", 0, False]).labels == ("0", "1", "false")
    assert texts_of(own, [3, 1, 2, 10]).labels == ("1", "2", "3", "10")


def test_b12_labels_that_differ_in_case_alone(own) -> None:
    labels = ["Pos", "pos", "pos", "neg", "NEG"]
    with pytest.raises(DataError, match=r"labels that differ in case alone: 'pos' \(2\), 'Pos' \(1\)") as caught:
        texts_of(own, labels)
    assert caught.value.hint == """--set 'data.label_map={"NEG": "neg", "Pos": "pos"}'"""
    assert texts_of(own, labels, "data.label_map=[Pos=pos, NEG=neg]").labels == ("neg", "pos")


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        (["pos", "pos", "\u200bpos", "\ufeffpos", "p\u00ados"], "pos"),
        (["caf\u00e9", "caf\u00e9", "cafe\u0301"], "caf\u00e9"),
        (["1", "1", "\uff11", "+1", "01", "1,0"], "1"),
        (["-1", "-1", "\u22121", "\u20131"], "-1"),
        (["very good", "very good", "very_good", "very-good", "Very  good"], "very good"),
        (["pos", "pos", "'pos'", "\u201cpos\u201d"], "pos"),
        (["\u2764", "\u2764", "\u2764\ufe0f"], "\u2764"),
    ],
)
def test_labels_that_look_alike_are_asked_about(own, labels: list[str], kept: str) -> None:
    others = ["C", "C++", "C#", "0", "2", "-2", "+", "-", "?", "!", "a.b", "ab", "10", "1 2", "12"]
    with pytest.raises(DataError, match="has labels that look alike: ") as caught:
        texts_of(own, [*labels, *others])
    setting = shlex.split(str(caught.value.hint))[1]
    assert texts_of(own, [*labels, *others], setting).labels == sort_labels([kept, *others])
    with pytest.raises(DataError, match="the training labels are") as caught:
        refuse_unknown("x", Counter({labels[-1]: 1}), [kept, "other"], {}, is_eval=True)
    assert re.search(rf'[=:] ?"?{re.escape(kept)}', shlex.split(str(caught.value.hint))[1])


def test_b12_a_label_map_renames_and_each_entry_must_fit(own) -> None:
    texts = texts_of(own, ["Positive", "bad", 1, "bad"], "data.label_map=[Positive=pos, 1=pos, bad = neg]")
    assert texts.labels == ("neg", "pos")
    assert texts.rows("train").label_N.tolist() == [1, 0, 1, 0]
    said = r"data\.label_map renames 'good', and no row is labelled so: 'Positive' \(2\), 'bad' \(1\)"
    with pytest.raises(DataError, match=said) as caught:
        texts_of(own, ["Positive", "bad", "Positive"], "data.label_map=[good=pos, bad=neg]")
    assert caught.value.hint == """--set 'data.label_map={"bad": "neg"}'"""


def test_b12_labels_of_test_rows_must_be_known_and_can_be_mapped(own, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,label\nx,Positive\ny,neg\nz,Positive\n")
    given = ("x.csv", "text,label\na,pos\nb,neg\n", f"data.test={tmp_path}/test.csv")
    said = r"is labelled 'Positive' \(2\), 'neg' \(1\); the training labels are 'neg', 'pos'"
    with pytest.raises(DataError, match=said) as caught:
        prepare_texts(find_source(own(*given).data), "labelled")
    hint = 'data.label_map={"Positive": "pos"}'  # which fits the test rows alone
    assert caught.value.hint == f"--set '{hint}'"
    texts = prepare_texts(find_source(own(*given, hint).data), "labelled")
    assert texts.rows("test").label_N.tolist() == [1, 0, 1]


def test_a_hint_never_guesses_what_a_label_means() -> None:
    with pytest.raises(DataError) as caught:
        refuse_unknown("x", Counter({"1": 3, "NEGATIVE": 1, "p": 1}), ["neg", "pos"], {}, is_eval=True)
    assert caught.value.hint == "--label-map 1=,NEGATIVE=neg,p=pos"  # 1 is like neither: its rows are left out
    with pytest.raises(DataError) as caught:
        refuse_unknown("x", Counter({"1": 3, "2": 1}), ["neg", "pos"], {}, is_eval=True)
    assert "--label-map OLD=NEW,OLD=NEW says which is which" in str(caught.value)
    assert caught.value.hint == "sentiment eval --help"


def test_b12_one_class_is_reported_and_not_trained_on(own, small_csv: str) -> None:
    experiment = own("x.csv", small_csv.replace(",neg", ",pos"))
    with pytest.raises(
        DataError, match="every training row is labelled 'pos'; a classifier needs two labels"
    ) as caught:
        prepare(experiment)
    assert caught.value.exit_code == 3
    report = check_data(experiment.data)
    assert report.is_bad
    assert (report.findings[0].severity, report.findings[0].what) == ("error", "every training row is labelled pos")


@pytest.mark.parametrize(("rare", "is_told"), [(1, True), (2, True), (3, False)])
def test_b12_a_rare_class_is_told(own, rare: int, is_told: bool) -> None:
    rows = [f"text {i},{'rare' if i < rare else 'common'}" for i in range(100)]
    report = check_data(own("x.csv", "\n".join(["text,label", *rows])).data)
    assert not report.is_bad
    assert any("few training rows are labelled rare" in finding.what for finding in report.findings) == is_told


def test_too_many_labels_are_another_column(own) -> None:
    with pytest.raises(DataError, match="more than 1,000 different labels; is that the label column") as caught:
        texts_of(own, [f"label {i}" for i in range(1200)])
    assert re.fullmatch(r"head -c 500 \S+/x\.jsonl", str(caught.value.hint))
    assert len(texts_of(own, list(range(1000))).labels) == 1000


@pytest.mark.parametrize(
    ("counts", "renamed", "labels", "expected"),
    [
        ("1 2", {}, "0 1", None),  # 2 left out would give each row of 1 the wrong label
        ("pos neg neutral", {}, "neg pos", {"neutral": ""}),
        ("Positive neutral", {}, "neg pos", None),  # neutral may be what neg is
        ("0 pos", {"1": "pos"}, "neg pos", {"1": "pos", "0": "neg"}),
        ("0 2 pos", {"1": "pos"}, "neg pos", None),
    ],
)
def test_a_suggested_map_leaves_no_label_out_that_may_be_one_of_ours(counts, renamed, labels, expected) -> None:
    assert straight_map(Counter(counts.split()), renamed, labels.split()) == expected
