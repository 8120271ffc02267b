"""The reviews of a source as they came, kept on disk once: what packing, checks and reports read, again and again.

    cache/texts-labelled-imdb-…/   train.text  train-starts_N1.npy  train-label_N.npy  …  about.json  manifest.json

A part (labelled: train and test; unlabelled: unsup) is one such directory, keyed by the hash of the source's bytes and
the settings that bear on reading it. Its `fingerprint` is of the rows themselves: the same whether they came out of an
archive or a folder.
"""

import hashlib
import io
import itertools
import json
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console, store
from sentiment_cli.data import cache
from sentiment_cli.data.labels import refuse_unknown, sort_labels
from sentiment_cli.data.review import Review
from sentiment_cli.data.sources import Part, Source, hash_source, read_part
from sentiment_cli.data.tables import Rejects
from sentiment_cli.errors import DataError

_FORMAT = 1
SPLITS_OF: dict[Part, tuple[str, ...]] = {"labelled": ("train", "test"), "unlabelled": ("unsup",)}
_ROWS_AT_ONCE = 1024
_BYTES_AT_ONCE = 4_000_000  # of rows that are long; a thousand reviews have 1.3 million
_ROWS_BETWEEN_UPDATES = 5000


@dataclass(frozen=True)
class Rows:
    """What is known of a split's rows beside their texts; -1 is none, 0 stars are none.

    `digest_N` is a hash of the text with white space folded: equal for exact duplicates.
    """

    starts_N1: NDArray[np.int64]
    label_N: NDArray[np.int64]
    stars_N: NDArray[np.int64]
    group_N: NDArray[np.int64]
    digest_N: NDArray[np.uint64]
    id_N: NDArray[np.bytes_]

    def __len__(self) -> int:
        return len(self.label_N)


@dataclass(frozen=True)
class Texts:
    """A part's reviews on disk."""

    directory: Path
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    fingerprint: str
    rejected: int

    def rows(self, split: str) -> Rows:
        """Load a split's rows, without their texts."""
        paths = {name: self.directory / f"{split}-{name}.npy" for name in Rows.__dataclass_fields__}
        return Rows(**{name: np.load(path, allow_pickle=False) for name, path in paths.items()})

    def read(self, split: str, is_wanted_N: NDArray[np.bool_] | None = None) -> Iterator[list[str]]:
        """Yield a split's texts in order, some at a time; those of the wanted rows only."""
        starts_N1 = np.load(self.directory / f"{split}-starts_N1.npy", allow_pickle=False)
        with (self.directory / f"{split}.text").open("rb") as handle:
            first, n_rows = 0, len(starts_N1) - 1
            while first < n_rows:
                within = int(np.searchsorted(starts_N1, starts_N1[first] + _BYTES_AT_ONCE, "right")) - 1
                last = min(max(within, first + 1), first + _ROWS_AT_ONCE, n_rows)
                edges = (starts_N1[first : last + 1] - starts_N1[first]).tolist()
                block = handle.read(edges[-1])
                texts = [block[start:end].decode() for start, end in itertools.pairwise(edges)]
                if is_wanted_N is None:
                    yield texts
                else:
                    yield [text for text, is_wanted in zip(texts, is_wanted_N[first:last], strict=True) if is_wanted]
                first = last


def key_of(source: Source, part: Part) -> cache.Key:
    """Return the key of a part's texts."""
    names = {"label_map", "on_error", "without_label", "text_column", "label_column", "group_column"}
    settings = {} if source.kind == "imdb" else source.settings.model_dump(mode="json", include=names)
    depends_on = {"format": _FORMAT, "source": hash_source(source, part), "data": settings}
    return cache.Key(f"texts-{part}-{source.name}", depends_on)


def open_texts(key: cache.Key, part: Part) -> Texts | None:
    """Open a part's texts where they are there whole."""
    directory = cache.open_entry(key.directory_name)
    return None if directory is None else _load(directory, part)


def find_fingerprint(key: cache.Key) -> str | None:
    """Return the fingerprint of a part's texts, if they are there, without reading them."""
    directory = cache.directory_of(key.directory_name)
    try:
        return _fingerprint(cache.read_manifest(directory)) if directory.exists() else None
    except store.IntegrityError:
        return None


def prepare_texts(source: Source, part: Part) -> Texts:
    """Return a part's texts, out of the cache where they are there whole, else read from the source."""
    key = key_of(source, part)
    with cache.building(key):
        found = open_texts(key, part)
        if found is None:
            cache.say_miss(key)
            console.say(f"data: reading the {part} reviews of {source.path or 'the generated sample'}")
            _write(source, part, key)
            found = open_texts(key, part)
    if found is None:
        raise cache.unreadable(key.directory_name)
    return found


@dataclass
class _Columns:
    """One split's rows while they are read."""

    text: io.RawIOBase
    start: "array[int]" = field(default_factory=lambda: array("q", [0]))
    label: "array[int]" = field(default_factory=lambda: array("q"))
    stars: "array[int]" = field(default_factory=lambda: array("q"))
    group: "array[int]" = field(default_factory=lambda: array("q"))
    digest: "array[int]" = field(default_factory=lambda: array("Q"))
    ids: list[NDArray[np.bytes_]] = field(default_factory=list)
    fresh_ids: list[bytes] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)

    def add(self, review: Review, label: int, group: int) -> None:
        data = review.text.encode()
        self.text.write(data)
        self.start.append(self.start[-1] + len(data))
        self.label.append(label)
        self.stars.append(review.stars or 0)
        self.group.append(group)
        folded = " ".join(review.text.split()).encode()
        self.digest.append(int.from_bytes(hashlib.blake2b(folded, digest_size=8).digest(), "little"))
        self.fresh_ids.append(review.id.encode("utf-8", "surrogateescape"))
        if len(self.fresh_ids) == _ROWS_AT_ONCE:
            self.pack_ids()

    def pack_ids(self) -> None:
        """Turn ids into an array before they are many: as objects they would outgrow all else."""
        self.ids.append(np.array(self.fresh_ids, dtype=np.bytes_))
        self.fresh_ids.clear()


def _write(source: Source, part: Part, key: cache.Key) -> None:
    rejects = Rejects(source.settings.on_error)
    labels: dict[str, int] = {}
    groups: dict[str, int] = {}
    n_damaged, n_rows = 0, 0
    with (
        store.new_directory(cache.directory_of(key.directory_name)) as draft,
        ExitStack() as stack,
        console.progress(f"reading the {part} reviews", None) as shown,
    ):
        splits = {split: _Columns(stack.enter_context(draft.create(f"{split}.text"))) for split in SPLITS_OF[part]}
        for split, review in read_part(source, part, rejects):
            columns = splits[split]
            label = -1
            if review.label is not None:
                label = labels.setdefault(review.label, len(labels))
                columns.labels[review.label] += 1
            group = -1 if review.group is None else groups.setdefault(review.group, len(groups))
            columns.add(review, label, group)
            n_damaged += "\ufffd" in review.text
            n_rows += 1
            if n_rows % _ROWS_BETWEEN_UPDATES == 0:
                shown.update(n_rows)
        if hash_source(source, part) != key.depends_on["source"]:
            raise DataError(f"{source.path} was changed while it was read", "the same command again")
        first, *others = splits.values()
        if not first.label:
            raise DataError(
                f"{source.path} holds no {part} reviews"
                + (f": all {len(rejects.found):,} rows were rejected" if rejects.found else "")
            )
        names = sort_labels(first.labels)
        for other in others:
            refuse_unknown(f"the test split of {source.path}", other.labels, names, "--set 'data.label_map=[{}]'")
        final_labels = _ranks(labels, names)
        final_groups = _ranks(groups, sorted(groups))
        for split, columns in splits.items():
            columns.pack_ids()
            rows = Rows(
                np.frombuffer(columns.start, dtype=np.int64),
                final_labels[np.frombuffer(columns.label, dtype=np.int64)],
                np.frombuffer(columns.stars, dtype=np.int64),
                final_groups[np.frombuffer(columns.group, dtype=np.int64)],
                np.frombuffer(columns.digest, dtype=np.uint64),
                np.concatenate(columns.ids),
            )
            for name, array_N in vars(rows).items():
                with draft.create(f"{split}-{name}.npy") as handle:
                    np.save(handle, array_N, allow_pickle=False)
        if rejects.found:
            lines = (json.dumps(row) + "\n" for row in rejects.found)  # ASCII, which any file name can be written in
            draft.write("rejects.jsonl", "".join(lines).encode())
        about = {
            "labels": names,
            "groups": sorted(groups),
            "rows": {split: len(columns.label) for split, columns in splits.items()},
            "rejected": len(rejects.found),
        }
        draft.write("about.json", store.dump_json(about))
        draft.write(cache.KEY_FILE, store.dump_json(key.depends_on))
    if n_damaged:
        console.warn(f"{n_damaged:,} texts hold \ufffd, which stands for what was no UTF-8")
    if rejects.found:
        where = cache.directory_of(key.directory_name) / "rejects.jsonl"
        console.warn(
            f"{len(rejects.found):,} of {n_rows + len(rejects.found):,} rows were left out; they are listed in {where}"
        )


def _ranks(found: dict[str, int], names: Any) -> NDArray[np.int64]:
    """Map the numbers of first appearance to places among `names`; the last entry maps -1 to itself."""
    rank_of = {name: i for i, name in enumerate(names)}
    return np.array([*(rank_of.get(name, -1) for name in found), -1], dtype=np.int64)


def _load(directory: Path, part: Part) -> Texts:
    about = store.read_json(directory / "about.json")
    fingerprint = _fingerprint(cache.read_manifest(directory))
    return Texts(directory, tuple(about["labels"]), tuple(about["groups"]), fingerprint, about["rejected"])


def _fingerprint(files: dict[str, Any]) -> str:
    """Hash the rows and what they mean, and not where they came from."""
    rows = {name: entry for name, entry in files.items() if name != cache.KEY_FILE}
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
