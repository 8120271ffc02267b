"""`sentiment eval`."""

import json
from enum import StrEnum
from typing import Annotated

from typer import Argument, Option

from sentiment_cli import console


class Split(StrEnum):
    test = "test"
    valid = "valid"
    train = "train"


def evaluate(
    run: Annotated[str | None, Argument(help="Run directory or name; without one, the newest finished run.")] = None,
    split: Annotated[Split, Option(help="Which reviews to score.")] = Split.test,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a run on the held-out test reviews, or on another split.

    \b
    Examples:
      sentiment eval
      sentiment eval imdb-lstm --split valid --json
    """
    from sentiment_cli.inference.runs import find_run

    path = find_run(run)
    from sentiment_cli.evaluation.evaluate import evaluate as evaluate_run
    from sentiment_cli.evaluation.evaluate import print_scores

    scores = evaluate_run(path, split.value)
    if as_json:
        console.result(json.dumps({"run": str(path), "split": split.value, **scores.to_json()}))
    else:
        print_scores(scores, tuple(scores.f1_per_label))
