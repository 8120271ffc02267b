"""Validation rows, held out of the training rows by movie or by row."""

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.config.schema import Valid


def valid_rows(label_N: NDArray[np.int64], group_N: NDArray[np.int64], valid: Valid) -> NDArray[np.bool_]:
    """Mark the rows to hold out: a pure function of labels, groups and the split's seed.

    By movie: movies are drawn one after the other, and one is taken, with all its rows, when that brings the labels
    nearer to their shares; so the sides share no movie, and the shares are met to within about a movie's rows.
    """
    generator = np.random.default_rng(valid.seed)
    if valid.by == "row":
        order = generator.permutation(len(label_N))
        held = np.zeros(len(label_N), dtype=bool)
        held[order[: round(len(label_N) * valid.share)]] = True
        return held
    n_labels = int(label_N.max()) + 1
    counts = np.zeros((int(group_N.max()) + 1, n_labels), dtype=np.int64)
    np.add.at(counts, (group_N, label_N), 1)
    room = np.round(counts.sum(axis=0) * valid.share).astype(np.int64)
    chosen = np.zeros(len(counts), dtype=bool)
    for group in generator.permutation(len(counts)):
        if np.square(room - counts[group]).sum() < np.square(room).sum():
            chosen[group] = True
            room -= counts[group]
    return chosen[group_N]
