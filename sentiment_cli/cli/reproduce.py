"""`sentiment reproduce`."""

import shlex

from sentiment_cli import console
from sentiment_cli.cli.parameters import Run, RunOption, one_run
from sentiment_cli.errors import DataError
from sentiment_cli.runs.directory import find_run, named_run
from sentiment_cli.training.processes.signals import leaving_at_once


@leaving_at_once()
def reproduce(run: Run = None, run_option: RunOption = None) -> None:
    """Retrain a run and check that the result is identical.

    Weights, scores and metrics are compared byte by byte. Without a run, the
    newest finished one is reproduced.

    \b
    Examples:
      sentiment reproduce
      sentiment reproduce imdb-lstm
    """
    named = one_run(run, run_option)
    path = find_run(None) if named is None else named_run(named)
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
