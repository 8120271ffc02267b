"""`sentiment recipes list | show | copy`."""

import itertools
import os
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.cli import completion
from sentiment_cli.cli.help import App
from sentiment_cli.config.recipes import recipe_names, recipe_path, recipe_summary
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.storage import store

app = App(help="List, print and copy the built-in experiments.")

Name = Annotated[str, Argument(help="Name of a built-in experiment.", autocompletion=completion.recipes)]


@app.command("list")
def list_() -> None:
    """List the built-in experiments.

    \b
    Example:
      sentiment recipes list
    """
    names = recipe_names()
    width = max(map(len, names))
    for name in names:
        console.result(f"{name:<{width}}  {recipe_summary(name)}")


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
