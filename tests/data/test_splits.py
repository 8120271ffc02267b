import numpy as np
import pytest

from sentiment_cli.config.schema import Valid
from sentiment_cli.data.splits import valid_rows

GENERATOR = np.random.default_rng(0)
GROUPS = GENERATOR.integers(0, 200, 2000)
LABELS = (GENERATOR.random(2000) < 0.5).astype(np.int64)


@pytest.mark.parametrize("seed", range(5))
def test_movies_are_on_one_side_only_and_labels_balanced(seed: int) -> None:
    held = valid_rows(LABELS, GROUPS, Valid(share=0.1, seed=seed))
    assert not set(GROUPS[held]) & set(GROUPS[~held])
    largest = np.bincount(GROUPS).max()
    for label in (0, 1):
        assert abs(held[LABELS == label].sum() - 0.1 * (LABELS == label).sum()) <= largest


def test_the_seed_draws_the_split() -> None:
    first, again, other = (valid_rows(LABELS, GROUPS, Valid(seed=seed)) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_by_row_ignores_movies() -> None:
    held = valid_rows(LABELS, GROUPS, Valid(by="row", share=0.25))
    assert held.sum() == 500
    assert set(GROUPS[held]) & set(GROUPS[~held])
