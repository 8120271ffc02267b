"""A source of the user's own: a table, or a folder of tables or of texts, with files given apart for other splits."""

import functools
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment_cli import console
from sentiment_cli.config.schema import Data
from sentiment_cli.data.files.file_kinds import show_command
from sentiment_cli.data.sources import folders, imdb
from sentiment_cli.data.sources.digests import FilesDigest
from sentiment_cli.data.sources.imdb_source import has_unlabelled_folder
from sentiment_cli.data.sources.label_lists import load_labels
from sentiment_cli.data.sources.labels import MOST_LABELS, check_labels, parse_label_map, refuse_unused
from sentiment_cli.data.sources.own_folder import hash_folder, read_folder_rows, unread_folders
from sentiment_cli.data.sources.own_table import (
    columns_found,
    labels_by_schema,
    lacks_labels,
    read_split_rows,
    read_table_rows,
    with_columns_of,
)
from sentiment_cli.data.sources.path_kinds import kind_of_path
from sentiment_cli.data.sources.review import Review, Subset
from sentiment_cli.data.sources.split_files import SplitFiles, find_split_files, tables_beside
from sentiment_cli.data.tables.readers import Columns, Rejects, table_kind
from sentiment_cli.data.tables.writers import well_formed
from sentiment_cli.errors import Change, DataError
from sentiment_cli.storage import store

_MOST_SHOWN = 20
# The settings that the rows depend on.
_READ = {
    *("label_map", "on_error", "without_label", "text_column", "label_column", "group_column"),
    *("header", "encoding", "delimiter", "quoting"),
}


@dataclass(frozen=True)
class OwnFiles:
    """A table, a folder of texts, or one of tables for each split (`splits`), at `path`. See `source.Source`."""

    name: str
    path: Path
    settings: Data
    is_table: bool
    splits: SplitFiles | None = None
    has_stars = False

    @property
    def has_unlabelled(self) -> bool:
        data = self.settings
        if self.is_table or data.unlabelled is not None:
            return data.unlabelled is not None or data.without_label == "unlabelled"
        if self.splits is not None:
            return bool(self._files("unlabelled"))
        return has_unlabelled_folder(self.path)

    @property
    def valid_folder(self) -> str | None:
        """The name of the folder of validation texts inside a source that is a folder."""
        is_inside = not self.is_table and self.splits is None and self.settings.valid.source is None
        return folders.find_valid(self.path) if is_inside else None

    @property
    def has_valid(self) -> bool:
        is_in_files = any(split == "valid" for _, split in self._files("labelled"))
        return is_in_files or self.valid_folder is not None

    def settings_read(self) -> dict[str, Any]:
        is_set = {name for name in ("label_separator", "label_order") if getattr(self.settings, name)}
        if self.settings.target == "multilabel":  # else keys are those of earlier versions
            is_set.add("target")
        return self.settings.model_dump(mode="json", include=_READ | is_set)

    def _labels_in(self, label: str) -> tuple[str, ...]:
        return load_labels(label) if self.settings.target == "multilabel" else (label,)

    def rows(
        self,
        part: Subset,
        rejects: Rejects,
        read: FilesDigest | None = None,
        left_out: Counter[str] | None = None,
        say: Callable[[str], object] = console.say,
    ) -> Iterator[tuple[str, Review]]:
        """Yield rows in the order of their file, or of the files' names."""
        if part == "unlabelled" and not self.has_unlabelled:
            raise DataError(f"{self.path} has no unlabelled reviews", "sentiment data info")
        data = self.settings
        renamed = parse_label_map(data.label_map)
        seen: Counter[str] = Counter()
        if part == "unlabelled" and data.unlabelled is None and data.on_error == "skip":
            rejects = Rejects("skip", lambda place, _: None)  # of the same file: the labelled rows' list has them
        if part == "labelled":
            self._say_unread(say)
        for files, split in self._files(part):
            counts, raw = Counter[str](), Counter[str]()
            for found, label, review in self._rows_of(files, split, rejects, renamed, say):
                if label is not None:
                    raw.update(self._labels_in(well_formed(label)))
                    if not review.label:  # which the map leaves out
                        continue
                    counts.update(self._labels_in(well_formed(review.label)))
                    if len(counts) > MOST_LABELS:
                        break
                yield found, _without_surrogates(review)
            if part == "labelled" and not raw and files[0] != self.path:
                raise DataError(
                    f"{files[0]} holds no labelled rows, and it is what the {split} rows are read from",
                    show_command(files[0]),
                )
            check_labels(str(files[0]), counts, renamed)
            seen += raw
        if part == "labelled":
            refuse_unused(renamed, seen)
            if left_out is not None and data.target != "multilabel":  # of whose rows single labels are left out
                left_out.update({old: seen[old] for old, new in renamed.items() if not new})

    def digest(self, part: Subset, read: FilesDigest | None = None) -> str:
        digest, of_tables = hashlib.sha256(), dict[str, str]()
        for path, split in ((path, split) for files, split in self._files(part) for path in files):
            try:
                if path.is_dir():
                    is_given_apart = self.settings.unlabelled is not None
                    has_class_files = not self.is_table
                    digest.update(
                        hash_folder(path, part, is_given_apart=is_given_apart, has_class_files=has_class_files)
                    )
                else:
                    sha256 = store.sha256_of(path)
                    _refuse_same(path, split, of_tables.setdefault(sha256, split))
                    digest.update(f"{table_kind(path) or ''} {sha256}".encode())
                    if self.splits is not None:
                        digest.update(split.encode())
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error.strerror}") from error
        return digest.hexdigest()

    def _say_unread(self, say: Callable[[str], object]) -> None:
        """Name the files of splits without labels, and the folders beside train/ that nothing is read from."""
        if self.splits is not None:
            read = {split for _, split in self._files("labelled")}
            for split in self.splits.keys() - read - {"unsup"}:
                if not self._is_given_apart(split):
                    say(f"data: {self.path.name}: no row of {split} has a label, so none is a {split} row")
            if unread := tables_beside(self.splits):
                more = f", … ({len(unread):,} in all)" if len(unread) > _MOST_SHOWN else ""
                say(f"data: {self.path.name}: not read: {', '.join(unread[:_MOST_SHOWN])}{more}")
        elif self.is_table:
            return
        elif unread := unread_folders(self.path, self.valid_folder, has_test=self.settings.test is not None):
            say(f"data: {imdb.root_of(self.path)}: not read: {', '.join(f'{name}/' for name in unread)}")

    def _files(self, part: Subset) -> list[tuple[tuple[Path, ...], str]]:
        """Return the files or folders of a part, with the split whose rows they hold: the source's own first."""
        data = self.settings
        if part == "unlabelled":
            if data.unlabelled is not None:
                return [((_given_apart(data.unlabelled, "data.unlabelled", data),), "unsup")]
            return [((self.path,), "unsup")] if self.splits is None else self._split_files[1]
        given = (("valid", data.valid.source, "data.valid.source"), ("test", data.test, "data.test"))
        apart = [((_given_apart(name, key, data),), split) for split, name, key in given if name]
        if self.splits is None:
            return [((self.path,), "train"), *apart]
        return [(files, split) for files, split in self._split_files[0] if not self._is_given_apart(split)] + apart

    def _is_given_apart(self, split: str) -> bool:
        return bool({"valid": self.settings.valid.source, "test": self.settings.test}.get(split))

    @functools.cached_property
    def _split_files(self) -> tuple[list[tuple[tuple[Path, ...], str]], list[tuple[tuple[Path, ...], str]]]:
        """Return the files of the labelled part and of the other; files whose classes are known can be in both."""
        labelled, unlabelled = [], list[Path]()
        for split, files in (self.splits or {}).items():
            if split == "unsup":
                unlabelled += files
                continue
            if split != "train" and lacks_labels(self.train_columns, files[0], self.settings):
                continue  # as competitions have it
            counts = [labels_by_schema(path, self.settings) for path in files]
            unlabelled += [path for path, found in zip(files, counts, strict=True) if found is not None and found[1]]
            if split == "train" or any(found is None or found[0] for found in counts):
                labelled.append((files, split))
        return labelled, [(tuple(unlabelled), "unsup")] if unlabelled else []

    @functools.cached_property
    def train_columns(self) -> Columns:
        """The columns of the training rows' table, which those of other splits have as well; none of texts in files."""
        first = self._first_table
        return Columns() if first is None else columns_found(first, self.settings)

    @property
    def _first_table(self) -> Path | None:
        if self.is_table:
            return self.path
        return self.splits["train"][0] if self.splits and self.splits.get("train") else None

    def _rows_of(
        self,
        files: tuple[Path, ...],
        split: str,
        rejects: Rejects,
        renamed: dict[str, str],
        say: Callable[[str], object],
    ) -> Iterator[tuple[str, str | None, Review]]:
        """Yield (split, label in the file, review) of the files of a split, or of one file or folder."""
        (path, *_) = files
        data = self.settings
        if path != self._first_table and not path.is_dir():
            data = with_columns_of(self.train_columns, path, data, needs_label=split != "unsup")
        if self.splits is not None and path in itertools.chain(*self.splits.values()):
            yield from read_split_rows(files, split, data, rejects, renamed, say)
            return
        if not path.is_dir():
            yield from read_table_rows(path, split, data, rejects, renamed, say)
            return
        for found, review in read_folder_rows(path, split, self.settings, self.valid_folder, say):
            yield found, review.label, review._replace(label=renamed.get(review.label or "", review.label))


def _given_apart(name: str, key: str, data: Data) -> Path:
    path = Path(name)
    kind = kind_of_path(path, key, data)
    if kind == "splits":
        files = find_split_files(path, key) or {}
        wanted = {"data.test": "test", "data.valid.source": "valid"}.get(key, "unsup")
        first = (files.get(wanted) or next(iter(files.values())))[0]
        raise DataError(
            f"{key} is {path}: a folder of several splits; one file is read", Change("--set", f"{key}={first}")
        )
    if kind == "imdb" and not path.is_dir():
        raise DataError(f"{key} is {path}: only a table or a folder can be given apart, no archive")
    return path


def _refuse_same(path: Path, split: str, other: str) -> None:
    """Raise DataError for a file of test or validation rows that holds the very rows of another split."""
    if split != other:
        key = {"test": "data.test", "valid": "data.valid.source"}[split]
        raise DataError(
            f"{key} is {path}, which holds the same rows as the {other} rows: scores on them would not measure new "
            f"texts. Without {key} some rows are held out",
            Change("--set", f"{key}=null"),
        )


def _without_surrogates(review: Review) -> Review:
    """Replace lone surrogates, which JSON escapes and file names can hold and UTF-8 cannot."""
    label = review.label and well_formed(review.label)
    group = review.group and well_formed(review.group)
    return review._replace(text=well_formed(review.text), label=label, group=group)
