"""Pretraining runs: the rows they read, what they learn, and the same bytes after a resume and with two processes."""

import dataclasses
import itertools
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from killing import outcome, train, train_together
from pretraining import pretraining, write_reviews, write_table

from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.pairs import prepare_pairs
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.tokens.vocabulary import START_ID
from sentiment_cli.errors import DataError, DivergedError
from sentiment_cli.evaluation.sequence_metrics import score_tokens
from sentiment_cli.inference.generate.generate import load_generator
from sentiment_cli.reports.run_files import read_run
from sentiment_cli.reports.run_report import build_report
from sentiment_cli.training.tasks import language_model
from sentiment_cli.training.tasks.bptt_streams import Window
from sentiment_cli.training.tasks.language_model import score_text
from sentiment_cli.training.tasks.pretraining_rows import held_out_rows, reading_rows
from sentiment_cli.training.tasks.skip_gram import count_words
from sentiment_cli.training.tasks.table import prepare_for
from sentiment_cli.workflows.train import fit

TASKS = ["language-model", "vectors", "regions", "autoencoder", "pairs"]
Build = Callable[..., Experiment]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of reviews with movies, unlabelled ones and pairs, and their prepared data."""
    root = tmp_path_factory.mktemp("pretraining")
    write_reviews(root / "data")
    pairs = [(f"{'ab'[i % 2]} {i % 7} c", f"{i % 7} {'ab'[i % 2]}") for i in range(200)]
    write_table(root / "data" / "pairs.csv", ("source", "target"), pairs)
    return root


@pytest.fixture
def small(tables: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Build a pretraining on the tables; the tests share their prepared data."""
    monkeypatch.setenv("SENTIMENT_DATA", str(tables / "data"))
    return lambda task, *settings: pretraining(tables / "data", task, *settings)


def rows_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def unigram_perplexity(experiment: Experiment) -> float:
    """Return the unigram perplexity of the held-out words and ends."""
    corpus = prepare_for(experiment)
    read, held = reading_rows(corpus, experiment)[0], held_out_rows(corpus, experiment)
    counts = np.bincount(read.ids_T, minlength=len(corpus.vocabulary.entries)).astype(float)
    counts[1] = len(read.label_N)  # starts
    nats_V = -np.log((counts + 1) / (counts + 1).sum())
    return math.exp((nats_V[held.ids_T].sum() + nats_V[1] * len(held.label_N)) / (len(held.ids_T) + len(held.label_N)))


@pytest.mark.parametrize(
    "settings",
    [
        ("model.encoder.cell=mingru", "model.language.softmax=sampled", "model.language.samples=64"),
        ("model.language.reverse=true", "model.language.label=true"),
    ],
    ids=["sampled", "reverse-label"],
)
def test_perplexity_falls_well_below_the_unigrams(small: Build, settings: tuple[str, ...]) -> None:
    fast = ("train.lr=3e-2", "train.epochs=2", "model.embedding.width=32", "model.encoder.width=32")
    experiment = small("language-model", *fast, "train.batch_tokens=256", "train.max_grad_norm=1.0", *settings)
    finished = fit(experiment)
    assert finished.scores.perplexity < unigram_perplexity(experiment) / 4
    packed = held_out_rows(prepare_for(experiment), experiment)
    n_tokens = len(packed.ids_T) + int((packed.length_N > 0).sum())
    assert finished.scores.n == n_tokens
    assert [row["valid_perplexity"] for row in rows_of(finished.directory)][-1] == finished.scores.perplexity


def state_of(experiment: Experiment) -> SimpleNamespace:
    """Return the training state that a language model's streams and loss read."""
    corpus = prepare_for(experiment)
    model = language_model.build_model(experiment, corpus).eval()
    carried = language_model.zero_states(experiment, model)
    job = SimpleNamespace(experiment=experiment, corpus=corpus, device=torch.device("cpu"))
    return SimpleNamespace(job=job, model=model, carried=carried)


@pytest.mark.parametrize("cell", ["mingru", "lstm"])
def test_each_review_is_read_from_zeros_on_and_carried_from_window_to_window(small: Build, cell: str) -> None:
    narrow = ("train.window=4", "train.batch_tokens=4", "train.max_steps=120", "train.activation_penalty=0")
    state = state_of(small("language-model", *narrow, f"model.encoder.cell={cell}"))
    loss, total, reviews = language_model.build_loss(state), 0.0, list[list[int]]()
    with torch.inference_mode():
        for window in language_model.build_stream_loader(state).batches(0):
            length = int(window.length_B)
            total += float(loss(state.model, window)) * length
            if bool(window.is_fresh_B):
                reviews.append([START_ID])
            reviews[-1] += window.ids_BL[0, 1 : length + 1].tolist()
        expected = 0.0
        for review in reviews:
            ids_1L = torch.tensor([review])
            hidden_1LD, _ = state.model(ids_1L[:, :-1])
            expected += float(state.model.loss(hidden_1LD, ids_1L[:, 1:])) * (len(review) - 1)
    assert 10 < len(reviews) < 120
    assert any(len(review) > 9 for review in reviews)
    assert total == pytest.approx(expected, rel=1e-5)


def test_micro_batches_of_a_window_have_the_loss_of_the_whole(small: Build) -> None:
    settings = ("train.window=32", "train.batch_tokens=256", "train.activation_penalty=2", "train.max_steps=1")
    experiment = small("language-model", *settings)
    whole, first, rest = (state_of(experiment) for _ in range(3))
    first.model = rest.model = whole.model
    (window,) = language_model.build_stream_loader(whole).batches(0)
    assert window.length_B[:3].float().mean() != window.length_B.float().mean()
    parts = Window(*(tensor[:3] for tensor in window)), Window(*(tensor[3:] for tensor in window))
    with torch.inference_mode():
        expected = language_model.build_loss(whole)(whole.model, window)
        found = [
            language_model.build_loss(state)(whole.model, part)
            for state, part in zip((first, rest), parts, strict=True)
        ]
    torch.testing.assert_close(found[0] * 3 / 8 + found[1] * 5 / 8, expected)


@pytest.mark.parametrize("task", ["language-model", "autoencoder"])
def test_a_pretraining_that_diverges_says_where(small: Build, task: str) -> None:
    """Robustness case F21."""
    with pytest.raises(DivergedError, match=r"gives loss .* and gradient norm") as caught:
        fit(small(task, "train.lr=1e39", "train.max_grad_norm=null"), "diverged")
    about = json.loads((runs_dir() / "diverged" / "diverged.json").read_text())
    assert bool(about["rows"]) == (task == "autoencoder")
    assert ("rows (" in str(caught.value)) == (task == "autoencoder")
    assert f"step {about['step']} " in str(caught.value)


def test_a_perplexity_that_overflows_is_a_divergence(small: Build, monkeypatch) -> None:
    """Robustness case F21."""
    assert score_tokens(699.0, 1) is not None
    assert score_tokens(701.0, 1) is None
    assert score_tokens(math.nan, 1) is None
    monkeypatch.setattr(language_model, "score_text", lambda *_: (7001.0, 10))
    with pytest.raises(DivergedError, match="gives scores that are not finite"):
        fit(small("language-model"))


def test_validation_reads_each_review_by_itself(small: Build) -> None:
    experiment = small("language-model", "train.max_steps=3", "model.language.label=true")
    model = load_generator(fit(experiment).directory).model
    packed = reading_rows(prepare_for(experiment), experiment)[0]
    packed = dataclasses.replace(packed, starts_N1=packed.starts_N1[:200], label_N=packed.label_N[:199])
    with torch.inference_mode():
        total, n = score_text(model, packed, experiment, torch.device("cpu"))
        expected = 0.0
        for start, end, label in zip(packed.starts_N1[:-1], packed.starts_N1[1:], packed.label_N, strict=True):
            ids_1L = torch.tensor([[START_ID, *packed.ids_T[start:end].tolist(), START_ID]])
            hidden_1LD, _ = model(ids_1L[:, :-1], None, torch.tensor([int(label) + 1]))
            log_probability_TV = model.log_probabilities(hidden_1LD[0])
            expected -= float(log_probability_TV.gather(1, ids_1L[0, 1:, None]).sum())
    assert n == len(packed.ids_T[: packed.starts_N1[-1]]) + 199
    assert total == pytest.approx(expected, rel=1e-5)


def test_vectors_predict_the_words_around_each(small: Build) -> None:
    fast = ("train.lr=3e-2", "train.epochs=9", "train.batch_tokens=128", "model.embedding.width=16")
    finished = fit(small("vectors", *fast))
    losses = [row["valid_loss"] for row in rows_of(finished.directory)]
    fresh = 6 * 6 * math.log(2)  # of six words within reach on average, each beside five drawn ones, all at one half
    assert losses[8] < losses[4] < losses[0] < fresh
    assert losses[8] < 0.85 * fresh
    assert finished.scores.n % 128 == 0


def test_words_are_counted_in_the_rows_read_without_unknown_ones(small: Build) -> None:
    experiment = small("vectors", "vocabulary.min_count=5")
    corpus = prepare_for(experiment)
    packed, _ = reading_rows(corpus, experiment)
    count_V, vocabulary = count_words(packed, corpus.vocabulary), corpus.vocabulary
    assert (packed.ids_T == vocabulary.unknown_id).sum() > 9
    for token_id in range(len(vocabulary.entries)):
        expected = (packed.ids_T == token_id).sum() if token_id >= vocabulary.specials else 0
        assert count_V[token_id] == expected


@pytest.mark.parametrize("task", TASKS)
def test_pretraining_finishes_with_the_test_pack_unreadable(small: Build, task: str) -> None:
    """Invariant 10."""
    experiment = small(task, "train.max_steps=2", "data.valid.seed=7")  # of its own, so that others are not harmed
    directory = (prepare_pairs if task == "pairs" else prepare)(experiment).directory
    for path in directory.glob("test-*"):
        path.write_bytes(b"no")
    finished = fit(experiment)
    assert finished.scores.n > 0
    assert build_report(read_run(finished.directory)).lead.endswith(f" on {finished.scores.n:,} held-out tokens")
    assert {path.read_bytes() for path in directory.glob("test-*")} == {b"no"}


def test_pretraining_reads_no_held_out_or_test_rows(tmp_path: Path) -> None:
    """Invariant 10."""
    labelled = [(f"review {' '.join(str(i))} of it", "ab"[i % 2], f"m{i // 4}") for i in range(200)]
    write_table(tmp_path / "reviews.csv", ("text", "label", "group"), labelled)
    ones = [(f"more {' '.join(str(i))} of it", "", f"u{i // 4}") for i in range(120)]
    write_table(tmp_path / "more.csv", ("text", "label", "group"), [*ones, *((text, "", "t") for text, *_ in labelled)])
    experiment = pretraining(tmp_path, "language-model", "data.valid.unsup_share=0.1", "vocabulary.from=[train,unsup]")
    corpus = prepare(experiment, ("train", "valid", "test", "unsup"))
    words = corpus.vocabulary.entries

    def texts(packed) -> list[str]:
        ends = itertools.pairwise(packed.starts_N1.tolist())
        return [" ".join(words[token] for token in packed.ids_T[a:b]) for a, b in ends]

    packed, ids = reading_rows(corpus, experiment)
    held, read = held_out_rows(corpus, experiment), set(texts(packed))
    assert len(ids) == len(packed.label_N)
    train, valid, test = (set(texts(corpus.split(name))) for name in ("train", "valid", "test"))
    assert (len(train), len(valid), len(test)) == (164, 16, 20)
    assert ids[:164] == corpus.ids("train")
    assert train < read
    assert not read & test
    assert not set(texts(held)) & test
    assert not set(packed.group_N[len(train) :]) & set(held.group_N)  # movies stand on one side
    assert len(packed.label_N) + len(held.label_N) == 164 + 120 + 200 - 20
    assert 20 <= len(held.label_N) <= 40
    by_label = packed.label_N[: len(train)]
    assert set(by_label.tolist()) == {0, 1}
    assert set(packed.label_N[len(train) :].tolist()) == {-1}
    count_V = count_words(packed, corpus.vocabulary)
    assert not count_V[: corpus.vocabulary.specials].any()
    assert count_V[words.index("of")] == len(packed.label_N)


@pytest.mark.parametrize("task", ["language-model", "vectors", "autoencoder"])
def test_without_unlabelled_rows_the_training_rows_are_read(tmp_path: Path, task: str, capsys) -> None:
    rows = [(f"word{i % 9} {'good' if i % 2 else 'bad'} film", "ab"[i % 2]) for i in range(100)]
    write_table(tmp_path / "reviews.csv", ("text", "label"), rows)
    experiment = pretraining(tmp_path, task, "train.max_steps=2", "train.batch_tokens=64", "vocabulary.from=[train]")
    finished = fit(experiment)
    said = capsys.readouterr().err
    assert f"data: {tmp_path / 'reviews.csv'} has no unlabelled rows, and data.unlabelled names none" in said
    assert "learning the vocabulary from train\n" in said
    assert "82 train and 8 valid rows" in said.replace("81 train and 9", "82 train and 8")
    corpus = prepare_for(experiment)
    assert reading_rows(corpus, experiment)[1] == corpus.ids("train")
    assert (held_out_rows(corpus, experiment).ids_T == corpus.split("valid").ids_T).all()
    assert finished.scores.n <= 4 * len(corpus.split("valid").label_N)
    with pytest.raises(DataError, match=r"csv has no unlabelled reviews"):
        fit(pretraining(tmp_path, task, "vocabulary.from=[train,unsup]", "train.batch_tokens=64"))


@pytest.mark.parametrize("by", ["group", "row"])
def test_unlabelled_rows_without_groups_are_held_out_one_by_one(tmp_path: Path, by: str) -> None:
    labelled = [(f"word{i % 9} film", "ab"[i % 2], f"m{i // 4}") for i in range(100)]
    write_table(tmp_path / "reviews.csv", ("text", "label", "group"), labelled)
    write_table(tmp_path / "more.csv", ("text",), [(f"some more film {i}",) for i in range(50)])
    experiment = pretraining(tmp_path, "language-model", f"data.valid.by={by}", "data.valid.unsup_share=0.1")
    assert len(held_out_rows(prepare_for(experiment), experiment).label_N) == 5


@pytest.mark.parametrize(("n", "share"), [(5, 0.2), (2, 0.5), (1, 0.9)])
def test_empty_validation_is_refused_before_training_with_a_share_that_helps(tmp_path, capsys, n, share) -> None:
    rows = [(f"word{i % 9} film", "ab"[i % 2]) for i in range(100)]
    write_table(tmp_path / "reviews.csv", ("text", "label"), rows)
    write_table(tmp_path / "more.csv", ("text",), [("some more film",)] * n)
    with pytest.raises(DataError, match="is validated on, 0, hold no word of the vocabulary") as caught:
        fit(pretraining(tmp_path, "vectors", "train.batch_tokens=64"))
    assert "epoch   step" not in capsys.readouterr().err
    assert caught.value.hint == f"--set data.valid.unsup_share={share}"
    helped = pretraining(tmp_path, "vectors", caught.value.hint.removeprefix("--set "))
    assert len(held_out_rows(prepare_for(helped), helped).label_N) == 1


def test_held_out_rows_without_a_known_word_are_refused(tmp_path: Path) -> None:
    rows = [(f"word{i % 9} film", "ab"[i % 2]) for i in range(100)]
    write_table(tmp_path / "reviews.csv", ("text", "label"), rows)
    write_table(tmp_path / "more.csv", ("text",), [("none of these",)] * 200)
    with pytest.raises(DataError, match="is validated on, 4, hold no word of the vocabulary") as caught:
        fit(pretraining(tmp_path, "vectors", "train.batch_tokens=64"))
    assert caught.value.hint == f"sentiment data check --set data.source={tmp_path / 'reviews.csv'}"


# What the experiment `sample`, on which the forked trainings lie, says of classifiers.
PLAIN = (
    "model.pooling=last",
    "model.encoder.bidirectional=false",
    "model.embedding.word_dropout=0.0",
    "model.dropout=0.0",
)
STOPPED = {
    "language-model": (
        "train.window=8",
        "model.encoder.layers=2",
        "model.language.label=true",
        "train.batch_tokens=512",
    ),
    "vectors": (
        "model.embedding.std=1.0",
        "model.embedding.dropout=0.0",
        "model.encoder.width=128",
        "train.window=16",
        "model.language.samples=8",
        "train.lazy_embeddings=true",
        "train.batch_tokens=64",
    ),
    "regions": (
        "model.embedding.width=128",
        "model.embedding.std=1.0",
        "model.embedding.dropout=0.0",
        "model.encoder.width=128",
        "model.regions.width=8",
        "train.window=16",
        "model.language.samples=8",
        "train.lazy_embeddings=true",
        "train.batch_tokens=64",
    ),
    "autoencoder": ("model.decoding.attention=luong", "model.language.samples=8", "train.batch_tokens=4096"),
    "pairs": ("model.language.softmax=full", "train.batch_tokens=128"),
}
LM = ("text.start=true", "text.max_tokens=null", "train.max_steps=9")


def settings_of(task: str, tables: Path) -> tuple[str, ...]:
    data = tables / "data"
    files = (f"data.source={data / 'pairs.csv'}",) if task == "pairs" else (f"data.unlabelled={data / 'more.csv'}",)
    return (f"task={task}", *files, *PLAIN, *LM, *STOPPED[task])


@pytest.mark.parametrize("task", TASKS)
def test_a_pretraining_stopped_in_mid_epoch_resumes_to_the_same_bytes(tables: Path, task: str) -> None:
    """Invariant 6."""
    settings = settings_of(task, tables)
    code, said = train(tables, f"{task}-whole", settings=settings)
    assert code == 0, said
    assert "training: 9 steps" in said
    assert train(tables, f"{task}-run", settings=settings, place="after the update", at=6)[0] == -signal.SIGKILL
    code, said = train(tables, f"{task}-run", resumed=True)
    assert code == 0, said
    run, whole = tables / "runs" / f"{task}-run", tables / "runs" / f"{task}-whole"
    assert any(f"resuming {run} after step {step}" in said for step in (4, 5))
    assert outcome(run) == outcome(whole)
    carried = [carried_of(one, 8) for one in (run, whole)]
    assert len(carried[0]) == (4 if task == "language-model" else 0)  # two tensors of each layer
    assert all(torch.equal(one, other) and one.any() for one, other in zip(*carried, strict=True))


def carried_of(run: Path, step: int) -> list[torch.Tensor]:
    tensors = safetensors.torch.load_file(run / "checkpoints" / f"step-{step:08}" / "tensors.safetensors")
    return [tensor for name, tensor in sorted(tensors.items()) if name.startswith("carried/")]


def test_two_processes_pretrain_the_same_bytes(tables: Path) -> None:
    """Invariant 7."""
    settings = settings_of("language-model", tables)
    assert train(tables, "alone", settings=settings)[0] == 0
    (code, said), _ = train_together(tables, "two", settings=settings)
    assert code == 0, said
    assert "on 2 processes" in said
    assert outcome(tables / "runs" / "two") == outcome(tables / "runs" / "alone")
    one, two = (carried_of(tables / "runs" / name, 8) for name in ("alone", "two"))  # each process knew half of them
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
