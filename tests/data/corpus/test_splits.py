import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_cli.data.corpus.splits import folds_of, held_out
from sentiment_cli.errors import UsageError

GENERATOR = np.random.default_rng(0)
GROUPS = GENERATOR.integers(0, 200, 2000)
LABELS = (GENERATOR.random(2000) < 0.5).astype(np.int64)
NO_GROUPS = np.full(2000, -1)


@pytest.mark.parametrize("seed", range(5))
def test_movies_are_on_one_side_only_and_labels_balanced(seed: int) -> None:
    held = held_out(LABELS, GROUPS, "movie", 0.1, seed)
    assert not set(GROUPS[held]) & set(GROUPS[~held])
    largest = np.bincount(GROUPS).max()
    for label in (0, 1):
        assert abs(held[LABELS == label].sum() - 0.1 * (LABELS == label).sum()) <= largest


def test_the_seed_draws_the_split() -> None:
    for by in ("group", "row"):
        first, again, other = (held_out(LABELS, GROUPS, by, 0.1, seed) for seed in (0, 0, 1))
        assert (first == again).all()
        assert (first != other).any()


def test_by_row_ignores_movies_and_takes_of_each_label_its_share() -> None:
    rare = np.arange(2000) < 40
    held = held_out(rare.astype(np.int64), GROUPS, "row", 0.25, 0)
    assert held.sum() == 500
    assert held[rare].sum() == 10
    assert set(GROUPS[held]) & set(GROUPS[~held])


def test_auto_is_by_group_where_there_are_groups() -> None:
    assert (held_out(LABELS, GROUPS, "auto", 0.1, 0) == held_out(LABELS, GROUPS, "group", 0.1, 0)).all()
    assert (held_out(LABELS, NO_GROUPS, "auto", 0.1, 0) == held_out(LABELS, NO_GROUPS, "row", 0.1, 0)).all()
    with pytest.raises(UsageError, match=r"data\.valid\.by is movie, and the rows have no groups") as caught:
        held_out(LABELS, NO_GROUPS, "movie", 0.1, 0)
    assert caught.value.hint == "--set data.valid.by=auto"


def test_rows_without_a_group_are_alone() -> None:
    some = np.where(np.arange(2000) < 1000, GROUPS, -1)
    held = held_out(LABELS, some, "group", 0.2, 0)
    assert not set(some[held][some[held] >= 0]) & set(some[~held])
    assert 0 < held[1000:].sum() < 1000


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 12)), min_size=1, max_size=60),
    st.sampled_from(["auto", "row"]),
    st.integers(2, 6),
    st.integers(0, 3),
)
def test_folds_are_all_rows_once_none_is_empty_and_groups_stay_whole(
    rows: list[tuple[int, int]], by: str, n_folds: int, seed: int
) -> None:
    label_N, group_N = (np.array(column) for column in zip(*rows, strict=True))
    grouped = by == "auto" and (group_N >= 0).any()
    n_units = len(set(group_N[group_N >= 0])) + (group_N < 0).sum() if grouped else len(rows)
    if n_units < n_folds:
        what = "groups" if grouped else "rows"
        with pytest.raises(UsageError, match=f"folds is {n_folds}, and the training rows have {n_units} {what}"):
            folds_of(label_N, group_N, by, n_folds, seed)
        return
    fold_N = folds_of(label_N, group_N, by, n_folds, seed)
    assert set(fold_N) == set(range(1, n_folds + 1))
    assert (fold_N == folds_of(label_N, group_N, by, n_folds, seed)).all()
    if grouped:
        for group in set(group_N[group_N >= 0]):
            assert len(set(fold_N[group_N == group])) == 1
    else:
        for label in set(label_N):
            counts = np.bincount(fold_N[label_N == label], minlength=n_folds + 1)[1:]
            assert counts.max() - counts.min() <= 1
        assert np.ptp(np.bincount(fold_N)[1:]) <= 1


def test_folds_of_groups_have_near_equal_shares_of_each_label() -> None:
    skewed = (GENERATOR.random(2000) < np.where(GROUPS % 2, 0.9, 0.1)).astype(np.int64)  # each group leans to a label
    fold_N = folds_of(skewed, GROUPS, "group", 5, 0)
    for label in (0, 1):
        counts = np.bincount(fold_N[skewed == label])[1:]
        assert abs(counts / counts.sum() - 0.2).max() < 0.01
    assert (fold_N != folds_of(skewed, GROUPS, "group", 5, 1)).any()
    with pytest.raises(UsageError, match=r"data\.valid\.by is group, and the rows have no groups"):
        folds_of(skewed, NO_GROUPS, "group", 5, 0)
