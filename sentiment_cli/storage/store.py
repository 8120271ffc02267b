"""Write files all or nothing, flushed to disk, and check them when they are read.

This module is longer than 300 lines because every artefact is written and read through one name, `store`.

    write_file(path, data)              one file, replaced atomically
    append_line(path, line)             one line of a log, flushed
    with new_directory(path) as draft:  several files that appear together, under a manifest
        draft.write("a.json", data)
    directory = open_directory(path)    every file's size and sha256 compared with the manifest
    with partial_file(path) as part:    a file that grows over several tries, until part.publish()

A refusal of the disk is a MachineError that names the path. `disk` holds the single operations.
"""

import contextlib
import errno
import hashlib
import io
import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentiment_cli.errors import Change, MachineError, UsageError
from sentiment_cli.storage import disk, failpoints, refusals
from sentiment_cli.storage.disk import Output as Output
from sentiment_cli.storage.disk import Partial as Partial
from sentiment_cli.storage.manifests import MANIFEST as MANIFEST
from sentiment_cli.storage.manifests import IntegrityError as IntegrityError
from sentiment_cli.storage.manifests import dump_json as dump_json
from sentiment_cli.storage.manifests import dump_manifest as dump_manifest
from sentiment_cli.storage.manifests import parse_json as parse_json
from sentiment_cli.storage.manifests import parse_manifest as parse_manifest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Draft:
    """A directory being written; nobody else sees it before it is whole."""

    path: Path
    target: Path
    _files: dict[str, dict[str, object]] = field(default_factory=dict)

    def write(self, name: str, data: bytes) -> None:
        with self.create(name) as output:
            output.write(data)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[Output]:
        with Output(disk.create(self.path / name), self.target / name) as output:
            yield output
            output.sync()
        self._files[name] = {"size": output.size, "sha256": output.sha256}

    def finish(self) -> None:
        """Write the manifest."""
        assert self._files.keys() == {file.name for file in self.path.iterdir()}, "files not made by create or write"
        self.write(MANIFEST, dump_manifest(self._files))
        disk.flush_directory(self.path)

    def abandon(self) -> None:
        disk.discard(self.path)


def sha256_of(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`, replacing what was there; a reader sees the old bytes or the new, never a mixture."""
    with replacing(path) as output:
        output.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Output]:
    """Yield a file that takes `path`'s place when the block ends well and vanishes when it does not.

    A link stays a link, and its target is replaced; a pipe or /dev/stdout is written directly.
    """
    with refusals.write_errors(path):
        if path.exists() and not path.is_file():
            with Output(io.FileIO(path, "w"), path) as output:
                yield output
            return
        path = disk.resolve(path)
        disk.make_directories(path.parent)
        draft = disk.new_draft(path)
        try:
            with Output(disk.create(draft), path) as output:
                yield output
                output.sync()
            if path.exists():
                disk.copy_mode(path, draft)
            disk.rename(draft, path)
        except BaseException:
            disk.discard(draft)
            raise
        disk.flush_directory(path.parent)


def check_replaceable(path: Path, is_ours: Callable[[Path], bool], hint: str | None = None) -> None:
    """Raise UsageError where `path` holds something that this program must not replace.

    Only an empty file, or a file that `is_ours` recognises by its content, may be replaced. A pipe or /dev/stdout may
    be written to.
    """
    try:
        about = disk.resolve(path).stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror or error}", hint) from error
    if stat.S_ISDIR(about.st_mode):
        raise UsageError(f"{path} is a directory, and a file is to be written there", hint)
    if stat.S_ISREG(about.st_mode) and about.st_size and not is_ours(path):
        raise UsageError(f"{path} is there already, this command did not write it, and it is not overwritten", hint)


def write_once(path: Path, data: bytes, hint: str | None = None) -> bool:
    """Put `data` at `path` where nothing is; return whether it was written. The same content there is left.

    So a command that was killed after some of its files can run again. Raises UsageError for other content.
    """
    if is_there(path):
        if path.is_file() and read_named(path, len(data) + 1) == data:
            return False
        raise UsageError(f"{path} is there already, with other content, and is not overwritten", hint)
    write_file(path, data)
    return True


def read_named(path: Path, most: int = -1) -> bytes:
    """Read a file that its user named, or its first `most` bytes."""
    with open_named(path) as handle:
        return handle.read(most)


def free_path(path: Path) -> Path:
    """Return a path like this one, with a number in its name, at which nothing is."""
    return next(free for n in itertools.count(2) if not is_there(free := path.with_stem(f"{path.stem}-{n}")))


def unused_path(path: Path) -> Path:
    """Return this path if nothing is there, and else one like it at which nothing is."""
    return free_path(path) if is_there(path) else path


def append_line(path: Path, line: str) -> None:
    """Add one line to a log. Half a line, left by a process that died, is removed first."""
    assert "\n" not in line
    with refusals.write_errors(path):
        disk.make_directories(path.parent)
    with refusals.write_errors(path), disk.open_to_append(path) as handle:
        size, end = _end_of_lines(handle)
        if end < size:  # else another process's line, written since, would go
            disk.truncate(handle, end, path)
        try:
            failpoints.failing_write(handle.write, memoryview(line.encode() + b"\n"), path)
            disk.flush(handle, path)
        except OSError:
            disk.truncate(handle, end, path)
            raise
        if end == 0:
            disk.flush_directory(path.parent)


def append_text(path: Path, text: str) -> None:
    """Add text to a file that people read. It is not flushed, since nothing depends on it."""
    with refusals.write_errors(path), disk.open_log(path) as handle:
        handle.write(text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def passing_directory(root: Path) -> Iterator[Draft]:
    """Yield a directory below `root` that goes when the block ends, or, after a kill, when the next one is made."""
    with refusals.write_errors(root):
        disk.make_directories(root)
        draft = Draft(disk.new_draft(root / "passing"), root)
        try:
            disk.make_directory(draft.path)
            yield draft
        finally:
            draft.abandon()


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Draft]:
    """Yield a draft that becomes the directory `path`, manifest last, when the block ends well.

    Where `path` has come to exist meanwhile (another process made the same artefact), theirs stays and ours goes.
    """
    with refusals.write_errors(path):
        disk.make_directories(path.parent)
        draft = Draft(disk.new_draft(path), path)
        try:
            disk.make_directory(draft.path)
            yield draft
            draft.finish()
            try:
                disk.rename(draft.path, path)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                draft.abandon()
        except BaseException:
            draft.abandon()
            raise
        disk.flush_directory(path.parent)


def open_directory(path: Path, is_read: Callable[[str], bool] = lambda name: True) -> Path:
    """Return `path` after checking against the manifest the names of its files and the bytes of those to be read.

    Raises IntegrityError for a file that is missing, too many, of another size or of another hash, and DataError where
    another user could have put something there: a link, another owner, a directory that everyone may write to.
    """
    present, files = _names_in(path), read_manifest(path)
    if present - {MANIFEST} != files.keys():
        missing, added = sorted(files.keys() - present), sorted(present - {MANIFEST} - files.keys())
        differ = [f"{', '.join(names)} {what}" for names, what in ((missing, "missing"), (added, "not of it")) if names]
        raise IntegrityError(f"{path} is damaged: its files are not those of its manifest: {'; '.join(differ)}")
    for name, expected in files.items():
        if not is_read(name):
            continue
        with _opened(path / name) as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
            found = {"size": handle.tell(), "sha256": digest}
        if found != expected:
            raise IntegrityError(f"{path / name} is damaged: its size or checksum is not the one in {MANIFEST}")
    return path


def read_manifest(path: Path) -> dict[str, Any]:
    """Return size and sha256 of each file of an artefact, as its manifest has them; raise IntegrityError for damage."""
    return parse_manifest(read_file(path / MANIFEST), path / MANIFEST)


def is_there(path: Path) -> bool:
    """Say whether anything, if only a broken link, is at `path`; raise MachineError where that cannot be determined."""
    try:
        with refusals.read_errors(path):
            path.lstat()
    except FileNotFoundError:
        return False
    return True


def read_json(path: Path) -> Any:
    """Read a JSON file of ours; raise IntegrityError where it is missing or broken."""
    return parse_json(read_file(path), path)


@contextlib.contextmanager
def damage(path: Path, hint: str | None = None) -> Iterator[None]:
    """Turn what goes wrong in making sense of a file of ours into IntegrityError: a key missing, or of another type."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise IntegrityError(f"{path} is damaged: {error!r:.200}", hint) from error


def read_file(path: Path, most: int = -1) -> bytes:
    """Read a file of ours, or its first `most` bytes; raise IntegrityError where it is missing."""
    with _opened(path) as handle:
        return handle.read(most)


def check_root(root: Path) -> None:
    """Raise MachineError where nothing can be written below `root`, before work is spent on what should go there."""
    with refusals.write_errors(root):
        disk.check_writable(root)


def check_name(name: str) -> None:
    """Raise UsageError for a name that is not 1 to 64 letters, digits, dots, underscores or dashes."""
    if not _NAME.fullmatch(name):
        mended = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-_")[:64] or "my-run"
        raise UsageError(
            f"{name!r} is not a run name: 1 to 64 of A-Z a-z 0-9 . _ -, starting with a letter or digit",
            Change(words={name: mended}),
        )


def claim_directory(root: Path, name: str) -> Path:
    """Make and return root/name, or root/name-2, -3 … where earlier ones exist; nothing is overwritten.

    Raises UsageError for an invalid name.
    """
    check_name(name)
    with refusals.write_errors(root / name):
        disk.make_directories(root)
        n = 1
        while True:
            path = root / (name if n == 1 else f"{name}-{n}")
            try:
                disk.make_directory(path)
            except FileExistsError:
                n += 1
                continue
            return path


def free_directory(root: Path, name: str) -> Path:
    """Return the directory that `claim_directory` would make now."""
    check_name(name)
    paths = (root / (name if n == 1 else f"{name}-{n}") for n in itertools.count(1))
    return next(path for path in paths if not is_there(path))


def ensure_directory(path: Path) -> None:
    """Make a directory, and those above it, where they are missing."""
    with refusals.write_errors(path):
        disk.make_directories(path)


def move_directory(path: Path, target: Path) -> None:
    """Move a directory of ours to a name that is free, or that of an empty directory, on the same file system."""
    with refusals.write_errors(target):
        disk.make_directories(target.parent)
        disk.rename(path, target)


def remove_directory(path: Path) -> None:
    """Delete a directory of ours; a half-deleted directory never has its name."""
    with refusals.write_errors(path):
        going = disk.new_draft(path)
        try:
            disk.rename(path, going)
        except FileNotFoundError:  # another process was first
            return
        disk.remove(going)


def remove_file(path: Path, is_ours: Callable[[Path], bool] = lambda path: True) -> None:
    """Delete a regular file of ours where it is there; anything else that has its name stays.

    `is_ours` says by the content of a file whether this program wrote it, where its place does not.
    """
    with refusals.write_errors(path):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISREG(mode) and is_ours(path):
            disk.remove(path)


@contextlib.contextmanager
def partial_file(path: Path, is_alone: bool = True) -> Iterator[Partial]:
    """Yield PATH.part, made where it is missing; it stays unless the block publishes it or sets it aside.

    Who is not sure to be the only one at it gets a file of its own, which the next process does not find.
    """
    part = path.with_name(f"{path.name}.part") if is_alone else disk.new_draft(path)
    with refusals.write_errors(part):
        disk.make_directories(path.parent)
        with disk.open_to_append(part) as handle:
            try:
                yield Partial(handle, part, path)
            finally:
                if not is_alone or os.fstat(handle.fileno()).st_size == 0:
                    disk.discard(part)


def _names_in(path: Path) -> set[str]:
    """Return the names in an artefact without hidden ones, after checking owners and modes."""
    with _missing_is_damage(path), refusals.read_errors(path):
        refusals.check_trust(path.parent, path.parent.stat())
        refusals.check_trust(path, path.lstat())
        with os.scandir(path) as entries:
            found = {entry.name: entry.stat(follow_symlinks=False) for entry in entries if entry.name[0] != "."}
    for name, about in found.items():
        refusals.check_trust(path / name, about)
        if not stat.S_ISREG(about.st_mode):
            raise IntegrityError(f"{path / name} is not a file")
    return set(found)


@contextlib.contextmanager
def open_named(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file that its user named, by a link too if it has to be. Raises FileNotFoundError where there is none."""
    with refusals.read_errors(path), disk.open_to_read(disk.resolve(path)) as handle:
        yield handle


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    with _missing_is_damage(path), refusals.read_errors(path), disk.open_to_read(path) as handle:
        yield handle


@contextlib.contextmanager
def _missing_is_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} cannot be read: {error.strerror}") from error


def _end_of_lines(handle: io.FileIO) -> tuple[int, int]:
    """Return the size of a log, and the position after its last newline."""
    size = handle.seek(0, os.SEEK_END)
    start = max(0, size - _LONGEST_LINE)
    handle.seek(start)
    rest = handle.readall()
    return start + len(rest), start + rest.rfind(b"\n") + 1
