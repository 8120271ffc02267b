import json
import shutil
from pathlib import Path

import pytest

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.errors import UsageError
from sentiment_cli.workflows.seeds_and_folds import fit_folds, fit_seeds, reproduce, spread

TINY = ("model.encoder.width=4", "model.embedding.width=4", "train.epochs=1", "train.threads=1", "train.max_steps=3")


def test_spread_is_mean_and_sample_standard_deviation() -> None:
    assert spread([1.0, 2.0, 3.0, 6.0]) == pytest.approx((3.0, (14 / 3) ** 0.5))


def test_each_seed_is_a_run(experiment) -> None:
    finished = fit_seeds(experiment(*TINY, "seed=3"), 2, "many")
    assert [one.directory.name for one in finished] == ["many-seed3", "many-seed4"]
    assert "seed: 4\n" in (finished[1].directory / "experiment.yaml").read_text()
    assert finished[0].scores != finished[1].scores


def test_each_fold_is_a_run_on_its_own_rows(experiment) -> None:
    one, two = fit_folds(experiment(*TINY), 2, None)
    assert [run.directory.name for run in (one, two)] == ["sample-fold-1", "sample-fold-2"]
    saved = [load_experiment(run.directory / "experiment.yaml") for run in (one, two)]
    assert [(which.data.valid.folds, which.data.valid.fold) for which in saved] == [(2, 1), (2, 2)]
    first, second = (prepare(which, ("train", "valid")) for which in saved)
    assert set(first.ids("train")) == set(second.ids("valid"))
    assert set(first.ids("valid")) == set(second.ids("train"))
    assert not set(first.split("train").group_N) & set(first.split("valid").group_N)
    assert first.vocabulary != second.vocabulary


def test_a_run_is_reproduced_byte_by_byte(quick_run: Path, tmp_path: Path, cli) -> None:
    shutil.copytree(quick_run, runs_dir() / "quick")
    again = reproduce(runs_dir() / "quick")
    assert (again.is_same, again.differences) == (True, [])
    assert again.directory == runs_dir() / "quick-again"
    summary = json.loads((runs_dir() / "quick" / "summary.json").read_text())
    summary["fingerprint"].update({"weights": "0" * 64, "versions.torch": "2.0.0"})
    (runs_dir() / "quick" / "summary.json").write_text(json.dumps(summary))
    other = cli("reproduce", "quick")
    assert other.returncode == 3
    assert "versions.torch: 2.0.0 -> " in other.stdout
    assert f"{runs_dir() / 'quick-again-2'} differs from {runs_dir() / 'quick'}" in other.stderr
    summary["status"] = "interrupted"
    (runs_dir() / "quick" / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(UsageError, match="is interrupted, not finished"):
        reproduce(runs_dir() / "quick")


def test_the_command_prints_the_spread(cli) -> None:
    settings = [part for setting in TINY for part in ("--set", setting)]
    done = cli("train", "sample", "--seeds", "2", "--json", *settings)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [Path(run).name for run in report["runs"]] == ["sample-seed0", "sample-seed1"]
    assert report["accuracy"].keys() == {"mean", "std"}
    assert "fingerprint: weights " not in done.stderr
    assert "fingerprint: weights " in (Path(report["runs"][0]) / "log.txt").read_text("utf-8")


def test_the_command_takes_folds_in_turn(cli) -> None:
    settings = [part for setting in TINY for part in ("--set", setting)]
    done = cli("train", "sample", "--folds", "2", *settings)
    assert done.returncode == 0, done.stderr
    *runs, last = done.stdout.splitlines()
    assert ["sample-fold-1  accuracy" in runs[0], "sample-fold-2  accuracy" in runs[1]] == [True, True]
    assert last.endswith("mean ± standard deviation of 2 folds")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seeds", "2", "--resume", "x"], "--seeds trains new runs"),
        (["--folds", "2", "--resume", "x"], "--folds trains new runs"),
        (["--folds", "2", "--nproc", "2"], "--folds and --nproc do not go together"),
        (["--folds", "2", "--seeds", "2"], "--seeds and --folds do not go together"),
        (
            ["--folds", "2", "--set", "data.valid.folds=3", "--set", "data.valid.fold=1"],
            "--folds uses each fold in turn, and the experiment names one",
        ),
    ],
)
def test_contradicting_settings_are_refused(cli, options: list[str], said: str) -> None:
    refused = cli("train", "sample", *options)
    assert refused.returncode == 2
    assert said in refused.stderr
