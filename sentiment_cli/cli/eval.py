"""`sentiment eval`."""

import json
import shlex
from enum import StrEnum
from typing import Annotated

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.errors import UsageError


class Split(StrEnum):
    test = "test"
    valid = "valid"
    train = "train"


def evaluate(
    run: Annotated[str | None, Argument(help="Run directory or name; without one, the newest finished run.")] = None,
    split: Annotated[Split | None, Option(help="Which reviews to score; without it, test.")] = None,
    data: Annotated[str | None, Option(metavar="FILE", help="Score labelled rows of a file or folder instead.")] = None,
    label_map: Annotated[str | None, Option(metavar="OLD=NEW,…", help="With --data: what its labels are here.")] = None,
    text_column: Annotated[str | None, Option(help="With --data: the column of the texts.")] = None,
    label_column: Annotated[str | None, Option(help="With --data: the column of the labels.")] = None,
    slices: Annotated[
        list[str] | None,
        Option("--slice", metavar="NAME", help="Show more of one slice, such as stars, or with --data of a column."),
    ] = None,
    reliability: Annotated[bool, Option("--reliability", help="Draw accuracy over confidence.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a run on the held-out test reviews, on another split, or on labelled rows of your own.

    \b
    Examples:
      sentiment eval
      sentiment eval imdb-lstm --split valid --json
      sentiment eval --slice stars --slice movie --reliability
      sentiment eval --data my.csv --label-map Positive=pos,Negative=neg --slice city
    """
    from sentiment_cli.inference.runs import find_run

    own = {"label_map": label_map, "text_column": text_column, "label_column": label_column}
    given = [f"--{name.replace('_', '-')}" for name, value in own.items() if value is not None]
    if data is None and given:
        raise UsageError(f"{given[0]} goes with --data", "sentiment eval --data my.csv")
    if data is not None and split is not None:
        raise UsageError("--split and --data are both given; one of them is scored", f"sentiment eval --data {data}")
    path = find_run(run)
    from sentiment_cli.evaluation import evaluate as evaluation
    from sentiment_cli.evaluation.slices import BUILT_IN

    columns = [name for name in slices or [] if name not in BUILT_IN]
    if data is None and columns:
        raise UsageError(
            f"--slice {columns[0]} is none of {', '.join(BUILT_IN)}; columns are read along with --data alone",
            f"sentiment eval --data my.csv --slice {shlex.quote(columns[0])}",
        )
    if data is None:
        found = evaluation.evaluate(path, (split or Split.test).value)
    else:
        from sentiment_cli.config.loader import load_experiment

        pairs = None if label_map is None else [pair for pair in label_map.split(",") if pair]
        values = {"source": data, "label_map": pairs, "text_column": text_column, "label_column": label_column}
        settings = [f"data.{key}={json.dumps(value)}" for key, value in values.items() if value is not None]
        found = evaluation.evaluate_data(path, load_experiment("default", settings).data, columns)
    if as_json:
        console.result(json.dumps({"run": str(path), **found.to_json()}))
    else:
        evaluation.print_scores(found, slices or (), with_reliability=reliability)
