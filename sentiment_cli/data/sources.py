"""Where reviews come from: IMDb, the bundled sample, a table, or a folder of texts per class, one `Review` at a time.

A source has two parts: `labelled` (train and test rows) and `unlabelled` (unsup rows). Each is read by itself.
"""

import difflib
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sentiment_cli import store
from sentiment_cli.config.paths import local_imdb, sample_dir
from sentiment_cli.config.schema import Data
from sentiment_cli.data import sample
from sentiment_cli.data.archive import Member, read_members
from sentiment_cli.data.download import archive_path, download_imdb
from sentiment_cli.data.labels import check_labels, parse_label, parse_label_map
from sentiment_cli.data.review import Review
from sentiment_cli.data.tables import SUFFIXES, Columns, Rejects, is_table, read_table
from sentiment_cli.errors import DataError

Part = Literal["labelled", "unlabelled"]
IMDB_LABELS = ("neg", "pos")
_MOVIE = re.compile(r"/title/(tt\d+)")
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz")
# Folders of a class-per-folder corpus that hold texts of no class.
_NO_CLASS = ("unsup", "unlabelled", "unlabeled")
_HINT_IMDB = "export SENTIMENT_IMDB=PATH_TO/aclImdb_v1.tar.gz"


@dataclass(frozen=True)
class Source:
    """A corpus: how it is read and where it lies (None: the generated sample), under a name for the cache."""

    name: str
    kind: Literal["imdb", "table", "folders"]
    path: Path | None
    settings: Data


def find_source(data: Data) -> Source:
    """Find (or download) what `data.source` names. Raises DataError where it is not there or nothing we read."""
    if data.source == "sample":
        return Source("sample", "imdb", sample_dir() if sample_dir().is_dir() else None, data)
    if data.source == "imdb":
        path = local_imdb()
        if path is None:
            path = archive_path()
            if not store.is_there(path):
                download_imdb(path)
        elif not path.exists():
            raise DataError(f"SENTIMENT_IMDB names {path}, which does not exist", _HINT_IMDB)
        return Source("imdb", "imdb", path, data)
    path = Path(data.source)
    name = re.sub(r"[^A-Za-z0-9]+", "-", path.name.partition(".")[0]).strip("-")[:32].lower() or "data"
    return Source(name, _kind_of(path, "data.source"), path, data)


def has_unlabelled(source: Source) -> bool:
    """Say whether the source has rows without labels."""
    data = source.settings
    if source.kind == "table" or data.unlabelled is not None:
        return data.unlabelled is not None or data.without_label == "unlabelled"
    if source.path is None or not source.path.is_dir():
        return True
    root = _imdb_root(source.path)
    return any((root / above / name).is_dir() for above in ("", "train") for name in _NO_CLASS)


def hash_source(source: Source, part: Part) -> str:
    """Hash the bytes that a part is read from: names and contents of files, or a whole archive or table."""
    digest = hashlib.sha256()
    for path in _paths(source, part):
        if path is None:
            digest.update(sample.FINGERPRINT.encode())
            continue
        try:
            digest.update(_hash_folder(path, source, part) if path.is_dir() else store.sha256_of(path).encode())
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def read_part(source: Source, part: Part, rejects: Rejects) -> Iterator[tuple[str, Review]]:
    """Yield (split, review): splits train and test of the labelled part, unsup of the other.

    IMDb's rows come ordered by split, label and number, so an archive and its extracted folder give the same rows;
    others keep the order of their file or of their names. Raises DataError where something is missing or no review.
    """
    if source.kind == "imdb":
        yield from _imdb_reviews(source.path, part)
        return
    data = source.settings
    renamed = parse_label_map(data.label_map)
    for path, split in zip(_paths(source, part), ("train", "test") if part == "labelled" else ("unsup",), strict=False):
        assert path is not None
        counts: Counter[str] = Counter()
        seen: set[str] = set()
        for found, review in _read_path(path, split, data, rejects):
            label = review.label
            if label is not None:
                seen.add(label)
                label = renamed.get(label, label)
                counts[label] += 1
                review = review._replace(label=label)
            yield found, review
        if part == "labelled":
            check_labels(str(path), counts, renamed, seen)


def _paths(source: Source, part: Part) -> list[Path | None]:
    """Return the files or folders of a part: the source, then the test rows given apart."""
    data = source.settings
    if part == "unlabelled" and data.unlabelled is not None:
        _kind_of(Path(data.unlabelled), "data.unlabelled")
        return [Path(data.unlabelled)]
    paths = [source.path]
    if part == "labelled" and data.test is not None:
        _kind_of(Path(data.test), "data.test")
        paths.append(Path(data.test))
    return paths


def _kind_of(path: Path, key: str) -> Literal["imdb", "table", "folders"]:
    if not os.path.exists(path):  # noqa: PTH110 - says no, where Path.exists raises, to a name that none can have
        beside = os.listdir(path.parent) if os.path.isdir(path.parent) else []  # noqa: PTH112, PTH208
        near = difflib.get_close_matches(path.name, beside, n=1)
        raise DataError(
            f"{key} is {path}: there is no such file or folder",
            f"--set {key}={path.parent / near[0]}" if near else f"--set {key}=PATH_TO_YOUR_FILE",
        )
    if path.is_dir():
        root = _imdb_root(path)
        return "imdb" if all((root / "train" / f"urls_{label}.txt").is_file() for label in IMDB_LABELS) else "folders"
    if is_table(path):
        return "table"
    if path.name.lower().endswith(_ARCHIVES):
        return "imdb"
    known = ", ".join((*SUFFIXES, *_ARCHIVES[:1]))
    raise DataError(f"{key} is {path}: what kind of file is that? {known} (also gzipped) and folders are read")


# IMDb's layout


def _imdb_reviews(path: Path | None, part: Part) -> Iterator[tuple[str, Review]]:
    splits = ("train", "test") if part == "labelled" else ("unsup",)
    if path is None:
        yield from (row for row in sample.generate() if row[0] in splits)
        return
    texts: dict[tuple[str, str], list[tuple[int, int, bytes]]] = {}
    movies: dict[tuple[str, str], list[str | None]] = {}
    for member, data in read_members(path, lambda member: _split_of(member) in splits):
        if member["urls"]:
            lines = data.decode("ascii", "replace").splitlines()  # line N is the review with number N
            movies[member["split"], member["urls"]] = [m[1] if (m := _MOVIE.search(line)) else None for line in lines]
        else:
            row = (int(member["number"]), int(member["stars"]), data)
            texts.setdefault((member["split"], member["label"]), []).append(row)
    expected = [("train", "unsup")] if part == "unlabelled" else [(s, label) for s in splits for label in IMDB_LABELS]
    for split, label in expected:
        if (split, label) not in texts or (split, label) not in movies:
            raise DataError(
                f"{path} is not the IMDb corpus: it lacks aclImdb/{split}/{label}/NUMBER_STARS.txt "
                f"or aclImdb/{split}/urls_{label}.txt",
                _HINT_IMDB,
            )
    for split, label in sorted(texts):
        names = movies[split, label]
        for number, stars, data in sorted(texts.pop((split, label))):
            group = names[number] if number < len(names) else None
            text = data.decode("utf-8", errors="replace")
            if label == "unsup":
                yield "unsup", Review(f"unsup/{number}", text, None, None, group)
            else:
                yield split, Review(f"{label}/{number}_{stars}", text, label, stars, group)


def _split_of(member: Member) -> str:
    return "unsup" if "unsup" in (member["label"], member["urls"]) else member["split"]


def _imdb_root(path: Path) -> Path:
    return path / "aclImdb" if (path / "aclImdb").is_dir() else path


# One's own tables and folders


def _read_path(path: Path, split: str, data: Data, rejects: Rejects) -> Iterator[tuple[str, Review]]:
    """Yield the rows of one file or folder that belong to the part of `split`."""
    wants_unlabelled = split == "unsup"
    if path.is_dir():
        for found, name, file in _class_files(path):
            label = None if name in _NO_CLASS else name
            if (label is None) == wants_unlabelled and not (data.test is not None and found == "test"):
                text = file.read_bytes().decode("utf-8", "replace")
                found = "unsup" if wants_unlabelled else ("test" if split == "test" else found)
                yield found, Review(f"{name}/{file.stem}", text, label, None, None)
        return
    has_labels = not wants_unlabelled or data.without_label == "unlabelled"
    columns = Columns(data.text_column, data.label_column, data.group_column)
    for row in read_table(path, columns, rejects, has_labels=has_labels):
        if not isinstance(row.text, str):
            rejects.reject(path, row.number, row.line, f"its text is {_kind_said(row.text)}, not text")
            continue
        try:
            label = parse_label(row.label)
        except ValueError as error:
            rejects.reject(path, row.number, row.line, str(error))
            continue
        if has_labels and data.without_label == "unlabelled":
            if (label is None) != wants_unlabelled:
                continue
        elif has_labels and label is None:
            rejects.reject(path, row.number, row.line, "its label is missing")
            continue
        group = None if row.group in (None, "") else str(row.group)
        yield split, Review(str(row.number), row.text, label, None, group)


def _kind_said(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"


def _class_files(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield (split, class, file) of ROOT/CLASS/*.txt or ROOT/{train,test}/CLASS/*.txt, in the order of the names."""
    root = _imdb_root(root)
    splits = [root / "train", root / "test"] if (root / "train").is_dir() else [root]
    n_files = 0
    for folder in (split for split in splits if split.is_dir()):
        for directory in sorted(entry.path for entry in os.scandir(folder) if entry.is_dir()):
            names = sorted(e.name for e in os.scandir(directory) if e.name.endswith(".txt") and e.is_file())
            for name in names:
                n_files += 1
                yield (
                    ("test" if folder.name == "test" and folder != root else "train"),
                    Path(directory).name,
                    Path(directory, name),
                )
    if n_files == 0:
        raise DataError(f"{root} holds no texts: CLASS/NAME.txt or train/CLASS/NAME.txt is looked for")


def _hash_folder(path: Path, source: Source, part: Part) -> bytes:
    digest = hashlib.sha256()

    def add(name: str, data: bytes) -> None:
        digest.update(f"{name} {len(data)}\n".encode("utf-8", "surrogateescape"))
        digest.update(data)

    if source.kind == "imdb":
        for member, data in read_members(path, lambda member: (_split_of(member) == "unsup") == (part == "unlabelled")):
            add(member[0], data)
    else:
        for split, name, file in _class_files(path):
            add(f"{split}/{name}/{file.name}", file.read_bytes())
    return digest.digest()
