"""The rows of metrics.jsonl, one per epoch, and the line that the console shows of each."""

import json
from typing import Any

from sentiment_cli.config.schema import Experiment
from sentiment_cli.runs.metric_table import HEADLINES
from sentiment_cli.training.checkpoints import AnyScores, TrainProgress


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


def table_header(experiment: Experiment) -> str:
    """Return the header of the console's table of epochs."""
    return f"epoch   step  train loss  valid loss  {HEADLINES[experiment.task].title:>14}  tokens/s  seconds  best"


def table_line(row: dict[str, Any], experiment: Experiment) -> str:
    """Return the line of one epoch in the console's table."""
    loss, figure = row["valid_loss"], HEADLINES[experiment.task]
    reached = "-" if loss is None else f"{row[f'valid_{figure.key}']:{figure.format}}"
    return (
        f"{row['epoch']:>5} {row['step']:>6}  {row['train_loss']:>10.4f}  {'-' if loss is None else f'{loss:.4f}':>10}"
        f"  {reached:>14}  {row['tokens_per_second']:>8,.0f}  {row['seconds']:>7.1f}  {'*' if row['best'] else ''}"
    )
