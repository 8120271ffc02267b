import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_cli.config.schema import Data, Text
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.evaluation.evaluate import evaluate, evaluate_data
from sentiment_cli.evaluation.metrics import wilson_interval
from sentiment_cli.evaluation.slices import (
    BUILT_IN,
    Partition,
    by_column,
    by_tenths,
    by_value,
    partition_rows,
    print_slices,
    slice_scores,
)

WORDS = Vocabulary(("<pad>", "<unk>", "good", "not", "Don’t", "knot", "never,"), 1)


def packed(rows: list[list[int]], stars: list[int] | None = None, groups: list[int] | None = None) -> Packed:
    n = len(rows)
    return Packed(
        np.array([i for row in rows for i in row], dtype=np.int32),
        np.cumsum([0, *map(len, rows)]),
        np.zeros(n, dtype=np.int64),
        np.array(stars or [0] * n),
        np.array(groups or [-1] * n),
        np.zeros(n, dtype=bool),
    )


def value_of(partition: Partition) -> list[str]:
    return [partition.values[place] for place in partition.place_N.tolist()]


def check(partition: Partition, n: int) -> None:
    """Each row has one value, and each value a row."""
    assert partition.place_N.shape == (n,)
    assert set(partition.place_N.tolist()) == set(range(len(partition.values)))
    is_right_N = np.arange(n) % 3 == 0
    found = slice_scores(partition, is_right_N)
    assert sum(one.n for one in found) == n
    assert sum(round(one.n * one.accuracy) for one in found) == is_right_N.sum()
    assert [one.accuracy for one in found] == sorted(one.accuracy for one in found)
    for one in found:
        assert one.accuracy_ci95 == wilson_interval(round(one.n * one.accuracy), one.n)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 6), max_size=30), st.sampled_from([0, 1, 4, 7, 10]), st.integers(-1, 30)),
        min_size=1,
        max_size=80,
    ),
    st.booleans(),
)
def test_every_slice_partitions_the_split(rows: list[tuple[list[int], int, int]], is_named: bool) -> None:
    ids, stars, groups = map(list, zip(*rows, strict=True))
    names = [f"tt{i}" for i in range(31)] if is_named else []
    found = partition_rows(packed(ids, stars, groups), names, WORDS, Text(max_tokens=9))
    assert len({partition.name for partition in found}) == len(found)
    assert {partition.name for partition in found} <= set(BUILT_IN)
    for partition in found:
        assert len(partition.values) > 1
        check(partition, len(rows))


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 40), st.text(max_size=3), st.floats()), min_size=1, max_size=99))
def test_every_column_partitions_the_rows(values: list) -> None:
    check(by_column("x", values), len(values))


def test_what_rows_differ_in() -> None:
    rows = [[2] * 5, [2, 3, 2], [4] + [2] * 60, [5, 2], [6] * 2 + [1] * 2, [1, 2, 2], []]
    found = {
        partition.name: value_of(partition)
        for partition in partition_rows(
            packed(rows, [1, 2, 2, 9, 9, 9, 0], [0, 0, 1, 1, 1, 1, -1]), ["tt1", "tt2"], WORDS, Text(max_tokens=60)
        )
    }
    assert found["stars"] == ["1", "2", "2", "9", "9", "9", "none"]
    assert found["truncated"] == ["no", "no", "yes", "no", "no", "no", "no"]
    assert found["negation"] == ["no", "yes", "yes", "no", "yes", "no", "no"]  # a knot is none
    assert found["unknown"] == ["none", "none", "none", "none", "over 10 %", "over 10 %", "none"]
    assert found["movie"] == ["tt1", "tt1", "tt2", "tt2", "tt2", "tt2", "none"]


def test_negations_of_byte_pairs_begin_a_word() -> None:
    pieces = Vocabulary(("<pad>", "Ġnot", "not", "'t", "Ġdon", "Ġnever"), 0)
    rows = [[1], [2], [4, 3], [4], [5]]
    found = {p.name: value_of(p) for p in partition_rows(packed(rows), [], pieces, Text(tokenizer="bpe"))}
    assert found["negation"] == ["yes", "no", "yes", "no", "yes"]


def test_lengths_are_cut_into_tenths() -> None:
    partition = by_tenths("length", np.random.default_rng(0).permutation(1000))
    assert np.bincount(partition.place_N).tolist() == [100] * 10
    assert partition.values[0] == "0 to 99"
    assert partition.values[-1] == "900 to 999"
    assert by_tenths("length", np.array([5, 5, 5])).values == ("5 to 5",)


def test_rare_values_are_taken_together_where_there_are_many() -> None:
    often = [f"tt{i}" for i in range(19) for _ in range(10)]
    few = by_value("movie", [*often, "tt99"])
    assert len(few.values) == 20
    many = by_value("movie", [*often, "tt99", "tt98", "tt98"])
    assert len(many.values) == 20
    assert value_of(many)[-3:] == ["all with fewer than 10 rows"] * 3


def test_a_column_of_many_numbers_is_cut_into_tenths_and_one_of_few_is_not() -> None:
    assert len(by_column("year", [str(1950 + i % 60) for i in range(300)]).values) == 10
    assert set(by_column("year", ["1990", "1991", "", None, float("nan")]).values) == {"1990", "1991", "none"}
    assert len(by_column("city", [f"city {i % 30}" for i in range(600)]).values) == 30


def test_the_worst_come_first_and_few_are_shown(capsys) -> None:
    is_right_N = np.arange(100) % 10 < np.arange(100) // 10
    slices = slice_scores(Partition("tens", tuple("abcdefghij"), np.arange(100) // 10), is_right_N)
    assert "".join(one.value for one in slices) == "abcdefghij"
    print_slices(slices, ())
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in shown] == ["worst", "a", "b", "c"]
    print_slices(slices, ("tens", "stars"))
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 12
    assert shown[-1] == "stars: the reviews do not differ in it"
    print_slices((), ())
    assert capsys.readouterr().out == ""


def test_slices_of_a_run_partition_its_test_reviews_and_name_the_movies(quick_run: Path) -> None:
    evaluation = evaluate(quick_run, "test")
    kept = json.loads((quick_run / "evaluation" / "test.json").read_text())["slices"]
    assert all(list(one) == ["slice", "value", "n", "accuracy", "accuracy_ci95"] for one in kept)
    names = {one["slice"] for one in kept}
    assert names >= {"stars", "length", "negation", "movie"}
    for name in names:
        own = [one for one in kept if one["slice"] == name]
        assert sum(one["n"] for one in own) == evaluation.scores.n == 1000
        right = sum(one["n"] * one["accuracy"] for one in own)
        assert right == pytest.approx(1000 * evaluation.scores.accuracy)
    stars = {one["value"]: one["n"] for one in kept if one["slice"] == "stars"}
    lines = (quick_run / "evaluation" / "test-predictions.jsonl").read_text().splitlines()
    given = [json.loads(line)["id"].rpartition("_")[2] for line in lines]
    assert stars == {value: given.count(value) for value in set(given)}
    assert all(one["value"].startswith(("tt", "all with")) for one in kept if one["slice"] == "movie")


def test_columns_of_ones_own_data_are_read_along(quick_run: Path, tmp_path: Path) -> None:
    rows = [f"the plot was good,pos,{'east' if i % 4 else 'west'},{i}\n" for i in range(40)]
    (tmp_path / "new.csv").write_text("text,label,region,year\n" + "".join(rows))
    evaluation = evaluate_data(quick_run, Data(source=str(tmp_path / "new.csv")), ["region", "year"])
    found = {(one.slice, one.value): one.n for one in evaluation.slices if one.slice in ("region", "year")}
    assert (found["region", "east"], found["region", "west"]) == (30, 10)
    assert sum(n for (name, _), n in found.items() if name == "year") == 40
    with pytest.raises(DataError, match="no column 'city'; it has 'text', 'label', 'region', 'year'") as caught:
        evaluate_data(quick_run, Data(source=str(tmp_path / "new.csv")), ["city"])
    assert caught.value.hint == "without --slice"
    with pytest.raises(UsageError, match="has no columns") as refused:
        evaluate_data(quick_run, Data(source="sample"), ["city"])
    assert refused.value.hint == "--slice length, without --slice"


def test_rows_left_out_do_not_shift_a_column(quick_run: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(
        "text,label,region\ngood,pos,a\nbad,neg,b,too,many\nbad,neg,c\nfine,,d\nfine,pos,e\n"
    )
    data = Data(source=str(tmp_path / "new.csv"), on_error="skip")
    evaluation = evaluate_data(quick_run, data, ["region"])
    assert {one.value for one in evaluation.slices if one.slice == "region"} == {"a", "c", "e"}
