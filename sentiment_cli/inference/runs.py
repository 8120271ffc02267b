"""Which run is meant: a directory, a name under the runs root, or the newest finished one."""

import difflib
from pathlib import Path
from typing import Any

from sentiment_cli import console, store
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.errors import UsageError

SUMMARY = "summary.json"
_TRAIN = "sentiment train"


def find_run(run: str | None) -> Path:
    """Return the run's directory; without a name the newest finished one, runs on the bundled sample last.

    Raises UsageError with the command to type where there is none. The chosen run's name goes to stderr.
    """
    path = _newest() if run is None else _named(run)
    if not (path / "model").is_dir():
        raise UsageError(f"{path} holds no trained model: its training did not get that far", _TRAIN)
    console.say(f"run: {path}")
    return path


def _named(run: str) -> Path:
    for path in (Path(run), runs_dir() / run):
        if (path / "experiment.yaml").is_file():
            return path
    if Path(run).is_dir():
        raise UsageError(f"{run} is not a run: it holds no experiment.yaml", _TRAIN)
    names = [path.parent.name for path in runs_dir().glob("*/experiment.yaml")]
    near = difflib.get_close_matches(run, names, n=1)
    raise UsageError(
        f"there is no run {run!r} under {runs_dir()}{f'; did you mean {near[0]}?' if near else ''}",
        f"--run {near[0]}" if near else _TRAIN,
    )


def _newest() -> Path:
    finished: list[tuple[bool, float, Path]] = []
    for path in runs_dir().glob(f"*/{SUMMARY}"):
        summary: dict[str, Any] = store.read_json(path)
        if summary["status"] == "finished":
            finished.append((summary["source"] != "sample", summary["finished_at"], path.parent))
    if not finished:
        raise UsageError(f"there is no finished run under {runs_dir()}", _TRAIN)
    is_real, _, path = max(finished)
    if not is_real:
        console.say("there are only runs on the bundled sample, whose reviews are synthetic")
    return path
