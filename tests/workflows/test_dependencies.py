import json
import shutil
import signal
from pathlib import Path

import pytest
from killing import outcome, train, write_reviews

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.storage import store
from sentiment_cli.workflows.dependencies import find_or_train
from sentiment_cli.workflows.seeds_and_folds import fit_folds

TINY = ("model.encoder.width=4", "model.embedding.width=4", "train.epochs=1", "train.threads=1", "train.max_steps=3")


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"film {i} was {('bad', 'good')[i % 2]},{i % 2}\n" for i in range(60)))
    return path


def test_a_finished_run_of_the_same_experiment_and_data_is_reused(experiment, reviews: Path, capsys) -> None:
    settings = experiment(*TINY, f"data.source={reviews}")
    first = find_or_train(settings, "run")
    weights = first / "model" / "weights.safetensors"
    written_at = weights.stat().st_mtime_ns
    capsys.readouterr()
    assert find_or_train(settings, "run") == first == runs_dir() / "run"
    assert weights.stat().st_mtime_ns == written_at
    assert (
        f"{first} is of the same experiment and data, and finished: it is not trained again" in capsys.readouterr().err
    )
    assert find_or_train(experiment(*TINY, f"data.source={reviews}", "seed=1"), "run") == runs_dir() / "run-2"
    assert find_or_train(settings, "ru") == runs_dir() / "ru"  # another name
    reviews.write_text(reviews.read_text().replace("film 7 was good,1", "film 7 was good,0"))
    assert find_or_train(settings, "run") == runs_dir() / "run-3"  # its label was mended
    reviews.write_text(reviews.read_text().replace("film 7 was good,0", "film 7 was good,1"))
    assert find_or_train(settings, "run") == first


def test_the_runs_of_train_folds_are_taken(experiment) -> None:
    (one, _) = fit_folds(experiment(*TINY), 2, None)
    settings = load_experiment(one.directory / "experiment.yaml")
    assert find_or_train(settings, "sample-fold-1") == one.directory


def test_a_stopped_run_is_resumed_to_the_same_bytes(tmp_path: Path, monkeypatch) -> None:
    write_reviews(tmp_path)
    assert train(tmp_path, "whole")[0] == 0
    for name, place, at in (("early", "after the update", 1), ("late", "after the update", 6)):
        assert train(tmp_path, name, place=place, at=at)[0] == -signal.SIGKILL
        run = tmp_path / "runs" / name
        assert find_or_train(load_experiment(run / "experiment.yaml"), name) == run
        assert outcome(run) == outcome(tmp_path / "runs" / "whole")


def test_a_stopped_run_of_other_data_is_not_resumed(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    assert train(tmp_path, "run", place="after the update", at=6)[0] == -signal.SIGKILL
    reviews = tmp_path / "data" / "reviews.csv"
    reviews.write_text(reviews.read_text() + "one more,pos\n")
    settings = load_experiment(tmp_path / "runs" / "run" / "experiment.yaml")
    assert find_or_train(settings, "run") == tmp_path / "runs" / "run-2"


def test_a_run_that_cannot_be_resumed_is_trained_again(experiment, reviews: Path, capsys) -> None:
    settings = experiment(*TINY, f"data.source={reviews}", "train.keep_finished=true")
    first = find_or_train(settings, "run")
    (first / "summary.json").unlink()
    (checkpoint,) = (first / "checkpoints").iterdir()
    about = store.read_json(checkpoint / "state.json")
    shutil.rmtree(checkpoint)
    with store.new_directory(checkpoint) as draft:  # as another version of torch would have left it
        draft.write("tensors.safetensors", b"")
        draft.write("state.json", json.dumps({**about, "format": 0}).encode())
    capsys.readouterr()
    assert find_or_train(settings, "run") == runs_dir() / "run-2"
    assert "is whole; a new run is trained" in capsys.readouterr().err
    (first / "experiment.yaml").write_text("nmae: x\n")
    shutil.rmtree(runs_dir() / "run-2")
    (runs_dir() / "run-2").mkdir()  # killed before it wrote what it is
    third = find_or_train(settings, "run")
    assert third == runs_dir() / "run-3"
    (third / "summary.json").write_text("{")
    assert find_or_train(settings, "run") == runs_dir() / "run-4"
