"""Errors about what the disk refuses, each with a command that helps."""

import contextlib
import errno
import itertools
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment_cli.errors import Change, DataError, MachineError

if TYPE_CHECKING:
    pass


@contextlib.contextmanager
def write_errors(path: Path, n_bytes: int | None = None) -> Iterator[None]:
    """Turn an OSError into a MachineError about writing `path`, with `n_bytes` written so far."""
    try:
        yield
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            size = "" if n_bytes is None else f"{n_bytes:,} bytes of it were to be written, "
            message += f"; {size}{shutil.disk_usage(nearest_existing(path)).free:,} bytes are free"
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


def _is_link(path: Path) -> DataError:
    return DataError(
        f"{path} is a symbolic link, which this program never makes", _elsewhere(path) or f"ls -l {_quoted(path)}"
    )


def _fix(path: Path, number: int | None) -> str | None:
    """Return what to type against an error of this number."""
    nearest = nearest_existing(path)
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


def nearest_existing(path: Path) -> Path:
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
