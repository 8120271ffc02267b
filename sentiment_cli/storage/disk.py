"""Single operations on the disk, for `store` and `locks`; each passes a failpoint.

A file or directory is a draft until it is complete: `.NAME.HOST-PID-RANDOM.tmp`, beside its final place. The draft of a
killed process is removed when the next draft is made there, and by `locks.sweep`.
"""

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment_cli.storage import failpoints
from sentiment_cli.storage.refusals import check_trust, nearest_existing, write_errors

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_DRAFT = re.compile(r"\..+\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.tmp")
_DAY_S = 86_400
# Before the umask takes its own away. What everyone may write to is not read again (`check_trust`), whatever the umask.
_FILE_MODE, _DIRECTORY_MODE = 0o644, 0o755


class Output(io.RawIOBase):
    """A file being written; `size` and `sha256` are those of the bytes meant, whatever the disk makes of them."""

    def __init__(self, handle: io.FileIO, path: Path) -> None:
        self._handle, self._path = handle, path
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: "ReadableBuffer", /) -> int:
        view = memoryview(data).cast("B")
        self._digest.update(view)
        self.size += len(view)
        with write_errors(self._path, self.size):
            failpoints.failing_write(self._handle.write, view, self._path)
        return len(view)

    def sync(self) -> None:
        flush(self._handle, self._path)

    def close(self) -> None:
        self._handle.close()
        super().close()


class Partial:
    """A file that grows at `part`, and takes its name `path` when it is whole."""

    def __init__(self, handle: io.FileIO, part: Path, path: Path) -> None:
        self._handle, self._part, self._path = handle, part, path

    @property
    def size(self) -> int:
        return os.fstat(self._handle.fileno()).st_size

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        with write_errors(self._part, self.size + len(data)):
            failpoints.failing_write(self._handle.write, memoryview(data), self._part)

    def cut(self, size: int) -> None:
        """Forget what comes after the first `size` bytes."""
        if self.size > size:
            truncate(self._handle, size, self._part)

    def sha256(self) -> str:
        """Hash the bytes as they lie on the disk, whichever process put them there."""
        self._handle.seek(0)
        return hashlib.file_digest(self._handle, "sha256").hexdigest()

    def publish(self) -> None:
        """Give the file its name."""
        flush(self._handle, self._part)
        rename(self._part, self._path)
        flush_directory(self._path.parent)

    def quarantine(self) -> Path:
        """Set the file aside as PATH.bad, for a person to look at, and return that path."""
        bad = self._path.with_name(f"{self._path.name}.bad")
        rename(self._part, bad)
        return bad


def check_writable(path: Path) -> None:
    """Raise OSError where a directory cannot be, or be written to; nothing is made."""
    nearest = nearest_existing(path)
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def resolve(path: Path) -> Path:
    """Follow links; raise OSError for one that leads back to itself."""
    try:
        return path.resolve()
    except RuntimeError as error:  # of Python before 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


def make_directories(path: Path) -> None:
    failpoints.reach("mkdir", path)
    _make_directories(path)


def _make_directories(path: Path) -> None:
    try:
        path.mkdir(_DIRECTORY_MODE, exist_ok=True)
    except FileNotFoundError:
        if path.parent == path:
            raise
        _make_directories(path.parent)
        path.mkdir(_DIRECTORY_MODE, exist_ok=True)


def make_directory(path: Path) -> None:
    failpoints.reach("mkdir", path)
    path.mkdir(_DIRECTORY_MODE)


def create(path: Path) -> io.FileIO:
    """Make a file that is not there yet. Unbuffered, so that no bytes are left for closing to fail on."""
    failpoints.reach("create", path)
    return io.FileIO(path, "x", opener=lambda name, flags: os.open(name, flags, _FILE_MODE))


def open_to_append(path: Path) -> io.FileIO:
    failpoints.reach("append", path)
    handle = io.FileIO(path, "a+", opener=_open_no_link)
    try:
        check_trust(path, os.fstat(handle.fileno()))
    except BaseException:
        handle.close()
        raise
    return handle


def open_log(path: Path) -> io.FileIO:
    """Open a file to append to; without a failpoint, since a log is read by nobody but people."""
    return io.FileIO(path, "a", opener=_open_no_link)


def open_to_read(path: Path) -> io.BufferedReader:
    failpoints.reach("read", path)
    return open(path, "rb", opener=_open_no_link)


def truncate(handle: io.FileIO, size: int, path: Path) -> None:
    failpoints.reach("truncate", path)
    handle.truncate(size)


def flush(handle: io.FileIO, path: Path) -> None:
    failpoints.reach("flush", path)
    os.fsync(handle.fileno())


def flush_directory(path: Path) -> None:
    failpoints.reach("flush_directory", path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_mode(source: Path, path: Path) -> None:
    failpoints.reach("chmod", path)
    path.chmod(source.stat().st_mode)


def rename(path: Path, target: Path) -> None:
    failpoints.reach("rename", target)
    path.replace(target)


def remove(path: Path) -> None:
    """Delete a file, a link or a whole directory; a missing one is not an error."""
    failpoints.reach("remove", path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Delete a draft as far as possible: on the way out of another error, which is the one to report."""
    with contextlib.suppress(OSError):
        remove(path)


def new_draft(path: Path) -> Path:
    """Return a name for a draft of `path`, and sweep the drafts beside it that nobody writes any more."""
    sweep_drafts(path.parent)
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def sweep_drafts(directory: Path) -> None:
    """Delete the drafts in a directory that nobody writes any more."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in [entry for entry in entries if entry.name.endswith(".tmp")]:
            draft = _DRAFT.fullmatch(entry.name)
            if draft and _is_abandoned(draft, entry.stat(follow_symlinks=False).st_mtime):
                discard(Path(entry.path))


def _is_abandoned(draft: re.Match[str], changed_at: float) -> bool:
    """Check whether the owning process is alive; judge a draft from another host (a shared disk) by its age."""
    if draft["host"] != _host():
        return time.time() - changed_at > _DAY_S
    try:
        os.kill(int(draft["pid"]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _host() -> str:
    """Name this machine, and the container in it: containers of one host name number their processes apart."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{os.uname().nodename} {namespace}".encode()).hexdigest()[:8]


def _open_no_link(path: str, flags: int) -> int:
    # Without O_NONBLOCK opening a planted pipe would block forever.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, _FILE_MODE)
