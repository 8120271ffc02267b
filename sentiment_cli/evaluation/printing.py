"""Scores of an evaluation as plain text where the output is no terminal, and those of an ensemble."""

import shutil
from collections.abc import Sequence

from sentiment_cli import console
from sentiment_cli.evaluation.calibration import print_reliability
from sentiment_cli.evaluation.ensembling import Ensembled
from sentiment_cli.evaluation.evaluate import Evaluation
from sentiment_cli.evaluation.metrics import Scores
from sentiment_cli.evaluation.slices import print_slices
from sentiment_cli.evaluation.stacking import FOLDS
from sentiment_cli.runs.metric_table import METRICS, leading


def print_scores(evaluation: Evaluation, asked: Sequence[str] = (), *, with_reliability: bool = False) -> None:
    """Print scores for a reader, accuracy first; of slices the worst few, or more of those asked for."""
    scores, unseen, calibration = evaluation.scores, evaluation.unseen, evaluation.calibration
    low, high = scores.accuracy_ci95
    values = scores.to_json()
    *first, accuracy = leading(values)
    if first:
        console.result("   ".join(f"{metric.label} {metric.write(values)}" for metric in first))
    console.result(f"{accuracy.label} {scores.accuracy:.2%}   95 % interval {low:.2%} to {high:.2%}   n {scores.n:,}")
    if scores.folds is not None:
        console.result(f"  {cross_validated_in(scores)}")
    if unseen is not None:
        low, high = unseen.accuracy_ci95
        console.result(
            f"  without the {evaluation.n_known:,} that were trained on: "
            f"{unseen.accuracy:.2%} ({low:.2%} to {high:.2%}), n {unseen.n:,}"
        )
    elif evaluation.n_known:
        console.result(f"  all {scores.n:,} were trained on: this says nothing of new texts")
    if absent := evaluation.absent():
        what = "the macro means leave it out, and there is no AUC of all labels"
        console.warn(f"no {evaluation.split} row is labelled {', '.join(map(repr, absent))}: {what}")
    if evaluation.openings is not None:
        times = "once" if evaluation.openings == 1 else f"{evaluation.openings:,} times"
        console.result(f"  test opened {times} for this run")
    for shown, unit in (("stars", " stars"), ("line", "")):
        written = [(metric.label, metric.write(values)) for metric in METRICS.values() if metric.shown == shown]
        if line := "   ".join(f"{label} {value}{unit}" for label, value in written if value):
            console.result(line)
    if calibration is not None and calibration.temperature != 1:
        before = f"loss {calibration.loss_before:.4f}   ECE {calibration.ece_before:.4f}"
        console.result(f"  before calibration, at temperature 1 instead of {calibration.temperature:.3f}: {before}")
    _print_labels(scores)
    _print_confusion(scores)
    if with_reliability and evaluation.reliability:
        print_reliability(evaluation.reliability)
    print_slices(evaluation.slices, asked)


def cross_validated_in(scores: Scores) -> str:
    """Return a sentence on where cross-validated scores come from."""
    return (
        f"cross-validated in {scores.folds} folds, standard error {scores.accuracy_se:.2%}: "
        "each row is scored by a model of the other folds"
    )


def _print_labels(scores: Scores) -> None:
    labels = tuple(scores.f1_per_label)
    width = max(len("all, macro"), *(len(console.one_line(label)) for label in labels))
    console.result(f"{'label':<{width}}  precision  recall      F1        n")
    for label, n in zip(labels, scores.counts(), strict=True):
        precision, recall = scores.precision_per_label[label], scores.recall_per_label[label]
        f1 = scores.f1_per_label[label]
        console.result(f"{console.one_line(label):<{width}}  {precision:>9.4f}  {recall:.4f}  {f1:.4f}  {n:>7,}")
    console.result(
        f"{'all, macro':<{width}}  {scores.precision:>9.4f}  {scores.recall:.4f}  {scores.f1:.4f}  {scores.n:>7,}"
    )


def _print_confusion(scores: Scores) -> None:
    """Print the confusion matrix, as many columns at a time as the terminal is wide enough for."""
    if scores.rows_per_label is not None:  # several labels a row are not confused one for one
        return
    labels, corner = tuple(map(console.one_line, scores.f1_per_label)), "truth \\ predicted"
    width = max(8, *(len(label) + 2 for label in labels))
    margin = max(len(corner), width)
    most = max(1, (shutil.get_terminal_size().columns - margin) // width)
    for first in range(0, len(labels), most):
        console.result(f"{corner:>{margin}}" + "".join(f"{label:>{width}}" for label in labels[first : first + most]))
        for label, row in zip(labels, scores.confusion, strict=True):
            console.result(f"{label:>{margin}}" + "".join(f"{count:>{width}}" for count in row[first : first + most]))


def print_ensemble(made: Ensembled) -> None:
    """Print each member's weight and scores, and the ensemble's, to stderr, and the run's directory."""
    width = max(len("ensemble"), *map(len, made.weights))
    if made.members:
        n = next(iter(made.members.values())).n
        console.say(f"{'':<{width}}  weight  accuracy    loss     ECE   on {n:,} validation reviews")
    for name, weight in made.weights.items():
        console.say(f"{name:<{width}}  {weight:>6.3f}" + _columns(made.members.get(name)))
    if made.valid is not None:
        how = f"of each of {FOLDS} folds, by weights and temperature of the others"
        console.say(f"{'ensemble':<{width}}  {'':>6}{_columns(made.valid)}   {how}")
    console.result(str(made.directory))


def _columns(scores: Scores | None) -> str:
    return "" if scores is None else f"  {scores.accuracy:>8.2%}  {scores.loss:.4f}  {scores.ece:.4f}"
