"""Text generation with a finished run: a language model, or an encoder-decoder."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batching.batches import gather
from sentiment_cli.data.batching.truncation import read_lengths
from sentiment_cli.data.tokens.tokenizer import encode
from sentiment_cli.data.tokens.vocabulary import PAD_ID, START_ID
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.inference.generate.detokenizer import spell
from sentiment_cli.inference.generate.sampling import forbid, generate_tokens
from sentiment_cli.inference.generate.search import beam_search
from sentiment_cli.inference.torch_model import load_built, rows_of
from sentiment_cli.models.language_model import LanguageModel, build_language_model
from sentiment_cli.models.seq2seq import EncoderDecoder, Writing, build_encoder_decoder
from sentiment_cli.runs.saved_model import Artefact, experiment_of, open_artefact


class Sampling(NamedTuple):
    """How the next word is chosen: see sampling.choose."""

    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None


class Written(NamedTuple):
    """A text, how many of its tokens were written, and whether it came to its end; of a search, how likely it is."""

    text: str
    tokens: int
    ended: bool
    log_probability: float | None = None


@dataclass(frozen=True)
class Generator:
    """A finished run that writes, on the CPU."""

    artefact: Artefact
    experiment: Experiment
    model: LanguageModel | EncoderDecoder

    @property
    def is_backward(self) -> bool:
        """Return whether the model generates text before the prompt."""
        return isinstance(self.model, LanguageModel) and self.experiment.model.language.reverse

    def spelt(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield the text of each token."""
        kind = self.experiment.text.tokenizer
        return spell(kind, self.artefact.tokenizer, self.artefact.vocabulary.entries, ids)

    def ids_of(self, text: str) -> list[int]:
        """Return the tokens of a text. Raises UsageError if none is known."""
        (ids_L,) = encode(self.artefact.tokenizer, [text])
        ids: list[int] = ids_L.tolist()
        if text.strip() and all(token_id == self.artefact.vocabulary.unknown_id for token_id in ids):
            raise UsageError(f"{self.artefact.path} knows no word of {text!r:.80}", "sentiment generate --help")
        return ids


def load_generator(path: Path) -> Generator:
    """Load a run that writes. Raises UsageError for one that does not, a classifier or word vectors."""
    artefact = open_artefact(path, task=None)
    experiment = experiment_of(artefact)
    if experiment.task == "language-model":
        return Generator(artefact, experiment, load_built(artefact, build_language_model))
    if experiment.task in ("autoencoder", "pairs"):
        built = load_built(artefact, lambda experiment, vocabulary, _: build_encoder_decoder(experiment, vocabulary))
        return Generator(artefact, experiment, built)
    others = {"classify": "a classifier", "vectors": "word vectors", "regions": "a region embedding"}
    what = others[experiment.task]
    raise UsageError(f"{path} is {what}; generate needs a language model", "sentiment pretrain imdb-lm")


def label_of(author: Generator, name: str | None) -> int:
    """Return the index of a label for a conditional language model: from 1 on, 0 for none.

    Raises UsageError for an unknown label, and for a model that was trained without labels.
    """
    if name is None:
        return 0
    labels = author.artefact.labels
    if not author.experiment.model.language.label:
        raise UsageError(
            f"{author.artefact.path} was trained without the labels of reviews, so --label has no effect",
            "sentiment pretrain imdb-lm --set model.language.label=true",
        )
    if name not in labels:
        raise UsageError(f"--label is {name}; the labels are {', '.join(labels)}", Change("--label", labels[-1]))
    return 1 + labels.index(name)


def continue_text(
    author: Generator, prompt: str, *, n_tokens: int, n_texts: int, sampling: Sampling, seed: int, label: int = 0
) -> Iterator[list[int]]:
    """Yield the next token of each text that begins (ends, of a backward model) with the prompt, as it is chosen.

    A text that has ended is continued with the start token. Unknown words and padding are never written.
    """
    assert isinstance(author.model, LanguageModel)
    ids = author.ids_of(prompt)
    chosen = generate_tokens(
        author.model,
        [START_ID, *(reversed(ids) if author.is_backward else ids)],
        n_tokens=n_tokens,
        n_rows=n_texts,
        **sampling._asdict(),
        forbidden=_unwritten(author),
        end_id=START_ID,
        label=label,
        generator=torch.Generator().manual_seed(seed),
    )
    return (ids_B.tolist() for ids_B in chosen)


def text_pieces(author: Generator, prompt: str, tokens: Iterable[int]) -> Iterator[str]:
    """Yield the text as it is generated, the prompt first: of a forward model, up to a start token."""
    before = author.ids_of(prompt)
    yield prompt
    words = itertools.takewhile(lambda token_id: token_id != START_ID, tokens)
    yield from itertools.islice(author.spelt(itertools.chain(before, words)), len(before), None)


def detokenize(author: Generator, prompt: str, steps: Iterable[Sequence[int]]) -> list[Written]:
    """Return the whole texts of `write_on`."""
    found = []
    for tokens in zip(*steps, strict=True):
        words = list(itertools.takewhile(lambda token_id: token_id != START_ID, tokens))
        if author.is_backward:
            prompt_ids = author.ids_of(prompt)
            pieces = list(author.spelt([*reversed(words), *prompt_ids[:1]]))
            gap = " " if prompt_ids and pieces[-1].startswith(" ") else ""
            text = "".join(pieces[: len(words)]) + gap + prompt
        else:
            text = "".join(text_pieces(author, prompt, words))
        found.append(Written(text, len(words), len(words) < len(tokens)))
    return found


def rewrite(
    author: Generator, text: str, *, n_tokens: int | None = None, beam: int = 1, n_best: int = 1
) -> list[Written]:
    """Return the likeliest sequences that the model writes from the text, by a beam search that keeps `beam`.

    Without `n_tokens` they have at most twice as many tokens as the text, and 50 more.
    """
    assert isinstance(author.model, EncoderDecoder)
    rows, length_N = rows_of([torch.tensor(author.ids_of(text), dtype=torch.int32).numpy()])
    read = int(read_lengths(length_N, author.experiment.text)[0])
    batch = gather(rows, torch.tensor([0]), read, author.experiment.text)
    (found,) = beam_search(
        _Sparing(author.model, _unwritten(author)),
        (batch.ids_BL, batch.length_B),
        end_id=START_ID,
        max_length=n_tokens or 2 * read + 50,
        width=beam,
        n_best=n_best,
    )
    written = []
    for one in found:
        tokens = one.tokens[::-1] if author.experiment.model.decoding.reverse else one.tokens
        text = "".join(author.spelt(tokens))
        written.append(Written(text, len(tokens), one.has_ended, one.log_probability))
    return written


def _unwritten(author: Generator) -> list[int]:
    return sorted({PAD_ID, author.artefact.vocabulary.unknown_id})


class _Sparing:
    """A model that never generates some words."""

    def __init__(self, model: EncoderDecoder, ids: Sequence[int]) -> None:
        self._ids = ids
        self.start, self._step, self.select = model.start, model.step, model.select

    def step(self, token_N: Tensor, state: Writing) -> tuple[Tensor, Writing, Tensor | None]:
        log_probability_NV, state, weight_NL = self._step(token_N, state)
        return forbid(log_probability_NV, self._ids), state, weight_NL
