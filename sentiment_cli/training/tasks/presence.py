"""Which n-grams are in which rows: the linear model's binary matrix, and the statistics that scale its features."""

import itertools
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sentiment_cli.data.tokens.subwords import find_bags
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.models.layers.ngrams import Counted


class Presence(NamedTuple):
    """The binary feature matrix in sparse CSR, by rows and by features; the last feature, the bias, is in all rows.

    Both forms are kept: the product with a transposed CSR matrix is slow, and its order of addition varies. `bag` holds
    the pieces of each word in the same two forms. `share_N1` multiplies the features of a row; None means 1.
    """

    row_NG: Tensor
    feature_GN: Tensor
    bag: "Bag | None" = None
    share_N1: Tensor | None = None

    def folded(self, weight_GC: Tensor) -> Tensor:
        """Return the weight of each feature plus those of its pieces."""
        if self.bag is None:
            return weight_GC
        n_entries, n_pieces = self.bag.piece_VJ.shape
        found_GC = weight_GC.clone()
        found_GC[:n_entries] += self.bag.piece_VJ @ weight_GC[n_entries - n_pieces : n_entries]
        return found_GC

    def logits(self, weight_GC: Tensor) -> Tensor:
        """Return logit_NC with these weights."""
        logit_NC: Tensor = self.row_NG @ self.folded(weight_GC)
        if self.share_N1 is not None:  # the bias is not scaled
            logit_NC = (logit_NC - weight_GC[-1]) * self.share_N1 + weight_GC[-1]
        return logit_NC

    def sums(self, value_NC: Tensor, share_N1: Tensor | None) -> Tensor:
        """Return for each feature the sum of the values of its rows, each multiplied by the share."""
        sum_GC: Tensor = self.feature_GN @ (value_NC if share_N1 is None else value_NC * share_N1)
        if share_N1 is not None:
            sum_GC[-1] = value_NC.sum(0)
        if self.bag is not None:
            n_entries, n_pieces = self.bag.piece_VJ.shape
            sum_GC[n_entries - n_pieces : n_entries] += self.bag.entry_JV @ sum_GC[:n_entries]
        return sum_GC


class Bag(NamedTuple):
    """The binary matrix of a vocabulary's entries and their pieces in sparse CSR, in both forms."""

    piece_VJ: Tensor
    entry_JV: Tensor


def build_presence(counted: Counted, n_rows: int) -> Presence:
    """Build both forms of the matrix, by one counting sort."""
    row_P = np.concatenate([counted.row_P, np.arange(n_rows, dtype=np.int32)])
    start_G1 = np.append(counted.start_F1, len(row_P))
    n_features = len(start_G1) - 1
    # Stable sorts are radix sorts for numbers of 16 bits: 4 times as fast as those of row and feature together.
    by_row_P = np.argsort(row_P.astype(np.min_scalar_type(n_rows)), kind="stable")
    feature_P = np.repeat(np.arange(n_features, dtype=np.int32), np.diff(start_G1))[by_row_P]
    return Presence(
        _csr(np.bincount(row_P, minlength=n_rows), feature_P, n_features), _csr(np.diff(start_G1), row_P, n_rows)
    )


def _csr(count_R: NDArray[np.int64], column_P: NDArray[Any], n_columns: int) -> Tensor:
    """Return a CSR matrix of ones: `count_R` per row, in the columns `column_P`, row after row."""
    start_R1 = np.concatenate([[0], np.cumsum(count_R)])
    tensors = (torch.from_numpy(start_R1.astype(np.int32)), torch.from_numpy(column_P.astype(np.int32, copy=False)))
    one_P = torch.ones(len(column_P), dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)
        return torch.sparse_csr_tensor(*tensors, one_P, (len(count_R), n_columns), check_invariants=False)


def build_bag(vocabulary: Vocabulary, orders: tuple[int, int]) -> Bag:
    """Build both forms of the matrix of a vocabulary's words and their pieces."""
    n_entries, n_pieces = len(vocabulary.entries), vocabulary.n_pieces
    bags = find_bags(vocabulary.entries, vocabulary.specials, n_pieces, orders)
    entry_P = np.repeat(np.arange(n_entries), list(map(len, bags)))
    piece_P = np.array([*itertools.chain(*bags)], dtype=np.int64) - vocabulary.n_whole
    order_P = np.argsort(piece_P, kind="stable")
    return Bag(
        _csr(np.bincount(entry_P, minlength=n_entries), piece_P, n_pieces),
        _csr(np.bincount(piece_P, minlength=n_pieces), entry_P[order_P], n_entries),
    )


def sizes(presence: Presence, min_count: int) -> Tensor:
    """Return size_G: the number of features that each one counts for, itself and its pieces; 0 for the bias."""
    size_G = (presence.feature_GN.crow_indices().diff() >= min_count).double()
    if presence.bag is not None:
        n_entries, n_pieces = presence.bag.piece_VJ.shape
        size_G[n_entries - n_pieces : n_entries] = 1  # by themselves in rows with unknown words
        size_G[:n_entries] += presence.bag.piece_VJ.crow_indices().diff()
    size_G[-1] = 0.0
    return size_G


def log_count_ratios(
    presence: Presence, label_NC: Tensor, smoothing: float, min_count: int = 1, kept_N1: Tensor | None = None
) -> Tensor:
    """Return ratio_GC: the log ratio of a feature's share in the rows of a label to its share in all other rows.

    It is 1 for the bias and 0 for a feature in fewer than `min_count` rows. Rows whose `kept_N1` is 0 are not counted.
    """
    one_NC, other_NC = (of if kept_N1 is None else of * kept_N1 for of in (label_NC, 1 - label_NC))
    count_GC, other_GC = presence.sums(one_NC, None), presence.sums(other_NC, None)
    is_there_G = (count_GC + other_GC)[:, 0] > min_count - 0.5  # the counts of soft labels are not whole
    is_there_G[-1] = False
    one_GC, other_GC = ((found_GC + smoothing) * is_there_G[:, None] for found_GC in (count_GC, other_GC))
    ratio_GC = torch.zeros_like(count_GC)
    ratio_GC[is_there_G] = ((one_GC / one_GC.sum(0)).log() - (other_GC / other_GC.sum(0)).log())[is_there_G]
    ratio_GC[-1] = 1.0
    return ratio_GC


def inverse_frequencies(presence: Presence, min_count: int, kept_N1: Tensor | None = None) -> Tensor:
    """Return scale_G1: 1 + log((1 + rows) / (1 + rows with the feature)), 0 below `min_count` rows, 1 for the bias.

    A piece counts once for each word that has it, up to the number of rows.
    """
    kept_N1 = torch.ones(len(presence.row_NG), 1, dtype=torch.float64) if kept_N1 is None else kept_N1
    n_rows, count_G1 = int(kept_N1.sum()), presence.sums(kept_N1, None)
    scale_G1 = 1 + ((1 + n_rows) / (1 + count_G1.clamp(max=n_rows))).log()
    return scale_G1 * (count_G1 >= min_count)
