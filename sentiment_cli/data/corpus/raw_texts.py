"""The reviews of a source, stored once in the cache; packing, checks and reports read them from there.

    cache/texts-labelled-imdb-…/   train.text  train-end_N.int64  train-label_N.int32  …  about.json  manifest.json

A part (labelled: train and test; unlabelled: unsup) is one such directory, keyed by the hash of the source's bytes and
the settings that affect reading it. Its `fingerprint` hashes the rows themselves: it is the same for an archive and its
extracted folder.
"""

import hashlib
import itertools
import json
import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.data.corpus import cache
from sentiment_cli.data.corpus.column_files import read_column, read_ids, writing
from sentiment_cli.data.corpus.label_checks import check_order
from sentiment_cli.data.corpus.split_writer import COLUMNS, ROWS_AT_ONCE, RejectsWriter, SplitWriter
from sentiment_cli.data.corpus.targets import count_labels
from sentiment_cli.data.files.file_kinds import show_command
from sentiment_cli.data.sources.digests import FilesDigest
from sentiment_cli.data.sources.imdb_source import say_other_archive
from sentiment_cli.data.sources.label_lists import find_separator, load_labels
from sentiment_cli.data.sources.labels import parse_label_map, refuse_unknown, said, sort_labels
from sentiment_cli.data.sources.review import Subset
from sentiment_cli.data.sources.source import Source
from sentiment_cli.data.tables.readers import Rejects, unless_all_fail
from sentiment_cli.errors import DataError
from sentiment_cli.storage import store

_FORMAT = 2
# Validation rows are there only where the source, or a file given apart, has some.
SPLITS_OF: dict[Subset, tuple[str, ...]] = {"labelled": ("train", "valid", "test"), "unlabelled": ("unsup",)}
_MESSAGES_FILE = "said.json"  # lines about the files that are printed each time; not in the fingerprint
_BYTES_AT_ONCE = 4_000_000  # of rows that are long; a thousand reviews have 1.3 million
_ROWS_BETWEEN_UPDATES = 5000


@dataclass(frozen=True)
class TextRows:
    """A split's metadata by row; -1 is no label or group, 0 is no star rating.

    `end_N` is where each text ends among the bytes of all. `digest_N` is a hash of the text with white space folded:
    equal for exact duplicates.
    """

    end_N: NDArray[np.int64]
    label_N: NDArray[np.int32]
    stars_N: NDArray[np.int8]
    group_N: NDArray[np.int32]
    digest_N: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.end_N)


@dataclass(frozen=True)
class Texts:
    """A part's reviews on disk: their labels and groups in order, and the rank of each as it was first met.

    `left_out` counts the rows that data.label_map leaves out, by their label in the file. Where rows have several
    labels, `sets_KC` are the sets of labels that there are, and label_N numbers these instead.
    """

    directory: Path
    labels: tuple[str, ...]
    sets_KC: NDArray[np.bool_] | None
    groups: tuple[str, ...]
    fingerprint: str
    rejected: int
    left_out: dict[str, int]
    _label_ranks: NDArray[np.int32]
    _group_ranks: NDArray[np.int32]

    def rows(self, split: str) -> TextRows:
        """Map a split's metadata into memory; label_N and group_N are positions in `labels` and `groups`."""
        is_there = (self.directory / f"{split}.text").exists()
        columns = {
            name: read_column(self.directory, split, name, kind) if is_there else np.zeros(0, kind)
            for name, kind in COLUMNS.items()
        }
        columns["label_N"] = self._label_ranks[columns["label_N"]]
        columns["group_N"] = self._group_ranks[columns["group_N"]]
        return TextRows(**columns)

    def counts(self, split: str, is_wanted_N: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Count the rows of each label."""
        label_N = self.rows(split).label_N
        return count_labels(label_N if is_wanted_N is None else label_N[is_wanted_N], len(self.labels), self.sets_KC)

    def ids(self, split: str) -> list[str]:
        """Return the rows' ids."""
        is_there = (self.directory / f"{split}.text").exists()
        return [name.decode("utf-8", "replace") for name in read_ids(self.directory, split)] if is_there else []

    def read(self, split: str, is_wanted_N: NDArray[np.bool_] | None = None) -> Iterator[list[str]]:
        """Yield lists of a split's texts in order, of the wanted rows only."""
        if not (self.directory / f"{split}.text").exists():
            return
        end_N = read_column(self.directory, split, "end_N", COLUMNS["end_N"])
        with (self.directory / f"{split}.text").open("rb") as handle:
            first = 0
            while first < len(end_N):
                start = handle.tell()
                within = int(np.searchsorted(end_N, start + _BYTES_AT_ONCE))
                last = min(max(within, first + 1), first + ROWS_AT_ONCE, len(end_N))
                edges = [0, *(end_N[first:last] - start).tolist()]
                block = memoryview(handle.read(edges[-1]))
                wanted = itertools.repeat(True) if is_wanted_N is None else is_wanted_N[first:last]
                pairs = zip(itertools.pairwise(edges), wanted, strict=False)
                yield [str(block[start:end], "utf-8") for (start, end), is_wanted in pairs if is_wanted]
                first = last


def key_of(source: Source, part: Subset) -> cache.Key:
    """Return the key of a part's texts."""
    depends_on = {"format": _FORMAT, "part": part, "source": source.digest(part), "data": source.settings_read()}
    return cache.Key(f"texts-{part}-{source.name}", depends_on)


def open_texts(name: str) -> Texts | None:
    """Return the texts in a cache entry, or None where the entry is missing or damaged."""
    directory = cache.open_entry(name)
    return None if directory is None else _load(directory)


def find_fingerprint(key: cache.Key) -> str | None:
    """Return the fingerprint of a part's texts, if they are there, without reading them."""
    return _fingerprint_in(cache.directory_of(key.directory_name))


def find_texts(fingerprint: str, splits: tuple[str, ...] = ("train", "valid", "test", "unsup")) -> Texts | None:
    """Open the texts of a fingerprint where the cache has them, without looking at their source.

    Only the named splits are read.
    """
    paths = [entry.path for entry in cache.entries() if entry.name.startswith("texts-")]
    name = next((path.name for path in paths if _fingerprint_in(path) == fingerprint), None)
    prefixes = tuple(f"{split}{mark}" for split in splits for mark in "-.")
    directory = None if name is None else cache.open_entry(name, lambda file: file.startswith((*prefixes, "about")))
    return None if directory is None else _load(directory)


def prepare_texts(source: Source, part: Subset) -> Texts:
    """Return a part's texts from the cache; where it lacks them, read them from the source first."""
    key = key_of(source, part)

    def read() -> None:
        cache.say_miss(key)
        console.say(f"data: reading the {part} reviews of {source.path or 'the generated sample'}")
        _write(source, part, key)

    return cache.get_or_build(key, open_texts, read, on_hit=_say_found)


def _say_found(texts: Texts) -> None:
    """Repeat the lines that were printed when the texts were read."""
    if store.is_there(texts.directory / _MESSAGES_FILE):
        for line in store.read_json(texts.directory / _MESSAGES_FILE):
            console.say(line, once=True)


def _write(source: Source, part: Subset, key: cache.Key) -> None:
    found_out: list[str] = []

    def say(line: str) -> None:
        found_out.append(line)
        console.say(line, once=True)

    is_multilabel = source.settings.target == "multilabel" and part == "labelled"
    labels: dict[str, int] = {}
    groups: dict[str, int] = {}
    n_damaged, n_rows = 0, 0
    with (
        store.new_directory(cache.directory_of(key.directory_name)) as draft,
        ExitStack() as stack,
        console.progress(f"reading the {part} reviews", None) as shown,
    ):
        splits = {
            split: SplitWriter(
                stack.enter_context(draft.create(f"{split}.text")),
                stack.enter_context(writing(draft, split, COLUMNS)),
            )
            for split in SPLITS_OF[part]
            if split != "valid" or source.has_valid
        }
        stack.enter_context(unless_all_fail(lambda others: source.rows(part, others, say=_say_nothing)))
        rejected = RejectsWriter(draft, stack)
        rejects = Rejects(source.settings.on_error, rejected.keep)
        read, left_out = FilesDigest(), Counter[str]()
        for split, review in source.rows(part, rejects, read, left_out, say):
            label = group = -1
            if review.label is not None:
                label = labels.setdefault(review.label, len(labels))
                splits[split].labels.update(load_labels(review.label) if is_multilabel else [review.label])
            if review.group is not None:
                group = groups.setdefault(review.group, len(groups))
            splits[split].add(review, label, group)
            n_damaged += "\ufffd" in review.text
            n_rows += 1
            if n_rows % _ROWS_BETWEEN_UPDATES == 0:
                shown.update(n_rows)
        if source.digest(part, read) != key.depends_on["source"]:
            raise DataError(f"{source.path} was changed while it was read", f"ls -l {shlex.quote(str(source.path))}")
        first = splits[SPLITS_OF[part][0]]
        if not first.n_rows:
            n_out = rejected.n + left_out.total()
            all_out = f": all {n_out:,} rows were left out" if n_out else ""
            hint = show_command(source.path) if source.path is not None else "sentiment data info"
            raise DataError(f"{source.path} holds no {part} rows{all_out}", hint)
        for split, other in splits.items():
            names, renamed = sort_labels(first.labels), parse_label_map(source.settings.label_map)
            refuse_unknown(f"the {split} split of {source.path}", other.labels, names, renamed)
        for columns in splits.values():
            columns.flush()
        if source.is_table and not is_multilabel and (separator := find_separator(first.labels)):
            asked = f"--set data.target=multilabel --set 'data.label_separator={json.dumps(separator)}'"
            say(f"data: {separator!r} may separate several labels of a row, which are learnt as one here; {asked}")
        if found_out:
            draft.write(_MESSAGES_FILE, store.dump_json(found_out))
        about = {"labels": list(labels), "groups": list(groups), "rejected": rejected.n}
        if is_multilabel:
            about["is_multilabel"] = True
        if order := source.settings.label_order:
            about["order"] = check_order(source.path, order, first.labels)
        if +left_out:  # without it the fingerprint is that of earlier versions
            about["left_out"] = dict(left_out)
        draft.write("about.json", store.dump_json(about))
        draft.write(cache.KEY_FILE, store.dump_json(key.depends_on))
    if +left_out:
        console.say(f"data: data.label_map leaves out the rows labelled {said(left_out)}")
    if part == "labelled" and source.settings.source == "imdb":
        say_other_archive(source.path, key.depends_on["source"], n_rows)
    if n_damaged:
        console.warn(f"{n_damaged:,} texts are not valid UTF-8; \ufffd replaces each wrong byte")
    if rejected.n:
        where = cache.directory_of(key.directory_name) / "rejects.jsonl"
        console.warn(f"{rejected.n:,} of {n_rows + rejected.n:,} rows were left out; they are listed in {where}")


def _say_nothing(line: str) -> None:
    pass


def _load(directory: Path) -> Texts:
    about = store.read_json(directory / "about.json")
    groups, sets_KC = tuple(sorted(about["groups"])), None
    if about.get("is_multilabel"):
        sets = [load_labels(text) for text in about["labels"]]
        labels = sort_labels({label for of_row in sets for label in of_row})
        sets_KC = np.array([[label in of_row for label in labels] for of_row in sets], dtype=np.bool_)
        label_ranks = np.array([*range(len(sets)), -1], dtype=np.int32)
    else:
        labels = tuple(about.get("order") or sort_labels(about["labels"]))
        label_ranks = _ranks(about["labels"], labels)
    return Texts(
        directory,
        labels,
        sets_KC,
        groups,
        _fingerprint(directory),
        about["rejected"],
        about.get("left_out", {}),
        label_ranks,
        _ranks(about["groups"], groups),
    )


def _ranks(found: list[str], names: tuple[str, ...]) -> NDArray[np.int32]:
    """Map numbers of first appearance to places among the names; the last entry serves -1, none."""
    rank_of = {name: i for i, name in enumerate(names)}
    return np.array([*(rank_of[name] for name in found), -1], dtype=np.int32)


def _fingerprint_in(directory: Path) -> str | None:
    try:
        return _fingerprint(directory) if store.is_there(directory) else None
    except store.IntegrityError:
        return None


def _fingerprint(directory: Path) -> str:
    """Hash the rows and their metadata, but not their source."""
    files = cache.read_entry_manifest(directory)
    rows = {name: entry for name, entry in files.items() if name not in (cache.KEY_FILE, _MESSAGES_FILE)}
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
