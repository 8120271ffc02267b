"""`sentiment compare`."""

import json
from typing import Annotated

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.cli import completion
from sentiment_cli.cli.eval import Split
from sentiment_cli.errors import UsageError


def compare(
    runs: Annotated[list[str], Argument(metavar="RUN...", help="Two runs or more.", autocompletion=completion.runs)],
    split: Annotated[Split, Option(help="Split to compare on.")] = Split.test,
    listed: Annotated[int, Option("--list", metavar="N", min=0, help="Number of reviews to list on each side.")] = 5,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Test whether runs differ in accuracy.

    Each run is compared with the first on the same reviews (McNemar's test).

    \b
    Examples:
      sentiment compare tutorial-rnn imdb-lstm
      sentiment compare lstm-seed0 lstm-seed1 lstm-seed2 --split valid --json
    """
    from sentiment_cli.runs.directory import named_run

    if len(runs) < 2:
        raise UsageError("compare needs two runs or more, and one run is given", "sentiment runs list")
    paths = [named_run(run) for run in runs]
    from sentiment_cli.evaluation import significance

    found = significance.compare_runs(paths, split.value)
    if as_json:
        console.result(json.dumps(found.to_json(listed)))
    else:
        significance.print_comparison(found, listed)
