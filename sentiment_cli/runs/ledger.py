"""RUN/evaluation/ledger.jsonl: one line for each time that the run's test reviews were opened.

Whoever chooses by the test reviews has a lower error there than on reviews to come; how often they were looked at says
how far that may have gone (Dwork et al. 2015, on reuse of a holdout).
"""

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import sentiment_cli
from sentiment_cli import console
from sentiment_cli.runs.files import LEDGER
from sentiment_cli.runs.seals import seal_log
from sentiment_cli.storage import locks, store


def record_opening(run: Path, split: str, command: str) -> int:
    """Write down that a command is about to open a test split, before it does; return how often that was done so far.

    Raises MachineError where it cannot be written, and IntegrityError for a ledger that is damaged.
    """
    path = run / LEDGER
    row = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "split": split,
        "command": command,
        "version": sentiment_cli.__version__,
    }
    # Two processes that write at once would each take the other's line, half written, for what a killed one left.
    with locks.lock(path.with_name(f".{path.name}.lock"), console.say):
        store.append_line(path, json.dumps(row))
        seal_log(run, LEDGER)
        return count_openings(run, split)


def count_openings(run: Path, split: str) -> int:
    """Return how often a split was opened for a run."""
    path = run / LEDGER
    if not store.is_there(path):
        return 0
    *lines, _half = path.read_bytes().split(b"\n")
    with store.damage(path, shlex.join(["ls", "-l", str(path)])):
        return sum(json.loads(line)["split"] == split for line in lines)
