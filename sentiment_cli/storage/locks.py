"""One process at a time, and what killed ones left behind.

with lock(path, console.say):       one process at a time
with held(directory):               the same for a directory, which refuses the others
is_usable(directory)                many processes at a time, which read it and refuse the one that would remove it
sweep_locks(directory)              what killed processes left there goes: drafts, and locks that nobody holds
"""

import contextlib
import errno
import fcntl
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from sentiment_cli.storage import disk, failpoints

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
_MOST_IN_USE = 32
_in_use: dict[Path, int] = {}  # directories that this process reads, and a descriptor of each


@contextlib.contextmanager
def lock(path: Path, say: Callable[[str], None]) -> Iterator[bool]:
    """Let one process at a time into the block; `say` reports a wait of more than a second.

    The kernel frees the lock of a process that was killed. A lock that cannot be taken is reported, and
    the block runs without it (False): the lock only saves doing work twice, and correctness does not depend on it.
    """
    import filelock  # 50 ms that only the makers of artefacts need

    kernel_lock = filelock.FileLock(path)
    try:
        with _flock_or_none():
            failpoints.reach("lock", path)
            disk.make_directories(path.parent)
            try:
                kernel_lock.acquire(timeout=1)
            except filelock.Timeout:
                say(f"waiting for another process, which holds {path}")
                kernel_lock.acquire()
    except (OSError, NotImplementedError, Warning) as error:
        say(f"continuing without the lock {path}, which cannot be taken: {error}")
    try:
        yield kernel_lock.is_locked
    finally:
        if kernel_lock.is_locked:
            disk.discard(path)  # while it is held: a waiting process sees that it is gone and makes a new one
            kernel_lock.release()


@contextlib.contextmanager
def held(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a directory for this process; the system lets go of it when the process dies.

    Raises BlockingIOError where another process holds it. On a disk without locks it prints a line and continues.
    """
    # The directory itself is locked, so no lock file can remain.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            say(f"{directory} cannot be locked ({error.strerror}): two processes could use it at the same time")
        yield
    finally:
        os.close(descriptor)


def is_usable(directory: Path) -> bool:
    """Hold a directory for reading from now on, beside others; False where a process is removing it.

    The system lets go of it when the process ends. The last `_MOST_IN_USE` directories are held.
    """
    descriptor = _in_use.pop(directory, None)
    if descriptor is None or not _is_of(descriptor, directory):
        if descriptor is not None:
            os.close(descriptor)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # reading it reports the error
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:  # no locks here, so nobody is refused
            pass
        if not _is_of(descriptor, directory):
            os.close(descriptor)
            return False
    _in_use[directory] = descriptor
    while len(_in_use) > _MOST_IN_USE:
        os.close(_in_use.pop(next(iter(_in_use))))
    return True


def _is_of(descriptor: int, directory: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), directory.lstat())
    except OSError:
        return False


@contextlib.contextmanager
def unused(directory: Path, lock_path: Path) -> Iterator[bool]:
    """Hold a directory that is to be removed; yields False where a process reads it, or holds the lock to make it."""
    import filelock

    if (own := _in_use.pop(directory, None)) is not None:
        os.close(own)
    making = filelock.FileLock(lock_path, blocking=False)
    with contextlib.ExitStack() as holding:
        try:
            with _flock_or_none():
                holding.enter_context(making)
            holding.callback(disk.discard, lock_path)
            holding.enter_context(held(directory, lambda text: None))
        except (filelock.Timeout, BlockingIOError):
            yield False
            return
        except FileNotFoundError:  # another process was first
            pass
        except (OSError, NotImplementedError, Warning):  # no locks here: nobody can be seen
            pass
        yield True


def sweep_locks(directory: Path) -> None:
    """Remove what killed processes left in a directory of ours: drafts, and locks that nobody holds."""
    disk.sweep_drafts(directory)
    locks: list[Path] = []
    with contextlib.suppress(OSError):  # an impossible path: writing there reports the error
        locks = list(directory.glob(".*.lock"))  # others are somebody else's
    for path in locks:
        import filelock

        kernel_lock = filelock.FileLock(path, blocking=False)
        with contextlib.suppress(OSError, NotImplementedError, Warning), _flock_or_none(), kernel_lock:
            disk.discard(path)


@contextlib.contextmanager
def _flock_or_none() -> Iterator[None]:
    """Raise a Warning where flock is missing and filelock would take to locks that outlive a killed process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="flock not supported")
        yield
