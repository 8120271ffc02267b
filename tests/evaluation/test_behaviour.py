import json
from collections import Counter
from pathlib import Path

import pytest

from sentiment_cli.errors import UsageError
from sentiment_cli.evaluation import behaviour as behaviour_module
from sentiment_cli.evaluation.behaviour import (
    Behaviour,
    MinimalPair,
    evaluate_behaviour,
    judge_pair,
    minimal_pairs,
    print_behaviour,
)
from sentiment_cli.inference.predictor import Prediction
from sentiment_cli.runs.directory import describe_run

GROUPS = """plain words|negation|double negation|correction|intensifier|downtoner|but|although|expectation|sarcasm
|comparative|name|number|place|typo|casing|punctuation|line break|addition""".replace("\n", "").split("|")
GOODNESS = {"neg": 0.0, "pos": 1.0}


def said(p: float, labels: tuple[str, ...] = ("neg", "pos")) -> Prediction:
    label = labels[-1] if p >= 0.5 else labels[0]
    return Prediction("", label, max(p, 1 - p), {labels[0]: 1 - p, labels[-1]: p}, 1, 0, False, False)


def test_the_list_is_large_and_each_pair_differs_once() -> None:
    pairs = minimal_pairs()
    assert len(pairs) >= 150
    counts = Counter(pair.group for pair in pairs)
    assert list(counts) == GROUPS
    assert min(counts.values()) >= 8
    assert {pair.expected for pair in pairs} == {"rises", "falls", "turns-good", "turns-bad", "holds", "stays"}
    assert len({(pair.original, pair.contrast) for pair in pairs}) == len(pairs)
    assert all(pair.original != pair.contrast for pair in pairs)
    assert all(text == text.strip() != "" for pair in pairs for text in pair)


def test_a_bag_of_words_cannot_pass_what_word_order_decides() -> None:
    """Some pairs are the same words in another order, so that only a model that reads in order tells them apart."""

    def bag(text: str) -> Counter[str]:
        return Counter("".join(c if c.isalpha() or c.isspace() else " " for c in text.lower()).split())

    ordered = [pair.group for pair in minimal_pairs() if bag(pair.original) == bag(pair.contrast)]
    turning = [pair for pair in minimal_pairs() if pair.expected.startswith("turns")]
    assert {"correction", "but", "although", "expectation"} <= set(ordered)
    assert sum(bag(pair.original) == bag(pair.contrast) for pair in turning) >= 25


def test_turns_in_both_directions_weigh_the_same() -> None:
    """So that neither label pays as an answer to everything."""
    counts = Counter(pair.expected for pair in minimal_pairs())
    assert counts["turns-good"] == counts["turns-bad"]


@pytest.mark.parametrize(
    ("expected", "before", "after", "passed"),
    [
        ("rises", 0.6, 0.7, True),
        ("rises", 0.6, 0.600001, False),  # no more than another batch may do
        ("rises", 0.6, 0.5, False),
        ("falls", 0.6, 0.5, True),
        ("falls", 0.6, 0.599999, False),
        ("falls", 0.2, 0.3, False),
        ("turns-good", 0.4, 0.6, True),
        ("turns-good", 0.6, 0.4, False),  # a turn, and the wrong one
        ("turns-good", 0.6, 0.9, False),
        ("turns-bad", 0.6, 0.4, True),
        ("turns-bad", 0.4, 0.1, False),
        ("holds", 0.6, 0.99, True),
        ("holds", 0.49, 0.51, False),
        ("stays", 0.6, 0.69, True),
        ("stays", 0.6, 0.71, False),
        ("stays", 0.52, 0.48, False),
    ],
)
def test_what_is_expected(expected: str, before: float, after: float, passed: bool) -> None:
    outcome = judge_pair(MinimalPair("g", expected, "a", "b"), said(before), said(after), GOODNESS)
    assert outcome.passed is passed
    assert (outcome.original_score, outcome.contrast_score) == pytest.approx((before, after))


def test_a_model_that_always_says_the_same_passes_no_more_than_is_said() -> None:
    same = said(0.7)
    tried = Behaviour([judge_pair(pair, same, same, GOODNESS) for pair in minimal_pairs()])
    assert tried.passed == tried.constant
    assert 0.25 < tried.constant.rate < 0.5
    assert tried.groups()["negation"].passed.right == 0


@pytest.fixture
def four_pairs(monkeypatch: pytest.MonkeyPatch) -> list[MinimalPair]:
    pairs = [
        MinimalPair("words", "turns-bad", "good", "bad"),
        MinimalPair("words", "falls", "so so", "bad"),
        MinimalPair("order", "turns-good", "bad good", "good bad"),
        MinimalPair("order", "stays", "good unheard", "good \x1b[2J" + "of" * 99),
    ]
    monkeypatch.setattr(behaviour_module, "minimal_pairs", lambda: pairs)
    return pairs


@pytest.mark.usefixtures("four_pairs")
def test_a_run_is_tried_and_the_outcomes_are_kept(three_labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its labels are so-so, good and bad, in this order, which is not the order of goodness."""
    tried = evaluate_behaviour(three_labels)
    assert [outcome.passed for outcome in tried.outcomes] == [True, True, False, True]
    first, second, *_ = tried.outcomes
    assert first.original_score > 0.9
    assert second.original_score == pytest.approx(0.5, abs=0.05)
    assert first.contrast_score < 0.1
    kept = json.loads((three_labels / "evaluation" / "behaviour.json").read_text())
    assert kept.keys() == {"run", "n", "pass_rate", "pass_rate_ci95", "constant_pass_rate", "groups", "pairs"}
    assert (kept["n"], kept["pass_rate"], kept["constant_pass_rate"]) == (4, 0.75, 0.25)
    assert kept["groups"]["order"]["pass_rate"] == 0.5
    keys = "group expected original contrast original_score contrast_score original_label contrast_label passed"
    assert list(kept["pairs"][0]) == keys.split()
    print_behaviour(tried)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("all pairs  n   4  as expected  75.00%   95 % interval")
    assert lines[1] == "  a model that always says the same: 25.00%"
    assert lines[2].startswith("order      n   2  as expected  50.00%")  # the worst comes first
    assert lines[3].endswith("expected: turns-good   bad good  ->  good bad")
    assert lines[4].startswith("words      n   2  as expected 100.00%")
    assert len(lines) == 5


@pytest.mark.usefixtures("four_pairs")
def test_a_run_that_was_tried_can_be_shown(three_labels: Path) -> None:
    evaluate_behaviour(three_labels)
    assert describe_run(three_labels) == [f"run: {three_labels}", "state: unfinished"]


@pytest.mark.parametrize(
    ("labels", "goodness"),
    [
        (("neg", "pos"), [0, 1]),
        (("Negative", "Neutral", "Positive"), [0, 0.5, 1]),
        (("bad", "fair", "good"), [0, 0.5, 1]),
        (("0", "1"), [0, 1]),
        (("1", "2", "3", "4", "5"), [0, 0.25, 0.5, 0.75, 1]),
        (("-1", "0", "1"), [0, 0.5, 1]),
    ],
)
def test_labels_tell_which_is_good(labels: tuple[str, ...], goodness: list[float]) -> None:
    assert list(behaviour_module._goodness_of(labels).values()) == goodness


@pytest.mark.parametrize("labels", [("sports", "news"), ("good", "pos"), ("pos", "neg", "spam")])
def test_labels_that_do_not_tell_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=f"'{labels[0]}', '{labels[1]}'.* do not say which is good") as refused:
        behaviour_module._goodness_of(labels)
    assert refused.value.hint == "sentiment eval --help"
