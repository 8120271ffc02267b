"""Where reviews come from: IMDb, the bundled sample, a table, or a folder of texts per class, one `Review` at a time.

A source has two parts: `labelled` (train, validation and test rows) and `unlabelled` (unsup rows). Each is read by
itself.
"""

import difflib
import hashlib
import math
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sentiment_cli import console
from sentiment_cli.config.paths import how_to_get_imdb, local_imdb, sample_dir
from sentiment_cli.config.schema import CORPORA, Data
from sentiment_cli.data.files.encodings import decode
from sentiment_cli.data.files.file_kinds import SUFFIXES, missing_file
from sentiment_cli.data.sources import folders, imdb, sample
from sentiment_cli.data.sources.class_lines import lines_of_classes
from sentiment_cli.data.sources.download import SHA256, archive_path, download_imdb
from sentiment_cli.data.sources.labels import (
    MOST_LABELS,
    check_labels,
    find_label,
    halves_of,
    map_setting,
    parse_label_map,
    refuse_unused,
)
from sentiment_cli.data.sources.review import Review, Subset
from sentiment_cli.data.tables.readers import (
    Columns,
    Format,
    LabelledRow,
    Rejects,
    fields_of_lines,
    kind_of_file,
    read_table,
    table_kind,
    why_no_text,
)
from sentiment_cli.data.tables.writers import well_formed
from sentiment_cli.errors import Change, DataError, UsageError
from sentiment_cli.storage import store

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
    for key, value in (
        ("test", data.test),
        ("unlabelled", data.unlabelled),
        ("valid.source", data.valid.source),
        ("label_map", data.label_map),
    ):
        if value and source.kind == "imdb":
            raise UsageError(
                f"data.{key} is for tables and folders of classes; {data.source} is laid out as IMDb is, with rows and "
                "labels of its own",
                Change("--set", f"data.{key}={'[]' if key == 'label_map' else 'null'}"),
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
            raise DataError(f"SENTIMENT_IMDB names {path}, which does not exist", how_to_get_imdb(path))
        elif not (path.is_file() or path.is_dir()):  # a pipe that nobody writes would be waited for
            raise DataError(f"SENTIMENT_IMDB names {path}, which is not a file or folder", how_to_get_imdb(path))
        return Source("imdb", "imdb", path, data)
    path = Path(data.source)
    return Source(name_of_source(path), _kind_of(path, "data.source", data), path, data)


def format_of(data: Data) -> Format:
    """Return how the settings have a table's file read."""
    return Format(data.header, data.encoding, data.delimiter, data.quoting)


def columns_of(data: Data) -> Columns:
    """Return the columns that the settings name."""
    return Columns(data.text_column, data.label_column, data.group_column)


def name_of_source(path: Path) -> str:
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


def hash_source(source: Source, part: Subset, read: FilesDigest | None = None) -> str:
    """Hash the bytes that a part is read from: names and contents of files, or a whole archive or table.

    What `read_part` has just taken into `read` is not read again, where that is all there is: a folder of many files.
    """
    digest, of_tables = hashlib.sha256(), dict[str, str]()
    for path, split in _paths(source, part):
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
                sha256 = store.sha256_of(path)
                _refuse_same(path, split, of_tables.setdefault(sha256, split))
                digest.update(f"{table_kind(path) or ''} {sha256}".encode())
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def say_other_archive(source: Source, found: str, n_rows: int) -> None:
    """Say where IMDb is read from other bytes than those that were published; `found` is `hash_source`'s of them.

    A warning where they lie in the place of the download; a copy that the user names may be packed otherwise.
    """
    if source.settings.source != "imdb" or source.path is None:
        return
    if source.path.is_dir():
        console.say(f"data: {source.path} is a folder, which no published hash is compared with; {n_rows:,} rows")
    elif found != hashlib.sha256(f" {SHA256}".encode()).hexdigest():
        what = f"{source.path} is not the published archive, whose sha256 begins with {SHA256[:12]}; {n_rows:,} rows"
        if source.path == archive_path():
            console.warn(what)
        else:
            console.say(f"data: {what}")


def _refuse_same(path: Path, split: str, other: str) -> None:
    """Raise DataError for a file of test or validation rows that holds the very rows of another split."""
    if split != other:
        key = {"test": "data.test", "valid": "data.valid.source"}[split]
        raise DataError(
            f"{key} is {path}, which holds the same rows as the {other} rows: scores on them would say nothing of new "
            f"texts. Without {key} some rows are held out",
            Change("--set", f"{key}=null"),
        )


def read_part(
    source: Source,
    part: Subset,
    rejects: Rejects,
    read: FilesDigest | None = None,
    left_out: Counter[str] | None = None,
    say: Callable[[str], object] = console.say,
) -> Iterator[tuple[str, Review]]:
    """Yield (split, review): splits train, valid and test of the labelled part, unsup of the other.

    IMDb's rows come ordered by split, label and number, so an archive and its extracted folder give the same rows;
    others keep the order of their file or of their names. `read` takes in the files of IMDb's layout, `left_out` how
    many rows of which labels data.label_map leaves out. Raises DataError where something is missing or no review.
    """
    if part == "unlabelled" and not has_unlabelled(source):
        raise DataError(f"{source.path} has no unlabelled reviews", "sentiment data info")
    if source.path is None:
        yield from (row for row in sample.generate_reviews() if (row[0] == "unsup") == (part == "unlabelled"))
        return
    if source.kind == "imdb":
        yield from imdb.read_reviews(source.path, part, (read or FilesDigest()).add)
        return
    data = source.settings
    renamed = parse_label_map(data.label_map)
    seen: Counter[str] = Counter()
    if part == "unlabelled" and data.unlabelled is None and data.on_error == "skip":
        rejects = Rejects("skip", lambda place, _: None)  # of the same file: the labelled rows' list has them
    if source.kind == "folders" and part == "labelled":
        _say_unread(source)
    for path, split in _paths(source, part):
        assert path is not None
        counts, raw = Counter[str](), Counter[str]()
        for found, label, review in _read_path(path, split, source, rejects, renamed, say):
            if label is not None:
                raw[well_formed(label)] += 1
                if not review.label:  # which the map leaves out
                    continue
                counts[well_formed(review.label)] += 1
                if len(counts) > MOST_LABELS:
                    break
            yield found, _without_surrogates(review)
        check_labels(str(path), counts, renamed)
        seen += raw
    if part == "labelled":
        refuse_unused(renamed, seen)
        if left_out is not None:
            left_out.update({old: seen[old] for old, new in renamed.items() if not new})


def _say_unread(source: Source) -> None:
    """Say which folders beside train/ hold nothing that is read."""
    assert source.path is not None
    root, data = imdb.root_of(source.path), source.settings
    if not (root / "train").is_dir():
        return
    read = {"train", valid_folder(source), *folders.NO_CLASS, *(() if data.test is not None else ("test",))}
    unread = [path.name for path in sorted(root.iterdir()) if path.is_dir() and path.name[0] != "."]
    if unread := [name for name in unread if name not in read]:
        console.say(f"data: {root}: not read: {', '.join(f'{name}/' for name in unread)}")


def _without_surrogates(review: Review) -> Review:
    """Replace what UTF-8 cannot hold and a JSON escape, or a file name that is no UTF-8, can spell."""
    label = review.label and well_formed(review.label)
    group = review.group and well_formed(review.group)
    return review._replace(text=well_formed(review.text), label=label, group=group)


def _paths(source: Source, part: Subset) -> list[tuple[Path | None, str]]:
    """Return the files or folders of a part, with the split whose rows each holds: first the source, then others."""
    data = source.settings
    if part == "unlabelled":
        apart = None if data.unlabelled is None else _given_apart(data.unlabelled, "data.unlabelled", data)
        return [(apart or source.path, "unsup")]
    given = (("valid", data.valid.source, "data.valid.source"), ("test", data.test, "data.test"))
    return [(source.path, "train")] + [(_given_apart(name, key, data), split) for split, name, key in given if name]


def valid_folder(source: Source) -> str | None:
    """Return the name of the folder of validation texts inside a source that is a folder."""
    is_folder = source.kind == "folders" and source.path is not None and source.settings.valid.source is None
    return folders.find_valid(source.path) if is_folder and source.path is not None else None


def has_valid(source: Source) -> bool:
    """Say whether the source has validation rows of its own."""
    return source.settings.valid.source is not None or valid_folder(source) is not None


def _given_apart(name: str, key: str, data: Data) -> Path:
    path = Path(name)
    if _kind_of(path, key, data) == "imdb" and not path.is_dir():
        raise DataError(f"{key} is {path}: only a table or a folder can be given apart, no archive")
    return path


def _kind_of(path: Path, key: str, data: Data) -> Literal["imdb", "table", "folders"]:
    if not os.path.exists(path):  # noqa: PTH110 - says no, where Path.exists raises, to a name that none can have
        if not path.parent.is_dir() or path.name.lower() not in os.listdir(path.parent):  # noqa: PTH208
            for corpus in difflib.get_close_matches(path.name.lower(), CORPORA, n=1):
                raise DataError(
                    f"{key} is {path}: there is no such file or folder. Did you mean {corpus!r}?",
                    Change("--set", f"{key}={corpus}"),
                )
        raise missing_file(path, key)
    if path.is_dir():
        return "imdb" if imdb.is_folder_of(path) else "folders"
    if not path.is_file():
        copy = f"cat {shlex.quote(str(path))} > {shlex.quote(store.free_path(Path('rows.csv')).name)}"
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
            Change("--set", "data.delimiter=tab"),
        )
    if path in folders.class_files(path.parent).values():
        raise DataError(
            f"{key} is {path}: texts of one label; the folder has a file for each",
            Change("--set", f"{key}={path.parent}"),
        )
    known = ", ".join((*SUFFIXES, *_ARCHIVES[:1]))
    raise DataError(
        f"{key} is {path}: not a kind of file that is read. Convert it to one of {known} (also compressed), a folder "
        "per label, or lines that begin with __label__",
        shlex.join(["ls", "-l", str(path)]),
    )


def _read_path(
    path: Path,
    split: str,
    source: Source,
    rejects: Rejects,
    renamed: Mapping[str, str],
    say: Callable[[str], object],
) -> Iterator[tuple[str, str | None, Review]]:
    """Yield the rows of one file or folder that belong to the part of `split`, with the label that the file has."""
    data = source.settings
    if path.is_dir():
        for found, review in _folder_reviews(path, split, source, say):
            yield found, review.label, review._replace(label=renamed.get(review.label or "", review.label))
        return
    wants_unlabelled = split == "unsup"
    sorts_out = data.without_label == "unlabelled" and split in ("train", "unsup")  # others must have a label
    has_labels = sorts_out or not wants_unlabelled
    for row in read_table(path, columns_of(data), rejects, has_labels=has_labels, how=format_of(data), say=say):
        if (reason := why_no_text(row.text)) is not None:
            rejects.reject(path, row.number, row.line, reason)
            continue
        try:
            named, label = find_label(row.label, renamed) if has_labels else (None, None)
        except ValueError as error:
            if data.on_error == "stop":
                _refuse_label(path, row, str(error), source, renamed)
            rejects.reject(path, row.number, row.line, str(error))
            continue
        if sorts_out:
            if (label is None) != wants_unlabelled:
                continue
        elif has_labels and label is None:
            rejects.reject(path, row.number, row.line, "its label is missing")
            continue
        is_alone = row.group in (None, "") or row.group != row.group  # NaN
        yield split, named, Review(str(row.number), row.text, label, None, None if is_alone else str(row.group))


def _refuse_label(path: Path, row: LabelledRow, reason: str, source: Source, renamed: Mapping[str, str]) -> None:
    """Raise DataError for a label that is no class, with a map that makes classes of the column where there is one."""
    data = source.settings
    read = read_table(
        path, columns_of(data), Rejects("skip"), has_labels=True, how=format_of(data), say=lambda text: None
    )
    values = {str(other.label).strip(): None for other in read}
    try:
        halves = halves_of([value for value in values if math.isfinite(float(value))], renamed)
    except ValueError:
        halves = None
    place = f"row {row.number}" if row.line is None else f"row {row.number} (line {row.line})"
    if halves is not None:
        raise DataError(
            f"{path}, {place}: {reason}. The labels are numbers: say which class each one is", map_setting(halves)
        )


def _folder_reviews(
    root: Path, split: str, source: Source, say: Callable[[str], object]
) -> Iterator[tuple[str, Review]]:
    """Yield a folder's texts: without its test/ where data.test is given, and of that one's train/ and test/ test/."""
    data = source.settings
    part: Subset = "unlabelled" if split == "unsup" else "labelled"
    if part == "labelled" and (files := folders.class_files(root)):
        yield from lines_of_classes(root, files, split, data.encoding, say)
        return
    valid = folders.find_valid(root) if split == "valid" else valid_folder(source) if split == "train" else None
    n_western = n_texts = 0
    is_given_apart = data.unlabelled is not None
    for found, name, file, content in folders.read_texts(root, part, is_given_apart=is_given_apart, valid=valid):
        found = "unsup" if split == "unsup" else found or split
        is_own = split == "train" and (found == "valid" or (found == "test" and data.test is None))
        if found == split or is_own:
            label = None if split == "unsup" else name
            text, is_western = decode(content, data.encoding)
            n_western, n_texts = n_western + is_western, n_texts + 1
            yield found, Review(f"{name}/{file}", text, label, None, None)
    if n_western:
        say(f"data: {root.name}: {n_western:,} of {n_texts:,} texts are read as Windows-1252 (latin-1)")
    if n_hidden := folders.count_hidden(root):
        say(f"data: {root.name}: {n_hidden:,} files whose names begin with a dot are passed over")


def _hash_folder(path: Path, source: Source, part: Subset) -> bytes:
    digest = FilesDigest()
    classes = folders.class_files(path) if source.kind == "folders" and part == "labelled" else {}
    files: Iterator[tuple[str, bytes]]
    if source.kind == "imdb":
        files = imdb.read_bytes(path, part)
    elif classes:
        files = ((file.name, store.sha256_of(file).encode()) for file in classes.values())
    else:
        is_given_apart = source.settings.unlabelled is not None
        valid = folders.find_valid(path) if part == "labelled" else None
        texts = folders.read_texts(path, part, is_given_apart=is_given_apart, valid=valid)
        files = ((f"{split}/{name}/{file}", data) for split, name, file, data in texts)
    for name, data in files:
        digest.add(name, data)
    return digest.digest()
