"""Robustness case B14 and invariant 10: no validation or test row reaches what training rows teach."""

import random
from pathlib import Path

import pytest

from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.evaluation.evaluate import evaluate
from sentiment_cli.workflows.train import fit

ROWS = [f"common word{i} and{i % 9},{'ab'[i % 2]}" for i in range(120)]


def table(rows: list[str]) -> str:
    return "\n".join(["text,label", *rows])


@pytest.mark.parametrize("tokenizer", ["words", "bpe"])
def test_b14_other_validation_and_test_texts_change_nothing_learnt(own, tokenizer: str) -> None:
    settings = (f"text.tokenizer={tokenizer}", "vocabulary.size=600")
    corpus = prepare(own("x.csv", table(ROWS), *settings))
    held = {int(name) - 1 for split in ("valid", "test") for name in corpus.ids(split)}
    assert len(held) == 12 + 10  # a tenth for test, a tenth of the others for validation, of each label
    changed = [f"leaked secret{i},{row[-1]}" if i in held else row for i, row in enumerate(ROWS)]
    other = prepare(own("x.csv", table(changed), *settings))
    assert other.key != corpus.key
    for split in ("train", "valid", "test"):
        assert other.ids(split) == corpus.ids(split)
    assert other.vocabulary == corpus.vocabulary
    assert other.tokenizer_json == corpus.tokenizer_json
    assert other.split("train").ids_T.tolist() == corpus.split("train").ids_T.tolist()
    one = next(i for i in range(120) if i not in held)
    changed = [row.replace("common", "rare") if i == one else row for i, row in enumerate(ROWS)]
    assert prepare(own("x.csv", table(changed), *settings)).vocabulary != corpus.vocabulary


def test_invariant_10_training_does_without_the_test_pack(own) -> None:
    experiment = own("x.csv", table(ROWS))
    corpus = prepare(experiment)
    for file in corpus.directory.glob("test-*"):
        file.write_bytes(b"no")
    assert prepare(experiment, ("train", "valid")).directory == corpus.directory
    assert (corpus.directory / "test-label_N.int64").read_bytes() == b"no"
    assert len(prepare(experiment).split("test").label_N) == 12


@pytest.mark.parametrize(("is_shuffled", "low", "high"), [(False, 0.95, 1.0), (True, 0.48, 0.52)])
def test_b14_shuffled_labels_teach_nothing(own, tmp_path: Path, is_shuffled: bool, low: float, high: float) -> None:
    """At 10,000 test rows two percent are four standard deviations."""
    draw = random.Random(0)
    texts, test_labels = [], []
    for i in range(12_000):
        texts.append(f"{draw.choice('fine good nice'.split() if i % 2 else 'bad poor dull'.split())} film {i}")
        test_labels.append("neg pos".split()[i % 2])
    if is_shuffled:
        draw.shuffle(test_labels)
    rows = [f"{text},{label}" for text, label in zip(texts, test_labels, strict=True)]
    (tmp_path / "t.csv").write_text(table(rows[2000:]))
    small = ["model.encoder.width=8", "model.embedding.width=8", "train.epochs=2", "train.device=cpu", "train.lr=0.01"]
    experiment = own("x.csv", table(rows[:2000]), f"data.test={tmp_path}/t.csv", *small, "vocabulary.min_count=2")
    scores = evaluate(fit(experiment).directory, "test").scores
    assert scores.n == 10_000
    assert low <= scores.accuracy <= high
