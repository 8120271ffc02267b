"""Seals of result files: RUN/seals.jsonl has the size and sha256 of each version, a line per write.

    write_result(run, "summary.json", data)     the seal first, so that every written file has one
    seal_log(run, METRICS_LOG)              for a log, which may grow later
    warn_edited(run)                            warn of changed files

Runs of earlier versions have no seals and cause no warning.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from sentiment_cli import console
from sentiment_cli.runs.files import LEDGER, METRICS_LOG, SEALS
from sentiment_cli.storage import store

_LOGS = (METRICS_LOG, LEDGER)  # files that grow, whose beginning is sealed


def write_result(run: Path, name: str, data: bytes) -> None:
    """Write a file of a run, with its seal."""
    _seal(run, name, len(data), hashlib.sha256(data).hexdigest())
    store.write_file(run / name, data)


def seal_log(run: Path, name: str) -> None:
    """Seal a file as it is now, where it is there."""
    if store.is_there(run / name):
        data = store.read_file(run / name)
        _seal(run, name, len(data), hashlib.sha256(data).hexdigest())


def edited_files(run: Path) -> list[str]:
    """Return the names of the sealed files that are there and are not as they were written."""
    if not store.is_there(run / SEALS):
        return []
    *lines, _half = store.read_file(run / SEALS).split(b"\n")
    seals: dict[str, list[tuple[int, str]]] = {}
    try:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            seals.setdefault(str(row["file"]), []).append((int(row["size"]), str(row["sha256"])))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return [SEALS]
    return [name for name, known in seals.items() if not _is_as_written(run / name, known, name in _LOGS)]


def warn_edited(run: Path) -> None:
    """Warn of files of a run that were changed after the run wrote them."""
    for name in edited_files(run):
        console.warn(f"{run / name} was changed after the run wrote it: what it says is not what the run reached")


def _seal(run: Path, name: str, size: int, sha256: str) -> None:
    store.append_line(run / SEALS, json.dumps({"file": name, "size": size, "sha256": sha256}))


def _is_as_written(path: Path, known: list[tuple[int, str]], is_log: bool) -> bool:
    """Return whether a file matches one of its seals; a log must begin with the content of its latest seal."""
    if ".." in path.parts or not store.is_there(path):
        return True
    data = store.read_file(path)
    if is_log:
        size, sha256 = known[-1]
        return len(data) >= size and hashlib.sha256(data[:size]).hexdigest() == sha256
    return (len(data), hashlib.sha256(data).hexdigest()) in known
