import numpy as np
import pytest

from sentiment_cli.data.splits import held_out
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
    assert caught.value.hint == "--set data.group_column=NAME"


def test_rows_without_a_group_are_alone() -> None:
    some = np.where(np.arange(2000) < 1000, GROUPS, -1)
    held = held_out(LABELS, some, "group", 0.2, 0)
    assert not set(some[held][some[held] >= 0]) & set(some[~held])
    assert 0 < held[1000:].sum() < 1000
