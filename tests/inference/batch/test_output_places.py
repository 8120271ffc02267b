"""Files of a user's that predict must neither delete nor replace, and its own that it may."""

import gzip
import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hints import COMMAND
from test_predict_all import Counting

from sentiment_cli.cli.again import complete
from sentiment_cli.errors import UsageError
from sentiment_cli.inference.batch.inputs import open_file
from sentiment_cli.inference.batch.places import is_answers, is_rejects
from sentiment_cli.inference.batch.predict_all import predict_all

FINE, BAD = "text,n\ngood,1\n", "text,n\ngood,1\nbad\n"


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Predict a file of the current directory, bad rows left out."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, content: str | None, out: str | None = None, form: str = "csv", on_error: str = "skip") -> None:
        if content is not None:
            Path(name).write_text(content)
        source = open_file(Path(name), None, on_error)
        predict_all(Counting(), source, form, None if out is None else Path(out), on_error=on_error)  # type: ignore

    return run


def a_directory(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")


def an_edited_list(path: Path) -> None:
    reject = {"file": "my.csv", "row": 2, "line": 3, "reason": "why", "content": ["bad"], "seal": "0" * 16}
    path.write_text(json.dumps(reject) + "\n")


USERS: dict[str, Callable[[Path], Any]] = {
    "text": lambda path: path.write_text("my notes\n"),
    "JSON Lines": lambda path: path.write_text('{"text": "mine"}\n'),
    "an edited list": an_edited_list,
    "no UTF-8": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "a directory": a_directory,
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("rows", [FINE, BAD], ids=["nothing rejected", "a row rejected"])
@pytest.mark.parametrize("out", [None, "answers.csv"])
@pytest.mark.parametrize("what", USERS)
def test_a14_a_list_of_rejects_that_is_not_ours_is_refused(predict, tmp_path: Path, what: str, out, rows: str) -> None:
    """A14: predict deleted what had the name of its list of rejects, whatever it was."""
    USERS[what](tmp_path / f"{out or 'my.csv'}.rejects.jsonl")
    (tmp_path / "my.csv").write_text(rows)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"rejects\.jsonl") as caught:
        predict("my.csv", None, out)
    assert contents(tmp_path) == before
    predict_as_the_hint_says(caught.value.hint, "my.csv", out)


def predict_as_the_hint_says(hint: str | None, file: str, out: str | None) -> None:
    """Run the hint's command, with a predictor that needs no model."""
    typed = ["predict", "--file", file, "--format", "csv", "--on-error", "skip", *(["--out", out] if out else [])]
    words = shlex.split(complete(hint, COMMAND, typed) or "")
    assert words[:2] == ["sentiment", "predict"]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    source = open_file(Path(options["--file"]), options.get("--text-column"), options.get("--on-error", "stop"))
    out = Path(options["--out"])
    predict_all(Counting(), source, options["--format"], out, on_error=options.get("--on-error", "stop"))  # type: ignore
    assert is_answers(out)


@pytest.mark.parametrize("link", ["same name", "hard link", "symbolic link"])
def test_a14_rejects_mended_in_place_are_not_deleted(predict, tmp_path: Path, link: str) -> None:
    """A14: the input itself was deleted where it had the name of the list of rejects."""
    place = tmp_path / "my.csv.rejects.jsonl"
    mended = place if link == "same name" else tmp_path / "mended.jsonl"
    mended.write_text('{"text": "now it is fine"}\n')
    if link == "hard link":
        os.link(mended, place)
    elif link == "symbolic link":
        place.symlink_to(mended.name)
    with pytest.raises(UsageError, match="is the file that is read") as caught:
        predict(mended.name, None, "my.csv")
    assert mended.read_text() == '{"text": "now it is fine"}\n'
    assert not (tmp_path / "my.csv").exists()
    predict_as_the_hint_says(caught.value.hint, mended.name, "my.csv")


@pytest.mark.parametrize("out", ["my.csv", "./my.csv", "hard.csv", "soft.csv"])
def test_a14_answers_do_not_replace_the_input(predict, tmp_path: Path, out: str) -> None:
    (tmp_path / "my.csv").write_text(FINE)
    os.link(tmp_path / "my.csv", tmp_path / "hard.csv")
    (tmp_path / "soft.csv").symlink_to("my.csv")
    with pytest.raises(UsageError, match="is the file that is read") as caught:
        predict("my.csv", None, out, on_error="stop")
    assert (tmp_path / "my.csv").read_text() == FINE
    predict_as_the_hint_says(caught.value.hint, "my.csv", out)


@pytest.mark.parametrize("what", USERS)
def test_a14_answers_replace_no_file_of_a_users(predict, tmp_path: Path, what: str) -> None:
    USERS[what](tmp_path / "out.csv")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"out\.csv is") as caught:
        predict("my.csv", FINE, "out.csv", on_error="stop")
    assert contents(tmp_path) == {**before, "my.csv": FINE.encode()}
    predict_as_the_hint_says(caught.value.hint, "my.csv", "out.csv")


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet", "text"])
@pytest.mark.parametrize("name", ["out", "out.gz"])
def test_answers_and_rejects_of_an_earlier_time_are_replaced(predict, tmp_path: Path, form: str, name: str) -> None:
    if form == "parquet" and name.endswith(".gz"):
        pytest.skip("Parquet is not compressed a second time")
    place = tmp_path / f"{name}.rejects.jsonl"
    predict("my.csv", BAD, name, form)
    assert is_answers(tmp_path / name)
    assert is_rejects(place)
    assert len(place.read_text().splitlines()) == 1
    predict("my.csv", BAD + "worse\n", name, form)
    assert len(place.read_text().splitlines()) == 2
    predict("my.csv", FINE, name, form)
    assert not place.exists()
    assert is_answers(tmp_path / name)


def test_an_empty_file_and_a_link_to_nothing_may_be_written_to(predict, tmp_path: Path) -> None:
    (tmp_path / "out.csv").touch()
    (tmp_path / "link.csv").symlink_to("target.csv")
    predict("my.csv", FINE, "out.csv")
    predict("my.csv", FINE, "link.csv")
    assert is_answers(tmp_path / "out.csv")
    assert is_answers(tmp_path / "target.csv")


@pytest.mark.parametrize(
    "content",
    [
        b"text,label\ngood,pos\n",
        b"label,probability,tokens,unknown,truncated\n",
        b"tokens,unknown,truncated,low_evidence\n",
        b'{"label": "pos", "probability": 1}\n',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"PAR1 and no more",
        gzip.compress(b"text\ngood\n", mtime=0),
        gzip.compress(b"text\ngood\n" * 99, mtime=0)[:-9],
        b"\x1f\x8bgarbage",
        b'"never closed' + b"x" * 200_000,
    ],
)
def test_what_is_not_an_answer_is_known(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert not is_answers(tmp_path / "x")
    assert not is_rejects(tmp_path / "x")


def test_each_change_of_a_list_of_rejects_is_seen(predict, tmp_path: Path) -> None:
    predict("my.csv", "text,n\n" + "bad\n" * 5)
    place = tmp_path / "my.csv.rejects.jsonl"
    lines = place.read_bytes().splitlines(keepends=True)
    assert is_rejects(place)
    for changed in (
        [lines[0].replace(b'"row": 1', b'"row": 7'), *lines[1:]],
        [lines[0].replace(b'["bad"]', b'["mended"]').replace(b'"bad', b'"mended'), *lines[1:]],
        lines[1:],
        [*lines[:2], *lines[3:]],
        [*lines, b"\n"],
        [*lines, b'{"text": "added"}\n'],
    ):
        place.write_bytes(b"".join(changed))
        assert not is_rejects(place), changed
