"""The command `sentiment`: parses, calls one plain function, prints; errors become messages and exit codes here."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer import Option

from sentiment_cli import __version__, console
from sentiment_cli.cli import (
    compare,
    config,
    data,
    doctor,
    ensemble,
    export,
    generate,
    models,
    predict,
    prepare,
    pretrain,
    recipes,
    report,
    reproduce,
    runs,
    serve,
    train,
)
from sentiment_cli.cli import eval as eval_command
from sentiment_cli.cli.parameters import spare_pydantic
from sentiment_cli.errors import MachineError, SentimentError

app = typer.Typer(
    name="sentiment",
    help="""Train, evaluate and use recurrent text-sentiment models from YAML experiments.

    \b
    Examples:
      sentiment train
      sentiment eval
      sentiment predict "I just really loved the movie"
    """,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(train.train)
app.command("eval")(eval_command.evaluate)
app.command()(predict.predict)
app.command()(serve.serve)
app.command()(pretrain.pretrain)
app.command()(generate.generate)
app.command()(prepare.prepare)
app.add_typer(data.app, name="data")
app.add_typer(config.app, name="config")
app.add_typer(recipes.app, name="recipes")
app.add_typer(runs.app, name="runs")
app.command()(compare.compare)
app.command()(models.models)
app.command()(report.report)
app.command()(reproduce.reproduce)
app.command()(ensemble.ensemble)
app.command()(export.export)
app.command()(doctor.doctor)


def _print_version(asked: bool) -> None:
    if asked:
        console.result(f"sentiment {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options before the command."""


def main() -> NoReturn:
    """Run the command line. Exit codes: 0 done, 1 bug, 2 usage, 3 data, 4 machine, 5 diverged, 130 interrupted."""
    # OpenMP threads that spin at barriers make an LSTM 94 times slower beside another torch job. Read when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Other packages' pydantic plugins have no business in an experiment, and looking for them takes 10 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        _check_here()
        spare_pydantic()
        code = app(prog_name="sentiment", standalone_mode=False)
    except SentimentError as error:
        console.report_error(str(error), error.hint)
        code = error.exit_code
    except MemoryError as error:
        console.report_error(f"there is not enough memory: {error}", "sentiment doctor")
        code = MachineError.exit_code
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
        raise MachineError("the current directory has been deleted", "cd to a directory that exists") from None


def _report_usage(error: Exception) -> int:
    """Print what the parser has against the command line. Typer keeps its exception types to itself."""
    context = getattr(error, "ctx", None)
    if not hasattr(error, "format_message"):
        raise error
    if context is not None and type(error).__name__ == "NoArgsIsHelpError":
        console.say(context.get_help())
        return 2
    path = context.command_path if context is not None else "sentiment"
    message = str(error.format_message())
    hint = f"{path} --help"
    if path.endswith("predict") and message.startswith("No such option"):
        hint = 'sentiment predict -- "-text that starts with a dash"'
    console.report_error(message[0].lower() + message[1:], hint)
    return int(getattr(error, "exit_code", 2))
