"""The lock of a run directory, and the id that binds checkpoints to their run."""

import contextlib
import os
import secrets
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sentiment_cli import console
from sentiment_cli.errors import UsageError
from sentiment_cli.runs.files import RECORD
from sentiment_cli.storage import locks, store


@dataclass
class RunRecord:
    """RUN/run.json: the run's id, the process that trains or last trained it, and changed settings."""

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    pid: int = 0
    launch: str | None = None
    changes: list[dict[str, Any]] = field(default_factory=list)

    def save(self, run: Path) -> None:
        store.write_file(run / RECORD, store.dump_json(asdict(self)))


@contextlib.contextmanager
def owned(run: Path) -> Iterator[RunRecord]:
    """Hold the run for this process and yield its record; the system lets go of it when the process dies.

    Raises UsageError where another process trains it.
    """
    with contextlib.ExitStack() as holding:
        try:
            holding.enter_context(locks.held(run, console.say))
        except BlockingIOError:
            pid = _load(run).pid
            raise UsageError(
                f"{run} is being trained by process {pid}", f"sentiment runs show {shlex.quote(str(run))}"
            ) from None
        for directory in (run, *filter(Path.is_dir, run.iterdir())):
            locks.sweep_locks(directory)
        record = _load(run)
        record.pid, record.launch = os.getpid(), launch_id()
        record.save(run)
        yield record


def find_launched(root: Path, launch: str | None) -> list[Path]:
    """Return the runs that processes of this launch trained before torchrun restarted them, the newest last."""
    records = [path for path in root.glob(f"*/{RECORD}") if launch and _launch_of(path.parent) == launch]
    return [path.parent for path in sorted(records, key=lambda path: path.stat().st_mtime)]


def _launch_of(run: Path) -> str | None:
    try:
        return _load(run).launch
    except store.IntegrityError:  # some other run's
        return None


def _load(run: Path) -> RunRecord:
    if not (run / RECORD).exists():
        return RunRecord()
    try:
        return RunRecord(**store.read_json(run / RECORD))
    except TypeError as error:
        raise store.IntegrityError(f"{run / RECORD} is damaged: {error}") from error


def launch_id() -> str | None:
    """Return torchrun's id of this launch, which survives restarts of its processes."""
    return os.environ.get("TORCHELASTIC_RUN_ID")
