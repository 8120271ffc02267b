"""The figures of a report: training curves, reliability, and tokens per review."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.evaluation.calibration import reliability_bins
from sentiment_cli.evaluation.metrics import average_precision, expected_calibration_error, precision_recall_curve
from sentiment_cli.reports.blocks import Figure, Histogram, Line, LineChart, Reliability, Table
from sentiment_cli.reports.run_files import RunFiles
from sentiment_cli.reports.text import decimal, percent
from sentiment_cli.runs.predictions import Predictions

_LENGTH_BINS = 24
_CURVES, _CURVE_POINTS = 8, 100


def curves_figure(name: str, title: str, key: str, runs: Sequence[tuple[str, RunFiles]], keys: Sequence[str]) -> Figure:
    """Draw figures of metrics.jsonl over the steps: of each run each of `keys`, under the names given."""
    lines = []
    for label, run in runs:
        for one in keys:
            rows = [row for row in run.curves if row.get(one) is not None]
            said = {"train_loss": "training", "valid_loss": "validation", "valid_accuracy": "validation"}[one]
            said = label if len(runs) > 1 else said
            lines.append(Line(said, [row["step"] for row in rows], [row[one] for row in rows]))
    is_share = key == "accuracy"
    best = next((row["step"] for row in reversed(runs[0][1].curves) if row["best"]), None) if len(runs) == 1 else None
    write = percent if is_share else decimal
    ends = [f"{line.name} {_ends([write(y) for y in line.ys])}" for line in lines if line.ys]
    alt = f"{title} over the steps: {', '.join(ends)}." + (f" The model of step {best:,} was kept." if best else "")
    steps = sorted({int(x) for line in lines for x in line.xs})
    at = [dict(zip(line.xs, line.ys, strict=True)) for line in lines]
    cells = [[f"{step:,}", *(write(row[step]) if step in row else "" for row in at)] for step in steps]
    chart = LineChart("steps", key, lines, best, f"kept: step {best:,}" if best else "", is_share)
    return Figure(name, title, chart, alt, Table(["step", *(line.name for line in lines)], cells))


def _ends(written: Sequence[str]) -> str:
    """Write the first and the last value of a line; a line of one point has one value."""
    return f"from {written[0]} to {written[-1]}" if len(written) > 1 else written[0]


def reliability_figure(answers: Predictions, split: str) -> Figure:
    """Draw accuracy over confidence (Niculescu-Mizil and Caruana 2005; Guo et al. 2017)."""
    if answers.truth_NC is not None:  # of each yes or no
        confidence_N = np.maximum(answers.probability_NC, 1 - answers.probability_NC).ravel()
        is_right_N = ((answers.probability_NC >= 0.5) == answers.truth_NC).ravel()
    else:
        is_right_N = answers.is_right_N
        confidence_N = answers.probability_NC[np.arange(len(answers.ids)), answers.predicted_N]
    bins = reliability_bins(is_right_N, confidence_N)
    fullest = max(bins, key=lambda found: found.n)
    error = expected_calibration_error(is_right_N, confidence_N)
    alt = (
        f"Accuracy by confidence on {len(confidence_N):,} {split} reviews; they are equal on the diagonal. Expected "
        f"calibration error: {error:.4f}. The largest bin holds {fullest.n:,} reviews with a mean confidence of "
        f"{fullest.confidence:.1%} and an accuracy of {fullest.accuracy:.1%}."
    )
    rows = [
        [
            f"{found.low:.0%} to {found.high:.0%}",
            f"{found.n:,}",
            f"{found.confidence:.2%}",
            f"{found.accuracy:.2%}",
            "{:.2%} to {:.2%}".format(*found.accuracy_ci95),
        ]
        for found in bins
    ]
    table = Table(["confidence", "n", "mean confidence", "accuracy", "95 % interval"], rows)
    return Figure("reliability", f"Reliability, {split} reviews", Reliability(bins), alt, table)


def precision_recall_figure(answers: Predictions, split: str) -> Figure | None:
    """Draw precision over recall of the commonest labels, by their probability; None where no label has a row."""
    truth_NC = answers.truth_NC
    if truth_NC is None:
        truth_NC = answers.label_N[:, None] == np.arange(len(answers.labels))
    count_C = truth_NC.sum(axis=0)
    shown = [c for c in np.argsort(-count_C, kind="stable").tolist() if count_C[c]]
    if not shown:
        return None
    lines, rows = list[Line](), list[list[str]]()
    for c in shown:
        recall_N, precision_N = precision_recall_curve(truth_NC[:, c], answers.probability_NC[:, c])
        area = average_precision(truth_NC[:, c], answers.probability_NC[:, c])
        rows.append([answers.labels[c], f"{count_C[c]:,}", decimal(area), percent(count_C[c] / len(truth_NC))])
        if len(lines) < _CURVES:
            places = np.unique(np.linspace(0, len(recall_N) - 1, _CURVE_POINTS).round().astype(np.int64))
            lines.append(Line(answers.labels[c], recall_N[places].tolist(), precision_N[places].tolist()))
    areas = [row[2] for row in rows]
    # The user's labels are in the table only, since a description becomes an attribute of the page.
    alt = (
        f"Precision over recall on {len(truth_NC):,} {split} reviews, of {len(lines)} of {len(answers.labels)} labels. "
        f"The average precision of the labels is from {min(areas)} to {max(areas)}."
    )
    table = Table(["label", "n", "average precision", "by chance"], rows)
    chart = LineChart("recall", "precision", lines, is_share=True)
    return Figure("precision-recall", f"Precision and recall, {split} reviews", chart, alt, table)


def lengths_figure(length_N: NDArray[np.int64], max_tokens: int | None) -> Figure:
    """Draw the tokens per training review; the longest hundredth shares the last bar."""
    last = max(_LENGTH_BINS, int(np.percentile(length_N, 99)))
    width = -(-last // _LENGTH_BINS)  # whole tokens, so that all bars are equally wide
    edges = np.arange(_LENGTH_BINS + 1, dtype=np.int64) * width
    counts, _ = np.histogram(np.minimum(length_N, edges[-1]), edges)
    median, longest = int(np.median(length_N)), int(length_N.max())
    alt = f"Tokens per review in {len(length_N):,} training reviews: median {median:,}, maximum {longest:,}."
    if max_tokens is not None:
        longer = float((length_N > max_tokens).mean())
        share = f"{longer:.1%}" if longer else "None"
        alt += f" {share} of them exceed the model's limit of {max_tokens:,} tokens."
    names = [f"{low:,} to {high - 1:,}" for low, high in itertools.pairwise(edges.tolist())]
    names[-1] = f"{edges[-2]:,} and more"
    table = Table(["tokens", "reviews"], [[name, f"{n:,}"] for name, n in zip(names, counts.tolist(), strict=True)])
    mark = max_tokens if max_tokens is not None and max_tokens <= edges[-1] else None
    limit = "" if mark is None else f"limit: {mark:,} tokens"
    chart = Histogram("tokens", "training reviews", edges.tolist(), counts.tolist(), mark, limit)
    return Figure("lengths", "Length of the training reviews", chart, alt, table)
