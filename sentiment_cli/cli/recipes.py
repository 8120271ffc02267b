"""`sentiment recipes list | show | copy`."""

import itertools
import json
import os
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.cli import completion
from sentiment_cli.cli.help import App
from sentiment_cli.config.catalogue import RECIPES, Recipe
from sentiment_cli.config.recipes import recipe_names, recipe_path, recipe_summary
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.layout import Column, table
from sentiment_cli.storage import store

_COLUMNS = (Column("NAME"), Column("TEST %", is_right=True), Column("TIME", is_right=True, drop=1), Column("WHAT"))

app = App(help="List, print and copy the built-in experiments.")

Name = Annotated[str, Argument(help="Name of a built-in experiment.", autocompletion=completion.recipes)]


@app.command("list")
def list_(as_json: Annotated[bool, Option("--json", help="Print one JSON array.")] = False) -> None:
    """List the built-in experiments.

    TEST % is the accuracy on the IMDb test reviews, TIME the training time on two
    CPU cores. docs/leaderboard.md and docs/accuracy.md have the protocol.

    \b
    Example:
      sentiment recipes list
    """
    names = recipe_names()
    found = {name: recipe for name, recipe in RECIPES.items() if name in names}
    found |= {name: Recipe("more", None, None, recipe_summary(name)) for name in names if name not in found}
    if as_json:
        console.result(json.dumps([{"name": name, **recipe._asdict()} for name, recipe in found.items()]))
        return
    rows = [(name, *_figures(recipe), recipe.what) for name, recipe in found.items()]
    head, *lines = table(_COLUMNS, rows, console.terminal_width())
    groups = (recipe.group for recipe in found.values())
    group = ""
    console.result(head)
    for line in lines:
        if head.startswith("NAME") and not line.startswith(" ") and (next_group := next(groups)) != group:
            group = next_group
            console.result(f"\n{group}")
        console.result(line)


def _figures(recipe: Recipe) -> tuple[str, str]:
    test = "" if recipe.test is None else f"{recipe.test:.2f}"
    if recipe.minutes is None:
        return test, ""
    return test, f"{recipe.minutes * 60:.0f} s" if recipe.minutes < 1 else f"{recipe.minutes:.0f} min"


@app.command()
def show(name: Name) -> None:
    """Print a built-in experiment.

    \b
    Example:
      sentiment recipes show default
    """
    console.result(recipe_path(name).read_text("utf-8").rstrip())


def _free(path: Path) -> Path:
    """Return a name like this one that nothing has."""
    names = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in itertools.count(2))
    return next(name for name in names if not os.path.lexists(name))


@app.command()
def copy(
    name: Name,
    to: Annotated[Path | None, Option(metavar="FILE", help="File to write; without it, NAME.yaml here.")] = None,
) -> None:
    """Copy a built-in experiment to a file, to edit it.

    A file that exists is not overwritten.

    \b
    Example:
      sentiment recipes copy default --to my.yaml
    """
    target = to or Path(f"{name}.yaml")
    data = recipe_path(name).read_bytes()
    if os.path.lexists(target):  # Path.exists raises for a name that no file can have
        raise UsageError(f"{target} exists already", Change("--to", str(_free(target))))
    store.write_file(target, data)
    console.result(str(target))
