"""Runs of autoencoders and pairs: what they learn, and how they are scored."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from pretraining import pretraining, write_reviews, write_table

from sentiment_cli.cli.generate import generate
from sentiment_cli.data.batching.batches import gather, rows_on
from sentiment_cli.data.batching.pair_batches import reconstruction
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.data.sources import sample
from sentiment_cli.data.tokens.vocabulary import START_ID
from sentiment_cli.errors import UsageError
from sentiment_cli.inference.generate.generate import load_generator, rewrite
from sentiment_cli.training.tasks.pretraining_rows import held_out_rows
from sentiment_cli.training.tasks.table import prepare_for
from sentiment_cli.workflows.train import fit

FAST = ("train.lr=1e-2", "train.schedule=linear", "train.max_grad_norm=1.0", "model.embedding.std=0.3")


def test_ten_words_of_the_sample_are_reconstructed(tmp_path: Path) -> None:
    words = (
        text.lower().replace("<br />", " ").split()
        for _, (_, text, *_) in itertools.islice(sample.generate_reviews(), 60)
    )
    sentences = [row[i : i + 10] for row in words for i in range(0, len(row) - 9, 10)]
    rows = [(" ".join(row), "ab"[i % 2]) for i, row in enumerate(sentences)]
    assert len(rows) == 93
    write_table(tmp_path / "reviews.csv", ("text", "label"), rows * 5)
    write_table(tmp_path / "more.csv", ("text",), [row[:1] for row in rows[:30]])  # validated on what is learnt
    write_table(tmp_path / "test.csv", ("text", "label"), [("one", "a"), ("other", "b")])
    settings = (
        f"data.test={tmp_path / 'test.csv'}",
        "data.valid.share=0.02",
        "text.tokenizer=whitespace",
        "model.embedding.width=64",
        "model.encoder.width=64",
        "model.encoder.cell=lstm",
        "train.batch_tokens=1100",
        "train.epochs=12",
        "train.lr=1.5e-2",
        "data.valid.unsup_share=0.99",
    )
    run = fit(pretraining(tmp_path, "autoencoder", *FAST, *settings), "ae")
    assert run.scores.accuracy >= 0.95  # of tokens, told those before
    author, n_right = load_generator(run.directory), 0
    for text, _ in rows[::3]:
        (written,) = rewrite(author, text)
        n_right += sum(a == b for a, b in zip(written.text.split(), text.split(), strict=False))
    assert n_right >= 0.95 * 320  # told those that it wrote itself


def write_pairs(folder: Path, n: int, most: int) -> None:
    draw = random.Random(0)
    rows = [[draw.choice("abcdefghij") for _ in range(draw.randint(1, most))] for _ in range(n)]
    write_table(folder / "pairs.csv", ("source", "target"), [(" ".join(row), " ".join(row[::-1])) for row in rows])


def test_pairs_learn_to_reverse_a_sequence(tmp_path: Path, capsys) -> None:
    write_pairs(tmp_path, 4000, 6)
    settings = (
        "model.decoding.attention=luong",
        "model.encoder.bidirectional=true",
        "model.embedding.width=24",
        "model.encoder.width=24",
        "train.batch_tokens=768",
        "train.epochs=5",
        "train.warmup=0.05",
    )
    run = fit(pretraining(tmp_path, "pairs", *FAST, *settings))
    assert run.scores.accuracy >= 0.99
    assert run.scores.exact >= 0.95
    (written,) = rewrite(load_generator(run.directory), "a b c d e")
    assert written[:3] == ("e d c b a", 5, True)
    capsys.readouterr()
    generate(str(run.directory), "j i", beam=3, n=2)
    assert capsys.readouterr().out.startswith("i j\n")
    generate(str(run.directory), "j i", as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert list(json.loads(line)) == ["source", "text", "tokens", "ended", "log_probability"]
    for options, said in (
        ({"seed": 1}, "--seed does not apply"),
        ({"n": 2}, "-n 2 needs a beam"),
        ({"prompt": ""}, "no text"),
    ):
        with pytest.raises(UsageError, match=said):
            generate(str(run.directory), **{"prompt": "a", **options})


@pytest.mark.parametrize("reverse", [False, True])
def test_an_autoencoder_is_scored_on_each_token_of_the_held_out_rows(tmp_path: Path, reverse: bool) -> None:
    write_reviews(tmp_path, 100)
    settings = ("data.valid.unsup_share=0.2", "train.epochs=2", "text.max_tokens=9")
    experiment = pretraining(tmp_path, "autoencoder", *settings, f"model.decoding.reverse={str(reverse).lower()}")
    finished = fit(experiment)
    model, packed = load_generator(finished.directory).model, held_out_rows(prepare_for(experiment), experiment)
    rows, total, n, n_right = rows_on(torch.device("cpu"), packed), 0.0, 0, 0
    for row, length in enumerate(packed.length_N.tolist()):
        batch = gather(rows, torch.tensor([row]), min(9, length + 1), experiment.text)
        source = batch.ids_BL[0].tolist()
        assert source[0] == START_ID
        target = [*(source[:0:-1] if reverse else source[1:]), START_ID]
        assert reconstruction(batch, reverse=reverse).target_BM[0].tolist() == target
        token_N, state = model.start((batch.ids_BL, batch.length_B))
        for token in target:
            with torch.no_grad():
                log_probability_NV, state, _ = model.step(token_N, state)
            total, n = total - log_probability_NV[0, token].item(), n + 1
            n_right += int(log_probability_NV.argmax()) == token
            token_N = torch.tensor([token])
    assert n > 100
    assert (finished.scores.n, finished.scores.accuracy) == (n, n_right / n)
    assert finished.scores.loss == pytest.approx(total / n, rel=1e-5)
    assert finished.scores.perplexity == pytest.approx(np.exp(total / n), rel=1e-5)


def test_empty_rows_are_not_reconstructed(tmp_path: Path) -> None:
    rows = [(f"word{i} is here" if i % 3 else "###", "ab"[i % 2]) for i in range(60)]
    write_table(tmp_path / "reviews.csv", ("text", "label"), rows)
    experiment = pretraining(tmp_path, "autoencoder", "text.punctuation=delete", "train.epochs=1")
    corpus = prepare_for(experiment)
    packed: Packed = corpus.split("valid")
    assert (packed.length_N == 0).any()
    finished = fit(experiment)
    assert finished.scores.n == int((packed.length_N[packed.length_N > 0] + 1).sum())
