"""The report that compares several runs: scores, paired tests, curves, differing settings and cost."""

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sentiment_cli.config.loader import differences
from sentiment_cli.errors import SentimentError, UsageError
from sentiment_cli.evaluation.significance import compare_runs
from sentiment_cli.reports.blocks import Block, Code, Document, Items, Paragraph, ReportSection, Table
from sentiment_cli.reports.figures import curves_figure
from sentiment_cli.reports.run_files import RunFiles, best_known
from sentiment_cli.reports.run_report import missing
from sentiment_cli.reports.text import interval, percent, pretraining_scores, run_title, score_columns, split_name, word


def build_comparison(runs: Sequence[RunFiles]) -> Document:
    """Return the report that compares runs of one task. Raises UsageError for runs of several tasks."""
    tasks = {run.experiment.task: run for run in runs}
    if len(tasks) > 1:
        said = " and ".join(f"{run.path} of {task}" for task, run in tasks.items())
        hint = f"sentiment report {shlex.quote(run_title(runs[0].path))}"
        raise UsageError(f"runs of different tasks have different metrics: {said}", hint)
    named = list(zip(_names(runs), runs, strict=True))
    sections = [
        ReportSection("Scores", _scores(named)),
        ReportSection("Curves", _curves(named)),
        ReportSection("Differing settings", _settings(named)),
        ReportSection("Cost", _costs(named)),
    ]
    lead = f"Comparison of {len(runs)} runs"
    title = " and ".join([", ".join(name for name, _ in named[:-1]), named[-1][0]])
    return Document(title, lead, [section for section in sections if section.blocks])


def _names(runs: Sequence[RunFiles]) -> list[str]:
    """Return the names of the runs, or their paths where two have the same name."""
    count = Counter(run.path.name for run in runs)
    return [run.path.name if count[run.path.name] == 1 else str(run.path) for run in runs]


def _scores(named: Sequence[tuple[str, RunFiles]]) -> list[Block]:
    if not named[0][1].classifies:
        return [*pretraining_scores(named), *(notice for _, run in named for notice in missing(run))]
    rows, all_known = [], [(name, best_known(run)) for name, run in named]
    present = score_columns(known[1] for _, known in all_known if known is not None)
    for name, known in all_known:
        if known is None:
            rows.append([name, "not scored", *[""] * (3 + len(present))])
            continue
        split, scores = known
        figures = [metric.write(scores) for metric in present]
        n, accuracy = f"{scores['n']:,}", percent(scores["accuracy"])
        rows.append([name, split_name(split), n, accuracy, interval(scores), *figures])
    head = ["run", "reviews", "n", "accuracy", "95 % interval", *(metric.title for metric in present)]
    blocks: list[Block] = [Table(head, rows), *(notice for _, run in named for notice in missing(run))]
    if len({_scored_on(run) for _, run in named}) > 1:
        return [Paragraph("The runs were scored on different reviews, so these rows cannot be compared."), *blocks]
    split, target = rows[0][1], named[0][1].experiment.data.target
    of = {split_name("test"): "", split_name("valid"): " --split valid"}.get(split)
    if of is None or target == "stars":
        return blocks
    names = " ".join(shlex.quote(run_title(run.path)) for _, run in named)
    return [*blocks, *_verdicts([run for _, run in named], named[0][1].main), Code(f"sentiment compare {names}{of}")]


def _verdicts(runs: Sequence[RunFiles], split: str | None) -> list[Block]:
    """Return the verdicts of the paired tests against the first run; where there are none, the reason."""
    if split is None:
        return [Paragraph("Overlapping intervals do not show that two runs are equal; a paired test tells more:")]
    try:
        found = compare_runs([run.path for run in runs], split)
    except SentimentError as error:
        return [Paragraph(f"There is no paired test: {error}.")]
    verdicts = [f"{one.verdict}." for one in found.pairings]
    return [Paragraph("Paired tests against the first run (exact McNemar test, Holm's correction):"), Items(verdicts)]


def _scored_on(run: RunFiles) -> tuple[Any, ...]:
    """Return what identifies the reviews that a run was scored on, as far as its files tell."""
    known = best_known(run)
    if known is None:
        return (None,)
    split, scores = known
    data = run.experiment.data
    drawn = () if split == "test" and data.source in ("imdb", "sample") else (data.valid, data.test, data.test_share)
    return (split, scores["n"], _counts_of(scores), data.source, *drawn)


def _counts_of(scores: dict[str, Any]) -> tuple[int, ...]:
    of_labels = scores.get("rows_per_label")
    return tuple(map(sum, scores["confusion"])) if of_labels is None else tuple(of_labels.values())


def _curves(named: Sequence[tuple[str, RunFiles]]) -> list[Block]:
    drawn = [(name, run) for name, run in named if run.curves]
    if not drawn:
        return []
    accuracy = curves_figure("accuracy", "Validation accuracy", "accuracy", drawn, ["valid_accuracy"])
    return [
        *([accuracy] if drawn[0][1].classifies else []),
        curves_figure("valid-loss", "Validation loss", "loss", drawn, ["valid_loss"]),
        curves_figure("train-loss", "Training loss", "loss", drawn, ["train_loss"]),
    ]


def _settings(named: Sequence[tuple[str, RunFiles]]) -> list[Block]:
    single = [run for _, run in named if not run.members]  # the settings of an ensemble are those of its members
    values: dict[str, dict[int, Any]] = {}
    for i, (_, run) in enumerate(named):
        for key, own, other in differences(single[0].experiment, run.experiment) if not run.members else ():
            values.setdefault(key, {j: own for j, (_, one) in enumerate(named) if not one.members})[i] = other
    values.pop("name", None)
    members = {i: ", ".join(run.members) for i, (_, run) in enumerate(named) if run.members}
    if not values and not members:
        return [Paragraph("None: they are the same experiment.")]
    rows = [["members", *(members.get(i, "") for i in range(len(named)))]] if members else []
    rows += [[key, *(word(row[i]) if i in row else "" for i in range(len(named)))] for key, row in values.items()]
    return [Table(["setting", *(name for name, _ in named)], rows, is_numeric=False)]


def _costs(named: Sequence[tuple[str, RunFiles]]) -> list[Block]:
    rows = []
    for name, run in named:
        seconds = run.summary.get("seconds", {})
        rate = run.summary.get("tokens_per_second")
        machine = run.summary.get("fingerprint", {})
        where = ", ".join(str(machine[key]) for key in ("machine.device", "machine.precision") if key in machine)
        rows.append(
            [
                name,
                "" if run.n_parameters is None else f"{run.n_parameters:,}",
                f"{seconds['train']:,.1f}" if "train" in seconds else "",
                f"{rate:,.0f}" if rate else "",
                where,
                run.status,
            ]
        )
    return [Table(["run", "parameters", "seconds of training", "tokens per second", "machine", "state"], rows)]
