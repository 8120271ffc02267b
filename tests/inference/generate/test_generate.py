"""What runs write: every word chosen by the model, set as text, none of them unknown, and ended where it ends."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.tokens.tokenizer import build_tokenizer
from sentiment_cli.data.tokens.vocabulary import START_ID, Vocabulary
from sentiment_cli.errors import UsageError
from sentiment_cli.inference.generate.generate import (
    Generator,
    Sampling,
    continue_text,
    detokenize,
    label_of,
    load_generator,
    rewrite,
    text_pieces,
)
from sentiment_cli.inference.generate.sampling import generate_tokens
from sentiment_cli.inference.generate.search import beam_search
from sentiment_cli.models.language_model import build_language_model
from sentiment_cli.models.seq2seq import build_encoder_decoder
from sentiment_cli.runs.saved_model import save_artefact

ENTRIES = ("<pad>", "<start>", "<unk>", "the", "plot", "was", "good", "bad", ".", "!", "and")
SMALL = ("text.start=true", "model.embedding.width=8", "model.encoder.width=8", "model.encoder.cell=gru")
Write = Callable[..., Generator]


@pytest.fixture
def author(tmp_path: Path) -> Write:
    """Write a run of a fresh model, and load it."""
    (tmp_path / "x.yaml").write_text("name: x\n")

    def write(task: str, *settings: str) -> Generator:
        own = [f"data.source={tmp_path / 'x.csv'}"] if task == "pairs" else []
        experiment = load_experiment(tmp_path / "x.yaml", [f"task={task}", *SMALL, *own, *settings])
        vocabulary = Vocabulary(ENTRIES, 2, 1)
        torch.manual_seed(0)
        if task == "language-model":
            model = build_language_model(experiment, vocabulary, 2)
        else:
            model = build_encoder_decoder(experiment, vocabulary)
        tokens = build_tokenizer(experiment.text, ENTRIES, "<unk>").to_str().encode()
        labels = () if task == "pairs" else ("neg", "pos")
        corpus: Any = SimpleNamespace(
            labels=labels, key="toy-0123456789abcdef", vocabulary=vocabulary, tokenizer_json=tokens
        )
        run = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        save_artefact(run, experiment, corpus, model.state_dict())
        return load_generator(run)

    return write


def write(author: Generator, prompt: str, n: int = 1, **options: Any) -> list[list[int]]:
    plain = {"n_tokens": 30, "n_texts": n, "sampling": Sampling(temperature=1.0), "seed": 0}
    return list(continue_text(author, prompt, **{**plain, **options}))


@pytest.mark.parametrize("softmax", ["full", "sampled", "adaptive"])
def test_a_text_grows_word_by_word_behind_the_prompt(author: Write, softmax: str) -> None:
    writer = author("language-model", f"model.language.softmax={softmax}", "model.language.cutoffs=[4,6]")
    steps = write(writer, "The plot zzz")
    ids = [step[0] for step in steps]
    generator = torch.Generator().manual_seed(0)
    prompt = [START_ID, 3, 4, 2]
    plain = generate_tokens(writer.model, prompt, n_tokens=30, forbidden=[0, 2], end_id=START_ID, generator=generator)
    assert ids == [int(ids_B) for ids_B in plain]
    assert not {0, 2} & set(ids)
    pieces = list(text_pieces(writer, "The plot zzz", ids))
    words = [ENTRIES[i] for i in itertools.takewhile(lambda i: i != START_ID, ids)]
    assert pieces[0] == "The plot zzz"  # as it was typed
    assert [piece.strip() for piece in pieces[1:]] == words
    assert all((piece[0] == " ") == (word not in ".!") for piece, word in zip(pieces[1:], words, strict=True))
    (whole,) = detokenize(writer, "The plot zzz", steps)
    assert (whole.text, whole.tokens, whole.ended) == ("".join(pieces), len(words), START_ID in ids)


def test_several_texts_end_each_for_itself(author: Write) -> None:
    writer = author("language-model")
    steps = write(writer, "", 8, n_tokens=12)
    texts = detokenize(writer, "", steps)
    assert len(texts) == 8
    assert {text.ended for text in texts} == {True, False}
    assert all(text.ended == (text.tokens < 12) and not text.text.startswith(" ") for text in texts)
    assert write(writer, "", 8, n_tokens=12) == steps != write(writer, "", 8, n_tokens=12, seed=1)


def test_a_backward_model_writes_what_comes_before(author: Write) -> None:
    writer = author("language-model", "model.language.reverse=true")
    assert writer.is_backward
    steps = write(writer, "was GOOD.", sampling=Sampling(temperature=0), n_tokens=5)
    generator = torch.Generator()
    plain = generate_tokens(
        writer.model, [1, 8, 6, 5], n_tokens=5, temperature=0, forbidden=[0, 2], end_id=1, generator=generator
    )
    ids = [int(ids_B) for ids_B in plain]
    assert [step[0] for step in steps] == ids
    (text,) = detokenize(writer, "was GOOD.", [[3], [8], [4], [START_ID]])
    assert text[:3] == ("plot. the was GOOD.", 3, True)
    assert detokenize(writer, ". and", [[3], [START_ID]])[0].text == "the. and"
    assert detokenize(writer, "", [[3], [4]])[0].text == "plot the"


def test_labels_are_told_to_models_that_know_them(author: Write) -> None:
    writer = author("language-model", "model.language.label=true")
    assert [label_of(writer, name) for name in (None, "neg", "pos")] == [0, 1, 2]
    with pytest.raises(UsageError, match="--label is good; the labels are neg, pos") as caught:
        label_of(writer, "good")
    assert caught.value.hint == "--label pos"
    writer.model.label.weight.data[2] += 3.0
    plain, told = (write(writer, "", label=label) for label in (0, 2))
    assert plain != told
    with pytest.raises(UsageError, match="was trained without the labels of reviews"):
        label_of(author("language-model"), "pos")


@pytest.mark.parametrize("task", ["autoencoder", "pairs"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_sequence_is_written_from_what_is_read(author: Write, task: str, reverse: bool) -> None:
    settings = ("text.max_tokens=4", "text.truncate=head", "model.decoding.attention=luong")
    writer = author(task, *settings, f"model.decoding.reverse={str(reverse).lower()}")
    writer.model.output.words.bias.data[2] = 9.0  # it would write the unknown word, if it could
    source = torch.tensor([[START_ID, 3, 4, 2]]), torch.tensor([4])  # cut to four, the start token being one
    for beam, n in ((1, 1), (4, 3)):
        found = rewrite(writer, "the plot zzz was good", n_tokens=6, beam=beam, n_best=n)
        assert len(found) == n
        assert not any("<" in one.text for one in found)

        class Without:
            start, select = writer.model.start, writer.model.select

            @staticmethod
            def step(token_N, state):
                log_probability_NV, *rest = writer.model.step(token_N, state)
                log_probability_NV[:, [0, 2]] = -torch.inf
                return log_probability_NV, *rest

        (expected,) = beam_search(Without, source, end_id=START_ID, max_length=6, width=beam, n_best=n)
        for one, other in zip(found, expected, strict=True):
            words = [ENTRIES[i] for i in (other.tokens[::-1] if reverse else other.tokens)]
            assert one.text.replace(".", " .").replace("!", " !").split() == words
            assert (one.tokens, one.ended, one.log_probability) == (
                len(words),
                other.has_ended,
                pytest.approx(other.log_probability),
            )


def test_what_cannot_be_read_or_writes_nothing_is_refused(author: Write, three_labels: Path) -> None:
    for task in ("language-model", "autoencoder"):
        writer = author(task)
        with pytest.raises(UsageError, match=r"run\d knows no word of 'zzz qqq'"):
            writer.ids_of("zzz qqq")
        assert writer.ids_of("zzz plot") == [2, 4]
        assert writer.ids_of(" ") == []
    with pytest.raises(UsageError, match="three is a classifier; generate needs a language model"):
        load_generator(three_labels)
