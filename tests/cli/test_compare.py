"""`sentiment compare`, and `sentiment eval` on pairs of texts, from training to the verdict."""

import json
import random
from pathlib import Path

import pytest

from sentiment_cli.config.paths import runs_dir
from sentiment_cli.evaluation.evaluate import evaluate

# Words of each kind tell the label, and one label in ten is wrong, so that runs that learnt it still err, on the same.
WORDS = {"bad": "awful dull poor".split(), "good": "lovely fresh bright".split()}
SETTINGS = "model.encoder.width=16 model.embedding.width=16 train.epochs=8 train.lr=1e-2 train.batch_tokens=512".split()
SETTINGS += ["vocabulary.min_count=1", "text.max_tokens=20", "train.device=cpu", "model.embedding.word_dropout=0"]


def table(path: Path, n: int, seed: int) -> Path:
    draw = random.Random(seed)
    lines = ["text,label\n"]
    for _ in range(n):
        label = draw.choice(list(WORDS))
        said = label if draw.random() < 0.9 else {"bad": "good", "good": "bad"}[label]
        lines.append(f"The {draw.choice(['film', 'cast', 'plot'])} was {draw.choice(WORDS[label])}.,{said}\n")
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs seed0, seed1 and weak (two steps of training), scored on their test rows; and other, not scored."""
    from sentiment_cli.config.loader import load_experiment
    from sentiment_cli.workflows.train import fit

    root = tmp_path_factory.mktemp("compared")
    data = f"data.source={table(root / 'train.csv', 500, 0)}"
    test = f"data.test={table(root / 'test.csv', 400, 1)}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_DATA", str(root / "data"))
        patch.setenv("SENTIMENT_RUNS", str(root / "runs"))
        for name, settings in {
            "seed0": ["seed=0"],
            "seed1": ["seed=1"],
            "weak": ["train.max_steps=2"],
        }.items():
            run = fit(load_experiment("lstm-bi", [data, test, *SETTINGS, *settings]), name).directory
            evaluate(run, "test")
        fit(load_experiment("lstm-bi", [data, *SETTINGS, "train.max_steps=2"]), "other")
    return root / "runs"


def test_two_seeds_show_no_difference_and_a_weak_run_does(cli, runs: Path) -> None:
    done = cli("compare", "seed0", "seed1", "weak", "--json", "--list", "2", SENTIMENT_RUNS=str(runs))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {"split", "n", "runs", "comparisons"}
    assert (found["split"], found["n"]) == ("test", 400)
    assert [run["run"] for run in found["runs"]] == ["seed0", "seed1", "weak"]
    accuracies = [run["accuracy"] for run in found["runs"]]
    assert accuracies[0] == json.loads((runs / "seed0" / "evaluation" / "test.json").read_text())["accuracy"]
    seeds, weak = found["comparisons"]
    keys = (
        "first other both_right only_first only_other both_wrong difference difference_ci95 p p_holm verdict settings"
    )
    assert list(weak) == [*keys.split(), "right_only_in_first", "right_only_in_other"]
    assert seeds["verdict"].startswith("no difference shown: ")
    assert seeds["settings"] == [{"key": "seed", "first": 0, "other": 1}]
    assert weak["verdict"].startswith("seed0 is better than weak by ")
    assert weak["difference"] == pytest.approx(accuracies[2] - accuracies[0])
    assert weak["p"] < 0.0001
    assert len(weak["right_only_in_first"]) == 2 < weak["only_first"]


def test_a_reader_gets_the_verdict_and_what_it_rests_on(cli, runs: Path) -> None:
    done = cli("compare", str(runs / "weak"), str(runs / "seed0"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "test, 400 reviews"
    assert lines[1].startswith("  weak   accuracy ")
    assert lines[4].startswith("seed0 is better than weak by ")
    assert lines[4].endswith(", p < 0.0001")
    assert "train.max_steps: 2 -> null" in done.stdout
    assert "Holm" not in done.stdout


def test_runs_that_cannot_be_compared(cli, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = cli("compare", "seed0", "other", SENTIMENT_RUNS=str(runs))
    assert missing.returncode == 2
    assert f"try: sentiment eval {runs / 'other'} --split test\n" in missing.stderr
    monkeypatch.setenv("SENTIMENT_DATA", str(runs.parent / "data"))
    evaluate(runs / "other", "test")
    refused = cli("compare", "seed0", "other", SENTIMENT_RUNS=str(runs))
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "seed0 and other were scored on different reviews: only seed0 has " in refused.stderr
    alone = cli("compare", "seed0", SENTIMENT_RUNS=str(runs))
    assert alone.returncode == 2
    assert "two runs or more" in alone.stderr
    unknown = cli("compare", "seed0", "seed2", SENTIMENT_RUNS=str(runs))
    assert unknown.returncode == 2
    assert "Did you mean 'seed1'?" in unknown.stderr


def test_behaviour_and_pairs(cli, runs: Path, tmp_path: Path) -> None:
    tried = cli("eval", "seed0", "--behaviour", "--json", SENTIMENT_RUNS=str(runs))
    assert tried.returncode == 0, tried.stderr
    found = json.loads(tried.stdout)
    assert found["run"] == str(runs / "seed0")
    assert found["n"] == len(found["pairs"]) >= 150
    kept = json.loads((runs / "seed0" / "evaluation" / "behaviour.json").read_text())
    assert kept == {**found, "run": "seed0"}
    file = tmp_path / "pairs.csv"
    file.write_text("original,contrast,original_label,contrast_label\nThe cast was dull.,The cast was fresh.,no,yes\n")
    renamed = ("--label-map", "no=bad,yes=good")
    scored = cli("eval", "seed0", "--pairs", str(file), *renamed, SENTIMENT_RUNS=str(runs))
    assert scored.stdout.splitlines()[2].startswith("consistency              100.00%   95 % interval"), scored.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--behaviour", "--split", "valid"], "--split and --behaviour do not go together"),
        (["--pairs", "x.csv", "--data", "y.csv"], "--data and --pairs do not go together"),
        (["--pairs", "x.csv", "--text-column", "t"], "--text-column goes with --data"),
        (["--behaviour", "--label-map", "a=b"], "--label-map goes with --data"),
        (["--pairs", "x.csv", "--label-map", "a"], "'a' is not OLD=NEW"),
    ],
)
def test_options_that_cannot_be_meant(cli, runs: Path, args: list[str], said: str) -> None:
    done = cli("eval", str(runs / "seed0"), *args)
    assert done.returncode == 2
    assert said in done.stderr
    assert not runs_dir().exists()
