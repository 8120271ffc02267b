"""`sentiment config show | check | diff | schema`."""

import json
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.cli import completion
from sentiment_cli.cli.help import App
from sentiment_cli.cli.nested import Line, nested_yaml
from sentiment_cli.cli.train import Config, Override
from sentiment_cli.config.recipes import recipe_names
from sentiment_cli.errors import UsageError

app = App(help="Show, check and compare experiments.")


@app.command()
def show(
    config: Config = None,
    override: Override = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object per setting.")] = False,
) -> None:
    """Print every setting, its value and where it was set.

    The output is an experiment file that can be trained.

    \b
    Examples:
      sentiment config show
      sentiment config show my.yaml --set train.lr=1e-4
      sentiment config show default > my.yaml
    """
    from sentiment_cli.config.loader import load_settings

    settings = load_settings(config, override or [])
    if as_json:
        for setting in settings:
            console.result(json.dumps(setting._asdict()))
        return
    for line in nested_yaml((Line(key, value, console.one_line(origin)) for key, value, origin in settings), 36):
        console.result(line)


@app.command()
def check(
    configs: Annotated[
        list[str],
        Argument(
            metavar="CONFIG...",
            help="Experiment files or built-in experiments.",
            autocompletion=completion.experiments,
        ),
    ],
    override: Override = None,
) -> None:
    """Report every mistake in experiment files.

    The exit code is 2 if there is one.

    \b
    Examples:
      sentiment config check my.yaml
      sentiment config check experiments/*.yaml
    """
    from sentiment_cli.config.loader import load_experiment

    wrong = []
    for config in configs:
        try:
            load_experiment(config, override or [])
        except UsageError as error:
            wrong.append(str(error))
        else:
            console.result(f"{config}: no mistakes")
    if wrong:
        raise UsageError("\n".join(wrong))


@app.command()
def diff(
    one: Annotated[
        str,
        Argument(
            metavar="A", help="Experiment file, built-in experiment or run.", autocompletion=completion.experiments
        ),
    ],
    other: Annotated[str, Argument(metavar="B", help="Another one.", autocompletion=completion.experiments)],
    as_json: Annotated[bool, Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """Print the settings in which two experiments or runs differ.

    \b
    Examples:
      sentiment config diff default my.yaml
      sentiment config diff imdb-lstm imdb-lstm-2
    """
    from sentiment_cli.config.loader import differences, load_experiment

    first, second = (load_experiment(_file_of(name)) for name in (one, other))
    found = differences(first, second)
    if as_json:
        console.result(json.dumps([dict(zip(("key", "a", "b"), difference, strict=True)) for difference in found]))
        return
    for key, value, theirs in found:
        console.result(f"{key}: {_yaml(value)} -> {_yaml(theirs)}")


@app.command()
def schema(
    markdown: Annotated[bool, Option("--markdown", help="Print docs/configuration.md instead.")] = False,
) -> None:
    """Print a JSON Schema of experiment files, for editors.

    \b
    Example:
      sentiment config schema > experiment.schema.json
    """
    from sentiment_cli.config import reference

    console.result(reference.markdown().rstrip() if markdown else json.dumps(reference.json_schema(), indent=2))


def _file_of(name: str) -> str | Path:
    """A file or a shipped experiment as it is; otherwise the experiment.yaml of the run of that name."""
    from sentiment_cli.config.paths import is_file
    from sentiment_cli.runs.directory import find_experiment

    if is_file(Path(name)) or name in recipe_names():
        return name
    return find_experiment(name) or name


def _yaml(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else json.dumps(value).strip('"')
