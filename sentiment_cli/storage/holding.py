"""A directory that one process at a time works in, which names itself to those it keeps out."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sentiment_cli.errors import UsageError
from sentiment_cli.storage import locks, store

_HOLDER = "holder.json"


@contextlib.contextmanager
def holding(directory: Path, say: Callable[[str], None], hint: str | None) -> Iterator[None]:
    """Make a directory where it is missing, and hold it for this process; the system lets go when the process dies.

    Raises UsageError, with `hint`, where another process holds it.
    """
    store.ensure_directory(directory)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locks.held(directory, say))
        except BlockingIOError:
            with store.damage(directory / _HOLDER):
                pid = store.read_json(directory / _HOLDER)["pid"]
            raise UsageError(f"process {pid} writes to {directory}", hint) from None
        locks.sweep_locks(directory)
        store.write_file(directory / _HOLDER, store.dump_json({"pid": os.getpid()}))
        yield
