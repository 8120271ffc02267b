"""The last lines of a training: what was reached, and what to type next."""

import shlex
from pathlib import Path
from typing import Any

from sentiment_cli import console
from sentiment_cli.layout import spoken


def say_done(run: Path, seconds: float, kept: str | None, scores: Any) -> None:
    """Say on stderr how long it took, what was kept with its validation score, and the next commands."""
    from sentiment_cli.config.loader import load_experiment
    from sentiment_cli.config.paths import runs_dir
    from sentiment_cli.runs.files import EXPERIMENT
    from sentiment_cli.runs.metric_table import leading
    from sentiment_cli.runs.records import read_summary

    if kept is None:
        experiment, epoch = load_experiment(run / EXPERIMENT), read_summary(run).get("best_epoch")
        is_one = epoch is None or experiment.model.kind == "linear"  # a linear model has no epochs
        kept = "the model" if is_one else f"epoch {epoch} of {experiment.train.epochs}"
    elif kept == "ensemble":
        kept = "the ensemble"
    values = {} if scores is None else scores.to_json()
    metrics = leading(values) if values.get("accuracy") is not None else []
    named = [f"{metric.label} {metric.write(values)}" for metric in metrics]
    figures = named if len(metrics) > 1 else [metric.write(values) for metric in metrics]
    where = "on validation"
    if (folds := values.get("folds")) is not None:
        figures[-1] += f" ± {values['accuracy_se']:.2%} (standard error)"
        where = f"by cross-validation in {folds} folds"
    reached = f": {', '.join(figures)} {where}" if figures else ""
    console.say(f"Done in {spoken(seconds)}. Kept {kept}{reached}.")
    name = shlex.quote(run.name if run.parent.resolve() == runs_dir().resolve() else str(run))
    nexts = {
        f"sentiment eval {name}": "score it on the held-out test rows",
        'sentiment predict "…"': "try it",
        f"sentiment report {name}": "see curves and mistakes",
    }
    width, room = max(map(len, nexts)), console.talk_width()
    lines = [f"{command:<{width}}   {what}" for command, what in nexts.items()]
    if room is not None and len("Next:  ") + max(map(len, lines)) > room:
        lines = list(nexts)
    for i, line in enumerate(lines):
        console.say(f"{'Next:' if i == 0 else '':<7}{line}")
