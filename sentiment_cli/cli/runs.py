"""`sentiment runs list | show | remove`."""

import contextlib
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.runs.directory import (
    all_runs,
    describe_run,
    freeable,
    named_run,
    removable_run,
    require_finished,
    size_of,
)
from sentiment_cli.runs.files import CHECKPOINTS
from sentiment_cli.storage import locks, store

app = typer.Typer(help="List, show and delete trained runs.", no_args_is_help=True, rich_markup_mode=None)

Run = Annotated[str, Argument(help="Run directory or name.")]


@app.command("list")
def list_() -> None:
    """List the runs, the newest last: name, state, what it reached on validation, size.

    \b
    Example:
      sentiment runs list
    """
    runs = all_runs()
    if not runs:
        console.say(f"there are no runs under {runs_dir()}; sentiment train makes one")
        return
    width = max(len(run.path.name) for run in runs)
    for run in runs:
        console.result(f"{run.path.name:<{width}}  {run.status:<11}  {run.figure:<21}  {_megabytes(size_of(run.path))}")
    if free := {run.path.name: n_bytes for run in runs if (n_bytes := freeable(run))}:
        names = shlex.join(free)
        console.say(
            f"{_megabytes(sum(free.values()))} are checkpoints of finished runs, which nothing reads: "
            f"sentiment runs remove --checkpoints {names}"
        )


@app.command()
def show(run: Run) -> None:
    """Show a run: its state, scores, time, versions, and the files it holds.

    \b
    Example:
      sentiment runs show imdb-lstm
    """
    path = named_run(run)
    for line in describe_run(path):
        console.result(line)
    console.result(f"size: {_megabytes(size_of(path))}")
    for file in sorted(path.rglob("*")):
        if file.is_file():
            console.result(f"  {_megabytes(file.stat().st_size):>9}  {file.relative_to(path)}")


@app.command()
def remove(
    runs: Annotated[list[str], Argument(metavar="RUN...", help="Run directories or names.")],
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
    checkpoints: Annotated[
        bool, Option("--checkpoints", help="Only the checkpoints of finished runs, which nothing reads; never asks.")
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
    """Remove the checkpoints of finished runs. Raises UsageError for another, which goes on from its own."""
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
