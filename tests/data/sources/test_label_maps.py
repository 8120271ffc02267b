"""Label maps: what they can say, how hints write them, and rows that they leave out."""

import datetime
import json
import shlex
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_cli.config.loader import experiment_yaml, load_experiment
from sentiment_cli.config.schema import Data
from sentiment_cli.config.values import join_pair, split_pair
from sentiment_cli.data.checks.checks import check_data
from sentiment_cli.data.checks.statistics import corpus_facts
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.corpus.raw_texts import Texts, prepare_texts
from sentiment_cli.data.sources.labels import (
    dump_label_map,
    find_label,
    map_option,
    map_setting,
    parse_label_map,
    straight_map,
)
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.errors import DataError, UsageError

ODD = ["Don't Like", "Yes, really", "Type: A", "[A]", "# Good", "X=Y", 'say "hi"', "two\nlines", "a\\b", "👍", "\x9b"]


def rows(*labels: object) -> str:
    return "\n".join(json.dumps({"text": f"text {i}", "label": label}) for i, label in enumerate(labels))


def texts_of(own, content: str, *settings: str) -> Texts:
    return prepare_texts(find_source(own("x.jsonl", content, *settings).data), "labelled")


def mapped(setting: str) -> dict[str, str]:
    """Paste a hint: split it as a shell does, and load what it sets."""
    flag, value = shlex.split(setting)
    assert flag == "--set"
    pairs = load_experiment("sample", ["data.source=x.csv", value]).data.label_map
    return parse_label_map(pairs)


@pytest.mark.parametrize("label", ODD)
@pytest.mark.parametrize("new", ["pos", "X=Y", ""])
def test_t9_a_hint_says_what_it_means_when_it_is_pasted(label: str, new: str) -> None:
    assert mapped(map_setting({label: new, "b": "c"})) == {label: new, "b": "c"}


@given(st.dictionaries(st.text(min_size=1, max_size=8).map(str.strip).filter(bool), st.text(max_size=8).map(str.strip)))
def test_t9_any_map_survives_shell_yaml_and_pairs(renamed: dict[str, str]) -> None:
    renamed = {old: new for old, new in renamed.items() if "\ud800" > max(old + new) or max(old + new) > "\udfff"}
    pairs = Data(label_map=renamed).label_map
    assert parse_label_map(pairs) == renamed
    assert mapped(map_setting(renamed)) == renamed


@pytest.mark.parametrize("label", ODD)
def test_t9_labels_that_differ_in_case_alone_are_joined_by_what_the_hint_says(own, label: str) -> None:
    labels = [label + "q", label + "Q", label + "q", "other", "OTHER", "other"]
    with pytest.raises(DataError, match="differ in case alone") as caught:
        texts_of(own, rows(*labels))
    setting = shlex.split(str(caught.value.hint))[1]
    assert len(texts_of(own, rows(*labels), setting).labels) == 2  # all pairs at once


def test_t9_pairs_that_were_given_are_in_the_hint(own) -> None:
    labels = ["Negative", "negative", "negative", "Positive", "positive", "positive", "meh", "fine"]
    with pytest.raises(DataError, match="differ in case alone") as caught:
        texts_of(own, rows(*labels), "data.label_map=[meh=Negative, fine=positive]")
    assert mapped(str(caught.value.hint)) == {
        "meh": "negative", "fine": "positive", "Negative": "negative", "Positive": "positive"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "given_map", "labels", "expected"),
    [
        ({"Negative": 1, "negative": 1}, {}, ("neg", "pos"), {"Negative": "neg", "negative": "neg"}),
        ({"POS": 1, "neg": 2, "so-so": 1}, {}, ("neg", "pos"), {"POS": "pos", "so-so": ""}),
        ({"good": 1, "bad": 1}, {"2": "good"}, ("neg", "pos"), None),
        ({"P": 1, "N": 1}, {"1": "P"}, ("neg", "pos"), {"1": "pos", "N": "neg", "P": "pos"}),
    ],
)
def test_t9_eval_is_led_straight_to_the_labels_of_the_model(counts, given_map, labels, expected) -> None:
    assert straight_map(Counter(counts), given_map, labels) == expected


def test_t9_options_are_short_where_they_can_be() -> None:
    assert map_option({"Good": "good", "2": ""}) == "--label-map Good=good,2="
    assert map_option({"Yes, really": "pos"}) == """--label-map '{"Yes, really": "pos"}'"""


@pytest.mark.parametrize(
    "setting",
    [
        '{"Bad": "neg", "1": "pos", "2": null}',
        "{Bad: neg, 1: pos, 2: }",
        "[Bad=neg, 1=pos, 2=]",
        "[Bad = neg, 1= pos, '2=']",
    ],
)
def test_a_map_is_a_mapping_or_pairs(setting: str) -> None:
    experiment = load_experiment("sample", ["data.source=x.csv", f"data.label_map={setting}"])
    assert parse_label_map(experiment.data.label_map) == {"Bad": "neg", "1": "pos", "2": ""}


def test_a_map_in_a_file_and_in_a_run_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: x\ndata:\n  source: x.csv\n  label_map:\n    X=Y: true\n    '1.5': 2\n    no:\n")
    experiment = load_experiment(path)
    assert parse_label_map(experiment.data.label_map) == {"X=Y": "true", "1.5": "2", "no": ""}
    path.write_bytes(experiment_yaml(experiment))
    assert load_experiment(path) == experiment


@pytest.mark.parametrize("written", ["label_map: {a: b, c: d}", "label_map: [a=b, c=d]"])
def test_a_map_takes_the_place_of_another_one_and_single_labels_add_to_it(tmp_path: Path, written: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"name: x\ndata:\n  source: x.csv\n  {written}\n")

    def read(*settings: str) -> dict[str, str]:
        return parse_label_map(
            load_experiment(path, [f"data.label_map{setting}" for setting in settings]).data.label_map
        )

    assert read() == {"a": "b", "c": "d"}
    assert read('={"a": "b"}') == read("=[a=b]") == {"a": "b"}
    assert read(".x=y", ".z=") == {"x": "y", "z": ""}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("[ab]", "'ab' is not OLD=NEW"),
        ("[=b]", "'=b' is not OLD=NEW"),
        ("[a=b, a=c]", "'a' is renamed twice"),
        ("{a: [b]}", "which is no label"),
        ("{a: {b: c}}", "which is no label"),
    ],
)
def test_what_is_no_map_is_refused(setting: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_experiment("sample", ["data.source=x.csv", f"data.label_map={setting}"])


def test_pairs_escape_an_equals_sign_of_the_old_label_alone() -> None:
    assert split_pair(r"a\=b=c=d") == ("a=b", "c=d")
    assert join_pair("a=b", "c=d") == r"a\=b=c=d"
    assert split_pair("no pair") is None


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (1.5, "1.5"),
        ("1.50", "1.5"),
        ("1.50", "1.50"),
        ("-0.25", "-0.25"),
        (True, "True"),
        (True, "true"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (Decimal("2.5"), "2.5"),
        ("1.0", "1"),
        (1.0, "1.0"),
    ],
)
def test_t10_the_map_is_looked_at_before_values_are_parsed(value: object, key: str) -> None:
    assert find_label(value, {key: "pos"}) == (key, "pos")


def test_t10_fractions_are_labels_where_they_are_mapped(own) -> None:
    texts = texts_of(own, rows(1, 1.5, "2", 2.5), "data.label_map={1: neg, 1.5: neg, 2: pos, 2.5: pos}")
    assert texts.rows("train").label_N.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("values", [[1, 1.5, 2, 2.5], ["0.5", "3.5", "0.5"], [-1.5, 0, 1.5]])
def test_t10_a_column_of_numbers_gets_a_map_that_works(own, values: list[object]) -> None:
    with pytest.raises(DataError, match=r"is a fraction, not a class\. The labels are numbers") as caught:
        texts_of(own, rows(*values))
    texts = texts_of(own, rows(*values), shlex.split(str(caught.value.hint))[1])
    assert texts.labels == ("high", "low")


def test_rows_of_a_label_with_an_empty_target_are_left_out_and_counted(own, capsys) -> None:
    content = rows(*[i % 3 for i in range(60)])
    experiment = own("x.jsonl", content, "data.label_map={2: }")
    facts = corpus_facts(experiment)
    assert facts["labels"] == ["0", "1"]
    assert facts["left_out"] == {"2": 20}
    assert sum(split["rows"] for split in facts["splits"].values()) == 40
    assert "data.label_map leaves out the rows labelled '2' (20)" in capsys.readouterr().err
    found = {finding.what: finding.count for finding in check_data(experiment.data).findings}
    assert found["rows labelled '2', which data.label_map leaves out"] == 20


@pytest.mark.parametrize("name", ["x/2/a.txt", "x/train/2/a.txt"])
def test_folders_of_a_label_can_be_left_out(own, tmp_path: Path, name: str) -> None:
    above = (tmp_path / name).parent.parent
    for label in "012":
        for i in range(6):
            (above / label).mkdir(parents=True, exist_ok=True)
            (above / label / f"{i}.txt").write_text(f"text {label} {i}")
    assert prepare(own("x", None, "data.label_map={2: }")).labels == ("0", "1")


def test_a_map_that_leaves_one_class_or_no_row_is_refused(own) -> None:
    with pytest.raises(DataError, match="every training row is labelled '0'"):
        prepare(own("x.jsonl", rows(0, 1, 0, 1, 0), "data.label_map={1: }"))
    with pytest.raises(DataError, match="all 5 rows were left out"):
        prepare(own("x.jsonl", rows(0, 1, 0, 1, 0), "data.label_map={1: , 0: }"))


@pytest.mark.parametrize(
    "spelling", ["NaN", "nan", "N/A", "NULL", "None", "<NA>", "-", "?", "\u2014", "(blank)", "#REF!"]
)
def test_t8_labels_that_spell_missing_are_asked_about_each_time(own, capsys, spelling: str) -> None:
    content = rows(*["a", "b"] * 12, *[spelling] * 5)
    for _ in range(2):  # the second time out of the cache
        prepare(own("x.jsonl", content), ("train", "valid"))
        warned = capsys.readouterr().err
        assert f"{spelling!r} (5) may stand for a missing label" in warned
    leave, keep = ({spelling: ""}, {spelling: spelling})
    for meant, labels in ((leave, ("a", "b")), (keep, tuple(sorted(["a", "b", spelling])))):
        assert dump_label_map(meant) in warned
        corpus = prepare(own("x.jsonl", content, f"data.label_map={dump_label_map(meant)}"))
        assert corpus.labels == labels
        assert "may stand for" not in capsys.readouterr().err
    found = [finding for finding in check_data(own("x.jsonl", content).data).findings if "missing" in finding.what]
    assert [(finding.severity, finding.count) for finding in found] == [("warning", 5)]
