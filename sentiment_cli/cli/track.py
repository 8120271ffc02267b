"""`sentiment track`."""

from enum import StrEnum
from typing import Annotated

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.cli import completion


class To(StrEnum):
    mlflow = "mlflow"
    wandb = "wandb"
    tensorboard = "tensorboard"


def track(
    run: Annotated[str, Argument(metavar="RUN", help="Run directory or name.", autocompletion=completion.runs)],
    to: Annotated[To, Option(help="The tracker, which must be installed.")],
    follow: Annotated[bool, Option("--follow", help="Wait for new figures until the run has ended.")] = False,
) -> None:
    """Give a run's figures to MLflow, W&B or TensorBoard.

    Reads run files, and sends settings, figures by step and scores: no texts,
    labels or paths. The tracker finds its server as it is set up.

    \b
    Examples:
      sentiment track imdb-lstm --to mlflow
      sentiment track imdb-lstm --to wandb --follow
    """
    from sentiment_cli.runs.directory import named_run
    from sentiment_cli.workflows import tracking

    path = named_run(run)
    n = tracking.send_run(path, to.value, follow=follow)
    console.say(f"{path}: {n:,} rows of figures went to {to}")
