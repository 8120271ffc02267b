"""The command `sentiment`: parses, calls one plain function, prints; errors become messages and exit codes here."""

import os
import sys

import typer

from sentiment_cli import __version__, console
from sentiment_cli.cli import eval as eval_command
from sentiment_cli.cli import predict, prepare, train
from sentiment_cli.errors import SentimentError

app = typer.Typer(
    name="sentiment",
    help="Train, evaluate and use recurrent text-sentiment models from YAML experiments.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(train.train)
app.command("eval")(eval_command.evaluate)
app.command()(predict.predict)
app.command()(prepare.prepare)


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    if version:
        console.result(f"sentiment {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 bug, 2 usage, 3 data, 4 machine, 5 diverged, 130 interrupted."""
    # OpenMP threads that spin at barriers make an LSTM 94 times slower beside another torch job. Read when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        app()
    except SentimentError as error:
        console.report_error(str(error), error.hint)
        sys.exit(error.exit_code)
