"""`sentiment data suspects`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from sentiment_cli import console
from sentiment_cli.cli.train import Config, Override
from sentiment_cli.cli.typed_data import DataOption, TestOption, with_data
from sentiment_cli.errors import Change, InterruptedRun, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentiment_cli.config.schema import Experiment
    from sentiment_cli.data.corpus.raw_texts import Texts
    from sentiment_cli.evaluation.label_errors import Dispute, JudgedSplit, Suspect

_SHOWN = 10


class Split(StrEnum):
    train = "train"
    test = "test"
    both = "both"


def suspects(
    config: Config = None,
    data: DataOption = None,
    test: TestOption = None,
    override: Override = None,
    split: Annotated[Split, Option(help="Labels to judge; judging test is noted in the run's ledger.")] = Split.train,
    folds: Annotated[int, Option(min=2, help="Number of models that judge the training reviews.")] = 5,
    out: Annotated[Path, Option(metavar="FILE", help="Output file: .jsonl or .csv.")] = Path("suspects.jsonl"),
    top: Annotated[int | None, Option(min=1, metavar="N", help="List the first N only.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List reviews whose labels are probably wrong.

    Each training review is judged by a model trained without its fold, each test
    review by one trained on the training reviews (confident learning). Finished
    runs of the same experiment and data are used again. Prints the file.

    \b
    Examples:
      sentiment data suspects sample
      sentiment data suspects bag --data my.csv --out suspects.csv
    """
    from sentiment_cli.config.loader import load_experiment

    experiment = load_experiment(config, with_data(override, data, test, config=config))
    _check(experiment, split, folds)
    from sentiment_cli.evaluation import label_errors as evaluation

    evaluation.check_out(out)
    from sentiment_cli.data.corpus.raw_texts import prepare_texts
    from sentiment_cli.data.sources.source import find_source
    from sentiment_cli.workflows.dependencies import resolve_dependencies
    from sentiment_cli.workflows.seeds_and_folds import fold_experiments

    one = experiment if split == Split.test else fold_experiments(experiment, folds)[0]
    experiment = resolve_dependencies(one).model_copy(update={"data": experiment.data})
    texts = prepare_texts(find_source(experiment.data), "labelled")
    try:
        judged = list(_judge(experiment, split, folds, texts))
    except InterruptedRun as error:
        error.args = (f"{error}. Run the command again to continue",)
        error.hint = None
        raise
    found, disputes = evaluation.find_suspects(judged, texts, top)
    evaluation.write_suspects(out, found)
    if as_json:
        splits = {name: dispute._asdict() for name, dispute in disputes.items()}
        runs = [part.run for part in judged]
        console.result(json.dumps({"file": str(out), "listed": len(found), "runs": runs, "splits": splits}))
        return
    _show(found, disputes)
    console.result(str(out))


def _check(experiment: "Experiment", split: Split, folds: int) -> None:
    """Raise UsageError for an experiment whose models could not judge; warn where they could have seen the labels."""
    if experiment.data.target != "label":
        raise UsageError(
            f"data.target is {experiment.data.target}, and suspects are of rows that have a single label",
            Change("--set", "data.target=label"),
        )
    if split == Split.test:
        return
    if experiment.data.valid.folds is not None:
        raise UsageError(
            f"each of {folds} folds is used in turn, and the experiment names one",
            Change("--set", "data.valid.folds=null", "--set", "data.valid.fold=null"),
        )
    for key, name in (("init_from", experiment.init_from), ("teacher.run", " and ".join(experiment.teacher.run))):
        if name:
            console.warn(f"{key} is {name}: if it was trained on these labels, it has seen what is judged")


def _judge(experiment: "Experiment", split: Split, folds: int, texts: "Texts") -> "Iterator[JudgedSplit]":
    """Yield the rows of each fold as the model trained without it judges them, then those of test."""
    from sentiment_cli.evaluation.label_errors import judge_split
    from sentiment_cli.workflows.dependencies import find_or_train
    from sentiment_cli.workflows.seeds_and_folds import fold_experiments, fold_name

    if split != Split.test:
        # A refit would train on the fold that is held out.
        train = experiment.train.model_copy(update={"refit": False})
        for fold, one in enumerate(fold_experiments(experiment.model_copy(update={"train": train}), folds), 1):
            console.say(f"fold {fold} of {folds}")
            judged = judge_split(find_or_train(one, fold_name(experiment.name, fold)), "valid", one, texts)
            console.say(f"fold {fold} of {folds}: {_agreement(judged)}")
            yield judged
    if split != Split.train:
        judged = judge_split(find_or_train(experiment, experiment.name), "test", experiment, texts)
        times = "once" if judged.openings == 1 else f"{judged.openings:,} times"
        console.say(f"test: {_agreement(judged)}; test opened {times} for this run")
        yield judged


def _agreement(judged: "JudgedSplit") -> str:
    from sentiment_cli.inference.predictor import likeliest

    share = (likeliest(judged.probability_NC) == judged.label_N).mean()
    return f"{judged.run} predicts the label of {share:.2%} of {len(judged.ids):,} reviews"


def _show(found: "list[Suspect]", disputes: "dict[str, Dispute]") -> None:
    for name, dispute in disputes.items():
        errors = [
            f"{console.one_line(label)} for {console.one_line(other)} {count:,}"
            for other, row in dispute.estimated_errors.items()
            for label, count in row.items()
            if count
        ]
        listed = f" ({', '.join(errors)})" if errors else ""
        console.result(
            f"{name}: {dispute.n:,} reviews, {dispute.accuracy:.2%} predicted as labelled, {dispute.disputed:,} "
            f"disputed, {dispute.n_errors:,} estimated label errors{listed}"
        )
    if found:
        console.result("probability of the label; label, prediction, review")
    for suspect in found[:_SHOWN]:
        names = "  ".join(map(console.one_line, (suspect.label, suspect.predicted, suspect.id)))
        console.result(f"{suspect.probability:>8.2g}  {names}")
