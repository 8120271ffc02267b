"""The command line, in processes of its own: what it prints, where, and with which exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment_cli.config.paths import runs_dir

QUICK = ("--set", "train.epochs=1", "--set", "model.encoder.width=8")
NO_TORCH = "import sys; from sentiment_cli.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"


def test_the_whole_pipeline_on_the_sample(cli, tmp_path: Path) -> None:
    trained = cli("train", "sample", "--json", *QUICK)
    assert trained.returncode == 0, trained.stderr
    report = json.loads(trained.stdout)
    assert report.keys() == {"run", "valid", "seconds", "tokens_per_second"}
    assert Path(report["run"]) == runs_dir() / "sample"
    assert "epoch   step  train loss" in trained.stderr

    again = cli("train", "sample", *QUICK)
    assert again.stdout.splitlines()[-1] == str(runs_dir() / "sample-2")
    assert "prepared before" in again.stderr

    evaluated = cli("eval", "sample", "--json")
    scores = json.loads(evaluated.stdout)
    keys = {"run", "split", "n", "accuracy", "accuracy_ci95", "loss", "f1", "auc", "brier", "ece", "confusion"}
    assert keys <= scores.keys()
    assert scores["n"] == 1000
    assert sum(map(sum, scores["confusion"])) == 1000
    low, high = scores["accuracy_ci95"]
    assert low < scores["accuracy"] < high
    assert {"precision", "recall", "precision_per_label", "average_precision", "slices", "reliability"} <= scores.keys()
    assert scores["calibration"]["ece_after"] == scores["ece"]
    assert scores["test_openings"] == 1
    assert json.loads((runs_dir() / "sample" / "evaluation" / "test.json").read_text())["slices"] == scores["slices"]
    lines = (runs_dir() / "sample" / "evaluation" / "test-predictions.jsonl").read_text().splitlines()
    assert len(lines) == 1000
    right = sum(max(p := json.loads(line)["probabilities"], key=p.get) == json.loads(line)["label"] for line in lines)
    assert right / 1000 == scores["accuracy"]

    newest = cli("eval", "--split", "valid")
    assert newest.stdout.startswith("accuracy ")
    assert {line.split()[0] for line in newest.stdout.splitlines()} >= {"loss", "truth", "stars", "length", "movie"}
    assert "opened" not in newest.stdout
    assert f"run: {runs_dir() / 'sample-2'}" in newest.stderr
    assert "only runs on the bundled sample" in newest.stderr

    asked = cli("eval", "sample", "--slice", "stars", "--reliability")
    assert "test opened 2 times for this run" in asked.stdout
    assert "confidence " in asked.stdout
    slices = asked.stdout.splitlines()
    rows = [line.split()[0] for line in slices[next(i for i, line in enumerate(slices) if line[:5] == "slice") + 1 :]]
    assert set(rows) == {"stars"}

    predicted = cli("predict", "--json", "--run", "sample", "The plot was good.", "It was \x1b[2J dull.")
    answers = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == ["The plot was good.", "It was \x1b[2J dull."]
    keys = ["text", "label", "probability", "probabilities", "tokens", "unknown", "truncated", "low_evidence"]
    assert list(answers[0]) == keys

    texts = "The plot was good.\n\nIt was \x1b[2J dull.\r\nno newline at the end"
    piped = cli("predict", "--run", str(runs_dir() / "sample"), stdin=texts)
    rows = [line.split("\t") for line in piped.stdout.splitlines()]
    assert [row[2] for row in rows] == ["The plot was good.", "", r"It was \x1b[2J dull.", "no newline at the end"]
    (tmp_path / "texts").write_text(texts)
    filed = cli("predict", "--run", "sample", "--file", str(tmp_path / "texts"), "--out", str(tmp_path / "answers"))
    assert filed.stdout == ""
    assert (tmp_path / "answers").read_text() == piped.stdout

    straight = cli("predict", "--run", "sample", "--out", "/dev/stdout", "good")
    assert straight.stdout.endswith("\tgood\n")

    (runs_dir() / "sample" / "model" / "graph.onnx").write_bytes(b"")
    (runs_dir() / "sample-2" / "summary.json").write_text("{}")
    assert "sample-2/summary.json is damaged" in cli("runs", "list").stderr
    damaged = cli("predict", "--run", "sample", "good")
    assert (damaged.returncode, damaged.stdout) == (3, "")
    assert "graph.onnx is damaged" in damaged.stderr


@pytest.mark.parametrize(
    ("args", "code", "said", "hint"),
    [
        (["eval"], 2, "there is no trained classifier in", "sentiment train"),
        (["eval", "nosuch"], 2, "there is no run 'nosuch'", "sentiment train"),
        (["predict", ""], 2, "the text is empty", "sentiment predict"),
        (["predict", "good", " \n"], 2, "text 2 is empty", "sentiment predict"),
        (["predict", "good", "--file", "x"], 2, "TEXT and --file are both given", "sentiment predict"),
        (["train", "nosuch.yaml"], 2, "nosuch.yaml: no such file", "sentiment recipes list"),
        (
            ["train", "--set", "train.lrr=1"],
            2,
            "train.lrr is not a setting (did you mean train.lr?)",
            "sentiment train --set train.lr=1",
        ),
        (["train", "--name", "../up", "sample"], 2, "is not a run name", "sentiment train --name up sample"),
        (
            ["train", "--set", "train.device=cuda:99", "sample"],
            2,
            "train.device is cuda:99",
            "sentiment train --set train.device=auto sample",
        ),
        (["prepare"], 3, "SENTIMENT_IMDB names nowhere, which does not exist", "unset SENTIMENT_IMDB"),
        (["train", "--nosuch"], 2, "--nosuch", ""),
        (["eval", "a" * 300], 2, "there is no run", "sentiment train"),
        (["train", "a" * 300], 2, "there is no experiment", "sentiment recipes list"),
        (["predict", "--file", "nosuch"], 3, "--file is nosuch: it cannot be read", "ls"),
    ],
)
def test_bad_input_is_one_line_and_a_next_command(cli, args, code, said, hint) -> None:
    done = cli(*args, SENTIMENT_IMDB="nowhere")
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert said in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert not runs_dir().exists()


def test_help_imports_nothing_that_only_experiments_need() -> None:
    program = (
        "import sys, sentiment_cli.cli as cli; cli.whole_command()\n"  # as --help lists every command
        "print(sorted({'pydantic', 'yaml', 'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["train", "--set", "a=1"],
        ["train", "nosuch"],
        ["eval", "x"],
        ["config", "check", "x"],
    ],
)
def test_invariant_12_help_and_config_errors_never_import_torch(args: list[str]) -> None:

    done = subprocess.run([sys.executable, "-c", NO_TORCH, *args], capture_output=True, text=True)
    assert done.stdout.endswith("False\n")


def test_a_run_that_is_no_run(cli, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    assert "is not a run" in cli("eval", str(tmp_path / "dir")).stderr
    (tmp_path / "dir" / "experiment.yaml").write_text("name: x\n")
    assert "holds no trained model" in cli("eval", str(tmp_path / "dir")).stderr


def test_a_real_run_is_preferred_to_a_newer_one_on_the_sample(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from sentiment_cli.runs.directory import find_run
    from sentiment_cli.storage import store

    for name, source, status, at in [
        ("old", "imdb", "finished", 1),
        ("real", "imdb", "finished", 2),
        ("half", "imdb", "interrupted", 4),
        ("toy", "sample", "finished", 3),
    ]:
        (runs_dir() / name / "model").mkdir(parents=True)
        summary = {"status": status, "source": source, "finished_at": at, "valid": None}
        store.write_file(runs_dir() / name / "summary.json", store.dump_json(summary))
        store.write_file(runs_dir() / name / "experiment.yaml", b"name: x\n")
    assert find_run(None) == runs_dir() / "real"
