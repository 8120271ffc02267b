import json
import shutil
from pathlib import Path

import pytest

from sentiment_cli.config.paths import runs_dir
from sentiment_cli.errors import UsageError
from sentiment_cli.training.repeating import fit_seeds, reproduce, spread

TINY = ("model.encoder.width=4", "model.embedding.width=4", "train.epochs=1", "train.threads=1", "train.max_steps=3")


def test_spread_is_mean_and_sample_standard_deviation() -> None:
    assert spread([1.0, 2.0, 3.0, 6.0]) == pytest.approx((3.0, (14 / 3) ** 0.5))


def test_seeds_are_runs_of_their_own(experiment) -> None:
    finished = fit_seeds(experiment(*TINY, "seed=3"), 2, "many")
    assert [one.directory.name for one in finished] == ["many-seed3", "many-seed4"]
    assert "seed: 4\n" in (finished[1].directory / "experiment.yaml").read_text()
    assert finished[0].scores != finished[1].scores


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
    assert f"{runs_dir() / 'quick-again-2'} is not what {runs_dir() / 'quick'} is" in other.stderr
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
    assert "fingerprint: weights " in done.stderr
    refused = cli("train", "--seeds", "2", "--resume", "x")
    assert refused.returncode == 2
