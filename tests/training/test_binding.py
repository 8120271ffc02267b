"""The inputs that a run depends on besides its settings: unlabelled rows and pretrained weights."""

import contextlib
import json
import shutil
import signal
from pathlib import Path

import pytest
from killing import train
from pretraining import pretraining, write_reviews

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.schema import Experiment
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.workflows import train as train_module
from sentiment_cli.workflows.dependencies import find_or_train
from sentiment_cli.workflows.train import fit

LANGUAGE = (
    "task=language-model",
    "text.start=true",
    "text.max_tokens=null",
    "model.pooling=last",
    "model.encoder.bidirectional=false",
    "model.embedding.word_dropout=0",
    "model.dropout=0",
    "train.window=8",
    "train.batch_tokens=512",
    "train.max_steps=9",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_reviews(tmp_path / "data", 100)
    return tmp_path


def change(path: Path) -> None:
    """Change the words of one row."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], "other words than before,,", *lines[4:]]) + "\n")


@pytest.mark.parametrize("vocabulary", ["[train]", "[train,unsup]"])
def test_a_pretraining_resumes_only_with_its_own_unlabelled_rows(root: Path, vocabulary: str) -> None:
    """Robustness case F27."""
    more = root / "data" / "more.csv"
    settings = (*LANGUAGE, f"data.unlabelled={more}", f"vocabulary.from={vocabulary}")
    assert train(root, "run", settings=settings, place="after the update", at=6)[0] == -signal.SIGKILL
    before = more.read_text()
    change(more)
    code, said = train(root, "run", resumed=True)
    assert code == 3, said
    assert "the data at hand is reviews-" in said
    assert "other reviews than reviews-" in said
    more.write_text(before)
    assert train(root, "run", resumed=True)[0] == 0
    fingerprint = json.loads((root / "runs" / "run" / "summary.json").read_text())["fingerprint"]["data"]
    assert ("+unsup-reviews-" in fingerprint) == (vocabulary == "[train]")  # else the key says it
    (state, *_) = (root / "runs" / "run" / "checkpoints").glob("*/state.json")
    assert json.loads(state.read_text())["data"] == fingerprint


def test_a_pretraining_on_other_unlabelled_rows_is_not_reused(root: Path) -> None:
    experiment = pretraining(root / "data", "vectors", "train.max_steps=1")
    first = find_or_train(experiment, "vectors")
    assert find_or_train(experiment, "vectors") == first
    change(root / "data" / "more.csv")
    assert find_or_train(experiment, "vectors").name == "vectors-2"


def tiny(folder: Path, *settings: str) -> Experiment:
    """A classifier of the table in a folder."""
    small = ("train.device=cpu", "train.threads=1", "model.encoder.width=4", "model.embedding.width=4")
    source = f"data.source={folder / 'data' / 'reviews.csv'}"
    return load_experiment("sample", [*small, source, "train.max_steps=2", *settings])


def test_a_refit_needs_the_same_pretrained_model(root: Path, monkeypatch) -> None:
    """Robustness case F27."""
    origin = fit(tiny(root), "origin").directory
    settings = (f"init_from={origin}", "train.refit=true", "train.max_steps=4")
    assert train(root, "run", settings=settings, place="after the update", at=3)[0] == -signal.SIGKILL
    shutil.rmtree(origin)
    assert fit(tiny(root, "seed=1"), "origin").directory == origin
    code, said = train(root, "run", resumed=True)
    assert code == 2
    assert "no run can go on with another versions.init_from" in said

    def train_meanwhile(state) -> str:
        reason = run_epochs(state)
        monkeypatch.setattr(train_module, "run_epochs", run_epochs)
        shutil.rmtree(origin)
        fit(tiny(root, "seed=2"), "origin")
        return reason

    run_epochs = train_module.run_epochs
    monkeypatch.setattr(train_module, "run_epochs", train_meanwhile)
    with pytest.raises(DataError, match="was begun from another model than its experiment now names"):
        fit(tiny(root, *settings), "again")


def test_an_unfinished_run_is_neither_a_pretrained_model_nor_a_teacher(root: Path) -> None:
    run = fit(tiny(root), "origin").directory
    summary = json.loads((run / "summary.json").read_text())
    for status in ("interrupted", "diverged"):
        (run / "summary.json").write_text(json.dumps({**summary, "status": status}))
        for key in ("init_from", "init_backward", "teacher.run"):
            settings = [f"{key}=origin", "model.encoder.bidirectional=true"]
            with pytest.raises(UsageError, match=f"^{key}: .*origin is {status}, not finished$") as caught:
                fit(tiny(root, *settings))
            assert caught.value.hint == f"sentiment train --resume {run}"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("train.refit=true",), "origin has learnt the labels of "),
        (("data.valid.seed=3",), "origin has learnt the labels of "),
        ((), None),
        (("data.valid.seed=3", *LANGUAGE), None),
        (("data.valid.seed=3", *LANGUAGE, "model.language.label=true"), "origin has learnt the labels of "),
    ],
)
def test_a_pretrained_model_that_has_seen_validation_labels_is_warned_of(root: Path, settings, said, capsys) -> None:
    plain = ("model.encoder.bidirectional=false", "text.start=true", "text.max_tokens=null", "vocabulary.min_count=1")
    fit(tiny(root, *plain, *settings), "origin")
    capsys.readouterr()
    with contextlib.suppress(UsageError):  # of other rows there may be other words
        fit(tiny(root, *plain, "data.valid.seed=0", "init_from=origin"), "run")
    told = capsys.readouterr().err
    assert (f"warning: init_from {root / 'runs' / 'origin'} has " in told) == (said is not None)
    assert said is None or said in told


def test_a_restart_resumes_the_run_of_the_same_experiment(root: Path, monkeypatch) -> None:
    """Robustness case D04."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "launch")
    run = fit(tiny(root), "run").directory
    origin = fit(tiny(root, "seed=1"), "origin").directory
    (root / "runs" / "begun").mkdir()
    shutil.copy(origin / "run.json", root / "runs" / "begun")  # killed before it wrote what it is
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert fit(tiny(root), "run").directory == run
    assert fit(tiny(root, f"init_from={origin}"), "started").directory.name == "started"
