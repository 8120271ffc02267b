"""`sentiment ensemble`."""

import json
from enum import StrEnum
from typing import Annotated

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.cli import completion


class WeightsOption(StrEnum):
    fitted = "fitted"
    equal = "equal"


def ensemble(
    runs: Annotated[
        list[str],
        Argument(metavar="RUN...", help="Run directories or names, or packed models.", autocompletion=completion.runs),
    ],
    name: Annotated[str, Option(help="Name of the new run.")] = "ensemble",
    weights: Annotated[
        WeightsOption, Option(help="Weight of each member: fitted on validation, or equal.")
    ] = WeightsOption.fitted,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of the run directory.")] = False,
) -> None:
    """Combine several runs into one model.

    Its answer is the weighted sum of their calibrated log-odds.

    \b
    Examples:
      sentiment ensemble imdb-forward imdb-backward linear
      sentiment ensemble lstm-seed0 lstm-seed1 --weights equal --name lstm-of-2
    """
    from sentiment_cli.evaluation.ensembling import make_ensemble
    from sentiment_cli.evaluation.printing import print_ensemble

    made = make_ensemble(runs, name, weights.value)
    if as_json:
        console.result(json.dumps(made.to_json()))
    else:
        print_ensemble(made)
