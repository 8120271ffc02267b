"""The main screens at 80 and 120 columns: golden texts, and no line wider than the terminal."""

import io
import json
import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sentiment_cli import console
from sentiment_cli.cli.runs_table import cells, grouped, list_entry
from sentiment_cli.cli.scores import score_lines
from sentiment_cli.config.catalogue import RECIPES
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.recipes import recipe_names, recipe_path
from sentiment_cli.evaluation.evaluate import Evaluation
from sentiment_cli.evaluation.metrics import Scores, score, wilson_interval
from sentiment_cli.evaluation.slices import Slice
from sentiment_cli.runs.directory import all_runs
from sentiment_cli.storage import locks

ROOT = Path(__file__).parents[2]
EVALUATION_80 = """\
imdb-lstm on 25,000 test rows (opened once)

  accuracy  89.9 %   95 % interval 89.5 to 90.3
  F1 0.899   AUC 0.963   log loss 0.246   calibration error 0.009
  without 123 rows also in the training data: 89.9 % (89.5 to 90.3), n 24,877

             predicted neg  predicted pos  recall
  truly neg         11,290          1,210  90.3 %
  truly pos          1,310         11,190  89.5 %

Weakest parts             accuracy      n
4-star reviews              80.2 %  2,635
7-star reviews              81.2 %  2,307
over 10 % unknown words     85.1 %  1,381
512 to 2,469 tokens long    87.4 %  2,513

More:  sentiment report imdb-lstm
       sentiment eval imdb-lstm --slice length
"""


def _part(name: str, value: str, accuracy: float, n: int) -> Slice:
    return Slice(name, value, n, accuracy, wilson_interval(round(accuracy * n), n))


def _evaluation() -> Evaluation:
    confusion = ((11_290, 1_210), (1_310, 11_190))
    scores = Scores(
        25_000, 0.8992, (0.8954, 0.9029), 0.246, 0.8992, {"neg": 0.8996, "pos": 0.8988}, 0.963, 0.07, 0.009, confusion,
        precision_per_label={"neg": 0.896, "pos": 0.902}, recall_per_label={"neg": 0.9032, "pos": 0.8952},
    )  # fmt: skip
    unseen = Scores(24_877, 0.8991, (0.8953, 0.9028), 0.246, 0.899, {}, 0.963, 0.07, 0.009, ())
    slices = (
        _part("stars", "4", 0.802, 2_635),
        _part("stars", "7", 0.812, 2_307),
        _part("stars", "10", 0.95, 4_999),
        _part("length", "512 to 2,469", 0.874, 2_513),
        _part("negation", "no", 0.90, 2_000),
        _part("unknown", "over 10 %", 0.851, 1_381),
        _part("movie", "m1", 0.2, 60),
        _part("truncated", "yes", 0.5, 12),
    )
    return Evaluation("test", scores, unseen, slices=slices, openings=1, n_known=123)


def test_an_evaluation_on_a_terminal_of_80_columns() -> None:
    assert "\n".join(score_lines(Path("runs/imdb-lstm"), _evaluation(), 80)) + "\n" == EVALUATION_80


def test_an_evaluation_on_a_wide_terminal_wraps_nothing() -> None:
    assert "\n".join(score_lines(Path("runs/imdb-lstm"), _evaluation(), 120)) + "\n" == EVALUATION_80


@pytest.mark.parametrize("n_labels", [2, 4, 30])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_evaluations_of_any_labels_fit_the_terminal(n_labels: int, width: int) -> None:
    rng = np.random.default_rng(0)
    labels = tuple(f"a rather long label {i}" for i in range(n_labels))
    truth = rng.integers(n_labels, size=500)
    found = Evaluation("test", score(truth, rng.dirichlet(np.ones(n_labels), 500), labels))
    lines = list(score_lines(Path("runs/x"), found, width))
    assert all(len(line) <= width for line in lines), max(lines, key=len)
    assert sum("a rather long label" in line for line in lines) >= n_labels


def test_only_a_terminal_gets_the_short_form(typed, quick_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_RUNS", str(quick_run.parent))
    monkeypatch.setenv("SENTIMENT_DATA", str(quick_run.parents[1] / "data"))
    piped = typed("eval", "quick", "--split", "valid").out
    assert re.match(r"accuracy \d\d\.\d\d%   95 % interval", piped)
    monkeypatch.setattr(console, "terminal_width", lambda: 80)
    shown = typed("eval", "--run", "quick", "--split", "valid", "--slice", "length", "--reliability").out
    assert shown.startswith("quick on 204 valid rows\n\n  accuracy  ")
    assert "worst" in shown
    assert "confidence" in shown


@pytest.mark.parametrize("width", [80, 120, None])
def test_the_recipes_are_listed_in_groups_with_figures(typed, width: int | None, monkeypatch) -> None:
    monkeypatch.setattr(console, "terminal_width", lambda: width)
    out = typed("recipes", "list").out
    lines = out.splitlines()
    assert lines[:3] == ["NAME              TEST %    TIME  WHAT", "", "start here"]
    assert "linear             91.87    10 s  logistic regression on word n-grams" in lines
    assert "lstm-bi            89.86   5 min  LSTM in both directions" in lines
    assert "\npretraining (sentiment pretrain NAME)\n" in out
    assert all(len(line) <= (width or 120) for line in lines)


def test_the_recipes_as_json(typed) -> None:
    rows = json.loads(typed("recipes", "list", "--json").out)
    assert {row["name"] for row in rows} == set(recipe_names())
    assert next(row["test"] for row in rows if row["name"] == "linear") == 91.87


def test_every_recipe_is_described() -> None:
    assert set(recipe_names()) <= set(RECIPES)


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.test is not None])
def test_the_figures_of_recipes_are_the_measured_ones(name: str) -> None:
    rows = re.findall(r"^\| .*? \| `(\S+)` \| \S+ \| .*? \| ([\d.]+)", (ROOT / "docs/leaderboard.md").read_text(), re.M)
    figure = f"{RECIPES[name].test:.2f}"
    assert dict(rows).get(name, figure) == figure
    assert name in dict(rows) or f"{figure} " in recipe_path(name).read_text()


def _run(name: str, finished_at: float = 0, valid: float = 0.9, test: float | None = None) -> Path:
    run = runs_dir() / name
    run.mkdir(parents=True)
    (run / "experiment.yaml").write_text(f"name: {name}\n")
    if finished_at:
        scores = score(np.array([0, 1]), np.eye(2), ("neg", "pos")).to_json()
        summary = {"status": "finished", "source": "imdb", "finished_at": finished_at}
        (run / "summary.json").write_text(json.dumps({**summary, "valid": {**scores, "accuracy": valid}}))
        if test is not None:
            (run / "evaluation").mkdir()
            (run / "evaluation" / "test.json").write_text(json.dumps({**scores, "accuracy": test}))
    return run


def test_runs_are_listed_with_their_scores_and_seeds_share_a_line(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for seed in range(3):
        _run(f"gru-seed{seed}", 1_000_000 + seed, 0.9 + seed / 100)
    _run("default-fold-1", 1_000_010, 0.8)
    _run("mine", 1_000_020, 0.91, 0.905)
    _run("killed")
    out = typed("runs", "list").out.splitlines()
    assert out[0].split() == ["NAME", "STATE", "DATA", "VALID", "TEST", "SIZE", "WHEN"]
    assert [line.split()[0] for line in out[1:]] == ["killed", "gru", "default-fold-1", "mine"]
    assert re.fullmatch(r"gru \(3 seeds\) +finished +imdb +91\.00% +0\.0 MB +1970-01-12 13:46", out[2])
    assert re.fullmatch(r"mine +finished +imdb +91\.00% +90\.50% +0\.0 MB +1970-01-12 13:47", out[4])
    assert len(typed("runs", "list", "--all").out.splitlines()) == 7
    rows = json.loads(typed("runs", "list", "--json").out)
    assert [row["name"] for row in rows][-1] == "mine"
    assert (rows[-1]["valid"], rows[-1]["test"], rows[-1]["state"]) == (0.91, 0.905, "finished")
    monkeypatch.setattr(console, "terminal_width", lambda: 50)
    narrow = typed("runs", "list").out.splitlines()
    assert narrow[0].split() == ["NAME", "STATE", "DATA", "VALID", "TEST"]
    assert all(len(line) <= 50 for line in narrow)


def test_a_run_that_is_training_shows_its_process_and_epoch() -> None:
    run = _run("busy")
    (run / "run.json").write_text(json.dumps({"id": "1", "pid": os.getpid()}))
    with locks.held(run, print):
        (entry,) = [list_entry(one) for one in all_runs()]
        assert (entry["state"], entry["pid"], entry["epoch"]) == ("training", os.getpid(), 1)
        assert cells(grouped([entry], is_folded=True)[0])[1] == f"training (epoch 1, pid {os.getpid()})"


def test_a_run_as_json_holds_its_summary_and_files(typed) -> None:
    _run("mine", 1_000_020, 0.91, 0.905)
    found = json.loads(typed("runs", "show", "mine", "--json").out)
    assert (found["name"], found["test"], found["summary"]["status"]) == ("mine", 0.905, "finished")
    assert set(found["files"]) == {"experiment.yaml", "summary.json", "evaluation/test.json"}


@pytest.mark.parametrize(("other", "expected"), [("sample", []), ("default", ["name", "data.source"])])
def test_differences_as_json(typed, other: str, expected: list[str]) -> None:
    found = json.loads(typed("config", "diff", "sample", other, "--json").out)
    assert [row["key"] for row in found][:2] == expected
    assert all(set(row) == {"key", "a", "b"} for row in found)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("columns", "shown", "hidden"),
    [
        (60, ["epoch 2/7", "43 %", "loss 0.431", "10 min left"], ["tokens/s"]),
        (80, ["epoch 2/7", "43 %", "loss 0.431", "10 min left"], ["best"]),
        (120, ["epoch 2/7", "43 %", "loss 0.431", "10 min left", "43,886 tokens/s", "best 64.64%"], []),
    ],
)
def test_the_bar_shows_what_matters_first_and_the_rest_where_there_is_room(
    columns: int, shown: list[str], hidden: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    note = "loss 0.431  10 min left  43,886 tokens/s  best 64.64% valid accuracy"
    with console.progress("epoch 2/7", 100) as bar:
        bar.update(43, note)
        bar._bar.refresh()
    frames = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", terminal.getvalue()).replace("\r", "\n").splitlines()
    (line,) = {frame.rstrip() for frame in frames if "43 %" in frame}
    assert len(line) <= columns
    assert "━" in line or "-" in line
    assert all(one in line for one in shown), line
    assert not any(one in line for one in hidden), line


def test_the_bar_says_the_time_left_where_the_note_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with console.progress("download", 100) as bar:
        bar.update(50, "42 MB")
        bar._bar.refresh()
    assert re.search(r"42 MB  \d+ s left", terminal.getvalue())
