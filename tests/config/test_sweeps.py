"""A sweep's file: what it may hold, and how each mistake is shown."""

import typing
from pathlib import Path

import pytest

from sentiment_cli.config.sweeps import SearchRange, Sweep, load_sweep
from sentiment_cli.config.train_settings import Train
from sentiment_cli.errors import UsageError

GOOD = """tune: sample
search:
  train.lr: {from: 1e-4, to: 1e-2, scale: log}
  model.encoder.width: [8, 16]
  model.dropout: {from: 0, to: 0.7}
  vocabulary.size: {from: 500, to: 4000, scale: log}
trials: 12
method: random
prune: none
monitor: accuracy
seed: 3
"""


def load(text: str, *overrides: str) -> Sweep:
    return load_sweep(Path("sweep.yaml"), text.encode(), list(overrides))


def test_ranges_choices_and_the_experiment_are_read() -> None:
    sweep = load(GOOD, "train.epochs=2")
    assert sweep.search == {
        "train.lr": SearchRange(1e-4, 1e-2, True, False),
        "model.encoder.width": (8, 16),
        "model.dropout": SearchRange(0, 0.7, False, False),
        "vocabulary.size": SearchRange(500, 4000, True, True),
    }
    assert (sweep.trials, sweep.method, sweep.prune, sweep.monitor, sweep.seed) == (12, "random", "none", "accuracy", 3)
    assert sweep.experiment.train.epochs == 2
    assert sweep.experiment.train.monitor == "accuracy"
    assert sweep.name == "sweep"


def test_what_is_left_out_has_a_default() -> None:
    sweep = load("tune: sample\nsearch: {model.dropout: [0.1, 0.2]}\n")
    assert (sweep.trials, sweep.method, sweep.prune, sweep.seed) == (30, "tpe", "median", 0)
    assert sweep.monitor == sweep.experiment.train.monitor


def test_an_experiment_beside_the_sweep_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\ndata: {source: sample}\n")
    sweep = load_sweep(tmp_path / "s.yaml", b"tune: mine.yaml\nsearch: {model.dropout: [0.1]}\n", [])
    assert sweep.experiment.name == "mine"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train.lr: {from: -1, to: 1e-2}", "sweep.yaml:3:20: train.lr is -1: it should be greater than 0"),
        ("train.lr: {from: 1e-3, to: nine}", "sweep.yaml:3:30: train.lr is 'nine': it should be a valid number"),
        ("model.encoder.widht: [8]", "sweep.yaml:3:3: model.encoder.widht is not a setting"),
        ("model.encoder.width: [8, x]", "sweep.yaml:3:28: model.encoder.width is 'x'"),
        ("model.encoder.cell: [lstm, grü]", "sweep.yaml:3:30: model.encoder.cell is 'grü'"),
        ("model.dropout: {from: 0, to: 1.7}", "sweep.yaml:3:32: model.dropout is 1.7"),
        ("model.dropout: {from: 0.5, to: 0.1}", "sweep.yaml:3:34: model.dropout goes from 0.5 to 0.1"),
        ("model.dropout: {from: 0, to: 0.5, scale: log}", "log of a number that is not above 0"),
        ("model.dropout: {from: 0.1, to: 0.5, scale: lg}", "scale 'lg', not linear or log"),
        ("model.dropout: {form: 0.1, to: 0.5}", "model.dropout needs {from: …, to: …, scale: log} or a list"),
        ("model.dropout: 0.5", "sweep.yaml:3:18: model.dropout needs"),
        ("model.dropout: []", "model.dropout has no values to choose from"),
        ("data.test: [x.csv]", "sweep.yaml:3:3: data.test is not searched"),
        ("data.valid.share: [0.1]", "data.valid.share is not searched"),
        ("seed: [1, 2]", "sweep.yaml:3:3: seed is not searched"),
        ("train.monitor: [loss]", "train.monitor is not searched"),
    ],
)
def test_mistakes_in_the_search_are_shown_where_they_are(line: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(f"tune: sample\nsearch:\n  {line}\n")
    assert expected in str(caught.value)
    assert "Nothing was downloaded or written" in str(caught.value)
    assert f"    3 |   {line}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("search: {model.dropout: [0.1]}\n", "a sweep names its experiment"),
        ("- a\n", "a sweep names its experiment"),
        ("tune: sample\n", "search has the settings and their ranges"),
        ("tune: sample\nsearch: {model.dropout: [0.1]}\ntrails: 5\n", "trails is not a key of a sweep"),
        ("tune: sample\nsearch: {model.dropout: [0.1]}\nmethod: tp\n", "method is 'tp', not one of tpe, random, grid"),
        ("tune: sample\nsearch: {model.dropout: [0.1]}\nmonitor: test\n", "monitor is 'test'"),
        ("tune: sample\nsearch: {model.dropout: [0.1]}\ntrials: 0\n", "trials is 0, not a whole number from 1"),
        ("tune: sample\nsearch: {model.dropout: {from: 0, to: 0.5}}\nmethod: grid\n", "a grid needs a list of values"),
        ("tune: sample\nsearch: {model.dropout: [0.1]}\nseed: 1\nseed: 2\n", "seed is set twice"),
        ("tune: imdb-lm\nsearch: {model.dropout: [0.1]}\n", "tune searches classifiers"),
    ],
)
def test_mistakes_of_the_file_are_shown_where_they_are(text: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(text)
    assert expected in str(caught.value)
    assert "sweep.yaml:" in str(caught.value)


def test_all_mistakes_are_shown_at_once() -> None:
    with pytest.raises(UsageError, match="3 problems in sweep"):
        load("tune: sample\nsearch:\n  model.dropout: [7]\n  train.lr: [0]\ntrials: x\n")


@pytest.mark.parametrize("monitor", typing.get_args(Train.model_fields["monitor"].annotation))
def test_a_sweep_takes_the_monitors_that_its_experiment_can_have(monitor: str) -> None:
    text = f"tune: sample\nsearch: {{model.dropout: [0.1]}}\nmonitor: {monitor}\n"
    target = {"micro_f1": "multilabel", "qwk": "ordinal"}.get(monitor)
    if target is None:
        assert load(text).monitor == monitor
        return
    with pytest.raises(UsageError, match=rf"sweep.yaml:3:10: monitor {monitor} .*data.target"):
        load(text)
    assert load(text, f"data.target={target}", "data.source=my.csv").monitor == monitor
