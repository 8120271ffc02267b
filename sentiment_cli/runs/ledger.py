"""The test-set log RUN/evaluation/ledger.jsonl: one line for each evaluation of the run on test.

Choosing models by test scores makes these optimistic; the number of evaluations shows how far that may have gone (Dwork
et al. 2015, on reuse of a holdout).
"""

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import sentiment_cli
from sentiment_cli import console
from sentiment_cli.runs.files import LEDGER
from sentiment_cli.runs.seals import seal_files
from sentiment_cli.storage import locks, store


def record_opening(run: Path, split: str, command: str) -> int:
    """Record that a command is about to score a test split; return the number of evaluations so far.

    Raises MachineError if the ledger cannot be written, and IntegrityError if it is damaged.
    """
    path = run / LEDGER
    row = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "split": split,
        "command": command,
        "version": sentiment_cli.__version__,
    }
    # Without the lock, each of two writers would take the other's incomplete line for one of a killed process.
    with locks.lock(path.with_name(f".{path.name}.lock"), console.say):
        store.append_line(path, json.dumps(row))
        seal_files(run, [LEDGER])
        return count_openings(run, split)


def count_openings(run: Path, split: str) -> int:
    """Return how often a run was evaluated on a split."""
    path = run / LEDGER
    if not store.is_there(path):
        return 0
    *lines, _half = path.read_bytes().split(b"\n")
    with store.damage(path, shlex.join(["ls", "-l", str(path)])):
        return sum(json.loads(line)["split"] == split for line in lines)
