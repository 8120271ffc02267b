"""The rows of metrics.jsonl, one per epoch, and the line that the console shows of each."""

import json
from typing import Any

from sentiment_cli.config.schema import Experiment
from sentiment_cli.runs.metric_table import HEADLINES
from sentiment_cli.training.checkpoints import AnyScores, TrainProgress

_WIDTHS = (5, 7, 12, 12, 16, 10, 9, 6)  # of the cells of the table of epochs, with the space before each


def epoch_row(
    progress: TrainProgress,
    scores: AnyScores | None,
    experiment: Experiment,
    *,
    train_loss: float,
    lr: float | None,
    tokens_per_second: float,
    is_best: bool,
) -> dict[str, Any]:
    """Return the row of the epoch that has just ended; without scores, as in train.refit, its figures are null."""
    figure, names = HEADLINES[experiment.task], ["loss", "accuracy"]
    names.append(figure.key)
    if experiment.model.kind != "linear":  # of a linear model no epoch is chosen
        names.append(experiment.train.monitor)
    row = {
        "epoch": len(progress.history) + 1,
        "step": progress.step,
        "train_loss": train_loss,
        **{f"valid_{name}": getattr(scores, name, None) for name in names},
        "lr": lr,
        "tokens_per_second": tokens_per_second,
        "seconds": progress.seconds["train"] + progress.seconds["validate"],
        "best": is_best,
    }
    return {**row, "stage": "refit"} if progress.refit else row


def metrics_lines(progress: TrainProgress) -> bytes:
    """Return metrics.jsonl as it is at this step; the file of a killed process may hold one row more."""
    return "".join(json.dumps(row) + "\n" for row in progress.selection + progress.history).encode()


def table_header(experiment: Experiment, width: int | None = None) -> str:
    """Return the header of the console's table of epochs, with the columns that there is room for."""
    title = f"{HEADLINES[experiment.task].title:>14}"
    return _fitting(["epoch", "  step", "train loss", "valid loss", title, "tokens/s", "seconds", "best"], width)


def table_line(row: dict[str, Any], experiment: Experiment, width: int | None = None) -> str:
    """Return the line of one epoch in the console's table."""
    loss, figure = row["valid_loss"], HEADLINES[experiment.task]
    reached = "-" if loss is None else f"{row[f'valid_{figure.key}']:{figure.format}}"
    cells = [f"{row['epoch']:>5}", f"{row['step']:>6}", f"{row['train_loss']:>10.4f}"]
    cells += [f"{'-' if loss is None else f'{loss:.4f}':>10}", f"{reached:>14}"]
    cells += [f"{row['tokens_per_second']:>8,.0f}", f"{row['seconds']:>7.1f}", "*" if row["best"] else ""]
    return _fitting(cells, width)


def _fitting(cells: list[str], width: int | None) -> str:
    """Join the cells of a line; without room first the speed goes, then the seconds, then the training loss."""
    kept = list(range(len(cells)))
    for i in (5, 6, 2):
        if width is not None and sum(_WIDTHS[k] for k in kept) > width:
            kept.remove(i)
    return f"{cells[0]} {'  '.join(cells[i] for i in kept if i)}".rstrip()
