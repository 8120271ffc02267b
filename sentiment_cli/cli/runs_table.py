"""The rows of `sentiment runs list`: what each run reached, and runs of seeds and folds in one line."""

import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiment_cli import console
from sentiment_cli.errors import SentimentError
from sentiment_cli.layout import Column
from sentiment_cli.runs.directory import RunEntry, is_held, size_of
from sentiment_cli.runs.files import SUMMARY, scores_name
from sentiment_cli.runs.metric_table import HEADLINES
from sentiment_cli.runs.records import read_metrics, read_record, read_scores, read_summary
from sentiment_cli.runs.seals import warn_edited
from sentiment_cli.storage import store

COLUMNS = (
    Column("NAME"),
    Column("STATE"),
    Column("DATA", drop=1),
    Column("VALID", is_right=True),
    Column("TEST", is_right=True),
    Column("SIZE", is_right=True, drop=2),
    Column("WHEN", drop=3),
)
_REPEATED = re.compile(r"(.+)-(seed|fold)-?\d+(?:-\d+)?")  # as workflows/seeds_and_folds.py names them
Entry = dict[str, Any]


def list_entry(run: RunEntry) -> Entry:
    """Return what a list tells of a run, as JSON; what a damaged file would tell is null."""
    valid, test = None, None
    if run.status not in ("unfinished", "damaged"):
        warn_edited(run.path, (SUMMARY, scores_name("test")))
        scores = read_summary(run.path)["valid"]
        valid = None if not scores else scores.get(HEADLINES[run.task].key)
        test = _test_accuracy(run.path)
    is_training = run.status == "unfinished" and is_held(run.path)
    return {
        "name": run.path.name,
        "run": str(run.path),
        "state": "training" if is_training else run.status,
        "pid": _pid(run.path) if is_training else None,
        "epoch": _epoch(run.path) if is_training else None,
        "data": run.source,
        "task": run.task,
        "valid": valid,
        "test": test,
        "bytes": size_of(run.path),
        "finished_at": run.finished_at or None,
    }


def grouped(entries: Sequence[Entry], *, is_folded: bool) -> list[list[Entry]]:
    """Return the entries one by one, or the finished runs of seeds and folds of one experiment together."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        is_together = is_folded and entry["state"] == "finished"
        groups.setdefault(_experiment(entry["name"]) if is_together else entry["name"], []).append(entry)
    return list(groups.values())


def cells(group: Sequence[Entry]) -> tuple[str, ...]:
    """Return the cells of a line: of one run, or of several with the mean of their figures."""
    last = group[-1]
    name, state = last["name"], last["state"]
    if len(group) > 1:
        base, _, kind = _experiment(name).rpartition("-")
        name = f"{base} ({len(group)} {kind}s)"
    elif state == "training":
        epoch = f"epoch {last['epoch']}, " if last["epoch"] else ""
        state = f"training ({epoch}pid {last['pid']})"
    data = "" if last["data"] is None else Path(last["data"]).name
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(last["finished_at"])) if last["finished_at"] else ""
    size = f"{sum(entry['bytes'] for entry in group) / 1e6:.1f} MB"
    figures = (_mean(group, "valid", HEADLINES[last["task"]].format), _mean(group, "test", ".2%"))
    return (*map(console.one_line, (name, state, data)), *figures, size, when)


def _experiment(run: str) -> str:
    """Return the name that runs of seeds, or of folds, have in common; of another run its own."""
    found = _REPEATED.fullmatch(run)
    return f"{found[1]}-{found[2]}" if found is not None else run


def _mean(group: Sequence[Entry], key: str, shape: str) -> str:
    found = [entry[key] for entry in group if entry[key] is not None]
    return f"{statistics.fmean(found):{shape}}" if found else ""


def _test_accuracy(run: Path) -> float | None:
    path = run / "evaluation" / "test.json"
    try:
        return float(read_scores(path)["accuracy"]) if store.is_there(path) else None
    except (SentimentError, KeyError, TypeError):
        return None


def _pid(run: Path) -> int | None:
    try:
        return read_record(run).get("pid")
    except SentimentError:
        return None


def _epoch(run: Path) -> int | None:
    """Return the epoch that a run is in, the one after its last evaluation."""
    try:
        rows = read_metrics(run / "metrics.jsonl")
        return 1 + max((row["epoch"] for row in rows), default=0)
    except (SentimentError, KeyError, TypeError):
        return None
