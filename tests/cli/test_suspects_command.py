"""`sentiment data suspects` through the command line."""

import json
import re
from pathlib import Path

import pytest

from sentiment_cli.cli import suspects as command
from sentiment_cli.config.paths import data_dir, runs_dir
from sentiment_cli.errors import InterruptedRun
from sentiment_cli.workflows import dependencies

TINY = "model.embedding.width=8 model.encoder.width=8 train.threads=1 train.epochs=2 train.lr=1e-2".split()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings for reviews of one's own, of which one word tells the label, but for that of row 8."""
    monkeypatch.chdir(tmp_path)
    rows = [(f"film {i} was {('dull', 'fresh')[i % 2]}", ("bad", "good")[i % 2]) for i in range(80)]
    rows[7] = (rows[7][0], "bad")
    Path("mine.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return [word for setting in ("data.source=mine.csv", *TINY) for word in ("--set", setting)]


def test_folds_are_trained_once_and_what_was_stopped_goes_on(cli, own: list[str]) -> None:
    suspects = (
        "data",
        "suspects",
        "sample",
        "--folds",
        "2",
        "--set",
        "train.refit=true",
        "--set",
        "train.keep_finished=true",
        *own,
    )
    done = cli(*suspects)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "suspects.jsonl"
    assert re.search(r"^train: 72 reviews, \d+\.\d\d% predicted as labelled, \d+ disputed, ", done.stdout)
    assert re.search(r"^fold 2 of 2: sample-fold-2 predicts the label of \d+\.\d\d% of 36 reviews$", done.stderr, re.M)
    lines = [json.loads(line) for line in Path("suspects.jsonl").read_text().splitlines()]
    assert [one["probability"] for one in lines] == sorted(one["probability"] for one in lines)
    assert {one["split"] for one in lines} == {"train"}
    assert "8" in {one["id"] for one in lines[:3]}
    for run in runs_dir().iterdir():
        assert "refit: false" in (run / "experiment.yaml").read_text()  # a refit reads the fold that is held out
        assert not (run / "evaluation" / "ledger.jsonl").exists()

    same = cli(*suspects)  # as where it was killed behind its file
    assert same.returncode == 0, same.stderr
    list_as_made = Path("suspects.jsonl").read_text()
    Path("suspects.jsonl").write_text("my own notes on them\n")
    refused = cli(*suspects)
    assert Path("suspects.jsonl").read_text() == "my own notes on them\n"
    Path("suspects.jsonl").write_text(list_as_made)
    assert refused.returncode == 2
    assert "suspects.jsonl is there, and is not overwritten\n  try: sentiment data suspects sample " in refused.stderr

    (runs_dir() / "sample-fold-2" / "summary.json").unlink()
    again = cli(*suspects, "--out", "again.jsonl")
    assert again.returncode == 0, again.stderr
    assert "sample-fold-1 is of the same experiment and data, and finished" in again.stderr
    assert f"resuming {runs_dir() / 'sample-fold-2'} after step" in again.stderr
    assert Path("again.jsonl").read_bytes() == Path("suspects.jsonl").read_bytes()
    assert {path.name for path in runs_dir().iterdir()} == {"sample-fold-1", "sample-fold-2"}


def test_test_reviews_are_judged_only_when_asked_by_the_run_of_the_experiment(cli, own: list[str]) -> None:
    run = Path(cli("train", "sample", *own).stdout.strip())
    done = cli("data", "suspects", "sample", "--split", "test", "--out", "out.csv", "--top", "3", "--json", *own)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^test: sample predicts the label of .* of 8 reviews; test opened once for this run$", done.stderr, re.M
    )
    report = json.loads(done.stdout)
    assert (report["file"], report["runs"], list(report["splits"])) == ("out.csv", [run.name], ["test"])
    assert report["splits"]["test"]["n"] == 8
    assert report["splits"]["test"]["estimated_errors"].keys() == {"bad", "good"}
    assert len(Path("out.csv").read_text().splitlines()) == 1 + report["listed"] <= 4
    (line,) = (run / "evaluation" / "ledger.jsonl").read_text().splitlines()
    assert (json.loads(line)["split"], json.loads(line)["command"]) == ("test", "data suspects")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "data.target=stars"], "data.target is stars, and suspects are of rows"),
        (["--set", "data.valid.folds=3", "--set", "data.valid.fold=1"], "each of 5 folds is used in turn"),
        (["--data", "a.csv", "--set", "data.source=b.csv"], "both set data.source"),
        (["--out", "suspects.html"], "the name should end in .jsonl or .csv"),
        (["--folds", "1"], "'--folds'"),
    ],
)
def test_what_cannot_be_judged_is_told_before_any_work(cli, tmp_path: Path, options: list[str], said: str) -> None:
    done = cli("data", "suspects", "sample", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert not data_dir().exists()


def test_an_origin_that_may_know_the_labels_is_warned_of(experiment, capsys) -> None:
    settings = experiment("init_from=quick")
    command._check(settings, command.Split.test, 5)
    assert capsys.readouterr().err == ""
    command._check(settings, command.Split.both, 5)
    assert "warning: init_from is quick: if it was trained on these labels" in capsys.readouterr().err


def test_who_stops_it_is_told_to_give_the_same_command_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    def stop(experiment, name: str) -> Path:
        raise InterruptedRun("interrupted after step 3", "sentiment train --resume sample-fold-1", 15)

    monkeypatch.setattr(dependencies, "find_or_train", stop)
    with pytest.raises(InterruptedRun, match="after step 3") as stopped:
        command.suspects("sample")
    assert stopped.value.hint is None
    assert str(stopped.value).endswith("Run the command again to continue")
    assert stopped.value.exit_code == 143
    assert not list(tmp_path.glob("suspects*"))
