"""The command `sentiment`: parses, calls one plain function, prints; errors become messages and exit codes here."""

import functools
import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from typer import Argument, Option

from sentiment_cli import __version__, console, extras
from sentiment_cli.cli.help import App
from sentiment_cli.cli.parameters import spare_pydantic
from sentiment_cli.config.nearest import nearest
from sentiment_cli.errors import MachineError, SentimentError, UsageError
from sentiment_cli.storage import refusals

_HELP = """Train your own text classifiers, score them and use them.

    \b
    Examples:
      sentiment train sample
      sentiment eval
      sentiment predict "I just really loved the movie"
    """


class _Listed(NamedTuple):
    """A command of the module of its name: what is called there, and the first line of its help.

    The line is here as well so that the list of commands is printed without loading them.
    """

    attribute: str
    line: str


_COMMANDS = {
    "Start here": {
        "train": _Listed("train", "Train a model on your data, or an LSTM on the IMDb reviews."),
        "predict": _Listed("predict", "Classify sentences, files or standard input."),
        "eval": _Listed("evaluate", "Score a run on the test reviews or on your own labelled file."),
    },
    "Understand": {
        "compare": _Listed("compare", "Test whether runs differ in accuracy."),
        "report": _Listed("report", "Write an HTML report or a model card."),
        "runs": _Listed("app", "List, inspect and delete trained runs."),
    },
    "Data and experiments": {
        "prepare": _Listed("prepare", "Download and tokenize the data without training."),
        "init": _Listed("init", "Write a commented experiment file to start from."),
        "tune": _Listed("tune", "Search the settings of an experiment on validation."),
        "models": _Listed("models", "List model types, or count a model's parameters."),
        "data": _Listed("app", "Inspect, check and cache training data."),
        "recipes": _Listed("app", "List, print and copy the built-in experiments."),
        "config": _Listed("app", "Show, check and compare experiments."),
    },
    "Share": {
        "serve": _Listed("serve", "Answer over HTTP with a trained model, and show a page."),
        "export": _Listed("export", "Export a model as ONNX or as one portable file."),
        "ensemble": _Listed("ensemble", "Combine several runs into one model."),
        "reproduce": _Listed("reproduce", "Retrain a run and check that the result is identical."),
        "track": _Listed("track", "Give a run's figures to MLflow, W&B or TensorBoard."),
    },
    "Unlabelled text": {
        "pretrain": _Listed("pretrain", "Train a language model or word vectors on unlabelled text."),
        "generate": _Listed("generate", "Write text with a pretrained language model."),
    },
    "Help": {
        "doctor": _Listed("doctor", "Check this machine: versions, GPU, memory, training speed."),
    },
}


@functools.cache
def build_app(only: str | None = None) -> App:
    """Return the app with all commands, or with one of them; the other modules take a fifth of a prediction's time."""
    app = App(name="sentiment", help=_HELP)
    app.callback()(_options)
    for panel, commands in _COMMANDS.items():
        for name, listed in commands.items():
            if only not in (None, name):
                continue
            command = getattr(importlib.import_module(f"{__name__}.{name}"), listed.attribute)
            if isinstance(command, App):
                app.add_typer(command, name=name, rich_help_panel=panel)
            else:
                app.command(name, rich_help_panel=panel)(command)
    app.command("version", hidden=True)(_print_version)
    app.command("help", rich_help_panel="Help")(_print_help)
    return app


@functools.cache
def whole_command(only: str | None = None) -> Any:
    """Return the parser of all commands, or of one of them."""
    return typer.main.get_command(build_app(only))


def _list_of_commands() -> Any:
    """Return a parser that prints the help of all commands and has none of them."""
    app = App(name="sentiment", help=_HELP)
    app.callback()(_options)
    for panel, commands in _COMMANDS.items():
        for name, listed in commands.items():
            app.command(name, rich_help_panel=panel, help=listed.line)(lambda: None)
    app.command("help", rich_help_panel="Help")(_print_help)
    return typer.main.get_command(app)


def _typed_command(words: list[str]) -> Any:
    """Return the parser of the command that was typed, or of all where the first word is no command's name."""
    if words in ([], ["-h"], ["--help"]):
        return _list_of_commands()
    is_named = bool(words) and any(words[0] in commands for commands in _COMMANDS.values())
    return whole_command(words[0]) if is_named else whole_command()


def _show_version(asked: bool) -> None:
    if asked:
        console.result(f"sentiment {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, Option("--version", "-V", help="Print the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options before the command."""


def _print_version() -> None:
    """Print the version."""
    _show_version(asked=True)


def _print_help(
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
    commands = whole_command().commands
    if names and names[0] not in commands:
        known = [*commands, *TOPICS]
        near = nearest(names[0], known)
        raise UsageError(
            f"there is no command or topic {' '.join(names)!r}{f'. Did you mean {near!r}?' if near else ''}",
            f"sentiment help {near}" if near else "sentiment help",
        )
    whole_command()([*(names or []), "--help"], prog_name="sentiment", standalone_mode=False)
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
            code = _typed_command(sys.argv[1:])(prog_name="sentiment", standalone_mode=False)
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

    return complete(hint, whole_command(), sys.argv[1:])


def _report_usage(error: Exception) -> int:
    """Print what the parser has against the command line."""
    if not hasattr(error, "format_message"):
        raise error
    if type(error).__name__ == "NoArgsIsHelpError":
        console.say(error.ctx.get_help())  # type: ignore[attr-defined]
        return 2
    from sentiment_cli.cli.usage import explain

    console.report_error(*explain(error, whole_command(), sys.argv[1:]))
    return int(getattr(error, "exit_code", 2))
