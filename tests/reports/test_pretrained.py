"""What is told of runs that pretrain: reports, lists and comparisons by what their task is measured by."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment_cli.cli.runs import list_
from sentiment_cli.config.loader import experiment_yaml, load_experiment
from sentiment_cli.errors import UsageError
from sentiment_cli.evaluation.sequence_metrics import SequenceScores
from sentiment_cli.evaluation.significance import compare_runs
from sentiment_cli.reports.comparison_report import build_comparison
from sentiment_cli.reports.html import render_page
from sentiment_cli.reports.markdown import render_card
from sentiment_cli.reports.run_files import read_run
from sentiment_cli.reports.run_report import build_report
from sentiment_cli.storage import store

LOSS = 2.5
SCORES = {
    "language-model": (SequenceScores(1000, LOSS, math.exp(LOSS)), "perplexity 12.2"),
    "autoencoder": (SequenceScores(1000, LOSS, math.exp(LOSS), accuracy=0.25), "token accuracy 25.00%"),
    "pairs": (SequenceScores(1000, LOSS, math.exp(LOSS), accuracy=0.25, exact=0.125), "exact matches 12.50%"),
    "regions": (SequenceScores(1000, LOSS, perplexity=None), "loss per token 2.5000"),
    "vectors": (SequenceScores(1000, LOSS, perplexity=None), "loss per token 2.5000"),
}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[[str], Path]:
    """Write what a finished run of a task says of itself, without its model."""

    def make(task: str, name: str | None = None) -> Path:
        source = ["data.source=my.csv"] if task == "pairs" else []
        experiment = load_experiment(_plain(tmp_path), [f"task={task}", "text.start=true", *source])
        run = tmp_path / "runs" / (name or task)
        summary = {
            "status": "finished",
            "task": task,
            "source": experiment.data.source,
            "finished_at": 1.0,
            "valid": SCORES[task][0].to_json() if task in SCORES else None,
            "seconds": {"train": 1.0},
            "versions": {},
        }
        row = {"epoch": 1, "step": 9, "train_loss": 3.0, "valid_loss": LOSS, "valid_accuracy": None, "best": True}
        store.write_file(run / "experiment.yaml", experiment_yaml(experiment))
        store.write_file(run / "summary.json", store.dump_json(summary))
        store.append_line(run / "metrics.jsonl", store.dump_json(row).decode().replace("\n", " "))
        return run

    return make


def _plain(folder: Path) -> Path:
    (folder / "plain.yaml").write_text("name: plain\n")
    return folder / "plain.yaml"


@pytest.mark.parametrize("task", SCORES)
def test_a_report_of_a_pretraining_says_what_its_task_is_measured_by(make_run, task: str, capsys) -> None:
    document = build_report(read_run(make_run(task)))
    figure = SCORES[task][1]
    assert document.lead == f"{figure} on 1,000 held-out tokens"
    card = render_card(document).decode()
    assert "sentiment pretrain experiment.yaml" in card
    assert "sentiment eval" not in card
    assert ("perplexity" in card) == (task not in ("vectors", "regions"))
    assert render_page(document)
    list_()
    assert re.search(rf"^{task} +finished +\S+ +{figure.split()[-1]} ", capsys.readouterr().out, re.M)


def test_pretrainings_of_one_task_stand_side_by_side_and_no_others(make_run) -> None:
    one, two, other = (read_run(make_run(*of)) for of in (("vectors",), ("vectors", "second"), ("language-model",)))
    card = render_card(build_comparison([one, two])).decode()
    assert "| second | 1,000 | 2.5000 |" in card
    assert "Validation accuracy" not in card
    for runs in ([one, other], [other, read_run(make_run("classify"))]):
        with pytest.raises(UsageError, match="runs of different tasks have different metrics"):
            build_comparison(runs)


def test_what_does_not_classify_is_not_compared(make_run) -> None:
    runs = [make_run("classify"), make_run("language-model")]
    with pytest.raises(
        UsageError, match="is of task language-model, and what is compared is how runs classify"
    ) as told:
        compare_runs(runs, "test")
    assert told.value.hint == f"sentiment report {runs[1]}"
