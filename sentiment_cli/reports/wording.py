"""How figures, settings and names are written in a report."""

import json
from pathlib import Path
from typing import Any

from sentiment_cli.config.paths import runs_dir

_SPLIT_NAMES = {"test": "test", "valid": "validation", "train": "training"}


def share(value: float) -> str:
    """Write a share as people read it."""
    return f"{value:.2%}"


def interval(scores: dict[str, Any]) -> str:
    """Write the 95 % interval of an accuracy."""
    low, high = scores["accuracy_ci95"]
    return f"{share(low)} to {share(high)}"


def number(value: float | None) -> str:
    """Write a score that may not exist."""
    return "" if value is None else f"{value:.4f}"


def word(value: Any) -> str:
    """Write the value of a setting."""
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def name_of(run: Path) -> str:
    """Return what a command calls a run: its name under the runs root, else its path."""
    under = runs_dir() / run.name
    return run.name if under.is_dir() and under.samefile(run) else str(run)


def split_name(split: str) -> str:
    """Return what people call a scored split; rows of one's own are called by their file."""
    return _SPLIT_NAMES.get(split, split.removeprefix("data-"))
