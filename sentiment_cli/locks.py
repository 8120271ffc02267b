"""One process at a time, and what killed ones left behind.

with lock(path, console.say):       one process at a time
with held(directory):               the same for a directory, which refuses the others
sweep(directory)                    what killed processes left there goes: drafts, and locks that nobody holds
"""

import contextlib
import fcntl
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from sentiment_cli import disk, failpoints


@contextlib.contextmanager
def lock(path: Path, say: Callable[[str], None]) -> Iterator[bool]:
    """Let one process at a time into the block; `say` is told of a wait of more than a second.

    The kernel frees the lock of a process that was killed. A lock that cannot be taken is told too, and gone without
    (False): it saves work done twice, and nothing's being right hangs on it.
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
        say(f"going on without the lock {path}, which cannot be taken: {error}")
    try:
        yield kernel_lock.is_locked
    finally:
        if kernel_lock.is_locked:
            disk.discard(path)  # while it is held: who waits for it sees that it has gone, and makes it anew
            kernel_lock.release()


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold a directory for this process; the system lets go of it when the process dies.

    Raises BlockingIOError where another process holds it.
    """
    # The directory itself is locked, so there is no lock file to be left behind.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def sweep(directory: Path) -> None:
    """Remove what killed processes left in a directory of ours: drafts, and locks that nobody holds."""
    disk.sweep(directory)
    locks: list[Path] = []
    with contextlib.suppress(OSError):  # of a place that cannot be: who writes there says so
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
