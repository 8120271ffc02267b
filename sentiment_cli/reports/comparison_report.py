"""Several runs in one report: their scores in one table, their curves in one chart, and where their settings differ."""

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sentiment_cli.config.loader import differences
from sentiment_cli.errors import UsageError
from sentiment_cli.reports.blocks import Block, Code, Document, Paragraph, ReportSection, Table
from sentiment_cli.reports.figures import curves_figure
from sentiment_cli.reports.run_files import RunFiles
from sentiment_cli.reports.run_report import best_known, missing
from sentiment_cli.reports.text import interval, percent, pretraining_scores, run_title, score_columns, split_name, word


def build_comparison(runs: Sequence[RunFiles]) -> Document:
    """Lay runs beside each other. Raises UsageError where they are of several tasks."""
    tasks = {run.experiment.task: run for run in runs}
    if len(tasks) > 1:
        said = " and ".join(f"{run.path} of {task}" for task, run in tasks.items())
        hint = f"sentiment report {shlex.quote(run_title(runs[0].path))}"
        raise UsageError(f"the tasks differ, and with them what is measured: {said}", hint)
    named = list(zip(_names(runs), runs, strict=True))
    sections = [
        ReportSection("Scores", _scores(named)),
        ReportSection("Curves", _curves(named)),
        ReportSection("Settings in which they differ", _settings(named)),
        ReportSection("Cost", _costs(named)),
    ]
    lead = f"{len(runs)} runs side by side"
    title = " and ".join([", ".join(name for name, _ in named[:-1]), named[-1][0]])
    return Document(title, lead, [section for section in sections if section.blocks])


def _names(runs: Sequence[RunFiles]) -> list[str]:
    """Call a run by its directory's name, or by its path where two are called the same."""
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
        said = "They were not scored on the same reviews, so the rows of this table cannot be compared."
        return [*blocks, Paragraph(said)]
    split, target = rows[0][1], named[0][1].experiment.data.target
    of = {split_name("test"): "", split_name("valid"): " --split valid"}.get(split)
    if of is None or target == "stars":
        return blocks
    names = " ".join(shlex.quote(run_title(run.path)) for _, run in named)
    said = "Intervals that overlap do not say that two runs are equally good; a test on the same reviews tells more:"
    return [*blocks, Paragraph(said), Code(f"sentiment compare {names}{of}")]


def _scored_on(run: RunFiles) -> tuple[Any, ...]:
    """Return what tells apart the reviews that two runs were scored on, as far as their files say."""
    known = best_known(run)
    if known is None:
        return (None,)
    split, scores = known
    data = run.experiment.data
    drawn = () if split == "test" and data.source in ("imdb", "sample") else (data.valid, data.test, data.test_share)
    return (split, scores["n"], tuple(map(sum, scores["confusion"])), data.source, *drawn)


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
    first = named[0][1].experiment
    values: dict[str, list[Any]] = {}
    if any(run.members for _, run in named):  # whose other settings are those of its first member
        values["members"] = [", ".join(run.members) or None for _, run in named]
    for i, (_, run) in enumerate(named):
        for key, own, other in differences(first, run.experiment):
            values.setdefault(key, [own] * len(named))[i] = other
    values.pop("name", None)
    if not values:
        return [Paragraph("None: they are the same experiment.")]
    rows = [[key, *map(word, row)] for key, row in values.items()]
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
