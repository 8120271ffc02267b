"""The only module that writes artefacts: all or nothing, flushed to disk, and checked when read.

    write_file(path, data)              one file, replaced atomically
    append_line(path, line)             one line of a log, flushed
    with new_directory(path) as draft:  several files that appear together, under a manifest
        draft.write("a.json", data)
    directory = open_directory(path)    every file's size and sha256 compared with the manifest

What the disk refuses is a MachineError that names the path.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sentiment_cli.errors import DataError, MachineError, UsageError

MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class IntegrityError(DataError):
    """An artefact on disk is not what its manifest says."""


@dataclass(frozen=True)
class Draft:
    """A directory being written; nobody else sees it before it is whole."""

    path: Path

    def write(self, name: str, data: bytes) -> None:
        with self.create(name) as handle:
            handle.write(data)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        with (self.path / name).open("xb") as handle:
            yield handle
            _flush(handle)


def dump_json(value: Any) -> bytes:
    """Encode `value` the one way we write JSON: UTF-8, indented, no NaN."""
    return (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def sha256_of(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`, replacing what was there; a reader sees the old bytes or the new, never a mixture."""
    with replacing(path) as handle:
        handle.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that takes `path`'s place when the block ends well and vanishes when it does not.

    A link stays one, and its target is replaced; what is no regular file (a pipe, /dev/stdout) is written straight.
    """
    with _disk_errors(path):
        if path.exists() and not path.is_file():
            with path.open("wb") as handle:
                yield handle
            return
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = _draft_of(path)
        try:
            with draft.open("xb") as handle:
                yield handle
                _flush(handle)
            if path.exists():
                draft.chmod(path.stat().st_mode)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _flush_directory(path.parent)


def append_line(path: Path, line: str) -> None:
    """Add one line to a log."""
    assert "\n" not in line
    with _disk_errors(path), path.open("ab") as handle:
        handle.write(line.encode() + b"\n")
        _flush(handle)


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Draft]:
    """Yield a draft that becomes the directory `path`, manifest last, when the block ends well.

    Where `path` has come to exist meanwhile (another process made the same artefact), theirs stays and ours goes.
    """
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = _draft_of(path)
        draft.mkdir()
        try:
            yield Draft(draft)
            names = sorted(file.name for file in draft.iterdir())
            files = {name: {"size": (draft / name).stat().st_size, "sha256": sha256_of(draft / name)} for name in names}
            Draft(draft).write(MANIFEST, dump_json({"files": files}))
            _flush_directory(draft)
            try:
                draft.rename(path)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                shutil.rmtree(draft)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _flush_directory(path.parent)


def open_directory(path: Path, is_read: Callable[[str], bool] = lambda name: True) -> Path:
    """Return `path` after checking against the manifest the names of its files and the bytes of those to be read.

    Raises IntegrityError for a file that is missing, too many, of another size or of another hash.
    """
    manifest = read_json(path / MANIFEST)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict):
        raise IntegrityError(f"{path / MANIFEST} is not a manifest")
    present = {file.name for file in path.iterdir() if not file.name.startswith(".")} - {MANIFEST}
    if present != files.keys():
        raise IntegrityError(f"{path} holds {sorted(present)}, its manifest names {sorted(files)}")
    for name, expected in files.items():
        if not is_read(name):
            continue
        found = {"size": (path / name).stat().st_size, "sha256": sha256_of(path / name)}
        if found != expected:
            raise IntegrityError(f"{path / name} is damaged: {found} where the manifest says {expected}")
    return path


def read_json(path: Path) -> Any:
    """Read a JSON file of ours; raise IntegrityError where it is missing or broken."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise IntegrityError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise MachineError(f"{path} cannot be read: {error.strerror}") from error


def check_name(name: str) -> None:
    """Raise UsageError for a name that is not 1 to 64 letters, digits, dots, underscores or dashes."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a run name: 1 to 64 of A-Z a-z 0-9 . _ -, starting with a letter or digit",
            "sentiment train --name my-run",
        )


def claim_directory(root: Path, name: str) -> Path:
    """Make and return root/name, or root/name-2, -3 … where earlier ones exist; nothing is overwritten.

    Raises UsageError for what is no name.
    """
    check_name(name)
    with _disk_errors(root / name):
        root.mkdir(parents=True, exist_ok=True)
        n = 1
        while True:
            path = root / (name if n == 1 else f"{name}-{n}")
            try:
                path.mkdir()
            except FileExistsError:
                n += 1
                continue
            return path


def remove_directory(path: Path) -> None:
    """Delete a directory of ours with all that is in it."""
    with _disk_errors(path):
        shutil.rmtree(path)


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _flush(handle: BinaryIO) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror or error}") from error
