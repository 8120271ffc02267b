"""What `sentiment eval` shows on a terminal: headline figures, confusion, the weakest parts, and what to type next."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment_cli import console
from sentiment_cli.layout import Column, counted, table, wrapped
from sentiment_cli.runs.metric_table import leading

if TYPE_CHECKING:
    from sentiment_cli.evaluation.evaluate import Evaluation
    from sentiment_cli.evaluation.metrics import Scores
    from sentiment_cli.evaluation.slices import Slice

_MOST_WEAK, _FEWEST_ROWS = 4, 50
_MOST_CONFUSION = 6  # labels; of more the table of labels says enough
_PHRASES = {
    "stars": "{}-star reviews",
    "length": "{} tokens long",
    "unknown": "{} unknown words",
    "group": "group {}",
}
_YES_NO = {
    ("truncated", "yes"): "truncated",
    ("truncated", "no"): "not truncated",
    ("negation", "yes"): "with a negation",
    ("negation", "no"): "without a negation",
}


def score_lines(run: Path, found: "Evaluation", width: int) -> Iterator[str]:
    """Yield the lines of an evaluation, none wider than the terminal; slices and reliability are asked for apart."""
    scores = found.scores
    opened = "" if found.openings is None else f" (opened {_times(found.openings)})"
    yield from wrapped(f"{run.name} on {scores.n:,} {found.split} rows{opened}", width)
    yield ""
    low, high = scores.accuracy_ci95
    interval = f"95 % interval {_percent(low)} to {_percent(high)}"
    values = scores.to_json()
    *first, accuracy = leading(values)
    if first:
        yield "  " + "   ".join(f"{metric.label} {metric.write(values)}" for metric in first)
    yield f"  {accuracy.label}  {_percent(scores.accuracy)} %   {interval}"
    figures = {"Hamming loss": scores.hamming, "within one rank": scores.within_one}
    figures |= {"F1": scores.f1, "AUC": scores.auc, "log loss": scores.loss, "calibration error": scores.ece}
    figures |= {"MAE": scores.mae, "RMSE": scores.rmse}
    line = "   ".join(f"{name} {value:.3f}" for name, value in figures.items() if value is not None)
    yield from (f"  {part}" for part in wrapped(line, width - 2))
    if scores.folds is not None:
        from sentiment_cli.evaluation.printing import cross_validated_in

        yield from (f"  {part}" for part in wrapped(cross_validated_in(scores), width - 2))
    yield from (f"  {part}" for said in _notes(found) for part in wrapped(said, width - 2, "  "))
    yield ""
    yield from (f"  {line}".rstrip() for line in _labels(scores, width - 2))
    weak = _weakest(found.slices, scores.accuracy)
    if weak:
        yield ""
        columns = (Column("Weakest parts"), Column("accuracy", is_right=True), Column("n", is_right=True))
        rows = [(_phrase(one), f"{_percent(one.accuracy)} %", f"{one.n:,}") for one in weak]
        yield from table(columns, rows, width)
    if found.split in ("test", "valid", "train") and found.openings is not None:
        yield ""
        name = shlex.quote(run.name)
        yield f"More:  sentiment report {name}"
        yield f"       sentiment eval {name} --slice length"


def _notes(found: "Evaluation") -> Iterator[str]:
    if found.unseen is not None:
        low, high = found.unseen.accuracy_ci95
        yield (
            f"without {counted(found.n_known or 0, 'row')} also in the training data: "
            f"{_percent(found.unseen.accuracy)} % ({_percent(low)} to {_percent(high)}), n {found.unseen.n:,}"
        )
    elif found.n_known:
        yield f"all {found.scores.n:,} rows are in the training data: the score says nothing about new texts"
    if absent := found.absent():
        yield f"no row is labelled {', '.join(map(console.one_line, absent))}: the macro mean leaves it out"


def _labels(scores: "Scores", width: int) -> list[str]:
    """Return the confusion matrix beside the recall, or with many labels precision and recall of each."""
    labels = [console.one_line(label) for label in scores.f1_per_label]
    recalls = [f"{_percent(value)} %" for value in scores.recall_per_label.values()]
    if len(labels) <= _MOST_CONFUSION and scores.rows_per_label is None:
        columns = [Column(""), *(Column(f"predicted {label}", is_right=True) for label in labels)]
        rows = [
            (f"truly {label}", *(f"{count:,}" for count in counts), recall)
            for label, counts, recall in zip(labels, scores.confusion, recalls, strict=True)
        ]
        lines = table([*columns, Column("recall", is_right=True)], rows, None)
        if max(map(len, lines)) <= width:
            return lines
    rows = [
        (label, f"{_percent(precision)} %", recall, f"{f1:.3f}", f"{n:,}")
        for label, precision, recall, f1, n in zip(
            labels,
            scores.precision_per_label.values(),
            recalls,
            scores.f1_per_label.values(),
            scores.counts(),
            strict=True,
        )
    ]
    figures = (Column(title, is_right=True) for title in ("precision", "recall", "F1", "n"))
    return table([Column("label"), *figures], rows, width)


def _weakest(slices: "Sequence[Slice]", accuracy: float) -> "list[Slice]":
    """Return the parts whose accuracy is lower than that of all rows beyond chance, the worst first."""
    found = [
        one for one in slices if one.accuracy_ci95[1] < accuracy and one.n >= _FEWEST_ROWS and one.slice != "movie"
    ]
    return sorted(found, key=lambda one: one.accuracy)[:_MOST_WEAK]


def _phrase(one: "Slice") -> str:
    value = console.one_line(one.value)
    return _YES_NO.get((one.slice, value)) or _PHRASES.get(one.slice, one.slice + ": {}").format(value)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"
