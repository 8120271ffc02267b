"""Where reviews come from: IMDb, the bundled sample, a table, or a folder of texts per class, one `Review` at a time.

A source has two parts: `labelled` (train and test rows) and `unlabelled` (unsup rows). Each is read by itself.
"""

import hashlib
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sentiment_cli import console, store
from sentiment_cli.config.paths import local_imdb, sample_dir
from sentiment_cli.config.schema import Data
from sentiment_cli.data import folders, imdb, sample
from sentiment_cli.data.class_lines import lines_of_classes
from sentiment_cli.data.download import archive_path, download_imdb
from sentiment_cli.data.encodings import decode
from sentiment_cli.data.file_kinds import SUFFIXES, missing_file
from sentiment_cli.data.labels import MOST_LABELS, check_labels, parse_label, parse_label_map, refuse_unused
from sentiment_cli.data.review import Part, Review
from sentiment_cli.data.table_writers import well_formed
from sentiment_cli.data.tables import (
    Columns,
    Format,
    Rejects,
    fields_of_lines,
    kind_of_file,
    read_table,
    table_kind,
    why_no_text,
)
from sentiment_cli.errors import DataError, UsageError

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz")


@dataclass(frozen=True)
class Source:
    """A corpus: how it is read and where it lies (None: the generated sample), under a name for the cache."""

    name: str
    kind: Literal["imdb", "table", "folders"]
    path: Path | None
    settings: Data


class FilesDigest:
    """A hash of files, their names and bytes, in the order they come."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, name: str, data: bytes) -> None:
        self._sha256.update(f"{name} {len(data)}\n".encode("utf-8", "surrogateescape"))
        self._sha256.update(data)

    def digest(self) -> bytes:
        return self._sha256.digest()


def find_source(data: Data) -> Source:
    """Find (or download) what `data.source` names.

    Raises DataError where it is not there or nothing we read, UsageError for settings that its layout has no use for.
    """
    source = _find(data)
    for key, value in (("test", data.test), ("unlabelled", data.unlabelled), ("label_map", data.label_map)):
        if value and source.kind == "imdb":
            raise UsageError(
                f"data.{key} is for tables and folders of classes; {data.source} is laid out as IMDb is, with rows and "
                "labels of its own",
                f"--set data.{key}={'[]' if key == 'label_map' else 'null'}",
            )
    return source


def _find(data: Data) -> Source:
    if data.source == "sample":
        return Source("sample", "imdb", sample_dir() if sample_dir().is_dir() else None, data)
    if data.source == "imdb":
        path = local_imdb()
        if path is None:
            path = archive_path()
            if not store.is_there(path):
                download_imdb(path)
        elif not os.path.exists(path):  # noqa: PTH110 - as in _kind_of
            raise DataError(f"SENTIMENT_IMDB names {path}, which does not exist", imdb.HINT)
        return Source("imdb", "imdb", path, data)
    path = Path(data.source)
    return Source(name_of(path), _kind_of(path, "data.source", data), path, data)


def format_of(data: Data) -> Format:
    """Return how the settings have a table's file read."""
    return Format(data.header, data.encoding, data.delimiter, data.quoting)


def columns_of(data: Data) -> Columns:
    """Return the columns that the settings name."""
    return Columns(data.text_column, data.label_column, data.group_column)


def name_of(path: Path) -> str:
    """Return a file's or folder's name as a short word of letters, digits and dashes."""
    return re.sub(r"[^A-Za-z0-9]+", "-", path.name.partition(".")[0]).strip("-")[:32].lower() or "data"


def has_unlabelled(source: Source) -> bool:
    """Say whether the source has rows without labels."""
    data = source.settings
    if source.kind == "table" or data.unlabelled is not None:
        return data.unlabelled is not None or data.without_label == "unlabelled"
    if source.path is None or not source.path.is_dir():
        return True
    root = imdb.root_of(source.path)
    return any((root / above / name).is_dir() for above in ("", "train") for name in folders.NO_CLASS)


def hash_source(source: Source, part: Part, read: FilesDigest | None = None) -> str:
    """Hash the bytes that a part is read from: names and contents of files, or a whole archive or table.

    What `read_part` has just taken into `read` is not read again, where that is all there is: a folder of many files.
    """
    digest = hashlib.sha256()
    for path in _paths(source, part):
        if path is None:
            digest.update(sample.FINGERPRINT.encode())
            continue
        try:
            if path.is_dir():
                if read is not None and source.kind == "imdb":
                    digest.update(read.digest())
                else:
                    digest.update(_hash_folder(path, source, part))
            else:
                digest.update(f"{table_kind(path) or ''} {store.sha256_of(path)}".encode())
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def read_part(
    source: Source,
    part: Part,
    rejects: Rejects,
    read: FilesDigest | None = None,
    say: Callable[[str], object] = console.say,
) -> Iterator[tuple[str, Review]]:
    """Yield (split, review): splits train and test of the labelled part, unsup of the other.

    IMDb's rows come ordered by split, label and number, so an archive and its extracted folder give the same rows;
    others keep the order of their file or of their names. `read` takes in the files of IMDb's layout. Raises
    DataError where something is missing or no review.
    """
    if part == "unlabelled" and not has_unlabelled(source):
        raise DataError(f"{source.path} has no unlabelled reviews", "--set data.unlabelled=PATH_TO_YOUR_FILE")
    if source.path is None:
        yield from (row for row in sample.generate() if (row[0] == "unsup") == (part == "unlabelled"))
        return
    if source.kind == "imdb":
        yield from imdb.read_reviews(source.path, part, (read or FilesDigest()).add)
        return
    data = source.settings
    renamed = parse_label_map(data.label_map)
    seen: Counter[str] = Counter()
    if part == "unlabelled" and data.unlabelled is None and data.on_error == "skip":
        rejects = Rejects("skip", lambda place, _: None)  # of the same file: the labelled rows' list has them
    for path, split in zip(_paths(source, part), ("train", "test") if part == "labelled" else ("unsup",), strict=False):
        assert path is not None
        counts: Counter[str] = Counter()
        for found, review in _read_path(path, split, data, rejects, say):
            review = _without_surrogates(review)
            if review.label is not None:
                seen[review.label] += 1
                review = review._replace(label=renamed.get(review.label, review.label))
                counts[str(review.label)] += 1
                if len(counts) > MOST_LABELS:
                    break
            yield found, review
        check_labels(str(path), counts)
    if part == "labelled":
        refuse_unused(renamed, seen)


def _without_surrogates(review: Review) -> Review:
    """Replace what UTF-8 cannot hold and a JSON escape, or a file name that is no UTF-8, can spell."""
    label = review.label and well_formed(review.label)
    group = review.group and well_formed(review.group)
    return review._replace(text=well_formed(review.text), label=label, group=group)


def _paths(source: Source, part: Part) -> list[Path | None]:
    """Return the files or folders of a part: the source, then the test rows given apart."""
    data = source.settings
    if part == "unlabelled" and data.unlabelled is not None:
        return [_given_apart(data.unlabelled, "data.unlabelled", data)]
    if part == "labelled" and data.test is not None:
        return [source.path, _given_apart(data.test, "data.test", data)]
    return [source.path]


def _given_apart(name: str, key: str, data: Data) -> Path:
    path = Path(name)
    if _kind_of(path, key, data) == "imdb" and not path.is_dir():
        raise DataError(f"{key} is {path}: only a table or a folder can be given apart, no archive")
    return path


def _kind_of(path: Path, key: str, data: Data) -> Literal["imdb", "table", "folders"]:
    if not os.path.exists(path):  # noqa: PTH110 - says no, where Path.exists raises, to a name that none can have
        raise missing_file(path, key)
    if path.is_dir():
        return "imdb" if imdb.is_folder_of(path) else "folders"
    if not path.is_file():
        copy = f"cat {shlex.quote(str(path))} > rows.csv"
        raise DataError(f"{key} is {path}: not a regular file, and it is read more than once", copy)
    if table_kind(path):
        return "table"
    if path.name.lower().endswith(_ARCHIVES):
        return "imdb"
    if kind_of_file(path, format_of(data)) is not None:
        return "table"
    if fields_of_lines(path, format_of(data)) > 1:
        raise DataError(
            f"{key} is {path}: each of its lines has tabs, and its name does not say that it is a table",
            "--set data.delimiter=tab",
        )
    if path in folders.class_files(path.parent).values():
        raise DataError(
            f"{key} is {path}: texts of one label; the folder has a file for each",
            f"--set {key}={shlex.quote(str(path.parent))}",
        )
    known = ", ".join((*SUFFIXES, *_ARCHIVES[:1]))
    raise DataError(
        f"{key} is {path}: what kind of file is that? {known} (also compressed), folders, and text whose lines begin "
        "with __label__ are read"
    )


def _read_path(
    path: Path, split: str, data: Data, rejects: Rejects, say: Callable[[str], object]
) -> Iterator[tuple[str, Review]]:
    """Yield the rows of one file or folder that belong to the part of `split`."""
    if path.is_dir():
        yield from _folder_reviews(path, split, data, say)
        return
    wants_unlabelled = split == "unsup"
    sorts_out = data.without_label == "unlabelled" and split != "test"  # a test row must have a label
    has_labels = sorts_out or not wants_unlabelled
    for row in read_table(path, columns_of(data), rejects, has_labels=has_labels, how=format_of(data), say=say):
        if (reason := why_no_text(row.text)) is not None:
            rejects.reject(path, row.number, row.line, reason)
            continue
        try:
            label = parse_label(row.label)
        except ValueError as error:
            rejects.reject(path, row.number, row.line, str(error))
            continue
        if sorts_out:
            if (label is None) != wants_unlabelled:
                continue
        elif has_labels and label is None:
            rejects.reject(path, row.number, row.line, "its label is missing")
            continue
        is_alone = row.group in (None, "") or row.group != row.group  # NaN
        yield split, Review(str(row.number), row.text, label, None, None if is_alone else str(row.group))


def _folder_reviews(root: Path, split: str, data: Data, say: Callable[[str], object]) -> Iterator[tuple[str, Review]]:
    """Yield a folder's texts: without its test/ where data.test is given, and of that one's train/ and test/ test/."""
    part: Part = "unlabelled" if split == "unsup" else "labelled"
    if part == "labelled" and (files := folders.class_files(root)):
        yield from lines_of_classes(root, files, split, data.encoding, say)
        return
    n_western = n_texts = 0
    for found, name, file, data_read in folders.read_texts(root, part, is_given_apart=data.unlabelled is not None):
        found = "unsup" if split == "unsup" else found or split
        if found == split or (split == "train" and data.test is None):
            label = None if split == "unsup" else name
            text, is_western = decode(data_read, data.encoding)
            n_western, n_texts = n_western + is_western, n_texts + 1
            yield found, Review(f"{name}/{file}", text, label, None, None)
    if n_western:
        say(f"data: {root.name}: {n_western:,} of {n_texts:,} texts are read as Windows-1252 (latin-1)")
    if n_hidden := folders.count_hidden(root):
        say(f"data: {root.name}: {n_hidden:,} files whose names begin with a dot are passed over")


def _hash_folder(path: Path, source: Source, part: Part) -> bytes:
    digest = FilesDigest()
    classes = folders.class_files(path) if source.kind == "folders" and part == "labelled" else {}
    files: Iterator[tuple[str, bytes]]
    if source.kind == "imdb":
        files = imdb.read_bytes(path, part)
    elif classes:
        files = ((file.name, store.sha256_of(file).encode()) for file in classes.values())
    else:
        texts = folders.read_texts(path, part, is_given_apart=source.settings.unlabelled is not None)
        files = ((f"{split}/{name}/{file}", data) for split, name, file, data in texts)
    for name, data in files:
        digest.add(name, data)
    return digest.digest()
