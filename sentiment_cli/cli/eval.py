"""`sentiment eval`."""

import functools
import json
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from sentiment_cli import console
from sentiment_cli.cli.parameters import OnError, Run, RunOption, one_run
from sentiment_cli.cli.reading import OF_LABELS, Reading, check_keys
from sentiment_cli.cli.typed_data import is_table
from sentiment_cli.errors import Change, UsageError

if TYPE_CHECKING:
    from sentiment_cli.config.schema import Data
    from sentiment_cli.evaluation.evaluate import Evaluation


class Split(StrEnum):
    test = "test"
    valid = "valid"
    train = "train"


def evaluate(
    run: Run = None,
    split: Annotated[Split | None, Option(help="Split to score; without it, test.")] = None,
    data: Annotated[str | None, Option(metavar="FILE", help="Score labelled rows of a file or folder instead.")] = None,
    behaviour: Annotated[
        bool, Option("--behaviour", help="Try pairs of sentences that hardly differ instead.")
    ] = False,
    pairs: Annotated[
        str | None, Option(metavar="FILE", help="Score labelled pairs of texts of a file instead.")
    ] = None,
    label_map: Annotated[
        str | None,
        Option(
            metavar="OLD=NEW,…",
            help="With --data or --pairs: rename its labels; or a JSON object. An empty NEW leaves rows out.",
        ),
    ] = None,
    text_column: Annotated[str | None, Option(metavar="COLUMN", help="With --data: column of the texts.")] = None,
    label_column: Annotated[str | None, Option(metavar="COLUMN", help="With --data: column of the labels.")] = None,
    settings: Reading = None,
    on_error: Annotated[
        OnError | None, Option(help="With --data: stop at an unreadable row, or skip and list it.")
    ] = None,
    slices: Annotated[
        list[str] | None,
        Option(
            "--slice", metavar="NAME", help="Show one slice in full, such as stars, or a column of --data; repeatable."
        ),
    ] = None,
    reliability: Annotated[bool, Option("--reliability", help="Draw accuracy over confidence.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
    run_option: RunOption = None,
) -> None:
    """Score a run on the test reviews or on your own labelled file.

    \b
    Examples:
      sentiment eval
      sentiment eval imdb-lstm --split valid --json
      sentiment eval --slice stars --slice movie --reliability
      sentiment eval --data my.csv --label-map Positive=pos,Negative=neg
      sentiment eval --behaviour
      sentiment eval --pairs contrasts.csv

    The columns of --pairs are original, contrast, original_label and
    contrast_label.
    """
    from sentiment_cli.runs.directory import find_run

    named = one_run(run, run_option)
    if named is not None and data is None and is_table(named):
        rows = ["--data", named] if pairs is None and not behaviour else []
        raise UsageError(f"{named} is a table, not a run", Change(*rows, words={named: None}))
    asked = {"--split": split, "--data": data, "--behaviour": behaviour or None, "--pairs": pairs}
    scored = [name for name, value in asked.items() if value is not None]
    if len(scored) > 1:
        raise UsageError(f"{scored[0]} and {scored[1]} do not go together", Change(without=scored[1:]))
    values = {
        "label_map": None if label_map is None else _pairs_of(label_map),
        "text_column": text_column,
        "label_column": label_column,
        "on_error": on_error,
    }
    for name, value in values.items():
        if value is not None and data is None and (pairs is None or name != "label_map"):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} goes with --data", Change(without=[option]))
    check_keys(settings or [], OF_LABELS, "eval")
    if settings and data is None:
        raise UsageError("--set goes with --data", Change(without=["--set"]))
    if (slices or reliability) and (behaviour or pairs is not None):
        raise UsageError(
            "--slice and --reliability go with a split or with --data", Change(without=["--slice", "--reliability"])
        )
    has_rows = data is not None or behaviour or pairs is not None  # of no run's own data
    path = find_run(named, or_bundled=has_rows)
    if behaviour:
        from sentiment_cli.evaluation.behaviour import evaluate_behaviour, print_behaviour

        tried = evaluate_behaviour(path)
        _print(path, tried.to_json(), as_json, lambda: print_behaviour(tried))
        return
    if pairs is not None:
        own = _own(pairs, values)
        from sentiment_cli.evaluation.contrast_sets import evaluate_pairs, print_pair_scores

        scores = evaluate_pairs(path, own)
        _print(path, scores.to_json(), as_json, lambda: print_pair_scores(scores))
        return
    from sentiment_cli.config.nearest import nearest
    from sentiment_cli.evaluation import evaluate as evaluation
    from sentiment_cli.evaluation.printing import print_scores
    from sentiment_cli.evaluation.slices import BUILT_IN

    unknown = [name for name in slices or [] if name not in BUILT_IN]
    if data is None and unknown:
        raise UsageError(
            f"--slice {unknown[0]} is none of {', '.join(BUILT_IN)}; columns are slices with --data alone",
            Change(words={unknown[0]: nearest(unknown[0], BUILT_IN, 0.0) or BUILT_IN[0]}),
        )
    if data is None:
        found = evaluation.evaluate(path, (split or Split.test).value)
    else:
        found = evaluation.evaluate_data(path, _own(data, values, settings or []), slices or ())
    width = console.terminal_width()
    if width is None:
        show = functools.partial(print_scores, found, slices or (), with_reliability=reliability)
    else:
        show = functools.partial(_show, path, found, slices or (), width, with_reliability=reliability)
    _print(path, found.to_json(), as_json, show)


def _show(run: Path, found: "Evaluation", slices: Sequence[str], width: int, *, with_reliability: bool) -> None:
    """Print an evaluation for a terminal."""
    from sentiment_cli.cli.scores import score_lines
    from sentiment_cli.evaluation.calibration import print_reliability
    from sentiment_cli.evaluation.slices import print_slices

    for line in score_lines(run, found, width):
        console.result(line)
    if with_reliability and found.reliability:
        console.result("")
        print_reliability(found.reliability)
    if slices:
        console.result("")
        print_slices(found.slices, slices)


def _pairs_of(text: str) -> str | list[str]:
    r"""Return a JSON object as it is, and the pairs of OLD=NEW,OLD=NEW, where `\,` is a comma of a label."""
    if text.lstrip().startswith("{"):
        return text
    pairs = re.split(r"(?<!\\),", text)
    return [pair.replace("\\,", ",") for pair in pairs if pair.strip()]


def _own(source: str, values: dict[str, Any], further: Sequence[str] = ()) -> "Data":
    """Return the settings of a file of the user's, as an experiment's own are checked."""
    from sentiment_cli.config.loader import load_experiment
    from sentiment_cli.data.corpus.label_form import implied_target

    given = {"source": source, **{key: value for key, value in values.items() if value is not None}}
    is_map = {key: key == "label_map" and isinstance(value, str) for key, value in given.items()}
    # YAML reads JSON, but not the two escapes that JSON writes for a character beyond U+FFFF.
    settings = [
        f"data.{key}={value if is_map[key] else json.dumps(value, ensure_ascii=False)}" for key, value in given.items()
    ]
    return load_experiment("default", [*settings, *further, *implied_target(further)]).data


def _print(run: Path, found: dict[str, Any], as_json: bool, show: Callable[[], None]) -> None:
    if as_json:
        console.result(json.dumps({"run": str(run), **found}))
    else:
        show()
