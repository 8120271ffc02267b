"""Rows held out of others, once or in folds: whole groups or single rows, stratified by label, seeded."""

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.config.schema import Data
from sentiment_cli.data.corpus.raw_texts import Texts
from sentiment_cli.errors import Change, UsageError

Splits = dict[str, tuple[str, NDArray[np.bool_]]]  # of each split, the split of the texts and which of its rows


def assign_rows(texts: Texts, data: Data, *, rounds: bool = False) -> Splits:
    """Say which rows are training, validation and test: the source's own rows of a split, or some held out.

    A label of three rows or more has one in each split, unless `rounds`: earlier versions rounded its share.
    """
    train, n_test, n_valid = texts.rows("train"), len(texts.rows("test")), len(texts.rows("valid"))
    valid = data.valid
    is_drawn_valid = valid.folds is not None or not n_valid
    is_test_N = np.zeros(len(train), dtype=bool)
    if n_test == 0:
        left = 0 if rounds else 1 + is_drawn_valid
        is_test_N = held_out(train.label_N, train.group_N, valid.by, data.test_share, valid.seed, left)
    rest = np.flatnonzero(~is_test_N)
    is_valid_N = np.zeros(len(train), dtype=bool)
    label_N, group_N = train.label_N[rest], train.group_N[rest]
    if valid.folds is not None:
        is_valid_N[rest] = folds_of(label_N, group_N, valid.by, valid.folds, valid.seed) == valid.fold
    elif is_drawn_valid:
        is_valid_N[rest] = held_out(label_N, group_N, valid.by, valid.share, valid.seed, 0 if rounds else 1)
    is_train_N = ~is_test_N & ~is_valid_N
    if data.deduplicate:
        first = np.zeros(len(train), dtype=bool)
        kept = np.flatnonzero(is_train_N)
        first[kept[np.unique(train.digest_N[kept], return_index=True)[1]]] = True
        is_train_N &= first
    own_test = ("test", np.ones(n_test, dtype=bool)) if n_test else ("train", is_test_N)
    own_valid = ("train", is_valid_N) if is_drawn_valid else ("valid", np.ones(n_valid, dtype=bool))
    return {"train": ("train", is_train_N), "valid": own_valid, "test": own_test}


def held_out(
    label_N: NDArray[np.integer], group_N: NDArray[np.integer], by: str, share: float, seed: int, left: int = 0
) -> NDArray[np.bool_]:
    """Mark the rows to hold out: a pure function of labels, groups (-1: none) and the seed.

    By row: of each label its share. By group: groups are drawn one after the other, and one is taken, with all its
    rows, when that brings the labels nearer to their shares; so the sides share no group, and the shares are met to
    within about a group's rows. `auto` is by group where rows have groups. With `left`, that
    many rows (groups) of each label stay in training, and at least one row of each label with more is held out; if no
    label has more, a row of the most frequent one is. Raises UsageError for `group` where rows have no groups.
    """
    held_N: NDArray[np.bool_] = np.zeros(len(label_N), dtype=bool)
    generator = np.random.default_rng(seed)
    if not is_by_group(group_N, by):
        order = generator.permutation(len(label_N))
        for label in np.unique(label_N):
            rows = order[label_N[order] == label]
            n_held = round(len(rows) * share)
            if left:
                n_held = min(max(n_held, 1), max(0, len(rows) - left))
            held_N[rows[:n_held]] = True
        if left and len(label_N) and not held_N.any():
            commonest = np.bincount(label_N).argmax()
            rows = order[label_N[order] == commonest]
            held_N[rows[: min(1, len(rows) - 1)]] = True
        return held_N
    group_N, counts = _counted(label_N, group_N)
    room = np.round(counts.sum(axis=0) * share).astype(np.int64)
    chosen = np.zeros(len(counts), dtype=bool)
    is_in, order = counts > 0, generator.permutation(len(counts))
    spare = is_in.sum(axis=0) - left  # groups of each label that can still be taken
    for group in order:
        is_near = np.square(room - counts[group]).sum() < np.square(room).sum()
        if is_near and (not left or (spare[is_in[group]] > 0).all()):
            chosen[group] = True
            room -= counts[group]
            spare -= is_in[group]
    for label in np.flatnonzero(~is_in[chosen].any(axis=0) & (spare > 0)) if left else ():
        if is_in[chosen, label].any():
            continue
        fits = [g for g in order if is_in[g, label] and not chosen[g] and (spare[is_in[g]] > 0).all()]
        if fits:
            group = min(fits, key=lambda g: counts[g].sum())
            chosen[group] = True
            spare -= is_in[group]
    held_N[:] = chosen[group_N]
    return held_N


def folds_of(
    label_N: NDArray[np.integer], group_N: NDArray[np.integer], by: str, n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Return each row's fold, from 1 on: a pure function of labels, groups (-1: none) and the seed.

    By row: each label's rows are dealt out, so that folds differ by one row of each label at most. By group: the
    largest first, each group, with all its rows, goes where its labels are rarest so far. `auto` is as in held_out.
    Raises UsageError for groups asked for where there are none, and for fewer rows or groups than folds.
    """
    fold_N: NDArray[np.int64] = np.zeros(len(label_N), dtype=np.int64)
    generator = np.random.default_rng(seed)
    if not is_by_group(group_N, by):
        _check_enough(len(label_N), "rows", n_folds)
        order = generator.permutation(len(label_N))
        order = order[np.argsort(label_N[order], kind="stable")]
        fold_N[order] = 1 + np.arange(len(label_N)) % n_folds
        return fold_N
    group_N, counts = _counted(label_N, group_N)
    order = generator.permutation(np.flatnonzero(counts.any(axis=1)))
    _check_enough(len(order), "groups", n_folds)
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    share = counts / np.maximum(1, counts.sum(axis=0))
    filled = np.zeros((n_folds, counts.shape[1]))
    chosen = np.zeros(len(counts), dtype=np.int64)
    for group in order:
        # Of those equally far, the emptiest: so no fold stays empty.
        fold = np.lexsort((filled.sum(axis=1), filled @ share[group]))[0]
        filled[fold] += share[group]
        chosen[group] = 1 + fold
    fold_N[:] = chosen[group_N]
    return fold_N


def is_by_group(group_N: NDArray[np.integer], by: str) -> bool:
    """Say whether groups stay in one split. Raises UsageError where groups are requested and the rows have none."""
    has_groups = bool((group_N >= 0).any())
    if by in ("movie", "group") and not has_groups:
        hint = Change("--set", "data.valid.by=auto")
        raise UsageError(f"data.valid.by is {by}, and the rows have no groups", hint)
    return has_groups and by != "row"


def _counted(
    label_N: NDArray[np.integer], group_N: NDArray[np.integer]
) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Make a row without a group a group by itself; return the groups, and each one's rows of each label."""
    alone = group_N < 0
    group_N = np.where(alone, group_N.max() + np.cumsum(alone), group_N)
    counts = np.zeros((int(group_N.max()) + 1, int(label_N.max()) + 1), dtype=np.int64)
    np.add.at(counts, (group_N, label_N), 1)
    return group_N, counts


def _check_enough(n: int, what: str, n_folds: int) -> None:
    if n < n_folds:
        raise UsageError(
            f"data.valid.folds is {n_folds}, and the training rows have {n} {what}",
            f"sentiment train --folds {n}" if n > 1 else "sentiment train --set data.valid.by=row",
        )
