"""`sentiment runs list | show | remove`."""

import contextlib
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.cli import completion
from sentiment_cli.cli.help import App
from sentiment_cli.cli.parameters import OneRun
from sentiment_cli.cli.runs_table import COLUMNS, cells, grouped, list_entry
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.layout import table, wrapped
from sentiment_cli.runs.directory import (
    all_runs,
    describe_run,
    freeable,
    named_run,
    removable_run,
    require_finished,
    size_of,
)
from sentiment_cli.runs.files import CHECKPOINTS, SUMMARY
from sentiment_cli.runs.records import read_summary
from sentiment_cli.storage import locks, store

app = App(help="List, inspect and delete trained runs.")


@app.command("list")
def list_(
    everything: Annotated[bool, Option("--all", help="List each seed and fold on a line of its own.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List the runs, the newest last.

    VALID and TEST are accuracies, or the figure of another task. Runs of several
    seeds or folds of one experiment share a line with their mean.

    \b
    Examples:
      sentiment runs list
      sentiment runs list --all --json
    """
    runs = all_runs()
    if as_json:
        console.result(json.dumps([list_entry(run) for run in runs]))
        return
    if not runs:
        console.say(f"there are no runs under {runs_dir()}; sentiment train makes one")
        return
    entries, width = [list_entry(run) for run in runs], console.terminal_width()
    for line in table(COLUMNS, [cells(group) for group in grouped(entries, is_folded=not everything)], width):
        console.result(line)
    if free := {run.path.name: n_bytes for run in runs if (n_bytes := freeable(run))}:
        names = shlex.join(free)
        console.say(
            f"{_megabytes(sum(free.values()))} are checkpoints of finished runs, which nothing reads: "
            f"sentiment runs remove --checkpoints {names}"
        )


@app.command()
def show(run: OneRun, as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show the state, scores, versions and files of a run.

    \b
    Examples:
      sentiment runs show imdb-lstm
      sentiment runs show imdb-lstm --json
    """
    path = named_run(run)
    files = {str(file.relative_to(path)): file.stat().st_size for file in sorted(path.rglob("*")) if file.is_file()}
    if as_json:
        entry = next((one for one in all_runs() if one.path.resolve() == path.resolve()), None)
        about = {"run": str(path)} if entry is None else list_entry(entry)
        summary = read_summary(path) if store.is_there(path / SUMMARY) else {}
        console.result(json.dumps({**about, "summary": summary, "files": files}))
        return
    for line in describe_run(path):
        for part in wrapped(line, console.terminal_width(), "  "):
            console.result(part)
    console.result(f"size: {_megabytes(sum(files.values()))}")
    for name, n_bytes in files.items():
        console.result(f"  {_size(n_bytes):>9}  {name}")


def _size(n_bytes: int) -> str:
    return (
        f"{n_bytes:,} B" if n_bytes < 10_000 else f"{n_bytes / 1e3:,.0f} kB" if n_bytes < 1e6 else _megabytes(n_bytes)
    )


@app.command()
def remove(
    runs: Annotated[
        list[str], Argument(metavar="RUN...", help="Run directories or names.", autocompletion=completion.runs)
    ],
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
    checkpoints: Annotated[
        bool, Option("--checkpoints", help="Delete only the checkpoints of finished runs; never asks.")
    ] = False,
) -> None:
    """Delete runs, after asking.

    \b
    Example:
      sentiment runs remove imdb-lstm-2 --yes
      sentiment runs remove --checkpoints imdb-lstm
    """
    if checkpoints:
        _remove_checkpoints(list(dict.fromkeys(removable_run(run) for run in runs)))
        return
    for path in dict.fromkeys([removable_run(run) for run in runs]):  # every name is checked before anything goes
        if not yes:
            if sys.stdin is None or not sys.stdin.isatty():
                raise UsageError(
                    f"not a terminal: add --yes to delete {path}",
                    Change("--yes"),
                )
            if not typer.confirm(f"remove {console.sanitize(str(path))} ({_megabytes(size_of(path))})?", err=True):
                continue
        _remove(path)
        console.say(f"removed {path}")


def _remove_checkpoints(paths: list[Path]) -> None:
    """Remove the checkpoints of finished runs. Raises UsageError for an unfinished one, which needs its own."""
    for path in paths:
        require_finished(path)
    for path in paths:
        n_bytes = size_of(path / CHECKPOINTS)
        if (path / CHECKPOINTS).is_dir():
            store.remove_directory(path / CHECKPOINTS)
        console.say(f"removed {_megabytes(n_bytes)} of checkpoints from {path}")


def _remove(path: Path) -> None:
    """Remove a run, and hold it meanwhile where that can be done. Raises UsageError for one that is being trained."""
    with contextlib.ExitStack() as holding:
        try:
            holding.enter_context(locks.held(path, console.say))
        except BlockingIOError:
            hint = f"sentiment runs show {shlex.quote(str(path))}"
            raise UsageError(f"{path} is being trained and cannot be removed", hint) from None
        except OSError:  # it has gone, or there are no locks here: removing says what is wrong, if anything
            pass
        store.remove_directory(path)


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"
