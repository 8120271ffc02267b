"""The files that `predict --file` names: one, those of a folder, those that a pattern matches, or those at a URL.

Several files are read one after the other, in the order of their names, as one source.
"""

import contextlib
import glob
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sentiment_cli import console
from sentiment_cli.config.paths import data_dir
from sentiment_cli.data.files.file_kinds import JSON_SUFFIXES
from sentiment_cli.data.files.unpacking import table_kind
from sentiment_cli.data.tables.readers import Format, Rejects, TextColumns
from sentiment_cli.data.tables.writers import Kind, joined_kind
from sentiment_cli.errors import DataError, MachineError, UsageError
from sentiment_cli.inference.batch.chunks import BatchSource, Chunk, ChunkRange, Known
from sentiment_cli.inference.batch.inputs import open_file
from sentiment_cli.storage import store

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?:::[a-z]+)?://")
_BLOCK = 1 << 20


class Files(NamedTuple):
    """Files on this machine, and what tells each one's state from another: its time of last change, or a URL's key."""

    paths: list[Path]
    stamps: list[Any]


def is_url(text: str) -> bool:
    return bool(_URL.match(text))


@contextlib.contextmanager
def files_of(file: str) -> Iterator[Files]:
    """Yield the files that `file` names; those at a URL are copied here, and the copies go when the block ends.

    Raises DataError for a folder without files and for a pattern that matches none.
    """
    if is_url(file):
        with store.passing_directory(data_dir()) as draft:
            yield _fetched(file, draft)
        return
    path = Path(os.path.expanduser(file))  # noqa: PTH111 - Path's raises for the home of nobody
    paths = [path]
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
        paths = sorted(one for one in path.iterdir() if _is_data(one.name) and one.is_file())
        if not paths:
            raise DataError(f"--file is {path}: a directory without files", shlex.join(["ls", "-a", str(path)]))
    elif glob.has_magic(file) and not os.path.lexists(path):
        paths = sorted(Path(one) for one in glob.glob(str(path), recursive=True) if Path(one).is_file())  # noqa: PTH207
        if not paths:
            raise DataError(f"--file is {file!r}: no file matches the pattern", "ls")
    yield Files(paths, [one.stat().st_mtime_ns if one.is_file() else None for one in paths])


def _is_data(name: str) -> bool:
    """Say whether a name is one of data: others begin with a dot, or, as Spark has them, with an underscore."""
    return not name.startswith((".", "_"))


def open_sources(
    files: Files, text_column: TextColumns, on_error: str, how: Format, known: Sequence[Known] = ()
) -> BatchSource:
    """Return files as one source. Raises as `open_file` does, and DataError for tables that do not fit together."""
    sources = [
        open_file(path, text_column, on_error, how, known[i] if known else None, console.say if i == 0 else _silent)
        for i, path in enumerate(files.paths)
    ]
    if len(sources) == 1:
        return sources[0]
    console.say(f"data: {len(sources):,} files, from {sources[0].name} to {sources[-1].name}, are read as one")
    return _joined(sources)


def known_of(source: BatchSource) -> Known:
    """Return what reading through a file has found."""
    if source.known is None:
        raise UsageError(f"{source.name} is read as it comes, and has no parts", "sentiment predict --help")
    return source.known


def _silent(text: str) -> None:
    pass


def _joined(sources: Sequence[BatchSource]) -> BatchSource:
    first = sources[0]
    for one in sources:
        if not one.is_file:
            raise DataError(f"{one.name} is not a regular file, and several are read", f"ls -l {shlex.quote(one.name)}")
        if one.is_table != first.is_table:
            kinds = ["a table" if each.is_table else "read line by line" for each in (first, one)]
            raise _unlike(first, one, f"is {kinds[0]}", f"is {kinds[1]}")
        if one.text_column != first.text_column:
            raise _unlike(first, one, f"has texts in {first.text_column!r}", f"in {one.text_column!r}")
    columns = _columns(sources)
    known = [known_of(one) for one in sources]
    ranges = [each._replace(file=i) for i, one in enumerate(known) for each in one.ranges]
    n_rows = [one.n_rows for one in known]

    def read_from(rejects: Rejects, start: ChunkRange = ChunkRange(0, 0, 0, 0)) -> Iterator[Chunk]:  # noqa: B008 - a tuple
        for i in range(start.file, len(sources)):
            reader = sources[i].read_from
            assert reader is not None, "a file"
            before = sum(n_rows[:i])
            for chunk in reader(rejects, start) if i == start.file else sources[i].read(rejects):
                yield chunk._replace(numbers=[before + number for number in chunk.numbers])

    return BatchSource(
        f"{first.name} and {len(sources) - 1:,} more",
        columns,
        first.text_column,
        sum(n_rows),
        read_from,
        is_table=first.is_table,
        is_file=True,
        paths=tuple(path for one in sources for path in one.paths),
        known=Known(sum(n_rows), columns if isinstance(columns, dict) else {}, tuple(ranges)),
        read_from=read_from,
    )


def _columns(sources: Sequence[BatchSource]) -> Any:
    """Return the columns of all: the same in each, but that an object of JSON may leave out what it does not have."""
    first = sources[0]
    if not isinstance(first.columns, dict):
        for one in sources:
            if isinstance(one.columns, dict) or not first.columns.equals(one.columns):
                raise _unlike(first, one, f"has the columns {_said(first)}", f"has {_said(one)}")
        return first.columns
    kinds: dict[str, Kind] = {}
    for one in sources:
        is_json = table_kind(one.paths[0]) in JSON_SUFFIXES
        if not isinstance(one.columns, dict) or (not is_json and set(one.columns) != set(first.columns)):
            raise _unlike(first, one, f"has the columns {_said(first)}", f"has {_said(one)}")
        for name, kind in one.columns.items():
            kinds[name] = joined_kind(kinds.get(name), kind)
    return kinds


def _said(source: BatchSource) -> str:
    return ", ".join(source.names) if isinstance(source.columns, dict) else str(source.columns).replace("\n", ", ")


def _unlike(first: BatchSource, other: BatchSource, of_first: str, of_other: str) -> DataError:
    return DataError(
        f"{first.name} {of_first:.200}, and {other.name} {of_other:.200}: they are not one table",
        shlex.join(["head", "-n", "2", *(str(one.path) for one in (first, other))]),
    )


def _fetched(url: str, draft: store.Draft) -> Files:
    """Copy the files at a URL into a directory. Raises MachineError for what fsspec and its file systems refuse."""
    shown = shown_url(url)
    try:
        import fsspec
    except ImportError:
        raise MachineError(f"{shown} needs fsspec", "pip install 'sentiment-cli[remote]'") from None
    found = Files([], [])
    try:
        system, place = fsspec.core.url_to_fs(url)
        places = [place]
        if glob.has_magic(place):
            places = sorted(system.glob(place))
        elif system.isdir(place):
            places = sorted(one["name"] for one in system.ls(place, detail=True) if one["type"] == "file")
            places = [one for one in places if _is_data(one.rpartition("/")[2])]
        names = [one.rstrip("/").rpartition("/")[2] for one in places]
        if not places or len(set(names)) < len(names):
            raise DataError(f"{shown}: {'files of one name' if places else 'there is no file'}", "ls")
        for one, name in zip(places, names, strict=True):
            size, stamp = system.size(one), system.ukey(one)
            with system.open(one, "rb") as remote, draft.create(name) as copy:
                while block := remote.read(_BLOCK):
                    copy.write(block)
            if size not in (None, copy.size):
                raise MachineError(f"{shown}: {copy.size:,} of {size:,} bytes of {name} came", "sentiment doctor")
            found.paths.append(draft.path / name)
            found.stamps.append(stamp)
    except (DataError, MachineError):
        raise
    except FileNotFoundError:
        raise DataError(f"{shown}: there is no file", "ls") from None
    except ImportError as error:  # the file system's own package is missing, and fsspec says which
        package = re.search(r"[Ii]nstall ([\w-]+)", str(error))
        hint = f"pip install {package[1]}" if package else "pip install 'sentiment-cli[remote]'"
        raise MachineError(f"{shown}: {error}", hint) from error
    except Exception as error:  # each file system raises its own
        if "rotocol not known" in str(error):
            raise UsageError(f"{shown}: fsspec knows no such scheme", "sentiment predict --help") from None
        raise MachineError(f"{shown} cannot be read: {error!r:.300}", "sentiment doctor") from error
    console.say(f"data: {shown}: {len(found.paths):,} copied for the time of this command")
    return found


def shown_url(url: str) -> str:
    """Return a URL without a user's name and password."""
    parts = urlsplit(url)
    return url.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1) if "@" in parts.netloc else url
