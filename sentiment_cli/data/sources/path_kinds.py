"""What lies at a path that an experiment names: IMDb's layout, a table, or a folder of tables or of texts."""

import difflib
import os
import shlex
from pathlib import Path
from typing import Literal

from sentiment_cli.config.schema import CORPORA, Data
from sentiment_cli.data.files.file_kinds import SUFFIXES, missing_file, show_command
from sentiment_cli.data.sources import folders, imdb
from sentiment_cli.data.sources.split_files import find_split_files
from sentiment_cli.data.tables.readers import Columns, Format, fields_of_lines, kind_of_file, table_kind
from sentiment_cli.errors import Change, DataError
from sentiment_cli.storage import store

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz")


def kind_of_path(path: Path, key: str, data: Data) -> Literal["imdb", "table", "splits", "folders"]:
    """Return the kind of layout at a path that the setting `key` names.

    Raises DataError where nothing is there, or nothing that is read.
    """
    if not os.path.exists(path):  # noqa: PTH110 - says no, where Path.exists raises, to a name that none can have
        if not path.parent.is_dir() or path.name.lower() not in os.listdir(path.parent):  # noqa: PTH208
            for corpus in difflib.get_close_matches(path.name.lower(), CORPORA, n=1):
                raise DataError(
                    f"{key} is {path}: there is no such file or folder. Did you mean {corpus!r}?",
                    Change("--set", f"{key}={corpus}"),
                )
        raise missing_file(path, key)
    if path.is_dir():
        if imdb.is_folder_of(path):
            return "imdb"
        return "splits" if find_split_files(path, key) else "folders"
    if not path.is_file():
        copy = f"cat {shlex.quote(str(path))} > {shlex.quote(store.free_path(Path('rows.csv')).name)}"
        raise DataError(f"{key} is {path}: not a regular file, and it is read more than once", copy)
    if table_kind(path):
        return "table"
    if path.name.lower().endswith(ARCHIVES):
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
    known = ", ".join((*SUFFIXES, *ARCHIVES[:1]))
    raise DataError(
        f"{key} is {path}: not a kind of file that is read. Convert it to one of {known} (also compressed), a folder "
        "per label, or lines that begin with __label__",
        show_command(path),
    )


def format_of(data: Data) -> Format:
    """Return how the settings have a table's file read."""
    return Format(data.header, data.encoding, data.delimiter, data.quoting)


def columns_of(data: Data) -> Columns:
    """Return the columns that the settings name."""
    return Columns(data.text_column, data.label_column, data.group_column)
