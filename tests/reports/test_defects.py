"""Three defects met in other tools that make test scores worthless; none of them can happen here."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from sentiment_cli.config.schema import Data
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.errors import DataError
from sentiment_cli.evaluation import scoring as outputs_module
from sentiment_cli.evaluation.evaluate import evaluate, evaluate_data
from sentiment_cli.storage import store
from sentiment_cli.workflows.train import fit

TINY = ("model.encoder.width=8", "model.embedding.width=8", "train.epochs=1", "train.precision=fp32")


def test_the_test_split_is_not_read_during_training(experiment) -> None:
    settings = experiment(*TINY)
    directory = prepare(settings).directory
    whole = fit(settings).directory
    for path in directory.glob("test-*"):
        path.write_bytes(b"unreadable")
    again = fit(settings).directory
    assert all(path.read_bytes() == b"unreadable" for path in directory.glob("test-*"))
    assert store.read_manifest(whole / "model") == store.read_manifest(again / "model")
    assert not (again / "evaluation").exists()  # no opening was written down, either


def test_labels_ordered_differently_at_evaluation_mean_the_same(quick_run: Path, monkeypatch, tmp_path: Path) -> None:
    before = evaluate(quick_run, "valid")
    kept = (quick_run / "evaluation" / "valid-predictions.jsonl").read_bytes()
    real = outputs_module.prepare

    def turned(*args):
        corpus = real(*args)
        packed = corpus.split("valid")
        packed.label_N[:] = 1 - packed.label_N  # a copy on write
        return SimpleNamespace(
            labels=corpus.labels[::-1],
            texts="",
            split=lambda name: packed,
            ids=corpus.ids,
            groups=corpus.groups,
            digests=corpus.digests,
        )

    monkeypatch.setattr(outputs_module, "prepare", turned)
    assert evaluate(quick_run, "valid") == before
    assert (quick_run / "evaluation" / "valid-predictions.jsonl").read_bytes() == kept


@pytest.mark.parametrize("order", [("pos", "neg"), ("neg", "pos"), ("good", "bad"), ("bad", "good")])
def test_rows_and_labels_of_ones_own_data_may_come_in_any_order(quick_run: Path, tmp_path: Path, order) -> None:
    texts = {"pos": "the plot was lovely", "neg": "the plot was dull"}
    names = {"good": "pos", "bad": "neg"}
    rows = [(texts[names.get(label, label)], label) for label in order]
    path = tmp_path / f"{'-'.join(order)}.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    pairs = [f"{old}={new}" for old, new in names.items() if old in order]
    evaluate_data(quick_run, Data(source=str(path), label_map=pairs))
    lines = (quick_run / "evaluation" / f"data-{path.stem}-predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["label"] for line in lines] == [names.get(label, label) for label in order]


@pytest.mark.parametrize(
    "settings",
    [
        ("data.test_share=0.5",),
        ("data.valid.seed=7",),
        ("data.valid.by=row", "data.valid.share=0.4", "seed=3"),
        ("data.valid.folds=3", "data.valid.fold=2"),
        ("data.deduplicate=true",),
    ],
)
def test_a_published_test_set_is_not_split_again(experiment, settings: tuple[str, ...], sample_folder: Path) -> None:
    folder = sample_folder / "test"
    published = {f"{label}/{path.stem}" for label in ("neg", "pos") for path in (folder / label).glob("*.txt")}
    corpus = prepare(experiment(*settings))
    test_ids = corpus.ids("test")
    assert len(test_ids) == len(published) == 1000
    assert set(test_ids) == published


def test_a_run_is_not_scored_on_another_split_of_its_data(experiment, tmp_path: Path) -> None:
    rows = [f"film number {i} was {('good', 'bad')[i % 2]},{('pos', 'neg')[i % 2]}\n" for i in range(80)]
    path = tmp_path / "mine.csv"
    path.write_text("text,label\n" + "".join(rows))
    settings = (*TINY, f"data.source={path}", "vocabulary.min_count=1")
    run = fit(experiment(*settings)).directory
    ids = set(prepare(experiment(*settings)).ids("test"))
    evaluate(run, "test")
    lines = (run / "evaluation" / "test-predictions.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == ids
    store.remove_directory(prepare(experiment(*settings)).directory)
    path.write_text("text,label\n" + "".join(rows[::-1]))
    with pytest.raises(DataError, match="other reviews than"):
        evaluate(run, "test")
