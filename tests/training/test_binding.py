"""What a run is bound to beside its settings: the unlabelled rows that it reads, the weights that it starts from."""

import json
import signal
from pathlib import Path

import pytest
from killing import train
from pretraining import pretraining, write_reviews

from sentiment_cli.training.reusing import find_or_fit

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
    """Put other words into one row."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], "other words than before,,", *lines[4:]]) + "\n")


@pytest.mark.parametrize("vocabulary", ["[train]", "[train,unsup]"])
def test_f27_a_pretraining_goes_on_with_its_own_unlabelled_rows_alone(root: Path, vocabulary: str) -> None:
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


def test_a_pretraining_on_other_unlabelled_rows_is_no_stand_in(root: Path) -> None:
    experiment = pretraining(root / "data", "vectors", "train.max_steps=1")
    first = find_or_fit(experiment, "vectors")
    assert find_or_fit(experiment, "vectors") == first
    change(root / "data" / "more.csv")
    assert find_or_fit(experiment, "vectors").name == "vectors-2"
