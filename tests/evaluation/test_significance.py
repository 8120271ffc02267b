import itertools
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sentiment_cli.config.loader import experiment_yaml
from sentiment_cli.config.schema import Experiment
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.evaluation.significance import (
    PairedTable,
    bootstrap_interval,
    compare_runs,
    holm,
    mcnemar,
    paired_table,
    print_comparison,
)
from sentiment_cli.storage import store

Row = tuple[str, str, float]  # id, true label, probability of pos


@pytest.fixture
def make_run(tmp_path: Path, experiment: Callable[..., Experiment]) -> Callable[..., Path]:
    """Write what a run holds after `eval`, without a model."""

    def make(name: str, rows: list[Row], *settings: str, labels: tuple[str, str] = ("neg", "pos")) -> Path:
        run = tmp_path / name
        (run / "evaluation").mkdir(parents=True)
        (run / "experiment.yaml").write_bytes(experiment_yaml(experiment(*settings)))
        lines = []
        for row_id, label, p in rows:
            of = {"neg": 1 - p, "pos": p}
            lines.append(json.dumps({"id": row_id, "label": label, "probabilities": {k: of[k] for k in labels}}) + "\n")
        (run / "evaluation" / "test-predictions.jsonl").write_text("".join(lines))
        return run

    return make


@pytest.mark.parametrize(
    ("only_first", "only_other", "p"),
    [
        (0, 0, Fraction(1)),
        (0, 5, Fraction(2, 32)),
        (9, 1, Fraction(2 * (1 + 10), 1024)),
        (2, 8, Fraction(2 * (1 + 10 + 45), 1024)),
        (5, 5, Fraction(1)),
        (1, 0, Fraction(1)),
    ],
)
def test_mcnemar_by_hand(only_first: int, only_other: int, p: Fraction) -> None:
    assert mcnemar(PairedTable(70, only_first, only_other, 20)) == pytest.approx(float(p), rel=1e-12)


@given(st.integers(0, 450), st.integers(0, 450))  # scipy gives 0 below 1e-289
def test_mcnemar_is_scipys_exact_binomial_test(only_first: int, only_other: int) -> None:
    n = only_first + only_other
    scipys = stats.binomtest(only_first, n).pvalue if n else 1
    assert mcnemar(PairedTable(1, only_first, only_other, 1)) == pytest.approx(scipys, rel=1e-9, abs=0)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemar_is_the_exact_fraction(only_first: int, only_other: int) -> None:
    n, fewer = only_first + only_other, min(only_first, only_other)
    tail = term = 1
    for k in range(fewer):
        term = term * (n - k) // (k + 1)
        tail += term
    exact = float(min(Fraction(1), Fraction(2 * tail, 2**n)))
    assert mcnemar(PairedTable(1, only_first, only_other, 1)) == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_a_p_value_below_the_smallest_float_is_0() -> None:
    assert mcnemar(PairedTable(0, 25_000, 0, 0)) == 0


def test_the_table_counts_who_is_right() -> None:
    first, other = np.array(list(itertools.product((True, False), repeat=2))).T
    counts = [4, 3, 2, 1]
    assert paired_table(np.repeat(first, counts), np.repeat(other, counts)) == PairedTable(4, 3, 2, 1)


def test_the_interval_is_that_of_resampled_rows() -> None:
    table = PairedTable(300, 60, 90, 50)
    difference_N = np.repeat([0, -1, 1, 0], table)
    draw = np.random.default_rng(1)
    resampled = difference_N[draw.integers(0, 500, (10_000, 500))].mean(axis=1)
    assert bootstrap_interval(table) == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.003)
    low, high = bootstrap_interval(PairedTable(300, 90, 60, 50))
    assert (-high, -low) == pytest.approx(bootstrap_interval(table), abs=0.003)  # the other way round
    assert bootstrap_interval(table) == bootstrap_interval(table)
    assert bootstrap_interval(PairedTable(400, 0, 0, 100)) == (0, 0)


@pytest.mark.parametrize("share", [(0.7, 0.1, 0.1, 0.1), (0.8, 0.03, 0.08, 0.09)])
def test_the_interval_covers_the_truth_as_often_as_it_says(share: tuple[float, ...]) -> None:
    truth = share[2] - share[1]
    tables = np.random.default_rng(0).multinomial(1000, share, size=1000)
    covered = 0
    for seed, row in enumerate(tables.tolist()):
        low, high = bootstrap_interval(PairedTable(*row), seed=seed, resamples=1000)
        covered += low <= truth <= high
    assert 0.93 <= covered / 1000 <= 0.97


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2]
    assert holm([0.9, 0.8]) == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_rejects_what_its_steps_reject(p_values: list[float]) -> None:
    """Holm's own words: from the smallest on, claim while p <= alpha / (claims left to make)."""
    alpha = 0.05
    claimed: set[int] = set()
    for step, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[i] * (len(p_values) - step) > alpha:
            break
        claimed.add(i)
    assert {i for i, p in enumerate(holm(p_values)) if p <= alpha} == claimed


def rows(n_right: int, *, shift: int = 0, n: int = 100) -> list[Row]:
    """Of n rows of both labels, those from `shift` on that are right."""

    def row(i: int) -> Row:
        label, is_right = ("neg", "pos")[i % 2], shift <= i < shift + n_right
        return f"r{i:03}", label, 0.9 if (label == "pos") == is_right else 0.1

    return [row(i) for i in range(n)]


def test_a_comparison_says_who_is_better_by_how_much_and_why(
    make_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    weak, strong = make_run("weak", rows(60)), make_run("strong", rows(80), "model.encoder.width=5")
    seed = make_run("seed", rows(58, shift=1), "seed=1")
    found = compare_runs([weak, strong, seed], "test")
    first, second = found.pairings
    assert first.table == PairedTable(60, 0, 20, 20)
    assert (first.difference, first.p) == (pytest.approx(0.2), pytest.approx(2 / 2**20))
    assert first.p_holm == 2 * first.p
    assert first.verdict.startswith("strong is better than weak by 20.00 points (95 % interval 1")
    assert first.verdict.endswith("), p < 0.0001")
    assert second.table == PairedTable(58, 2, 0, 40)
    assert second.p == second.p_holm == 0.5
    assert second.verdict == (
        "no difference shown: weak is ahead of seed by 2.00 points (95 % interval 0.00 to 5.00), p = 0.5"
    )
    assert second.settings == [("seed", 0, 1)]
    assert second.right_only_in_first == ["r000", "r059"]
    print_comparison(found, 1)
    printed = capsys.readouterr().out
    assert "  strong  accuracy 80.00%   95 % interval 71.12% to 86.66%" in printed
    assert "  both right 60, only weak 0, only strong 20, both wrong 20" in printed
    assert "  exact McNemar test: p < 0.0001, with Holm's correction p < 0.0001" in printed
    assert "  settings that differ: 1\n    seed: 0 -> 1\n" in printed
    assert "  only weak has right: r000 and 1 more" in printed
    reverse = compare_runs([strong, weak], "test").pairings[0]
    assert reverse.difference == -first.difference
    assert reverse.verdict.startswith("strong is better than weak by 20.00 points (95 % interval 1")


def test_seeds_that_differ_say_what_luck_does(make_run: Callable[..., Path]) -> None:
    """The test is of two trained models; that they come from one experiment has to be said beside it."""
    (pairing,) = compare_runs([make_run("one", rows(60)), make_run("two", rows(80), "seed=1")], "test").pairings
    assert pairing.verdict.endswith("), p < 0.0001; only their seeds differ, so luck alone does as much")


def test_holms_correction_can_take_a_verdict_back(make_run: Callable[..., Path]) -> None:
    first, better = make_run("first", rows(60)), make_run("better", rows(66))
    (alone,) = compare_runs([first, better], "test").pairings
    assert alone.p_holm == alone.p == pytest.approx(2 / 2**6)
    assert alone.verdict.startswith("better is better than first")
    others = [make_run(f"other{i}", rows(60)) for i in range(2)]
    among, same, _ = compare_runs([first, better, *others], "test").pairings
    assert among.p_holm == 3 * alone.p
    assert among.verdict.startswith("no difference shown: better is ahead of first by 6.00 points")
    assert same.verdict == (
        "no difference shown: other0 and first are equally accurate (95 % interval 0.00 to 0.00), p = 1"
    )


def test_neither_the_order_of_rows_nor_that_of_labels_matters(make_run: Callable[..., Path]) -> None:
    one = make_run("one", rows(60))
    other = make_run("other", rows(60)[::-1], labels=("pos", "neg"))
    assert compare_runs([one, other], "test").pairings[0].table == PairedTable(60, 0, 0, 40)
    ours, theirs = (run / "evaluation" / "test-predictions.jsonl" for run in (one, other))
    theirs.write_text("".join(ours.read_text().splitlines(True)[:50] + theirs.read_text().splitlines(True)[:50]))
    assert compare_runs([one, other], "test").pairings[0].table == PairedTable(
        60, 0, 0, 40
    )  # nor that of a row's labels


def test_names_are_paths_where_runs_are_called_the_same(make_run: Callable[..., Path]) -> None:
    one, other = make_run("a/run", rows(60)), make_run("b/run", rows(60))
    assert list(compare_runs([one, other], "test").right) == [str(one), str(other)]


def test_other_test_sets_are_refused_with_what_differs(make_run: Callable[..., Path]) -> None:
    one, fewer = make_run("one", rows(60)), make_run("fewer", rows(60)[1:])
    with pytest.raises(DataError, match=r"one and fewer were scored on different reviews: only one has r000 \(1\)$"):
        compare_runs([one, fewer], "test")
    other = make_run("other", [("x" + row_id, label, p) for row_id, label, p in rows(60)])
    said = r"only one has r000, r001, r002, … \(100\); only other has xr000, xr001, xr002, … \(100\)"
    with pytest.raises(DataError, match=said) as refused:
        compare_runs([one, other], "test")
    assert refused.value.hint == f"sentiment config diff {one} {other}"
    relabelled = make_run("relabelled", [("r000", "pos", 0.9), *rows(60)[1:]])
    with pytest.raises(DataError, match=r"1 are labelled otherwise, such as r000: 'neg' and 'pos'"):
        compare_runs([one, relabelled], "test")


def test_rows_with_the_same_numbers_and_labels_and_other_texts_are_refused(make_run: Callable[..., Path]) -> None:
    one, other = make_run("one", rows(60)), make_run("other", rows(60))
    for run, texts in ((one, "aa"), (other, "bb")):
        store.write_file(run / "evaluation" / "test.json", store.dump_json({"texts": texts}))
    with pytest.raises(DataError, match="on different reviews: the rows have the same ids and labels, and other"):
        compare_runs([one, other], "test")
    store.write_file(other / "evaluation" / "test.json", store.dump_json({"texts": "aa"}))
    assert compare_runs([one, other], "test").n == 100


def test_answers_on_rows_that_a_model_was_trained_on_are_not_compared(make_run: Callable[..., Path]) -> None:
    one, other = make_run("one", rows(60)), make_run("other", rows(60))
    store.write_file(other / "evaluation" / "test.json", store.dump_json({"trained_on": True}))
    with pytest.raises(UsageError, match=r"other was trained on its test reviews, too \(train.refit\)") as caught:
        compare_runs([one, other], "test")
    assert caught.value.hint == f"sentiment compare {one} {other}"


def test_star_ratings_are_not_compared(make_run: Callable[..., Path]) -> None:
    one, other = make_run("one", rows(60)), make_run("other", rows(60), "data.target=stars")
    with pytest.raises(UsageError, match="other gives star ratings, and what is compared is how runs tell labels"):
        compare_runs([one, other], "test")


def test_runs_that_were_not_scored_name_the_commands(make_run: Callable[..., Path]) -> None:
    runs = [make_run("one", rows(60)), make_run("other", rows(60))]
    with pytest.raises(UsageError, match=r"no predictions of the valid reviews from .*one, .*other") as refused:
        compare_runs(runs, "valid")
    assert refused.value.hint == " && ".join(f"sentiment eval {run} --split valid" for run in runs)


@pytest.mark.parametrize("damage", ["", "{", "5\n", '{"id": "a", "label": "pos"}\n'])
def test_damaged_predictions_name_the_command(make_run: Callable[..., Path], damage: str) -> None:
    one, other = make_run("one", rows(60)), make_run("other", rows(60))
    (other / "evaluation" / "test-predictions.jsonl").write_text(damage)
    with pytest.raises(DataError, match="does not hold a probability per label and row") as refused:
        compare_runs([one, other], "test")
    assert refused.value.hint == f"sentiment eval {other} --split test"


def test_a_run_is_not_compared_with_itself(make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    one = make_run("one", rows(60))
    monkeypatch.chdir(one.parent)
    with pytest.raises(UsageError, match="one is given twice"):
        compare_runs([one, Path("one")], "test")
