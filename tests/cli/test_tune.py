"""`sentiment tune` with real trainings."""

import json
import sys
from pathlib import Path

import pytest

SMALL = ["model.embedding.width=4", "train.epochs=1", "train.threads=1", "train.device=cpu"]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    search = "search: {model.encoder.width: [4, 8]}\nmethod: grid\nprune: none\nmonitor: accuracy\n"
    Path("mine.yaml").write_text(f"tune: sample\n{search}")
    return ["tune", "mine.yaml", *(word for one in SMALL for word in ("--set", one))]


def test_trials_are_runs_and_the_best_is_an_experiment(typed, sweep: list[str], capsys) -> None:
    found = typed(*sweep)
    assert found.code == 0
    lines = found.out.splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith("runs/mine")
    directory = Path(lines[-1])
    trial = json.loads((directory / "trials/trial-0000/summary.json").read_text())
    assert trial["status"] == "finished"
    assert typed("config", "check", str(directory / "best.yaml")).code == 0
    again = typed(*sweep, "--json")
    assert "Of many trials the best is flattered" in (directory / "best.yaml").read_text()
    page = (directory / "report.html").read_text()
    assert "accuracy by trial" in page
    assert "<svg" in page
    report = json.loads(again.out)
    assert report["trials"] == 2
    assert report["best"]["values"].keys() == {"model.encoder.width"}
    assert typed("runs", "list").out.count("trial-") == 0, "trials are not among the runs"


def test_a_search_that_needs_optuna_says_how_to_install_it(typed, sweep: list[str], monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    Path("mine.yaml").write_text("tune: sample\nsearch: {model.dropout: [0.1, 0.2]}\n")
    found = typed(*sweep)
    assert found.code == 4
    assert "sentiment tune needs Optuna" in found.error
    assert found.hint == "pip install 'sentiment-cli[tune]'"


def test_a_sweep_that_is_not_there_or_wrong_is_refused_before_anything_slow(typed, sweep: list[str]) -> None:
    assert typed("tune", "none.yaml").code == 2
    Path("mine.yaml").write_text("tune: sample\nsearch: {train.lr: [0]}\n")
    found = typed(*sweep)
    assert found.code == 2
    assert "train.lr is 0: it should be greater than 0" in found.error
    assert typed("tune", "mine.yaml", "--jobs", "0").code == 2
