"""The dry run: a training that would be refused is refused before anything is pretrained for it."""

from pathlib import Path

import pytest
from pretraining import SETTINGS, TINY, write_reviews

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.errors import UsageError
from sentiment_cli.workflows.dependencies import resolve_dependencies

LANGUAGE = ("task=language-model", "model.encoder.layers=2", *SETTINGS["language-model"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of reviews and experiments: forward, backward and vectors pretrain, linear and stars classify."""
    write_reviews(tmp_path, 60)
    for name, settings in {
        "forward": LANGUAGE,
        "backward": (*LANGUAGE, "model.language.reverse=true"),
        "vectors": ("task=vectors", "text.start=true", *SETTINGS["vectors"]),
        "linear": (
            "model.kind=linear",
            "model.embedding.width=128",
            "model.encoder.width=128",
            "model.encoder.cell=lstm",
        ),
        "stars": ("data.target=stars", "data.source=sample"),
        "unready": (*LANGUAGE, "init_from=nobody"),
    }.items():
        write(tmp_path / f"{name}.yaml", *settings)
    return tmp_path


def write(path: Path, *settings: str) -> None:
    from sentiment_cli.config.loader import experiment_yaml

    path.write_text("name: small\n")
    source = f"data.source={path.parent / 'reviews.csv'}"
    given = [*TINY, source, "train.max_steps=1", *settings, f"name={path.stem}"]
    path.write_bytes(experiment_yaml(load_experiment(path, given)))


def classifier(folder: Path, *settings: str) -> Experiment:
    names = ("init_from=", "init_backward=", "teacher.run=")
    anchored = [
        f"{key}={folder / name}.yaml" if f"{key}=" in names and (folder / f"{name}.yaml").exists() else f"{key}={name}"
        for key, name in (setting.split("=", 1) for setting in settings)
    ]
    (folder / "plain.yaml").write_text("name: plain\ntrain: {device: cpu, threads: 1}\n")
    return load_experiment(folder / "plain.yaml", [f"data.source={folder / 'reviews.csv'}", *TINY, *anchored])


BOTH = ("init_from=forward", "init_backward=backward", "model.encoder.bidirectional=true")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("init_from=forward", "model.encoder.width=9"), r"weight_ih_l0 of shape \(24, 8\), this experiment \(27, 8\)"),
        (("init_from=forward", "model.encoder.cell=lstm"), r"of shape \(24, 8\), this experiment \(32, 8\)"),
        (("init_from=vectors", "model.embedding.width=9"), "the run has vectors of width 8, this experiment 9"),
        (("init_from=forward", "text.lowercase=false"), "forward.yaml: the run has a vocabulary of"),
        (BOTH, r"forward_layers\.1\.weight_ih_l0 of shape \(24, 8\), this experiment \(24, 16\)"),
        (
            (*BOTH[::2], "init_backward=forward", "model.encoder.layers=1"),
            "init_backward: .*forward.yaml reads forward",
        ),
        ((*BOTH, "model.encoder.layers=1", "train.device=mps"), "train.device is mps, which"),
        (("teacher.run=linear", "teacher.rows=train", "vocabulary.vectors=no.txt"), "no.txt, which is not a file"),
        (("init_from=forward", "teacher.run=nobody"), "there is no run 'nobody'|there is no experiment 'nobody'"),
        (("init_from=forward", "teacher.run=stars"), "teacher.run: .*stars.yaml learnt data.target stars"),
        (("init_from=forward", "teacher.run=vectors"), "teacher.run: .*vectors.yaml is of task vectors"),
        (
            ("init_from=forward", "teacher.run=linear"),
            "teacher.rows is unsup, and .*reviews.csv has no unlabelled rows",
        ),
        (("init_from=forward", "init_backward=unready", BOTH[2]), "there is no experiment 'nobody'"),
    ],
)
def test_an_impossible_training_is_refused_before_any_training(folder: Path, settings, said: str) -> None:
    """Robustness case F14."""
    with pytest.raises(UsageError, match=said):
        resolve_dependencies(classifier(folder, *settings))
    assert not runs_dir().exists()


def test_an_invalid_run_name_is_refused_first(folder: Path, cli) -> None:
    settings = ("--set", f"data.source={folder / 'reviews.csv'}", "--set", f"init_from={folder / 'vectors.yaml'}")
    done = cli("train", str(folder / "stars.yaml"), *settings, "--set", "data.target=label", "--name", "bad/name")
    assert done.returncode == 2
    assert "'bad/name' is not a run name" in done.stderr
    assert not runs_dir().exists()


def test_folds_with_another_vocabulary_are_refused_before_pretraining(folder: Path, cli) -> None:
    """Robustness case F14."""
    settings = ("--set", f"data.source={folder / 'reviews.csv'}", "--set", f"init_from={folder / 'forward.yaml'}")
    done = cli("train", str(folder / "stars.yaml"), *settings, "--set", "data.target=label", "--folds", "3")
    assert done.returncode == 2, done.stderr
    assert "the run has a vocabulary of" in done.stderr
    assert not runs_dir().exists()


def test_a_valid_chain_of_experiments_is_trained(folder: Path) -> None:
    named = resolve_dependencies(
        classifier(folder, *BOTH, "model.encoder.layers=1", "teacher.run=linear", "teacher.rows=train")
    )
    assert named.init_from == str(runs_dir() / "forward")
    assert named.init_backward == str(runs_dir() / "backward")
    assert named.teacher.run == (str(runs_dir() / "linear"),)


def test_a_run_precedes_a_shipped_experiment_of_its_name_with_a_note(folder: Path, capsys) -> None:
    write(folder / "imdb-vectors.yaml", "task=vectors", *SETTINGS["vectors"])
    resolve_dependencies(classifier(folder, f"init_from={folder / 'imdb-vectors.yaml'}"))
    (folder / "imdb-vectors.yaml").unlink()
    capsys.readouterr()
    assert resolve_dependencies(classifier(folder, "init_from=imdb-vectors")).init_from == str(
        runs_dir() / "imdb-vectors"
    )
    said = "imdb-vectors, a run, whose settings are not those of the shipped experiment imdb-vectors\n"
    assert said in capsys.readouterr().err
