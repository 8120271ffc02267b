"""A linear model cross-validated: each row's score is of a model without it, and the kept model is of all rows."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.data.corpus.fit_settings import FEW_ROWS, cross_validate_few
from sentiment_cli.errors import UsageError
from sentiment_cli.runs.predictions import load_validation
from sentiment_cli.workflows.train import fit

CROSSED = ["train.folds=5", "vocabulary.from=[train, valid]", "train.threads=1", "model.linear.min_count=1"]


def write_rows(path: Path, rows: list[tuple[str, ...]], header: str = "text,label") -> Path:
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n", "utf-8")
    return path


def telling(n_rows: int) -> list[tuple[str, ...]]:
    """Rows whose label a word tells, except every tenth."""
    return [
        (f"the {'lovely' if (i % 2) ^ (i % 10 == 0) else 'dreadful'} story number {i}", "pos" if i % 2 else "neg")
        for i in range(n_rows)
    ]


def accuracy_of(source: Path, *settings: str) -> float:
    finished = fit(load_experiment("linear", [f"data.source={source}", *CROSSED, *settings]), "crossed")
    accuracy: float = finished.scores.accuracy  # type: ignore[union-attr]
    return accuracy


def test_no_row_is_scored_by_a_model_that_has_seen_it(tmp_path: Path) -> None:
    """Each row has a word of its own and a label by chance: only a model that was trained on it knows it."""
    draw = random.Random(0)
    rows = [(f"word{i} word{i}x", draw.choice(["pos", "neg"])) for i in range(200)]
    assert accuracy_of(write_rows(tmp_path / "x.csv", rows)) < 0.65


def test_a_group_is_in_one_fold(tmp_path: Path) -> None:
    draw = random.Random(0)
    labels = [draw.choice(["pos", "neg"]) for _ in range(60)]
    rows = [(f"word{i} copy{j}", labels[i], f"g{i}") for i in range(60) for j in range(4)]
    source = write_rows(tmp_path / "x.csv", rows, "text,label,group")
    assert accuracy_of(source, "data.group_column=group") < 0.7
    assert accuracy_of(source, "data.group_column=group", "data.valid.by=row") > 0.9


def test_few_groups_make_fewer_folds(tmp_path: Path) -> None:
    rows = [(*row, f"g{i % 4}") for i, row in enumerate(telling(60))]
    source = write_rows(tmp_path / "x.csv", rows, "text,label,group")
    test = write_rows(tmp_path / "test.csv", telling(5))
    finished = fit(load_experiment("linear", [f"data.source={source}", f"data.test={test}", *CROSSED]), "rows")
    assert (finished.scores.folds, finished.scores.n) == (4, 60)  # type: ignore[union-attr]


def test_forty_rows_are_trained_scored_asked_explained_and_packed(typed: Callable[..., Any], tmp_path: Path) -> None:
    source, test = write_rows(tmp_path / "my.csv", telling(40)), write_rows(tmp_path / "test.csv", telling(9))
    assert typed("train", str(source), "--test", str(test)).code == 0
    run = runs_dir() / "my"
    valid = json.loads((run / "summary.json").read_text())["valid"]
    assert (valid["n"], valid["folds"]) == (40, 10)
    assert valid["accuracy_se"] == pytest.approx((valid["accuracy"] * (1 - valid["accuracy"]) / 40) ** 0.5)
    kept = load_validation(run)
    assert kept is not None
    assert len(kept.ids) == 40
    scored = json.loads(typed("eval", "--split", "valid", "--json").out)
    assert {key: scored[key] for key in ("n", "folds", "accuracy")} == {
        "n": 40,
        "folds": 10,
        "accuracy": valid["accuracy"],
    }
    assert "cross-validated in 10 folds, standard error" in typed("eval", "--split", "valid").out
    assert "cross-validated in 10 folds" in typed("runs", "show", "my").out
    assert json.loads(typed("eval", "--json").out)["n"] == 9
    answer = json.loads(typed("predict", "a lovely story", "--json").out)
    assert answer["label"] == "pos"
    assert typed("predict", "a lovely story", "--explain").code == 0
    assert typed("report", "my").code == 0
    report = (run / "report.html").read_text()
    assert "40 reviews, cross-validated in 10 folds" in report
    assert "scored by a model of the other folds, of 10" in report
    assert typed("export", "my", "--pack", str(tmp_path / "my.model")).code == 0
    assert json.loads(typed("predict", "--run", str(tmp_path / "my.model"), "a lovely story", "--json").out) == answer


def test_a_changed_run_is_not_taken_for_cross_validated(typed: Callable[..., Any], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "my.csv", telling(40))
    assert typed("train", str(source)).code == 0
    other = write_rows(tmp_path / "other.csv", telling(30))
    assert typed("train", str(other)).code == 0
    (runs_dir() / "my" / "validation").rename(tmp_path / "validation")
    (runs_dir() / "other" / "validation").rename(runs_dir() / "my" / "validation")
    made = typed("eval", "my", "--split", "valid")
    assert made.code != 0
    assert "outputs of cross-validation" in made.error


@pytest.mark.parametrize(
    ("settings", "is_crossed"),
    [
        ([], True),
        (["train.refit=false"], False),
        (["data.valid.folds=3", "data.valid.fold=1"], False),
        (["data.valid.source={valid}"], False),
    ],
)
def test_few_rows_are_cross_validated_unless_validation_rows_are_named(
    tmp_path: Path, settings: list[str], is_crossed: bool
) -> None:
    source, valid = write_rows(tmp_path / "my.csv", telling(60)), write_rows(tmp_path / "valid.csv", telling(9))
    named = [one.format(valid=valid) for one in settings]
    found = cross_validate_few(load_experiment("linear", [f"data.source={source}", *named]))
    assert (found.train.folds is not None) is is_crossed
    assert (found.vocabulary.from_ == ("train", "valid")) is is_crossed


def test_many_rows_are_not_cross_validated(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "my.csv", telling(int(FEW_ROWS * 1.3)))
    experiment = load_experiment("linear", [f"data.source={source}"])
    assert cross_validate_few(experiment) is experiment


@pytest.mark.parametrize(
    ("recipe", "settings", "named"),
    [
        ("linear", ["train.refit=false"], "train.refit"),
        ("default", ["train.refit=true"], "model.kind"),
        ("linear", ["data.valid.source=v.csv"], "data.valid.source"),
        ("linear", ["data.valid.folds=3", "data.valid.fold=1"], "data.valid.folds"),
    ],
)
def test_settings_against_cross_validation_are_refused(recipe: str, settings: list[str], named: str) -> None:
    with pytest.raises(UsageError, match=f"train.folds is 5.*{named}"):
        load_experiment(recipe, ["data.source=x.csv", "train.folds=5", *settings])
