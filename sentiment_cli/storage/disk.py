"""Single operations on the disk, for `store` and `locks`: each passes a place of `failpoints`; refusals get a fix.

Drafts are what a file or directory is called until it is whole: `.NAME.HOST-PID-RANDOM.tmp`, beside it. One whose
process was killed is swept when the next draft is made there, and by `locks.sweep`.
"""

import contextlib
import errno
import hashlib
import io
import itertools
import os
import re
import secrets
import shlex
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment_cli.errors import Change, DataError, MachineError
from sentiment_cli.storage import failpoints

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


@contextlib.contextmanager
def write_errors(path: Path, n_bytes: int | None = None) -> Iterator[None]:
    """Turn an OSError into a MachineError about writing `path`, of which `n_bytes` were to be on the disk by now."""
    try:
        yield
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            size = "" if n_bytes is None else f"{n_bytes:,} bytes of it were to be written, "
            message += f"; {size}{shutil.disk_usage(_nearest(path)).free:,} bytes are free"
        raise MachineError(message, _fix(path, error.errno)) from error


@contextlib.contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn an OSError, but for a missing file, into a MachineError about reading `path`."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _is_link(path) from error
        raise MachineError(f"{path} cannot be read: {error.strerror or error}", _fix(path, error.errno)) from error


def refusal(error: OSError) -> MachineError:
    """Return the error about an operation that the system refused where nothing more is known of it."""
    path = None if error.filename is None else Path(os.fsdecode(error.filename))
    said = error.strerror or str(error) or type(error).__name__
    if path is None:
        return MachineError(f"the system refused an operation: {said}", _fix(Path(), error.errno))
    return MachineError(f"{path}: {said}", _fix(path, error.errno))


def check_trust(path: Path, found: os.stat_result) -> None:
    """Raise DataError where another user could have put this here: a link, another owner, a folder open to everyone."""
    if stat.S_ISLNK(found.st_mode):
        raise _is_link(path)
    if found.st_uid not in (os.geteuid(), 0):
        raise DataError(
            f"{path} belongs to another user (uid {found.st_uid}), who could have put anything there",
            _elsewhere(path) or f"ls -ld {_quoted(path)}",
        )
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise DataError(
            f"every user may write to {path} and put anything there", _elsewhere(path) or f"ls -ld {_quoted(path)}"
        )


def check_writable(path: Path) -> None:
    """Raise OSError where a directory cannot be, or be written to; nothing is made."""
    nearest = _nearest(path)
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
    """Delete a file, a link or a whole directory; what is not there is no error."""
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
    """Ask for the process where it would be here; of another host's (a shared disk) only the age is known."""
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
    # Without O_NONBLOCK the opening of a planted pipe would wait for ever.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, _FILE_MODE)


def _is_link(path: Path) -> DataError:
    return DataError(
        f"{path} is a symbolic link, which this program never makes", _elsewhere(path) or f"ls -l {_quoted(path)}"
    )


def _fix(path: Path, number: int | None) -> str | None:
    """Return what to type against an error of this number."""
    nearest = _nearest(path)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"df -h {_quoted(nearest)}"
    if number == errno.EISDIR:
        inside = Change(words={str(path): str(path / path.name)}, otherwise=f"ls -ld {_quoted(nearest)}")
        return _elsewhere(path) or inside
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR):
        return _elsewhere(path) or f"ls -ld {_quoted(nearest)}"
    if number == errno.ENOENT and _is_here_gone():
        return "cd"
    if number == errno.EFBIG:
        return "ulimit -f unlimited"
    if number in (errno.EMFILE, errno.ENFILE):
        return "ulimit -n 4096"
    return f"ls -ld {_quoted(nearest)}"


def _elsewhere(path: Path) -> str | None:
    """Return the command that puts what is written at `path` elsewhere, where a variable says where it goes."""
    for variable, name in (("SENTIMENT_DATA", "data"), ("SENTIMENT_RUNS", "runs")):
        root = os.path.abspath(os.environ.get(variable) or name)  # noqa: PTH100 - links are not followed
        if Path(os.path.abspath(path)).is_relative_to(root):  # noqa: PTH100
            places = [os.path.expanduser("~"), *(str(above.parent) for above in [Path(root), *Path(root).parents])]  # noqa: PTH111
            free = [place for place in places if os.access(place, os.W_OK | os.X_OK)]
            if not free:
                return None
            names = (os.path.join(free[0], f"sentiment-{name}{n or ''}") for n in itertools.count())  # noqa: PTH118
            return f"export {variable}={shlex.quote(next(one for one in names if not os.path.lexists(one)))}"
    return None


def _nearest(path: Path) -> Path:
    """Return `path`, or the nearest directory above that is there."""
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), Path("/"))


def _is_here_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
