"""What a report says of runs that pretrain: their figures on held-out tokens."""

from collections.abc import Sequence

from sentiment_cli.reports.blocks import Block, Paragraph, Table
from sentiment_cli.reports.run_files import RunFiles
from sentiment_cli.reports.wording import number
from sentiment_cli.runs.directory import FIGURES

_FIGURES = {"loss": "loss, nats", "perplexity": "perplexity", "accuracy": "tokens right", "exact": "written exactly"}


def pretraining_lead(run: RunFiles) -> str:
    """Say in a line what a pretraining reached."""
    scores, figure = run.summary.get("valid"), FIGURES[run.experiment.task]
    if not scores:
        return "Not validated yet."
    return f"{figure.title} {figure.shown(scores)} on {scores['n']:,} held-out tokens"


def pretraining_scores(named: Sequence[tuple[str, RunFiles]]) -> list[Block]:
    """Lay the figures of runs of one task beside each other."""
    scored = [(name, run.summary.get("valid") or {}) for name, run in named]
    present = [key for key in _FIGURES if any(scores.get(key) is not None for _, scores in scored)]
    rows = [
        [name, f"{scores['n']:,}" if scores else "not validated", *(number(scores.get(key)) for key in present)]
        for name, scores in scored
    ]
    said = "These tokens were held out and chose the epoch, so the figures flatter the model a little."
    return [Table(["run", "held-out tokens", *(_FIGURES[key] for key in present)], rows), Paragraph(said)]
