"""Data on the command line: which CONFIG arguments are data, and what --data, --test and --time mean."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentiment_cli.cli.typed_data import is_data, seconds_of, with_data
from sentiment_cli.config.loader import load_experiment
from sentiment_cli.layout import spoken

ROWS = "text,label\ngood,pos\nbad,neg\n"
OBJECTS = [{"text": "good", "label": "pos"}, {"text": "bad", "label": "neg"}]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("my.csv", ROWS, True),
        ("my.TSV", "text\tlabel\ngood\tpos\n", True),
        ("my.jsonl", "\n".join(map(json.dumps, OBJECTS)), True),
        ("my.json", json.dumps(OBJECTS), True),
        ("data.json", json.dumps({"name": "reviews", "data": OBJECTS, "version": 1}), True),
        ("data.json", json.dumps({"data": OBJECTS}), True),
        ("train.txt", "__label__pos good\n__label__neg bad\n", True),
        ("plain", "__label__pos good\n__label__neg bad\n", True),
        ("linear", "__label__pos good\n__label__neg bad\n", True),
        ("experiment.json", json.dumps({"name": "mine", "train": {"epochs": 2}}), False),
        ("child.json", json.dumps({"extends": "linear"}), False),
        ("my.yaml", "name: my\n", False),
        ("my.yml", "name: my\n", False),
        ("experiment", "name: my\n", False),
    ],
)
def test_a_file_is_data_where_the_readers_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, expected: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(content)
    assert is_data(name) is expected
    assert is_data(str(tmp_path / name)) is expected


@pytest.mark.parametrize(
    ("typed_name", "beside", "hint"),
    [
        ("my.cvs", "my.csv", "sentiment train my.csv --name x"),
        ("my.xls", "my.csv", "sentiment train my.csv --name x"),
        ("my", "my.csv", "sentiment train my.csv --name x"),
        ("myy.csv", "my.csv", "sentiment train my.csv --name x"),
        ("it's.cvs", "it's.csv", """sentiment train 'it'"'"'s.csv' --name x"""),
        ("lunear", "linear.csv", "sentiment train linear --name x"),
        ("my.yml", "my.csv", "sentiment recipes list"),
        ("my.cvs", "other.txt.bak", "sentiment recipes list"),
    ],
)
def test_a_misspelt_table_is_hinted_at(
    typed: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed_name: str,
    beside: str,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / beside).write_text(ROWS)
    made = typed("train", typed_name, "--name", "x")
    assert made.code != 0
    assert made.hint == hint


def test_a_folder_is_data_unless_it_is_a_run_or_has_the_name_of_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("texts", "linear", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "experiment.yaml").write_text("name: run\n")
    assert [is_data(name) for name in ("texts", "linear", "run", "auto", "default", "nothing", None)] == [
        True, False, False, False, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["my.csv", "1", "true", "a: b.csv", "it's.csv", "[x].csv", "ü.csv"])
def test_a_path_is_taken_as_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    data = load_experiment("linear", with_data(None, name, name, config=None)).data
    assert (data.source, data.test) == (str(tmp_path / name), str(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("5 min", 300), ("1h", 3600), ("1.5H", 5400), ("20", 20), (None, None)],
)
def test_a_duration_is_read(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.0, "59 s"), (75.0, "1 min 15 s"), (3599.9, "1 h 0 min"), (7500.0, "2 h 5 min")],
)
def test_a_duration_is_said(seconds: float, said: str) -> None:
    assert spoken(seconds) == said
