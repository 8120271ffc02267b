"""Region embeddings: the weights of words, and classifiers that start from them."""

import math
from pathlib import Path

import pytest
import torch
from pretraining import pretraining, write_reviews

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.errors import UsageError
from sentiment_cli.inference.torch_model import load_weights
from sentiment_cli.runs.saved_model import open_artefact
from sentiment_cli.training.tasks.regions import weights_by_label
from sentiment_cli.training.tasks.table import prepare_for
from sentiment_cli.workflows.profile import begin_training
from sentiment_cli.workflows.train import fit


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_reviews(tmp_path / "tables", 60)
    return tmp_path / "tables"


def test_words_weigh_what_they_tell_of_the_labels_of_training_rows(data: Path) -> None:
    corpus = prepare_for(pretraining(data, "regions"))
    train, found_V = corpus.split("train"), weights_by_label(corpus)
    bounds = zip(train.starts_N1[:-1], train.starts_N1[1:], strict=True)
    words_N = [set(train.ids_T[start:end].tolist()) for start, end in bounds]
    for word in (*range(2, 40), len(corpus.vocabulary.entries) - 1):
        shares = []
        for label in (0, 1):
            rows = [words for words, own in zip(words_N, train.label_N, strict=True) if own == label]
            shares.append((sum(word in words for words in rows) + 10) / (len(rows) + 20))
        assert found_V[word] == pytest.approx(abs(math.log(shares[0] / shares[1])))
    assert found_V.max() > 3 * sorted(found_V)[len(found_V) // 2]  # some words tell far more than most


@pytest.mark.parametrize("use", ["frozen", "tuned"])
def test_a_classifier_starts_from_a_region_embedding(data: Path, use: str) -> None:
    given = load_weights(open_artefact(fit(pretraining(data, "regions", "train.epochs=1")).directory, task=None))
    own = [f"model.regions.use={use}", "init_from=small", "train.epochs=1", "model.encoder.width=8"]
    (data / "after.yaml").write_text(f"name: after\ndata: {{source: {data / 'reviews.csv'}}}\n")
    experiment = load_experiment(data / "after.yaml", [*own, "train.threads=1", "train.batch_tokens=512"])
    assert experiment.model.regions.width == 8  # as the run has it
    begin_training(experiment, prepare_for(experiment), torch.device("cpu"))  # to estimate its time, without that run
    learnt = load_weights(open_artefact(fit(experiment).directory, task=None))
    for name in ("regions.vectors.weight", "regions.map.weight", "regions.map.bias"):
        assert torch.equal(given[name], learnt[name]) == (use == "frozen")


def test_regions_are_copied_by_word_to_a_classifier_of_other_data(data: Path, capsys) -> None:
    """Words that the pretraining does not have read as its unknown words do."""
    before = pretraining(data, "regions", "train.epochs=1")
    given, theirs = load_weights(open_artefact(fit(before).directory, task=None)), prepare_for(before).vocabulary
    known = theirs.entries[-3:]
    rows = [f"{known[i % 3]} new{i % 5} {'good' if i % 2 else 'bad'},{i % 2}\n" for i in range(60)]
    (data / "other.csv").write_text("text,label\n" + "".join(rows))
    (data / "after.yaml").write_text("name: after\nvocabulary: {min_count: 1}\ninit_from: small\n")
    own = [f"data.source={data / 'other.csv'}", "model.regions.use=frozen", "model.encoder.width=8", "train.epochs=1"]
    after = load_experiment(data / "after.yaml", [*own, "train.threads=1"])
    learnt = load_weights(open_artefact(fit(after).directory, task=None))
    entries, place_of = prepare_for(after).vocabulary.entries, {word: i for i, word in enumerate(theirs.entries)}
    assert set(known) < set(entries)
    for i, word in enumerate(entries):
        place = theirs.unknown_id if word.startswith(("<", "new")) else place_of[word]
        assert torch.equal(learnt["regions.vectors.weight"][i], given["regions.vectors.weight"][place]), word
    assert torch.equal(learnt["regions.map.weight"], given["regions.map.weight"])
    assert f"of {len(entries) - 2} words have one in" in capsys.readouterr().err


@pytest.mark.parametrize("start", [None, "small"])
def test_region_embeddings_that_no_run_gives_are_refused(data: Path, start: str | None) -> None:
    own = ["model.regions.use=frozen", "model.encoder.width=8"]
    if start:
        fit(pretraining(data, "vectors", "train.epochs=1"))
        own += [f"init_from={start}"]
    (data / "after.yaml").write_text(f"name: after\ndata: {{source: {data / 'reviews.csv'}}}\n")
    with pytest.raises(UsageError, match=f"init_from is {start or 'null'}, which has no region embeddings") as refused:
        fit(load_experiment(data / "after.yaml", own))
    assert refused.value.hint == "--set model.regions.use=none"
    assert not (runs_dir() / "after" / "model").exists()


@pytest.mark.parametrize("width", [8, 128])
def test_a_region_embedding_that_is_not_read_is_refused(data: Path, width: int) -> None:
    """Of another width than the schema's the settings contradict each other already."""
    fit(pretraining(data, "regions", "train.epochs=1", f"model.regions.width={width}"))
    (data / "after.yaml").write_text(f"name: after\ndata: {{source: {data / 'reviews.csv'}}}\ninit_from: small\n")
    with pytest.raises(UsageError, match=r"model\.regions\.use.* is none") as refused:
        fit(load_experiment(data / "after.yaml", []))
    assert refused.value.hint == (None if width == 8 else "--set model.regions.use=frozen")
