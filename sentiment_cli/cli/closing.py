"""The last lines of a training: what was reached, and what to type next."""

import shlex
from pathlib import Path
from typing import Any

from sentiment_cli import console


def say_done(run: Path, seconds: float, kept: str | None, scores: Any) -> None:
    """Say on stderr how long it took, what was kept with its validation score, and the next commands."""
    from sentiment_cli.config.paths import runs_dir
    from sentiment_cli.runs.records import read_summary

    if kept is None:
        epoch = read_summary(run).get("best_epoch")
        kept = "the model" if epoch is None else f"epoch {epoch}"
    elif kept == "ensemble":
        kept = "the ensemble"
    accuracy = getattr(scores, "accuracy", None)
    reached = "" if accuracy is None else f": {accuracy:.2%} on validation"
    if (folds := getattr(scores, "folds", None)) is not None:
        reached = f": {accuracy:.2%} ± {scores.accuracy_se:.2%} (standard error) by cross-validation in {folds} folds"
    console.say(f"Done in {spoken(seconds)}. Kept {kept}{reached}.")
    name = shlex.quote(run.name if run.parent.resolve() == runs_dir().resolve() else str(run))
    nexts = {
        f"sentiment eval {name}": "score it on the held-out test rows",
        'sentiment predict "…"': "try it",
        f"sentiment report {name}": "see curves and mistakes",
    }
    width = max(map(len, nexts))
    for i, (command, what) in enumerate(nexts.items()):
        console.say(f"{'Next:' if i == 0 else '':<6}{command:<{width}}   {what}")


def spoken(seconds: float) -> str:
    """Return a duration as people say it: 8 s, 16 min 28 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
