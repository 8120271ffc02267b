"""Behavioural tests on minimal pairs (CheckList): two similar texts with an expected change of the prediction.

minimal_pairs.tsv holds them, with the expectation of the contrast beside its original (Ribeiro et al. 2020, whose tests
of minimum functionality, direction and invariance these are):

    rises, falls            the score of the good labels does
    turns-good, turns-bad   the label does: the original's is on the other side of the middle
    holds                   the label is the same
    stays                   the label is the same, and the score within 0.1 of its value before
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sentiment_cli import console
from sentiment_cli.data.corpus.ratings import LEAST, MOST
from sentiment_cli.errors import UsageError
from sentiment_cli.evaluation.metrics import wilson_interval
from sentiment_cli.inference.predictor import Prediction, Predictor
from sentiment_cli.runs.directory import is_run
from sentiment_cli.runs.ensemble_model import SavedModel, open_model
from sentiment_cli.runs.files import scores_name
from sentiment_cli.runs.seals import write_result
from sentiment_cli.storage import store

_TOLERANCE = 0.1
_SMALLEST_CHANGE = 1e-5  # what else is in a batch may move a score by as much
_FAILURES_SHOWN = 2
_LONGEST_SHOWN = 90
_GOODNESS = {"neg": 0.0, "bad": 0.0, "neu": 0.5, "so-so": 0.5, "fair": 0.5, "mixed": 0.5, "pos": 1.0, "good": 1.0}


class MinimalPair(NamedTuple):
    """Two texts, and the expected change of score or label from the first to the second."""

    group: str
    expected: str
    original: str
    contrast: str


class Outcome(NamedTuple):
    """A model's result on a pair; scores are from 0 (negative) to 1 (positive), `passed` is as expected."""

    pair: MinimalPair
    original_score: float
    contrast_score: float
    original_label: str
    contrast_label: str
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return {**self.pair._asdict(), **{name: value for name, value in self._asdict().items() if name != "pair"}}


class AxisShare(NamedTuple):
    """A number of successes out of n."""

    right: int
    n: int

    @property
    def rate(self) -> float:
        return self.right / self.n

    def __str__(self) -> str:
        low, high = wilson_interval(self.right, self.n)
        return f"{self.rate:>7.2%}   95 % interval {low:.2%} to {high:.2%}"

    def to_json(self, name: str) -> dict[str, Any]:
        """Return the share and its Wilson interval under a name."""
        return {name: self.rate, f"{name}_ci95": wilson_interval(self.right, self.n)}


@dataclass(frozen=True)
class Behaviour:
    """The results of a model on all minimal pairs."""

    outcomes: list[Outcome]

    @property
    def passed(self) -> AxisShare:
        return AxisShare(sum(outcome.passed for outcome in self.outcomes), len(self.outcomes))

    @property
    def constant(self) -> AxisShare:
        """The pass rate of a constant model, as a lower reference."""
        n_same = sum(outcome.pair.expected in ("holds", "stays") for outcome in self.outcomes)
        return AxisShare(n_same, len(self.outcomes))

    def groups(self) -> dict[str, "Behaviour"]:
        """Return the outcomes of each group, in the order of the list."""
        names = dict.fromkeys(outcome.pair.group for outcome in self.outcomes)
        return {name: Behaviour([found for found in self.outcomes if found.pair.group == name]) for name in names}

    def to_json(self) -> dict[str, Any]:
        """Return the pass rate, that of a model without an opinion, those of the groups, and every pair."""
        return {
            **self._rates(),
            "constant_pass_rate": self.constant.rate,
            "groups": {name: group._rates() for name, group in self.groups().items()},
            "pairs": [outcome.to_json() for outcome in self.outcomes],
        }

    def _rates(self) -> dict[str, Any]:
        return {"n": len(self.outcomes), **self.passed.to_json("pass_rate")}


def minimal_pairs() -> list[MinimalPair]:
    """Read our list."""
    lines = Path(__file__).with_name("minimal_pairs.tsv").read_text("utf-8").splitlines()[1:]
    return [MinimalPair(*line.split("\t")) for line in lines]


def evaluate_behaviour(run: Path) -> Behaviour:
    """Try a run on the minimal pairs; keep the outcomes in RUN/evaluation/behaviour.json.

    Raises UsageError where its labels do not say which of them are good and bad.
    """
    model = open_model(run)
    goodness = _goodness_of(model.labels)
    pairs = minimal_pairs()
    answers = predict_pairs(model, [(pair.original, pair.contrast) for pair in pairs])
    behaviour = Behaviour(
        [judge_pair(pair, one, two, goodness) for pair, (one, two) in zip(pairs, answers, strict=True)]
    )
    keep_outcomes(run, "behaviour", behaviour.to_json())
    return behaviour


def keep_outcomes(run: Path, name: str, outcomes: dict[str, Any]) -> None:
    """Write RUN/evaluation/NAME.json; of a model without its run nothing is kept."""
    if is_run(run):
        write_result(run, scores_name(name), store.dump_json({"run": run.name, **outcomes}))


def predict_pairs(model: SavedModel, texts: Sequence[tuple[str, str]]) -> list[tuple[Prediction, Prediction]]:
    """Return a model's predictions for both texts of each pair."""
    answers = Predictor(model).predict([text for pair in texts for text in pair])
    return list(zip(answers[::2], answers[1::2], strict=True))


def judge_pair(pair: MinimalPair, one: Prediction, two: Prediction, goodness: dict[str, float]) -> Outcome:
    """Compare the predictions for a pair with its expectation; goodness is from 0 (negative) to 1 (positive)."""
    before, after = _place_of(one, goodness), _place_of(two, goodness)
    side_before, side_after = goodness[one.label] - 0.5, goodness[two.label] - 0.5
    is_held = one.label == two.label
    passed = {
        "rises": after - before > _SMALLEST_CHANGE,
        "falls": before - after > _SMALLEST_CHANGE,
        "turns-good": side_before < 0 < side_after,
        "turns-bad": side_before > 0 > side_after,
        "holds": is_held,
        "stays": is_held and abs(after - before) <= _TOLERANCE,
    }[pair.expected]
    return Outcome(pair, before, after, one.label, two.label, passed)


def _place_of(said: Prediction, goodness: dict[str, float]) -> float:
    """Return the expected goodness of an answer; of one in stars, its place on their scale."""
    if said.probabilities is None:
        assert said.stars is not None
        return (said.stars - LEAST) / (MOST - LEAST)
    return sum(goodness[label] * p for label, p in said.probabilities.items())


def _goodness_of(labels: tuple[str, ...]) -> dict[str, float]:
    """Return the goodness of each label from 0 to 1: by order for numbers, else by the beginning of its name."""
    if all(label.lstrip("-").isdecimal() for label in labels):
        return {label: i / (len(labels) - 1) for i, label in enumerate(labels)}
    found = [next((g for name, g in _GOODNESS.items() if label.casefold().startswith(name)), None) for label in labels]
    goodness = {label: g for label, g in zip(labels, found, strict=True) if g is not None}
    if len(goodness) < len(labels) or not {0, 1} <= set(goodness.values()):
        raise UsageError(
            f"the labels {', '.join(map(repr, labels))} do not say which is good and which is bad; numbers do, and "
            "names that begin with pos, good, neg or bad",
            "sentiment eval --help",
        )
    return goodness


def print_behaviour(behaviour: Behaviour) -> None:
    """Print pass rates, the worst group first, with some failures."""
    groups = sorted(behaviour.groups().items(), key=lambda item: item[1].passed.rate)
    width = max(len("all pairs"), *(len(name) for name, _ in groups))
    for name, found in (("all pairs", behaviour), *groups):
        console.result(f"{name:<{width}}  n {found.passed.n:>3}  as expected {found.passed}")
        if found is behaviour:
            console.result(f"  a model that always says the same: {behaviour.constant.rate:.2%}")
            continue
        for outcome in [outcome for outcome in found.outcomes if not outcome.passed][:_FAILURES_SHOWN]:
            console.result(
                f"  {outcome.original_score:.3f} -> {outcome.contrast_score:.3f}, expected: {outcome.pair.expected}   "
                f"{shorten(outcome.pair.original)}  ->  {shorten(outcome.pair.contrast)}"
            )


def shorten(text: str) -> str:
    """Return a text as one line, its end left out where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}…"
