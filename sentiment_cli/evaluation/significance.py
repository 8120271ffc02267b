"""Paired significance tests of runs on the same rows.

The p-value speaks of these two models on rows like these. Whether one way to train is better than another is a question
for several seeds of each (Dietterich 1998, section 2).
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.config.loader import differences, load_experiment
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.evaluation.metrics import wilson_interval
from sentiment_cli.inference.predictor import likeliest
from sentiment_cli.layout import wrapped
from sentiment_cli.runs.directory import members_of
from sentiment_cli.runs.files import EXPERIMENT, scores_name
from sentiment_cli.runs.predictions import Predictions, how_to_score, read_predictions
from sentiment_cli.runs.records import read_scores
from sentiment_cli.runs.seals import warn_edited
from sentiment_cli.storage import store

_ALPHA = 0.05
_RESAMPLES = 10_000
_SETTINGS_SHOWN = 10
_IDS_NAMED = 3  # of each kind of row in which test sets differ


class PairedTable(NamedTuple):
    """Of the same rows: how many both runs, only one of them, and neither have right."""

    both_right: int
    only_first: int
    only_other: int
    both_wrong: int


class MarkedRun(NamedTuple):
    """Results of a run on a split: each true label by row id, and whether the prediction is right, in the order of ids.

    `about` is what is kept of its scores there.
    """

    run: Path
    name: str
    label_of: dict[str, str]
    is_right_N: NDArray[np.bool_]
    about: dict[str, Any]


@dataclass(frozen=True)
class Pairing:
    """A run beside the first one; difference is its accuracy less the first's, p_holm allows for all pairings."""

    first: str
    other: str
    table: PairedTable
    difference: float
    difference_ci95: tuple[float, float]
    p: float
    p_holm: float
    settings: list[tuple[str, Any, Any]]
    right_only_in_first: list[str]
    right_only_in_other: list[str]

    @property
    def verdict(self) -> str:
        """A sentence with the better run, the difference and its significance, or that none was shown."""
        low, high = (100 * end for end in self.difference_ci95)
        better, worse = self.other, self.first
        if self.difference < 0:
            better, worse, low, high = worse, better, -high, -low
        sure = f"(95 % interval {low:z.2f} to {high:z.2f}), {_say_p(self.p_holm)}"
        lead = f"{100 * abs(self.difference):.2f} points {sure}"
        if self.p_holm < _ALPHA:
            is_luck = {key for key, _, _ in self.settings} - {"name"} == {"seed"}
            luck = "; only their seeds differ, so luck alone does as much" if is_luck else ""
            return f"{better} is better than {worse} by {lead}{luck}"
        if self.difference == 0:
            return f"no difference shown: {better} and {worse} are equally accurate {sure}"
        return f"no difference shown: {better} is ahead of {worse} by {lead}"

    def to_json(self, n_listed: int) -> dict[str, Any]:
        """Return all of it, with `n_listed` ids at most of the rows that only one has right."""
        return {
            "first": self.first,
            "other": self.other,
            **self.table._asdict(),
            "difference": self.difference,
            "difference_ci95": self.difference_ci95,
            "p": self.p,
            "p_holm": self.p_holm,
            "verdict": self.verdict,
            "settings": [{"key": key, "first": one, "other": two} for key, one, two in self.settings],
            "right_only_in_first": self.right_only_in_first[:n_listed],
            "right_only_in_other": self.right_only_in_other[:n_listed],
        }


@dataclass(frozen=True)
class Comparison:
    """Runs on one split: the number right of n rows for each, and each run but the first beside the first."""

    split: str
    n: int
    right: dict[str, int]
    pairings: list[Pairing]

    def to_json(self, n_listed: int) -> dict[str, Any]:
        """Return accuracies and pairings, with `n_listed` ids at most of the rows that only one has right."""
        runs = [
            {"run": name, "accuracy": right / self.n, "accuracy_ci95": wilson_interval(right, self.n)}
            for name, right in self.right.items()
        ]
        pairings = [pairing.to_json(n_listed) for pairing in self.pairings]
        return {"split": self.split, "n": self.n, "runs": runs, "comparisons": pairings}


def compare_runs(runs: Sequence[Path], split: str) -> Comparison:
    """Compare each run with the first by their predictions in RUN/evaluation/, every difference tested once.

    Raises UsageError where a run does not classify, was not scored on the split or is named twice, DataError where the
    rows or their labels differ.
    """
    twice = [run for i, run in enumerate(runs) if any(run.samefile(earlier) for earlier in runs[:i])]
    if twice:
        raise UsageError(f"{twice[0]} is given twice; a run does not differ from itself", "sentiment runs list")
    for run in runs:
        experiment, hint = load_experiment(run / EXPERIMENT), f"sentiment report {shlex.quote(str(run))}"
        if experiment.task != "classify":
            raise UsageError(f"{run} is of task {experiment.task}, and what is compared is how runs classify", hint)
        if experiment.data.target == "stars":
            raise UsageError(f"{run} gives star ratings, and what is compared is how runs tell labels apart", hint)
    for run in runs:
        warn_edited(run)
    answers = {run: found for run in runs if (found := read_predictions(run, split)) is not None}
    if missing := [run for run in runs if run not in answers]:
        commands = (how_to_score(run, split) for run in missing)
        names = ", ".join(map(str, missing))
        raise UsageError(f"there are no predictions of the {split} reviews from {names}", " && ".join(commands))
    first, *others = [_mark(run, name, split, answers[run]) for run, name in zip(runs, _names(runs), strict=True)]
    for one in (first, *others):
        if one.about.get("trained_on"):
            raise UsageError(
                f"{one.name} was trained on its {split} reviews, too (train.refit), so that its answers there are no "
                "measure of it",
                f"sentiment compare {' '.join(shlex.quote(str(run)) for run in runs)}",
            )
    for other in others:
        _refuse_other_rows(first, other)
    tables = [paired_table(first.is_right_N, other.is_right_N) for other in others]
    p_values = [mcnemar(table) for table in tables]
    ids = list(first.label_of)
    pairings = [
        Pairing(
            first=first.name,
            other=other.name,
            table=table,
            difference=(table.only_other - table.only_first) / len(ids),
            difference_ci95=bootstrap_interval(table),
            p=p,
            p_holm=p_holm,
            settings=_differences(runs[0], other.run),
            right_only_in_first=[ids[i] for i in np.flatnonzero(first.is_right_N & ~other.is_right_N)],
            right_only_in_other=[ids[i] for i in np.flatnonzero(other.is_right_N & ~first.is_right_N)],
        )
        for other, table, p, p_holm in zip(others, tables, p_values, holm(p_values), strict=True)
    ]
    right = {run.name: int(run.is_right_N.sum()) for run in (first, *others)}
    return Comparison(split, len(ids), right, pairings)


def _differences(one: Path, other: Path) -> list[tuple[str, Any, Any]]:
    """Return the settings in which two runs differ; where one is an ensemble, its members and their weights."""
    first, second = members_of(one), members_of(other)
    if first or second:
        return [("members", first or None, second or None)]
    return differences(*(load_experiment(run / EXPERIMENT) for run in (one, other)))


def paired_table(first_N: NDArray[np.bool_], other_N: NDArray[np.bool_]) -> PairedTable:
    """Count rows by which of two runs has them right."""
    both_wrong, only_other, only_first, both_right = np.bincount(2 * first_N + other_N, minlength=4).tolist()
    return PairedTable(both_right, only_first, only_other, both_wrong)


def mcnemar(table: PairedTable) -> float:
    """Return the exact two-sided p-value of no difference: each discordant row is a fair coin's (Dietterich 1998)."""
    n, fewer = table.only_first + table.only_other, min(table.only_first, table.only_other)
    k_K = np.arange(1, fewer + 1)
    # Logarithms of the binomial probabilities of 0, 1, … `fewer` heads, each from the one before; the last is largest.
    log_K1 = np.concatenate([[0.0], np.cumsum(np.log((n - k_K + 1) / k_K))]) - n * np.log(2)
    return min(1.0, float(2 * np.exp(log_K1[-1]) * np.exp(log_K1 - log_K1[-1]).sum()))


def bootstrap_interval(table: PairedTable, *, seed: int = 0, resamples: int = _RESAMPLES) -> tuple[float, float]:
    """Return the 95 % percentile interval of the difference in accuracy, the other's less the first's.

    Rows are resampled in pairs (Efron and Tibshirani 1993, chapter 13). Only the discordant ones move the difference,
    and how many of each kind a resample holds is multinomial, so that counts are drawn instead of rows.
    """
    n = sum(table)
    share = [table.only_first / n, table.only_other / n, (table.both_right + table.both_wrong) / n]
    drawn_R3 = np.random.default_rng(seed).multinomial(n, share, size=resamples)
    low, high = np.quantile((drawn_R3[:, 1] - drawn_R3[:, 0]) / n, [0.025, 0.975]).tolist()
    return low, high


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that keep 5 % for any false claim among all of them (Holm 1979), in the order given."""
    p_P = np.array(p_values)
    order_P = np.argsort(p_P, kind="stable")
    adjusted_P = np.empty_like(p_P)
    adjusted_P[order_P] = np.minimum(1, np.maximum.accumulate(p_P[order_P] * np.arange(len(p_P), 0, -1)))
    found: list[float] = adjusted_P.tolist()
    return found


def print_comparison(comparison: Comparison, n_listed: int) -> None:
    """Print a comparison: accuracies, then verdict, counts and test of each pair."""
    console.result(f"{comparison.split}, {comparison.n:,} reviews")
    width = max(map(len, comparison.right))
    for name, right in comparison.right.items():
        low, high = wilson_interval(right, comparison.n)
        console.result(
            f"  {name:<{width}}  accuracy {right / comparison.n:.2%}   95 % interval {low:.2%} to {high:.2%}"
        )
    for pairing in comparison.pairings:
        console.result("")
        for line in wrapped(pairing.verdict, console.terminal_width(), "  "):
            console.result(line)
        table, first, other = pairing.table, pairing.first, pairing.other
        console.result(
            f"  both right {table.both_right:,}   only {first} {table.only_first:,}   "
            f"only {other} {table.only_other:,}   both wrong {table.both_wrong:,}"
        )
        corrected = f", with Holm's correction {_say_p(pairing.p_holm)}" if len(comparison.pairings) > 1 else ""
        console.result(f"  exact McNemar test: {_say_p(pairing.p)}{corrected}")
        console.result(f"  settings that differ: {len(pairing.settings) or 'none'}")
        for key, one, two in pairing.settings[:_SETTINGS_SHOWN]:
            console.result(f"    {key}: {json.dumps(one)} -> {json.dumps(two)}")
        if len(pairing.settings) > _SETTINGS_SHOWN:
            console.result(f"    … all: {shlex.join(['sentiment', 'config', 'diff', first, other])}")
        for name, ids in ((first, pairing.right_only_in_first), (other, pairing.right_only_in_other)):
            if ids and n_listed:
                more = f" and {len(ids) - n_listed:,} more" if len(ids) > n_listed else ""
                console.result(f"  only {name} has right: {', '.join(map(console.one_line, ids[:n_listed]))}{more}")


def _say_p(p: float) -> str:
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def _names(runs: Sequence[Path]) -> list[str]:
    """Return the runs' names, or their paths where two are called the same."""
    names = [run.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def _mark(run: Path, name: str, split: str, answers: Predictions) -> MarkedRun:
    order = np.argsort(answers.ids, kind="stable")
    label_of = {answers.ids[i]: answers.labels[answers.label_N[i]] for i in order}
    is_right_N = (likeliest(answers.probability_NC) == answers.label_N)[order]
    scores = run / scores_name(split)
    return MarkedRun(
        run, name, label_of, is_right_N, read_scores(scores, how_to_score(run, split)) if store.is_there(scores) else {}
    )


def _refuse_other_rows(first: MarkedRun, other: MarkedRun) -> None:
    """Raise DataError, with the differences, for runs that were scored on other rows or labels."""
    one, two = first.label_of, other.label_of
    texts = {run.about["texts"] for run in (first, other) if "texts" in run.about}
    if one == two and len(texts) < 2:
        return
    said = [
        f"only {name} has {', '.join(only[:_IDS_NAMED])}{', …' if len(only) > _IDS_NAMED else ''} ({len(only):,})"
        for name, only in (
            (first.name, [row_id for row_id in one if row_id not in two]),
            (other.name, [row_id for row_id in two if row_id not in one]),
        )
        if only
    ]
    if relabelled := [row_id for row_id in one if row_id in two and one[row_id] != two[row_id]]:
        labels = f"{one[relabelled[0]]!r} and {two[relabelled[0]]!r}"
        said.append(f"{len(relabelled):,} are labelled otherwise, such as {relabelled[0]}: {labels}")
    if one == two:
        said.append("the rows have the same ids and labels, and other texts")
    raise DataError(
        f"{first.name} and {other.name} were scored on different reviews: {'; '.join(said)}",
        f"sentiment config diff {shlex.quote(str(first.run))} {shlex.quote(str(other.run))}",
    )
