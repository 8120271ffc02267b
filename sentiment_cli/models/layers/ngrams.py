"""Words and n-grams as numbered features: counted to select the features, and looked up in token ids.

A word's feature is its id. The key of a longer n-gram is (feature of all its words but the last) × n_entries + (id of
the last), so that no two n-grams share a key, whatever their lengths. The keys are in ascending order, shorter n-grams
first, and the n-gram of the k-th key is feature n_entries + k. N-grams with padding or unknown words are not features.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sentiment_cli.data.tokens.vocabulary import PAD_ID

NONE = -1  # no feature


class Counted(NamedTuple):
    """The features of some rows: feature f is in rows row_P[start_F1[f]:start_F1[f + 1]], distinct and ascending."""

    key_K: NDArray[np.int64]
    start_F1: NDArray[np.int64]
    row_P: NDArray[np.int32]


def word_features(ids: Tensor, unknown_id: int) -> Tensor:
    """Return each token's feature, NONE for padding and unknown words."""
    return ids.masked_fill((ids == PAD_ID) | (ids == unknown_id), NONE)


def longer_features(feature: Tensor, next_ids: Tensor, key_K: Tensor, n_entries: int) -> Tensor:
    """Return the feature of each n-gram extended by the next word, NONE where there is no such feature.

    Keys that end in padding or an unknown word do not exist, and keys after NONE would be negative: neither is found.
    """
    if not len(key_K):
        return torch.full_like(feature, NONE)
    key = feature * n_entries + next_ids
    place = torch.searchsorted(key_K, key).clamp_(max=len(key_K) - 1)
    return torch.where(key_K[place] == key, place + n_entries, NONE)


def count_ngrams(
    ids_T: NDArray[np.int64],
    row_T: NDArray[np.int32],
    n_entries: int,
    unknown_id: int,
    *,
    longest: int,
    min_count: int,
    n_pieces: int = 0,
) -> Counted:
    """Return the words and n-grams of up to `longest` words that are in at least `min_count` rows, with these rows.

    The rows are concatenated, each followed by padding. The last `n_pieces` entries, pieces of words, are in no n-gram;
    where there are any, rare words are returned as well, since their pieces are in the rows through them.
    """
    feature_T = word_features(torch.from_numpy(ids_T), unknown_id).numpy()
    at_T = np.flatnonzero(feature_T != NONE)
    key_K, count_K, row_P, place_T = _tally(feature_T[at_T], row_T[at_T], 1 if n_pieces else min_count)
    feature_T[at_T] = np.append(key_K, NONE)[place_T]
    feature_T[feature_T >= n_entries - n_pieces] = NONE
    count_V = np.zeros(n_entries, dtype=np.int64)
    count_V[key_K] = count_K
    keys, counts, rows = [np.empty(0, dtype=np.int64)], [count_V], [row_P]
    n_features = n_entries
    for n in range(2, longest + 1):
        # No n-gram is in more rows than its parts (Agrawal & Srikant 1994): look only where both parts are frequent.
        at_T = np.flatnonzero((feature_T[:-1] != NONE) & (feature_T[1:] != NONE))
        key_T = feature_T[at_T] * n_entries + ids_T[at_T + n - 1]
        key_K, count_K, row_P, place_T = _tally(key_T, row_T[at_T], min_count)
        keys.append(key_K)
        counts.append(count_K)
        rows.append(row_P)
        feature_T.fill(NONE)
        feature_T[at_T] = np.where(place_T == NONE, NONE, n_features + place_T)
        n_features += len(key_K)
    start_F1 = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return Counted(np.concatenate(keys), start_F1, np.concatenate(rows))


def _tally(
    key_T: NDArray[np.int64], row_T: NDArray[np.int32], min_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Return the keys that are in enough rows, ascending, their numbers of rows, the rows, and each token's key index.

    The rows of a key are contiguous and ascending; the index is NONE for a key in too few rows.
    """
    # torch's stable sort of whole numbers is a radix sort on all cores, which leaves the rows of a key in order.
    key_P, order_P = (found.numpy() for found in torch.sort(torch.from_numpy(key_T), stable=True))
    row_P = row_T[order_P]
    is_new_key_P = np.ones(len(key_P), dtype=bool)
    np.not_equal(key_P[1:], key_P[:-1], out=is_new_key_P[1:])
    is_new_P = is_new_key_P.copy()
    is_new_P[1:] |= row_P[1:] != row_P[:-1]
    nth_P = np.cumsum(is_new_key_P) - 1
    count_K = np.bincount(nth_P[is_new_P])
    is_kept_K = count_K >= min_count
    place_P = np.where(is_kept_K, np.cumsum(is_kept_K) - 1, NONE)[nth_P]
    place_T = np.empty_like(place_P)
    place_T[order_P] = place_P
    return key_P[is_new_key_P][is_kept_K], count_K[is_kept_K], row_P[is_new_P & (place_P != NONE)], place_T
