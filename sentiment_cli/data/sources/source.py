"""Where reviews come from, chosen once: IMDb, the bundled sample, a table, or a folder of tables or of texts.

A source has two parts, each read by itself: `labelled` (train, validation and test rows) and `unlabelled` (unsup rows).
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from sentiment_cli.config.paths import how_to_get_imdb, local_imdb
from sentiment_cli.config.schema import Data
from sentiment_cli.data.sources.digests import FilesDigest
from sentiment_cli.data.sources.download import archive_path, download_imdb
from sentiment_cli.data.sources.imdb_source import ImdbSource
from sentiment_cli.data.sources.own_files import OwnFiles
from sentiment_cli.data.sources.path_kinds import kind_of_path
from sentiment_cli.data.sources.review import Review, Subset
from sentiment_cli.data.sources.split_files import find_split_files
from sentiment_cli.data.tables.readers import Columns, Rejects
from sentiment_cli.errors import Change, DataError, SentimentError, UsageError
from sentiment_cli.storage import store


class Source(Protocol):
    """A corpus: what it is called in the cache, where it lies (None: the generated sample), and how it is read."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> Path | None: ...
    @property
    def settings(self) -> Data: ...
    @property
    def is_table(self) -> bool: ...
    @property
    def has_stars(self) -> bool: ...
    @property
    def has_unlabelled(self) -> bool: ...
    @property
    def has_valid(self) -> bool:
        """Whether the source has validation rows of its own."""
        ...

    def settings_read(self) -> dict[str, Any]:
        """Return the settings that the rows depend on, for the cache's key."""
        ...

    def rows(
        self,
        part: Subset,
        rejects: Rejects,
        read: FilesDigest | None = None,
        left_out: Counter[str] | None = None,
        say: Callable[[str], object] = ...,
    ) -> Iterator[tuple[str, Review]]:
        """Yield (split, review): splits train, valid and test of the labelled part, unsup of the other.

        Adds to `read` the files of IMDb's layout, and to `left_out` the rows that data.label_map leaves out, by label.
        Raises DataError where something is missing or is not a review.
        """
        ...

    def digest(self, part: Subset, read: FilesDigest | None = None) -> str:
        """Hash the bytes that a part is read from: names and contents of files, or whole archives and tables.

        A folder in IMDb's layout whose files `rows` has just added to `read` is not read again.
        """
        ...


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
        if value and isinstance(source, ImdbSource):
            raise UsageError(
                f"data.{key} is for tables and folders of classes; {data.source} is laid out as IMDb is, with rows and "
                "labels of its own",
                Change("--set", f"data.{key}={'[]' if key == 'label_map' else 'null'}"),
            )
    if data.target == "multilabel" and not source.is_table:
        raise UsageError(
            f"data.target is multilabel, and each text of {data.source} has one label: rows of tables alone have more",
            Change("--set", "data.target=label"),
        )
    return source


def with_columns_read(data: Data) -> Data:
    """Return the settings with the columns that training texts and labels are read from, where a table has them."""
    if data.source in ("imdb", "sample"):
        return data
    try:
        source = _find(data)
    except SentimentError:  # prepared before, and no longer there
        return data
    found = source.train_columns if isinstance(source, OwnFiles) else Columns()
    read = {"text_column": found.text, "label_column": found.label}
    return data.model_copy(update={key: column for key, column in read.items() if column is not None})


def _find(data: Data) -> Source:
    if data.source == "sample":
        return ImdbSource("sample", None, data)
    if data.source == "imdb":
        path = local_imdb()
        if path is None:
            path = archive_path()
            if not store.is_there(path):
                download_imdb(path)
        elif not os.path.exists(path):  # noqa: PTH110 - as in path_kinds
            raise DataError(f"SENTIMENT_IMDB names {path}, which does not exist", how_to_get_imdb(path))
        elif not (path.is_file() or path.is_dir()):  # a pipe that nobody writes would be waited for
            raise DataError(f"SENTIMENT_IMDB names {path}, which is not a file or folder", how_to_get_imdb(path))
        return ImdbSource("imdb", path, data)
    path = Path(data.source)
    kind = kind_of_path(path, "data.source", data)
    if kind == "imdb":
        return ImdbSource(name_of_source(path), path, data)
    splits = find_split_files(path) if kind == "splits" else None
    return OwnFiles(name_of_source(path), path, data, is_table=kind == "table", splits=splits)


def name_of_source(path: Path) -> str:
    """Return a file's or folder's name as a short word of letters, digits and dashes."""
    return re.sub(r"[^A-Za-z0-9]+", "-", path.name.partition(".")[0]).strip("-")[:32].lower() or "data"
