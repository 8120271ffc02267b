"""A prepared corpus: the packed token ids of each split, as the cache holds them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.corpus import cache
from sentiment_cli.data.corpus.column_files import read_column, read_ids
from sentiment_cli.data.corpus.raw_texts import find_texts
from sentiment_cli.data.corpus.targets import count_labels
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.storage import store

SPLITS = ("train", "valid", "test")
LABEL_SETS = "label-sets.json"  # the labels of each set, by number, where rows have several
ABOUT = "about.json"  # counts of rows by split and label, and of rows that are in several splits
COLUMNS = {  # of a packed split, by the kind of their numbers
    "ids_T": "int32",
    "end_N": "int64",
    "label_N": "int64",
    "stars_N": "int64",
    "group_N": "int64",
    "in_train_N": "bool",
}


@dataclass(frozen=True)
class Packed:
    """Rows of token ids, ragged, in flat arrays: row i is ids_T[starts_N1[i]:starts_N1[i + 1]].

    ids_T int32, starts_N1 int64, label_N and group_N int64 (-1: none), stars_N int64 (0: none), in_train_N bool (the
    same text, as `duplicates.normalise` reads it, is another split's too among the rows to train and validate on).
    Where rows have several labels, label_N numbers `sets_KC`, the sets of labels that there are.
    """

    ids_T: NDArray[np.int32]
    starts_N1: NDArray[np.int64]
    label_N: NDArray[np.int64]
    stars_N: NDArray[np.int64]
    group_N: NDArray[np.int64]
    in_train_N: NDArray[np.bool_]
    sets_KC: NDArray[np.bool_] | None = None

    @property
    def length_N(self) -> NDArray[np.int64]:
        return np.diff(self.starts_N1)


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus on disk: where each split that was asked for lies, compared with its manifest."""

    key: str
    labels: tuple[str, ...]
    vocabulary: Vocabulary
    directory: Path
    directories: dict[str, Path]
    sets_KC: NDArray[np.bool_] | None = None

    @property
    def rows_key(self) -> str:
        """What the rows of all splits follow from: the key, with that of unlabelled rows which it says nothing of."""
        if "unsup" not in self.directories or len(store.read_json(self.directory / cache.KEY_FILE)["texts"]) > 1:
            return self.key
        return f"{self.key}+{self.directories['unsup'].name}"

    @property
    def tokenizer_json(self) -> bytes:
        return (self.directory / "tokenizer.json").read_bytes()

    @property
    def texts(self) -> str:
        """The fingerprint of the texts that the labelled splits were packed from."""
        fingerprint: str = store.read_json(self.directory / cache.KEY_FILE)["texts"][0]
        return fingerprint

    def split(self, name: str) -> Packed:
        """Map a split's arrays into memory."""
        columns = {column: read_column(self.directories[name], name, column, kind) for column, kind in COLUMNS.items()}
        starts_N1 = np.concatenate([np.zeros(1, np.int64), columns.pop("end_N")])
        return Packed(starts_N1=starts_N1, sets_KC=self.sets_KC, **columns)

    def counts(self, name: str) -> NDArray[np.int64]:
        """Count a split's rows of each label."""
        return count_labels(self.split(name).label_N, len(self.labels), self.sets_KC)

    def digests(self, name: str) -> NDArray[np.uint64] | None:
        """Return a hash of each row's text, as `duplicates.normalise` reads it; None of an earlier version's corpus.

        Those of every split may be read: they show which rows are equal and reveal no text.
        """
        path = self.directory / digests_file(name)
        return np.frombuffer(store.read_file(path), dtype=np.uint64) if path.exists() else None

    @property
    def about(self) -> dict[str, Any]:
        """What was counted when the rows were packed; empty of an earlier version's corpus."""
        path = self.directory / ABOUT
        about: dict[str, Any] = store.read_json(path) if path.exists() else {}
        return about

    def ids(self, name: str) -> list[str]:
        """Return the ids of a split's rows, as the source names them."""
        return [found.decode("utf-8", "replace") for found in read_ids(self.directories[name], name)]

    def groups(self) -> tuple[str, ...]:
        """Return the names that group_N are places in; empty where the texts are no longer in the cache."""
        texts = find_texts(self.texts)
        return () if texts is None else texts.groups


def digests_file(split: str) -> str:
    """Return the name of the file of a split's digests, which is none of the split's own files."""
    return f"digests-{split}.uint64"


def open_corpus(name: str, splits: tuple[str, ...]) -> Corpus | None:
    """Open the corpus of that key where it is in the cache; whatever it was made from is not looked at."""
    prefixes = ("digests-", *(f"{split}-" for split in splits))
    directory = cache.open_entry(name, lambda file: file.endswith(".json") or file.startswith(prefixes))
    if directory is None:
        return None
    vocabulary = Vocabulary.from_json(store.read_json(directory / "vocabulary.json"))
    labels = tuple(store.read_json(directory / "labels.json"))
    sets_KC = None
    if (directory / LABEL_SETS).exists():
        sets = store.read_json(directory / LABEL_SETS)
        sets_KC = np.array([np.isin(np.arange(len(labels)), of_row) for of_row in sets], dtype=np.bool_)
    return Corpus(name, labels, vocabulary, directory, dict.fromkeys(splits, directory), sets_KC)


def join_rows(one: Packed, other: Packed) -> Packed:
    """Return the rows of both."""
    joined = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in _arrays_of(one)}
    joined["starts_N1"] = np.concatenate([one.starts_N1, one.starts_N1[-1] + other.starts_N1[1:]])
    return Packed(sets_KC=one.sets_KC, **joined)


def select_rows(packed: Packed, is_wanted_N: NDArray[np.bool_]) -> Packed:
    """Return the rows that are wanted."""
    fields = [name for name in _arrays_of(packed) if name not in ("ids_T", "starts_N1")]
    rows = {name: getattr(packed, name)[is_wanted_N] for name in fields}
    is_wanted_T = np.repeat(is_wanted_N, packed.length_N)
    starts_N1 = np.concatenate([[0], np.cumsum(packed.length_N[is_wanted_N])])
    return Packed(ids_T=packed.ids_T[is_wanted_T], starts_N1=starts_N1, sets_KC=packed.sets_KC, **rows)


def _arrays_of(packed: Packed) -> list[str]:
    """Return the names of the arrays that have a value per row or token."""
    return [field.name for field in dataclasses.fields(packed) if field.name != "sets_KC"]
