"""`sentiment ensemble`."""

import json
from enum import StrEnum
from typing import Annotated

from typer import Argument, Option

from sentiment_cli import console


class WeightsOption(StrEnum):
    fitted = "fitted"
    equal = "equal"


def ensemble(
    runs: Annotated[list[str], Argument(metavar="RUN...", help="Run directories or names, or packed models.")],
    name: Annotated[str, Option(help="Name of the run that is made.")] = "ensemble",
    weights: Annotated[
        WeightsOption, Option(help="How much each member counts: as validation says, or all the same.")
    ] = WeightsOption.fitted,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of the run directory.")] = False,
) -> None:
    """Combine several runs into one model: the weighted sum of their calibrated log-odds.

    \b
    Examples:
      sentiment ensemble imdb-forward imdb-backward linear
      sentiment ensemble imdb-lstm-seed0 imdb-lstm-seed1 imdb-lstm-seed2 --weights equal --name imdb-lstm-of-3
    """
    from sentiment_cli.evaluation.ensembling import make_ensemble
    from sentiment_cli.evaluation.printing import print_ensemble

    made = make_ensemble(runs, name, weights.value)
    if as_json:
        console.result(json.dumps(made.to_json()))
    else:
        print_ensemble(made)
