"""Packed token ids of each split, made once and cached under a key of all they depend on."""

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from sentiment_cli import console, store
from sentiment_cli.config.paths import data_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.review import Review
from sentiment_cli.data.sources import LABELS, Source, find_source, read_reviews
from sentiment_cli.data.splits import valid_rows
from sentiment_cli.data.tokenizer import all_words, build_tokenizer, encode
from sentiment_cli.data.vocabulary import Vocabulary, build_vocabulary
from sentiment_cli.errors import DataError

_FORMAT = 1
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Packed:
    """Rows of token ids, ragged, in flat arrays: row i is ids_T[starts_N1[i]:starts_N1[i + 1]].

    ids_T int32, starts_N1 int64, label_N int64, stars_N int64 (0 where unknown), group_N int64, id_N text.
    """

    ids_T: NDArray[np.int32]
    starts_N1: NDArray[np.int64]
    label_N: NDArray[np.int64]
    stars_N: NDArray[np.int64]
    group_N: NDArray[np.int64]
    id_N: NDArray[np.str_]

    @property
    def length_N(self) -> NDArray[np.int64]:
        return np.diff(self.starts_N1)


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus on disk, of which the splits in `checked` were compared with the manifest."""

    directory: Path
    key: str
    labels: tuple[str, ...]
    vocabulary: Vocabulary
    checked: tuple[str, ...]

    @property
    def tokenizer_json(self) -> bytes:
        return (self.directory / "tokenizer.json").read_bytes()

    def split(self, name: str) -> Packed:
        """Map a split's arrays into memory, copy on write (torch warns about read-only memory)."""
        assert name in self.checked
        paths = {field: self.directory / f"{name}-{field}.npy" for field in Packed.__dataclass_fields__}
        return Packed(**{field: np.load(path, mmap_mode="c", allow_pickle=False) for field, path in paths.items()})


def prepare(experiment: Experiment, splits: tuple[str, ...] = SPLITS, key: str | None = None) -> Corpus:
    """Return the experiment's corpus, out of the cache where it is there whole, else made anew.

    Only the named splits are read and checked, so that training never opens test's. With `key`, an entry of that key
    serves without a look at its source, and a source that gives another key is refused with a DataError.
    """
    started = time.monotonic()
    if key is not None and (corpus := _open_said(key, splits)):
        return corpus
    source = find_source(experiment.data)
    found, depends_on = _key(source, experiment)
    if key is not None and found != key:
        raise DataError(
            f"the data at hand is {found}, other bytes than {key} or prepared by another version",
            "export SENTIMENT_IMDB=PATH_TO_THE_ARCHIVE_OF_THE_TRAINING",
        )
    if corpus := _open_said(found, splits):
        return corpus
    console.say(f"data: preparing {source.path or 'the generated sample'}")
    counts = _build(source, experiment, _entry(found), depends_on)
    summary = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    console.say(f"data: {summary} reviews in {_entry(found)} ({time.monotonic() - started:.1f} s)")
    corpus = _open(found, splits)
    assert corpus is not None
    return corpus


def _key(source: Source, experiment: Experiment) -> tuple[str, dict[str, object]]:
    depends_on: dict[str, object] = {
        "format": _FORMAT,
        "tokenizers": tokenizers.__version__,
        "source": source.sha256,
        "valid": experiment.data.valid.model_dump(mode="json"),
        "text": experiment.text.model_dump(mode="json", include={"tokenizer", "lowercase", "markup", "punctuation"}),
        "vocabulary": experiment.vocabulary.model_dump(mode="json"),
    }
    digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
    return f"{source.name}-{digest[:16]}", depends_on


def _entry(key: str) -> Path:
    return data_dir() / "cache" / key


def _open(key: str, splits: tuple[str, ...]) -> Corpus | None:
    """Open a cache entry where there is one; a damaged one is removed, loudly."""
    directory = _entry(key)
    if not store.is_there(directory):
        return None
    try:
        prefixes = tuple(f"{split}-" for split in splits)
        store.open_directory(directory, lambda file: file.endswith(".json") or file.startswith(prefixes))
        vocabulary = Vocabulary.from_json(store.read_json(directory / "vocabulary.json"))
    except store.IntegrityError as error:
        console.warn(f"{error}; preparing it again")
        store.remove_directory(directory)
        return None
    return Corpus(directory, key, LABELS, vocabulary, splits)


def _open_said(key: str, splits: tuple[str, ...]) -> Corpus | None:
    corpus = _open(key, splits)
    if corpus is not None:
        console.say(f"data: prepared before, in {corpus.directory}")
    return corpus


def _build(source: Source, experiment: Experiment, directory: Path, depends_on: dict[str, object]) -> dict[str, int]:
    reviews: dict[str, list[Review]] = {"train": [], "valid": [], "test": []}
    for split, review in read_reviews(source, ("train", "test")):
        reviews[split].append(review)
    groups = {name: i for i, name in enumerate(sorted({row.group or "" for row in reviews["train"] + reviews["test"]}))}
    train = reviews["train"]
    label_N = np.array([LABELS.index(row.label or "") for row in train])
    group_N = np.array([groups[row.group or ""] for row in train])
    held_N = valid_rows(label_N, group_N, experiment.data.valid)
    reviews["train"] = [row for row, held in zip(train, held_N, strict=True) if not held]
    reviews["valid"] = [row for row, held in zip(train, held_N, strict=True) if held]
    if not reviews["train"] or not reviews["valid"]:
        raise DataError(f"data.valid.share {experiment.data.valid.share} leaves no rows on one side")

    counted = [row.text for split in experiment.vocabulary.from_ for row in reviews[split]]
    words = all_words(experiment.text, counted)
    index = {word: i for i, word in enumerate(words)}
    # One encoding with every word known serves both to count and to pack: `final_V` then maps to the kept entries.
    open_tokenizer = build_tokenizer(experiment.text, ["", *words], "")
    encoded = {
        split: _pack(reviews[split], groups, encode(open_tokenizer, [row.text for row in reviews[split]]))
        for split in SPLITS
    }
    count_V = sum(
        np.bincount(encoded[split].ids_T, minlength=len(words) + 1)[1:] for split in experiment.vocabulary.from_
    )
    vocabulary = build_vocabulary(experiment.vocabulary, words, np.asarray(count_V))
    final_V = np.full(len(words) + 1, vocabulary.unknown_id, dtype=np.int32)
    for i, word in enumerate(vocabulary.entries[vocabulary.specials :], vocabulary.specials):
        final_V[index[word] + 1] = i

    tokenizer = build_tokenizer(experiment.text, vocabulary.entries, vocabulary.entries[vocabulary.unknown_id])
    with store.new_directory(directory) as draft:
        for split, packed in encoded.items():
            for field in Packed.__dataclass_fields__:
                array = final_V[packed.ids_T] if field == "ids_T" else getattr(packed, field)
                with draft.create(f"{split}-{field}.npy") as handle:
                    np.save(handle, array, allow_pickle=False)
        draft.write("tokenizer.json", tokenizer.to_str().encode())
        draft.write("vocabulary.json", store.dump_json(vars(vocabulary)))
        draft.write("key.json", store.dump_json(depends_on))
    return {split: len(rows) for split, rows in reviews.items()}


def _pack(reviews: list[Review], groups: dict[str, int], rows: Iterable[NDArray[np.int32]]) -> Packed:
    ids = list(rows)
    starts_N1 = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in ids], out=starts_N1[1:])
    return Packed(
        np.concatenate(ids),
        starts_N1,
        np.array([LABELS.index(row.label or "") for row in reviews], dtype=np.int64),
        np.array([row.stars or 0 for row in reviews], dtype=np.int64),
        np.array([groups[row.group or ""] for row in reviews], dtype=np.int64),
        np.array([row.id for row in reviews], dtype=np.str_),
    )
