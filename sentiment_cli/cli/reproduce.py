"""`sentiment reproduce`."""

import shlex
from typing import Annotated

from typer import Argument

from sentiment_cli import console
from sentiment_cli.errors import DataError
from sentiment_cli.runs.directory import named_run
from sentiment_cli.training.processes.signals import leaving_at_once


@leaving_at_once()
def reproduce(run: Annotated[str, Argument(help="Run directory or name.")]) -> None:
    """Retrain a run and check that the result is identical, byte by byte.

    \b
    Example:
      sentiment reproduce imdb-lstm
    """
    path = named_run(run)
    from sentiment_cli.runs.ensemble_model import refuse_ensemble

    refuse_ensemble(path, "it was made of trained runs, which are what is reproduced")
    from sentiment_cli.workflows import seeds_and_folds

    again = seeds_and_folds.reproduce(path)
    for key, old, new in again.differences:
        console.result(f"{key}: {old} -> {new}")
    if not again.is_same:
        both = shlex.join([str(path), str(again.directory)])
        raise DataError(f"{again.directory} differs from {path}", f"sentiment config diff {both}")
    console.result(f"the same weights, scores and metrics: {again.directory}")
