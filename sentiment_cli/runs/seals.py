"""Seals of result files: RUN/seals.jsonl has the size and sha256 of each version, a line per write.

    write_result(run, "summary.json", data)     the seal first, so that every written file has one
    seal_files(run, [METRICS_LOG])              for a log, which may grow later, and for the manifest of a directory
    warn_edited(run)                            warn of changed files

Runs of versions before 0.2 have no seals and cause no warning.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from sentiment_cli import console
from sentiment_cli.runs.files import (
    EXPERIMENT,
    LEDGER,
    METRICS_LOG,
    MODEL,
    ROWS,
    SEALS,
    SUMMARY,
    VALIDATION,
    predictions_paths,
    scores_paths,
)
from sentiment_cli.storage import store

_FIRST_SEALED = (0, 2)  # the first version that wrote seals
_LOGS = (METRICS_LOG, LEDGER)  # files that grow, whose beginning is sealed
WHAT_ANSWERS = (EXPERIMENT, f"{MODEL}/{store.MANIFEST}")  # what a run's answers come from
OF_A_FINISHED_RUN = (*WHAT_ANSWERS, METRICS_LOG, f"{VALIDATION}/{store.MANIFEST}", f"{ROWS}/{store.MANIFEST}")


def write_result(run: Path, name: str, data: bytes) -> None:
    """Write a file of a run, with its seal."""
    _seal(run, name, len(data), hashlib.sha256(data).hexdigest())
    store.write_file(run / name, data)


def seal_files(run: Path, names: Iterable[str]) -> None:
    """Seal files as they are now, where they are there."""
    for name in names:
        if store.is_there(run / name):
            data = store.read_file(run / name)
            _seal(run, name, len(data), hashlib.sha256(data).hexdigest())


def edited_files(run: Path, only: Collection[str] | None = None) -> list[str]:
    """Return the names of files, or of those in `only`, that are not as they were written: changed, or logs removed.

    Where the summary has a seal, scores and predictions without one are not of the run's making, either.
    """
    if not store.is_there(run / SEALS):
        return [SEALS] if _has_sealed(run) else []
    *lines, _half = store.read_file(run / SEALS).split(b"\n")
    if not lines:  # a process that was killed at its first seal wrote no summary
        return [SEALS] if store.is_there(run / SUMMARY) else []
    seals: dict[str, list[tuple[int, str]]] = {}
    try:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            seals.setdefault(str(row["file"]), []).append((int(row["size"]), str(row["sha256"])))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return [SEALS]
    if SUMMARY not in seals and _has_sealed(run):  # removed, and begun anew by a later score
        return [SEALS]
    if SUMMARY in seals:
        for path in (*scores_paths(run), *predictions_paths(run)):
            seals.setdefault(str(path.relative_to(run)), [])
    asked = seals if only is None else [name for name in seals if name in only]
    return [name for name in asked if not _is_as_written(run / name, seals[name], name in _LOGS)]


def _has_sealed(run: Path) -> bool:
    """Return whether the version that finished the run, as its summary has it, wrote seals."""
    try:
        version = str(json.loads(store.read_file(run / SUMMARY))["versions"]["sentiment"])
        return tuple(map(int, version.split(".")[:2])) >= _FIRST_SEALED
    except (store.IntegrityError, ValueError, TypeError, KeyError, RecursionError):  # no summary: not finished
        return False


def warn_edited(run: Path, only: Collection[str] | None = None) -> None:
    """Warn of files of a run, or of those in `only`, that were changed or removed after the run wrote them."""
    for name in edited_files(run, only):
        how = "changed" if store.is_there(run / name) else "removed"
        console.warn(f"{run / name} was {how} after the run wrote it: what it says is not what the run reached")


def _seal(run: Path, name: str, size: int, sha256: str) -> None:
    store.append_line(run / SEALS, json.dumps({"file": name, "size": size, "sha256": sha256}))


def _is_as_written(path: Path, known: list[tuple[int, str]], is_log: bool) -> bool:
    """Return whether a file matches one of its seals; a log must begin with the content of its latest seal."""
    if ".." in path.parts:
        return True
    if not store.is_there(path):
        return not is_log
    data = store.read_file(path)
    if is_log:
        size, sha256 = known[-1]
        return len(data) >= size and hashlib.sha256(data[:size]).hexdigest() == sha256
    return (len(data), hashlib.sha256(data).hexdigest()) in known
