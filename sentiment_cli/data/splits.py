"""Rows held out of others, for validation or test: whole groups or single rows, stratified by label, seeded."""

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.errors import UsageError


def held_out(
    label_N: NDArray[np.integer], group_N: NDArray[np.integer], by: str, share: float, seed: int
) -> NDArray[np.bool_]:
    """Mark the rows to hold out: a pure function of labels, groups (-1: none) and the seed.

    By row: of each label its share. By group: groups are drawn one after the other, and one is taken, with all its
    rows, when that brings the labels nearer to their shares; so the sides share no group, and the shares are met to
    within about a group's rows. `auto` is by group where rows have groups. Raises UsageError for groups asked for
    where there are none.
    """
    held_N: NDArray[np.bool_] = np.zeros(len(label_N), dtype=bool)
    generator = np.random.default_rng(seed)
    has_groups = bool((group_N >= 0).any())
    if by in ("movie", "group") and not has_groups:
        raise UsageError(f"data.valid.by is {by}, and the rows have no groups", "--set data.group_column=NAME")
    if by == "row" or not has_groups:
        order = generator.permutation(len(label_N))
        for label in np.unique(label_N):
            rows = order[label_N[order] == label]
            held_N[rows[: round(len(rows) * share)]] = True
        return held_N
    # A row without a group is a group by itself.
    alone = group_N < 0
    group_N = np.where(alone, group_N.max() + np.cumsum(alone), group_N)
    counts = np.zeros((int(group_N.max()) + 1, int(label_N.max()) + 1), dtype=np.int64)
    np.add.at(counts, (group_N, label_N), 1)
    room = np.round(counts.sum(axis=0) * share).astype(np.int64)
    chosen = np.zeros(len(counts), dtype=bool)
    for group in generator.permutation(len(counts)):
        if np.square(room - counts[group]).sum() < np.square(room).sum():
            chosen[group] = True
            room -= counts[group]
    held_N[:] = chosen[group_N]
    return held_N
