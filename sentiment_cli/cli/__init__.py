"""The command `sentiment`: parses, calls one plain function, prints; errors become messages and exit codes here."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer import Argument, Option

from sentiment_cli import __version__, console, extras
from sentiment_cli.cli import (
    compare,
    config,
    data,
    doctor,
    ensemble,
    export,
    generate,
    init,
    models,
    predict,
    prepare,
    pretrain,
    recipes,
    report,
    reproduce,
    runs,
    serve,
    track,
    train,
    tune,
)
from sentiment_cli.cli import eval as eval_command
from sentiment_cli.cli.help import App
from sentiment_cli.cli.parameters import spare_pydantic
from sentiment_cli.config.nearest import nearest
from sentiment_cli.errors import MachineError, SentimentError, UsageError
from sentiment_cli.storage import refusals

app = App(
    name="sentiment",
    help="""Train your own text classifiers, score them and use them.

    \b
    Examples:
      sentiment train sample
      sentiment eval
      sentiment predict "I just really loved the movie"
    """,
)
_COMMANDS: dict[str, dict[str, "Callable[..., None] | App"]] = {
    "Start here": {"train": train.train, "predict": predict.predict, "eval": eval_command.evaluate},
    "Understand": {"compare": compare.compare, "report": report.report, "runs": runs.app},
    "Data and experiments": {
        "data": data.app,
        "prepare": prepare.prepare,
        "init": init.init,
        "recipes": recipes.app,
        "config": config.app,
        "tune": tune.tune,
        "models": models.models,
    },
    "Share": {
        "serve": serve.serve,
        "export": export.export,
        "ensemble": ensemble.ensemble,
        "reproduce": reproduce.reproduce,
        "track": track.track,
    },
    "Unlabelled text": {"pretrain": pretrain.pretrain, "generate": generate.generate},
    "Help": {"doctor": doctor.doctor},
}
for _panel, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        if isinstance(_command, App):
            app.add_typer(_command, name=_name, rich_help_panel=_panel)
        else:
            app.command(_name, rich_help_panel=_panel)(_command)


def _print_version(asked: bool) -> None:
    if asked:
        console.result(f"sentiment {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, Option("--version", "-V", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options before the command."""


@app.command("version", hidden=True)
def print_version() -> None:
    """Print the version."""
    _print_version(asked=True)


@app.command("help", hidden=True)
def print_help(
    names: Annotated[
        list[str] | None, Argument(metavar="COMMAND|TOPIC", help="The command or the topic to explain.")
    ] = None,
) -> None:
    """Explain a command or a topic, or list them all.

    \b
    Examples:
      sentiment help train
      sentiment help exit-codes
    """
    from sentiment_cli.cli.topics import TOPICS, find_topic, list_lines, topic_lines

    width = console.terminal_width() or 80
    if (topic := find_topic(names or [])) is not None:
        console.result("\n".join(topic_lines(topic, width)))
        return
    if names and names[0] not in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        known = [*typer.main.get_command(app).commands, *TOPICS]  # type: ignore[attr-defined]
        near = nearest(names[0], known)
        raise UsageError(
            f"there is no command or topic {' '.join(names)!r}{f'. Did you mean {near!r}?' if near else ''}",
            f"sentiment help {near}" if near else "sentiment help",
        )
    app([*(names or []), "--help"], prog_name="sentiment", standalone_mode=False)
    if not names:
        console.result("\n".join(["", *list_lines(width)]))


def main() -> NoReturn:
    """Run the command line. Exit codes: 0 done, 1 bug, 2 usage, 3 data, 4 machine, 5 diverged, 130 interrupted."""
    # Other packages' pydantic plugins have no business in an experiment, and looking for them takes 10 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    console.set_manner(volume=0, colour="auto")
    try:
        _check_here()
        spare_pydantic()
        with extras.explained("this command"):
            code = app(prog_name="sentiment", standalone_mode=False)
    except SentimentError as error:
        console.report_error(str(error), _whole(error.hint))
        code = error.exit_code
    except MemoryError as error:
        console.report_error(f"there is not enough memory: {error}", "sentiment doctor")
        code = MachineError.exit_code
    except OSError as error:
        refused = refusals.refusal(error)
        console.report_error(str(refused), _whole(refused.hint))
        code = refused.exit_code
    except typer.Abort:
        code = 130
    except Exception as error:
        code = _report_usage(error)
    sys.exit(code)


def _check_here() -> None:
    """Raise MachineError where the current directory was deleted: loading torch would end the process (oneMKL does)."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise MachineError("the current directory has been deleted", "cd") from None


def _whole(hint: str | None) -> str | None:
    """Return a hint as the whole command to type next."""
    if hint is None:
        return None
    from sentiment_cli.cli.again import complete

    return complete(hint, typer.main.get_command(app), sys.argv[1:])


def _report_usage(error: Exception) -> int:
    """Print what the parser has against the command line."""
    if not hasattr(error, "format_message"):
        raise error
    if type(error).__name__ == "NoArgsIsHelpError":
        console.say(error.ctx.get_help())  # type: ignore[attr-defined]
        return 2
    from sentiment_cli.cli.usage import explain

    console.report_error(*explain(error, typer.main.get_command(app), sys.argv[1:]))
    return int(getattr(error, "exit_code", 2))
