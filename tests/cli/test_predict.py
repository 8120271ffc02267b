"""`sentiment predict` as people use it: lines typed or piped, files, devices that are full, readers that leave."""

import json
import os
import pty
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sentiment_cli.cli.predict import Format, OnError
from sentiment_cli.cli.predict import predict as command
from sentiment_cli.errors import MachineError, SentimentError, UsageError
from sentiment_cli.inference.predictor import Predictor, open_predictor

SENTIMENT = [sys.executable, "-m", "sentiment_cli", "predict"]


@pytest.fixture
def here(quick_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to be in, where the quick run is the newest one."""
    monkeypatch.setenv("SENTIMENT_RUNS", str(quick_run.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def predictor(quick_run: Path) -> Predictor:
    return open_predictor(quick_run / "model")


SHAPES = {"10 MB": "a quite ordinary film, it's fine! " * 300_000, "one token": "x" * 1_000_000, "words": "a " * 10**6}


@pytest.mark.parametrize("shape", SHAPES)
def test_b07_a_text_of_megabytes_is_answered_soon_and_its_truncation_said(predictor: Predictor, shape: str) -> None:
    """In processor time, of which 2 s on two cores are 4, and which other work on the machine lengthens less."""
    began = time.process_time()
    (answer,) = predictor.predict([SHAPES[shape]])
    assert time.process_time() - began < 6
    assert answer.truncated == (shape != "one token")
    assert answer.tokens == {"10 MB": 8 * 300_000, "one token": 1, "words": 10**6}[shape]


def test_b06_b08_b09_every_line_of_a_pipe_has_an_answer(cli, here: Path) -> None:
    lines = [
        "The plot was good.",
        "",
        "   ",
        "!!!",
        "zzzz qqqq",
        "<br />",
        "cafe\u0301 good",
        "caf\u00e9 good",
        "a\0\u2028b",
    ]
    data = "\n".join(lines).encode() + b"\nbad \xff\xfe" + b"\n" + random.Random(0).randbytes(300).replace(b"\n", b"")
    done = cli("predict", "--json", stdin=data)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["text"] for answer in answers[:9]] == lines
    assert len(answers) == len(lines) + 2
    assert [answer["low_evidence"] for answer in answers[:6]] == [False, True, True, True, True, True]
    assert all(0.5 <= answer["probability"] <= 1 for answer in answers)
    assert answers[6]["probability"] == pytest.approx(answers[7]["probability"], abs=1e-6)  # composed or not
    assert "texts have \ufffd, which stands for what was no UTF-8" in done.stderr
    assert "texts have no known word; the answer is a guess (2, 3, 4, 5, 6" in done.stderr


def test_b09_a_line_typed_is_answered_at_once_and_never_obeyed(here: Path) -> None:
    leader, follower = pty.openpty()
    narrow = os.environ | {"COLUMNS": "40"}
    with subprocess.Popen(
        [*SENTIMENT, "--file", "-"], stdin=follower, stdout=follower, stderr=subprocess.PIPE, env=narrow
    ) as typed:
        os.close(follower)
        answers = []
        for line in ("zzzz\n", "good \u202e " + "film " * 40 + "\n"):
            os.write(leader, line.encode())
            shown = b""
            while shown.count(b"\n") < 2:  # the terminal's own echo of the line, and the answer
                shown += os.read(leader, 65536)
            answers.append(shown.decode().replace("\r", "").split("\n")[1])
        os.write(leader, b"\x04")
        assert typed.stderr is not None
        talk = typed.stderr.read().decode()
    assert typed.returncode == 0
    os.close(leader)
    assert answers[0].endswith("\tzzzz")
    assert answers[1].split("\t")[2].startswith(r"good \u202e film")
    assert len(answers[1].expandtabs()) == 40
    assert answers[1].endswith("…")
    assert "text 1 has no known word; the answer is a guess" in talk


def test_f08_f19_pipes_that_are_full_closed_or_left(here: Path) -> None:
    (here / "many.csv").write_text("text\n" + "The plot was good.\n" * 9000)

    def run(script: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail; {script}", "sh", *SENTIMENT], capture_output=True, text=True
        )

    full = run('"$@" --file many.csv --format csv >/dev/full')
    assert (full.returncode, full.stdout) == (4, "")
    assert "No space left" in full.stderr
    left = run('"$@" --file many.csv | head -1')
    assert left.returncode == 0, left.stderr
    assert "Traceback" not in left.stderr
    assert json.loads(left.stdout)["text"] == "The plot was good."


def test_files_through_the_command_line(cli, here: Path, predictor: Predictor) -> None:
    texts = ["The plot was good.", "=It was dull.", "The music was lovely, and long."]
    lines = [json.dumps({"n": i, "said": text}) for i, text in enumerate(texts)]
    (here / "in.jsonl").write_text("\n".join([*lines, "{broken"]))
    done = cli("predict", "--file", "in.jsonl", "--text-column", "said", "--out", "out.csv", "--on-error", "skip")
    assert (done.returncode, done.stdout) == (0, "")
    assert "4 rows in, 3 out, 1 rejected" in done.stderr
    assert len((here / "out.csv.rejects.jsonl").read_text().splitlines()) == 1
    rows = (here / "out.csv").read_text().splitlines()
    assert rows[0].startswith("n,said,label,probability,probability_neg,probability_pos,tokens")
    assert rows[2].startswith("1,'=It was dull.,")
    assert float(rows[1].split(",")[3]) == pytest.approx(predictor.predict(texts)[0].probability, abs=1e-6)


@pytest.mark.parametrize(
    ("how", "said", "hint"),
    [
        ({"text": ["a"], "file": "x.csv"}, "TEXT and --file are both given", "without a"),
        ({"text": ["a"], "text_column": "b"}, "--text-column goes with a table", "without --text-column"),
        ({"file": "x.csv", "out": Path("o.xlsx")}, "--out o.xlsx: .xlsx is none of .jsonl", "--format jsonl"),
        ({"file": "x.csv", "form": Format.parquet}, "Parquet is written to a file of its own", "--out answers.parquet"),
        ({"file": "x.csv", "out": Path("o.parquet.gz")}, "Parquet is written to a file of its own", "--out answers"),
        ({"file": "x.csv", "form": Format.csv, "as_json": True}, "--json and --format csv", "without --json"),
        ({"file": "x.csv", "text_column": "b"}, "has no column 'b'; it has 'text'", "--set data.text_column=text"),
        ({"file": "x.csv", "explain": True}, "do not read tables, such as x.csv", "sentiment predict --explain"),
        ({"file": "x.csv", "trace": True, "form": Format.csv}, "need JSON Lines or text, not csv", "--format jsonl"),
        (
            {"text": ["a"], "explain": True, "on_error": OnError.skip},
            "do not go with --on-error skip",
            "without --on-error",
        ),
        (
            {"text": ["a"], "trace": True, "out": Path("why.jsonl.gz")},
            "cannot write compressed files, such as why",
            "--out why.jsonl",
        ),
        ({"text": ["a"], "html": Path("why.html.GZ")}, "cannot write compressed", "--html why.html"),
        ({"file": "bad.jsonl"}, r"bad.jsonl, row 1 \(line 1\): its text is missing, not text", "--on-error skip"),
    ],
)
def test_what_cannot_be_meant_is_said_before_a_model_is_loaded(
    tmp_path, monkeypatch, how, said: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("text\ngood\n")
    (tmp_path / "bad.jsonl").write_text('{"text": null}\n')
    with pytest.raises(SentimentError, match=said) as caught:
        command(**how)
    assert hint in str(caught.value.hint)
    assert isinstance(caught.value, UsageError) or caught.value.exit_code == 3


def test_a_name_longer_than_any_file_s_is_the_machine_s_error(here: Path) -> None:
    with pytest.raises(MachineError, match="File name too long"):
        command(["good"], out=Path("x" * 300 + ".jsonl"))


@pytest.mark.parametrize(
    ("out", "file", "form", "expected"),
    [
        (None, None, None, "text"),
        (None, "x.csv", None, "jsonl"),
        ("o.csv", None, None, "csv"),
        ("o.CSV.gz", "x.csv", None, "csv"),
        ("o.ndjson", None, None, "jsonl"),
        ("o.txt", "x.csv", None, "text"),
        ("o", "x.csv", None, "jsonl"),
        ("o", "x.txt", None, "text"),
        ("o.csv", "x.csv", Format.tsv, "tsv"),
    ],
)
def test_the_form_is_as_asked_or_as_named_or_as_suits(tmp_path, monkeypatch, out, file, form, expected: str) -> None:
    from sentiment_cli.cli.predict import _format, _source

    monkeypatch.chdir(tmp_path)
    for name in ("x.csv", "x.txt"):
        (tmp_path / name).write_text("text\ngood\n")
    source = _source([] if file else ["good"], file, None, OnError.stop)
    assert _format(form, out and Path(out), False, source) == expected
