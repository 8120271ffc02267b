"""The report on a sweep: the best trial, the scores in the order of the trials, what mattered, and all trials."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sentiment_cli.reports.blocks import (
    Block,
    Code,
    Document,
    Figure,
    KeyFigures,
    Line,
    LineChart,
    Paragraph,
    ReportSection,
    Table,
)
from sentiment_cli.runs.metric_table import METRICS


class TrialRow(NamedTuple):
    """A trial as the report shows it; `score` is None of one that was pruned, diverged or is not finished."""

    number: int
    state: str
    score: float | None
    values: Mapping[str, str]


def build_sweep_report(
    name: str, monitor: str, trials: Sequence[TrialRow], importances: Mapping[str, float], command: str
) -> Document:
    """Return the report; `command` trains the best trial's experiment with several seeds."""
    metric = METRICS[monitor]
    scored = [one for one in trials if one.score is not None]
    if not scored:
        return Document(f"Sweep {name}", f"None of {len(trials)} trials has finished.", [])
    best = max(scored, key=lambda one: metric.gain(one.score))
    figures = [(f"{metric.title}, the best trial", metric.write({monitor: best.score}))]
    figures += [("trials", f"{len(trials):,}"), ("pruned", f"{sum(one.state == 'pruned' for one in trials):,}")]
    values = ", ".join(f"{key} {value}" for key, value in best.values.items())
    results: list[Block] = [
        KeyFigures(figures),
        Paragraph(f"Trial {best.number} has the best {metric.title} on validation: {values}."),
        Paragraph(
            f"The best of {len(scored):,} trials is flattered, because it was chosen on the rows that score it. "
            "Other seeds say what its settings are worth:"
        ),
        Code(command),
    ]
    sections = [ReportSection("Result", results), ReportSection("Course", [_course(monitor, scored)])]
    if importances:
        rows = [[key, f"{value:.0%}"] for key, value in importances.items()]
        caption = "Share of the difference between the better trials and all that a setting explains (PED-ANOVA)."
        sections.append(ReportSection("Importance", [Table(["setting", "share"], rows, caption=caption)]))
    ranked = sorted(trials, key=lambda one: metric.gain(one.score), reverse=True)
    head = ["trial", metric.title, *best.values]
    rows = [[str(one.number), metric.write({monitor: one.score}) or one.state, *one.values.values()] for one in ranked]
    sections.append(ReportSection("Trials", [Table(head, rows)]))
    lead = f"The best of {len(scored):,} finished trials has {metric.title} {metric.write({monitor: best.score})} "
    return Document(f"Sweep {name}", lead + "on validation.", sections)


def _course(monitor: str, scored: Sequence[TrialRow]) -> Figure:
    metric = METRICS[monitor]
    xs, ys = [float(one.number) for one in scored], [one.score or 0.0 for one in scored]
    choose = max if metric.better == "higher" else min
    best = [choose(ys[: i + 1]) for i in range(len(ys))]
    chart = LineChart("trial", metric.title, [Line("trial", xs, ys), Line("best so far", xs, best)])
    chart = chart._replace(is_share=monitor == "accuracy")
    cells = [[f"{x:.0f}", *(metric.write({monitor: y}) for y in pair)] for x, *pair in zip(xs, ys, best, strict=True)]
    written = [metric.write({monitor: y}) for y in (best[0], best[-1])]
    alt = f"{metric.title} of each finished trial; the best so far goes from {written[0]} to {written[1]}."
    return Figure("course", f"{metric.title} by trial", chart, alt, Table(["trial", "score", "best so far"], cells))
