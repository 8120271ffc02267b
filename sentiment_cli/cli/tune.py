"""`sentiment tune`."""

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sentiment_cli import console, extras
from sentiment_cli.cli.train import Override

if TYPE_CHECKING:
    from sentiment_cli.config.sweeps import Sweep
    from sentiment_cli.workflows.tuning.trials import Trial

_SHOWN = 10


def tune(
    sweep: Annotated[Path, Argument(metavar="SWEEP", help="File with an experiment and the settings to search.")],
    trials: Annotated[int | None, Option(min=1, help="Trials in all, instead of the file's number.")] = None,
    jobs: Annotated[int, Option(min=1, max=64, help="Trials that train at the same time.")] = 1,
    override: Override = None,
    hours: Annotated[float | None, Option(min=0, help="Begin no trial after this time.")] = None,
    name: Annotated[str | None, Option(help="Name of the sweep, instead of its file's.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of the table.")] = False,
) -> None:
    """Search the settings of an experiment on validation.

    Each trial is a run. The same command continues a sweep that was stopped.

    \b
    Examples:
      sentiment tune my-sweep.yaml
      sentiment tune my-sweep.yaml --trials 60 --jobs 2
      sentiment tune my-sweep.yaml --hours 2 --set train.epochs=5
    """
    from dataclasses import replace

    from sentiment_cli.config.paths import runs_dir
    from sentiment_cli.storage import store
    from sentiment_cli.workflows.tuning.choosing import best_of, importances
    from sentiment_cli.workflows.tuning.sweep import BEST, read_sweep, run_sweep

    wanted = read_sweep(sweep, override or [])
    extras.require("train", "training")
    if trials is not None:
        wanted = replace(wanted, trials=trials)
    store.check_name(name or wanted.name)
    directory = runs_dir() / (name or wanted.name)
    until = None if hours is None else time.monotonic() + 3600 * hours
    found = run_sweep(wanted, directory, jobs=jobs, until=until)
    best, weights = best_of(wanted, found), importances(wanted, found)
    again = shlex.join(["sentiment", "train", str(directory / BEST), "--seeds", "3"])
    _write_report(wanted, directory, found, weights, again)
    if as_json:
        console.result(
            json.dumps(
                {
                    "sweep": str(directory),
                    "trials": len(found),
                    "best": None
                    if best is None
                    else {"trial": best.number, "score": best.score, "values": best.values},
                    "importances": weights,
                }
            )
        )
        return
    _show(wanted, found, weights)
    if best is not None:
        n = sum(one.state == "complete" for one in found)
        console.say(
            f"the best of {n} trials is flattered by the choice; see what it gives with other seeds:\n  {again}"
        )
    console.result(str(directory))


def _write_report(
    sweep: "Sweep", directory: Path, trials: "list[Trial]", weights: dict[str, float], again: str
) -> None:
    """Write SWEEP/report.html where matplotlib, which draws its picture, is installed."""
    from sentiment_cli.errors import MachineError, UsageError
    from sentiment_cli.reports.svg import check_matplotlib
    from sentiment_cli.storage import store
    from sentiment_cli.storage.sealed_pages import is_sealed, sealed
    from sentiment_cli.workflows.tuning.sweep import shown_value

    target = directory / "report.html"
    try:
        check_matplotlib()
        store.check_replaceable(target, is_sealed)
    except (MachineError, UsageError) as error:  # the sweep itself is finished
        console.warn(f"no report: {error}")
        return
    from sentiment_cli.reports.html import render_page
    from sentiment_cli.reports.sweep_report import TrialRow, build_sweep_report

    rows = [
        TrialRow(one.number, one.state, one.score, {key: shown_value(value) for key, value in one.values.items()})
        for one in trials
    ]
    document = build_sweep_report(directory.name, sweep.monitor, rows, weights, again)
    store.write_file(target, sealed(render_page(document), "html"))


def _show(sweep: "Sweep", trials: "list[Trial]", weights: dict[str, float]) -> None:
    """Print the best trials, and how much each setting mattered."""
    from sentiment_cli.runs.metric_table import METRICS
    from sentiment_cli.workflows.tuning.sweep import shown_value

    metric = METRICS[sweep.monitor]
    ended = sorted(trials, key=lambda one: metric.gain(one.score), reverse=True)
    for one in ended[:_SHOWN]:
        score = one.state if one.score is None else f"{one.score:{metric.format}}"
        values = "  ".join(f"{key}={shown_value(value)}" for key, value in one.values.items())
        console.result(f"{one.number:>5}  {score:>9}  {values}")
    states = {
        state: sum(one.state == state for one in trials) for state in ("complete", "pruned", "diverged", "running")
    }
    console.say(f"{len(trials)} trials: " + ", ".join(f"{n} {state}" for state, n in states.items() if n))
    if weights:
        console.say("importance: " + ", ".join(f"{key} {value:.0%}" for key, value in weights.items()))
