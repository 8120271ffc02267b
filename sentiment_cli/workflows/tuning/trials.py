"""The trials of a sweep on disk: SWEEP/trials.jsonl, a line when one begins and a line when it ends.

A torn last line is removed when the next one is added. What a cut takes away follows from the runs again: their
settings are in their experiment.yaml, their metrics in metrics.jsonl.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sentiment_cli.storage import store

JOURNAL, TABLE, TRIALS = "trials.jsonl", "trials.csv", "trials"
TrialState = Literal["running", "complete", "pruned", "diverged"]


@dataclass
class Trial:
    """One trial: its values by setting, and when it has ended its score and the monitored figure after each epoch."""

    number: int
    values: dict[str, Any]
    state: TrialState = "running"
    score: float | None = None
    epochs: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The name of its run, below SWEEP/trials."""
        return f"trial-{self.number:04d}"


def read_trials(sweep: Path) -> list[Trial]:
    """Return the trials in the order of their numbers; a line that was cut off is as if it had not been written."""
    path = sweep / JOURNAL
    found: dict[int, Trial] = {}
    if store.is_there(path):
        data = store.read_file(path)
        with store.damage(path):
            for line in data[: data.rfind(b"\n") + 1].splitlines():
                one = Trial(**json.loads(line))
                found[one.number] = one
    return [found[number] for number in sorted(found)]


def write_trial(sweep: Path, trial: Trial) -> None:
    """Add a line with all that is known of a trial."""
    store.append_line(sweep / JOURNAL, json.dumps(trial.__dict__, allow_nan=False))


def write_table(sweep: Path, trials: Sequence[Trial], monitor: str) -> None:
    """Write SWEEP/trials.csv, a row per trial."""
    text = io.StringIO(newline="")
    keys = list(trials[0].values) if trials else []
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", *keys, f"valid_{monitor}", "epochs", "seconds", "run"])
    for one in trials:
        score = "" if one.score is None else repr(one.score)
        values = [one.values[key] for key in keys]
        run = f"{TRIALS}/{one.name}"
        writer.writerow([one.number, one.state, *values, score, len(one.epochs), f"{one.seconds:.1f}", run])
    store.write_file(sweep / TABLE, text.getvalue().encode())
