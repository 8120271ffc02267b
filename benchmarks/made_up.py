"""Made-up corpora, and shipped recipes made small: for benchmarks and tests that need no data."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.model_settings import Linear
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.packed import Corpus, Packed
from sentiment_cli.data.tokens.vocabulary import Vocabulary

SPECIALS = ("<pad>", "<start>", "<unk>")
SENTENCE_END = len(SPECIALS)  # the word ".", which ends sentences of some twenty words


class MadeUp(Corpus):
    """A corpus in memory whose words follow Zipf's law, in rows of the given lengths."""

    def __init__(self, length_N: Sequence[int] | NDArray[np.int64], n_entries: int, labels: tuple[str, ...]) -> None:
        words = [f"w{i}" for i in range(n_entries - len(SPECIALS) - 1)]
        vocabulary = Vocabulary((*SPECIALS, ".", *words), unknown_id=2, start_id=1)
        splits = ("train", "valid", "unsup")
        super().__init__("made-up", labels, vocabulary, Path(), dict.fromkeys(splits, Path()))
        self._packed = {name: self._rows(name, np.asarray(length_N, np.int64)) for name in splits}

    @property
    def rows_key(self) -> str:
        return self.key

    def split(self, name: str) -> Packed:
        return self._packed[name]

    def ids(self, name: str) -> list[str]:
        return [f"{name}/{i}" for i in range(len(self.split(name).label_N))]

    def _rows(self, name: str, length_N: NDArray[np.int64]) -> Packed:
        draw, n_rows, n_tokens = np.random.default_rng(0), len(length_N), int(length_N.sum())
        n_words = len(self.vocabulary.entries) - SENTENCE_END - 1
        ids_T = (SENTENCE_END + 1 + (draw.zipf(1.2, n_tokens) - 1) % n_words).astype(np.int32)
        ids_T[draw.random(n_tokens) < 0.05] = SENTENCE_END
        label_N = np.full(n_rows, -1) if name == "unsup" else np.arange(n_rows) % len(self.labels)
        return Packed(
            ids_T=ids_T,
            starts_N1=np.concatenate([[0], np.cumsum(length_N)]),
            label_N=label_N.astype(np.int64),
            stars_N=np.where(label_N > 0, 9, 2).astype(np.int64),
            group_N=np.arange(n_rows) // 2,
            in_train_N=np.zeros(n_rows, dtype=bool),
        )


def made_small(name: str, length: int, settings: Sequence[str] = ()) -> Experiment:
    """Return a shipped recipe with rows, or windows, of `length` tokens and layers of eight units."""
    base = load_experiment(name)
    found = ["train.epochs=1", "train.checkpoint_minutes=null"]
    found.append("model.regions.width=8" if base.task == "regions" else "model.embedding.width=8")
    if base.task == "classify" and base.model.regions.use != "none":
        found.append("model.regions.width=8")
    if base.model.kind != "bag" and base.task not in ("vectors", "regions"):
        found.append("model.encoder.width=8")
    if base.text.max_tokens is not None:
        found.append(f"text.max_tokens={length}")
    if base.text.pad_to is not None:
        found.append(f"text.pad_to={length}")
    if base.model.embedding.ngrams > 1:
        found.append("model.embedding.buckets=500")
    if base.task in ("vectors", "regions") or (base.task != "classify" and base.model.language.softmax == "sampled"):
        found.append("model.language.samples=16")
    if base.model.embedding.dropout is None:  # these follow from the rows, of which there are none here
        found.append("model.embedding.dropout=0.3")
    if base.model.wide.use is None:
        found += ["model.wide.use=both", "model.wide.dropout=0.8"]
    if base.model.kind != "linear":
        plain = Linear()
        found += [
            f"model.linear.{key}={json.dumps(getattr(plain, key))}"
            for key in Linear.model_fields
            if getattr(base.model.linear, key) is None
        ]
    if base.train.lr is None:
        found.append("train.lr=1e-3")
    if base.teacher.run:
        found.append("teacher.run=null")
    if base.task != "classify":
        found.append("data.valid.unsup_share=0.5")
    if base.task in ("language-model", "vectors", "regions"):
        found.append(f"train.window={length}")
    n_rows = 8 if base.task == "autoencoder" else 4  # whose tokens are read and written
    return load_experiment(name, [*found, f"train.batch_tokens={n_rows * length}", *settings])


def corpus_for(experiment: Experiment, n_rows: int = 24, n_entries: int = 200) -> MadeUp:
    """Return rows of one length that fill the experiment's batches."""
    longest = experiment.text.max_tokens or experiment.train.window
    length = 4 * longest if experiment.task == "vectors" else longest - int(experiment.text.start)
    return MadeUp([length] * n_rows, n_entries, ("neg", "pos"))
