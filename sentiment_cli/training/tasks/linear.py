"""The linear model: logistic regression on n-grams scaled by log-count ratios, solved by Newton's method.

Wang & Manning 2012 scale the presence of each n-gram by its naive-Bayes log-count ratio; with n-grams of one to three
words Mesnil et al. 2014 reach 91.87 % on IMDb. The ratio sets how far the penalty lets a weight grow.

This module is longer than 300 lines because the features, their statistics and the solver share one sparse matrix.
"""

import itertools
import math
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sentiment_cli import console
from sentiment_cli.config.schema import Experiment, Text
from sentiment_cli.data.batching.batches import gather, rows_on
from sentiment_cli.data.batching.truncation import cut_batches, read_lengths
from sentiment_cli.data.corpus.packed import Corpus, Packed
from sentiment_cli.data.corpus.targets import codes_of, is_binary
from sentiment_cli.data.tokens.subwords import find_bags
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.errors import DataError
from sentiment_cli.models.layers.ngrams import Counted, count_ngrams
from sentiment_cli.models.linear import LinearClassifier
from sentiment_cli.training.checkpoints import TrainProgress
from sentiment_cli.training.class_weights import class_weights
from sentiment_cli.training.tasks.distillation import add_soft_labels

_CPU = torch.device("cpu")
_READ_AT_ONCE = 2**18  # tokens, padding included, so that they fit in the CPU caches
# Newton's method stops at this fraction of the first gradient's norm. On IMDb 1e-6 takes twice the products and changes
# neither validation accuracy nor loss in four digits; 1e-2 changes both.
_TOLERANCE = 1e-3
_MOST_STEPS = 100
# The conjugate gradients of a step stop at this fraction of the gradient. Any below 1 converges (Dembo, Eisenstat &
# Steihaug 1982); 0.5 takes 64 products on IMDb, 0.1 takes 124, and one that shrinks with the gradient 74 to 108.
_REST = 0.5
# A word has about twenty pieces (character n-grams): at full scale they outweigh n-grams of words. Cross-validated
# (three folds, penalty 0.01), questions of six kinds reach 85.8 % at 1, 86.7 at 0.5 and 87.2 at 0.25, restaurant
# sentences 82.6, 85.0 and 84.1, and German tweets, whose words are long, 79.7 at 0.5 and 78.2 at 0.25.
_PIECE_SCALE = 0.5


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


class Solution(NamedTuple):
    """The weights of the scaled features, statistics of the solver, and the mean log loss."""

    weight_GC: Tensor
    n_steps: int
    n_products: int
    gradient: float
    loss: float


def train_on(
    model: LinearClassifier,
    packed: Packed,
    ids: list[str],
    experiment: Experiment,
    corpus: Corpus,
    progress: TrainProgress,
    *,
    is_said: bool = True,
) -> tuple[float, float]:
    """Train the model from scratch on some rows; return the mean training loss and the tokens per second.

    Rows with soft labels or pseudo-labels of teachers are added to them.
    """
    target, n_logits, n_labels = experiment.data.target, model.n_logits, len(corpus.labels)
    code_KC = codes_of(target, n_labels, corpus.sets_KC)
    code_KC = np.eye(n_labels, dtype=np.bool_)[:, -n_logits:] if code_KC is None else code_KC
    truth_NC = torch.from_numpy(code_KC[packed.label_N].astype(np.float64))
    if experiment.teacher.run:
        packed, _, taught_N = add_soft_labels(experiment, corpus, packed, ids)
        truth_NC = taught_N.double().view(len(taught_N), -1)
        if truth_NC.shape[1] > 1:  # float32 probabilities that do not add up to 1 have no solution in the biases
            truth_NC /= truth_NC.sum(dim=1, keepdim=True)
    began = time.monotonic()
    features = read_features(packed, experiment, corpus.vocabulary, is_said=is_said)
    truth_NC = truth_NC[torch.from_numpy(features.order_N)]
    counted_s = time.monotonic() - began
    label_N = packed.label_N[features.order_N]
    weight_CJ, weight_NC = class_weights(experiment, corpus, label_N), None
    if weight_CJ is not None:  # by row or, of several labels, by yes and no
        is_several = weight_CJ.shape[1] == 2
        weight_NC = np.where(code_KC[label_N], weight_CJ[:, 1], weight_CJ[:, 0]) if is_several else weight_CJ[label_N]
    is_softmax = n_logits > 1 and not is_binary(target)
    link = Link(is_softmax, None if weight_NC is None else torch.from_numpy(weight_NC))
    fitted = fit_ngram_weights(features, truth_NC, experiment, corpus.vocabulary, link=link)
    solution = fitted.solution
    model.keys, model.weight, model.bias = features.key_K, fitted.weight_FC, fitted.bias_C
    if features.size_G is not None:
        model.size = features.size_G[:-1].float()
    spent, n_rows = time.monotonic() - began, len(features.order_N)
    if is_said:
        n_features = int((features.presence.feature_GN.crow_indices().diff() > 0).sum()) - 1  # without the bias
        console.say(
            f"linear: {n_features:,} features in {n_rows:,} reviews "
            f"({counted_s:.1f} s); {solution.n_steps} Newton steps, {solution.n_products} products, gradient "
            f"{solution.gradient:.1e} of the first ({spent - counted_s:.1f} s); train loss {solution.loss:.4f}"
        )
    progress.step, progress.n_tokens = solution.n_steps, progress.n_tokens + features.n_tokens
    progress.seconds["train"] += spent
    return solution.loss, features.n_tokens / spent


class Features(NamedTuple):
    """The n-grams of some rows: their keys, and which rows they are in.

    `order_N` has the row of each of the matrix's rows, `size_G` the sizes of the features where they are normalized.
    """

    key_K: Tensor
    presence: Presence
    order_N: NDArray[np.int64]
    n_tokens: int
    size_G: Tensor | None


class Fitted(NamedTuple):
    """The weight of each feature and the bias, by logit, in float32."""

    weight_FC: Tensor
    bias_C: Tensor
    solution: Solution


def read_features(packed: Packed, experiment: Experiment, vocabulary: Vocabulary, *, is_said: bool = True) -> Features:
    """Find the features of some rows. Raises DataError where there are none."""
    settings = experiment.model.linear
    ids_T, row_T, order_N = read_rows(packed, experiment.text, is_said=is_said)
    assert settings.ngrams is not None
    assert settings.min_count is not None
    counted = count_ngrams(
        ids_T,
        row_T,
        len(vocabulary.entries),
        vocabulary.unknown_id,
        longest=settings.ngrams,
        min_count=settings.min_count,
        n_pieces=vocabulary.n_pieces,
    )
    if not len(counted.row_P):  # after text.max_tokens has cut the rows; check_corpus looks at whole rows
        raise DataError(
            f"no n-gram that is read is in {settings.min_count} training rows",
            "--set model.linear.min_count=1 --set vocabulary.min_count=1 --set text.max_tokens=null",
        )
    presence, size_G = build_presence(counted, len(order_N)), None
    if experiment.pieces is not None:
        presence = presence._replace(bag=build_bag(vocabulary, experiment.pieces))
    if settings.normalize:
        size_G = sizes(presence, settings.min_count)
        total_N1 = presence.row_NG @ size_G[:, None]
        presence = presence._replace(share_N1=total_N1.clamp(min=1).rsqrt())
    return Features(torch.from_numpy(counted.key_K), presence, order_N, len(ids_T) - len(order_N), size_G)


def fit_ngram_weights(
    features: Features,
    truth_NC: Tensor,
    experiment: Experiment,
    vocabulary: Vocabulary,
    kept_N1: Tensor | None = None,
    *,
    link: "Link | None" = None,
) -> Fitted:
    """Fit the weights to truth_NC, the targets of the rows in their order; rows whose `kept_N1` is 0 have no part."""
    link = link or Link(truth_NC.shape[1] > 1)
    if kept_N1 is not None:
        link = link._replace(weight_NC=link.weighed(kept_N1))
    settings, presence = experiment.model.linear, features.presence
    assert settings.min_count is not None
    assert settings.penalty is not None
    if settings.weighting == "idf":
        scale_GC = inverse_frequencies(presence, settings.min_count, kept_N1).expand(-1, truth_NC.shape[1])
    else:
        scale_GC = log_count_ratios(presence, truth_NC, settings.smoothing, settings.min_count, kept_N1)
        if presence.bag is not None:
            scale_GC[vocabulary.n_whole : len(vocabulary.entries)] *= _PIECE_SCALE
    solution = solve(presence, scale_GC, truth_NC, settings.penalty, link=link)
    weight_GC = presence.folded(scale_GC * solution.weight_GC).float()
    return Fitted(weight_GC[:-1].clone(), weight_GC[-1].clone(), solution)


def read_rows(
    packed: Packed, text: Text, *, is_said: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Return the tokens that the model reads of all rows with a token, the shortest row first, padding after each.

    Returns ids_T, row_T (the place of each token's row among these) and order_N, the rows in that order.
    """
    read_N = read_lengths(packed.length_N, text)
    order_N = np.flatnonzero(packed.length_N)
    if not len(order_N):
        raise DataError("no training review has a token", "sentiment data check")
    order_N = order_N[np.argsort(read_N[order_N], kind="stable")]
    if is_said and (dropped := len(read_N) - len(order_N)):
        console.say(f"{dropped:,} training reviews without a token are left out")
    rows, ids = rows_on(_CPU, packed), []
    for row_B in cut_batches(order_N, read_N, _READ_AT_ONCE):
        width = int(read_N[row_B[-1]])
        batch = gather(rows, torch.from_numpy(row_B), width, text)
        is_kept_BL = torch.arange(width + 1) <= batch.length_B[:, None]
        ids.append(F.pad(batch.ids_BL, (0, 1))[is_kept_BL])
    row_T = np.repeat(np.arange(len(order_N), dtype=np.int32), read_N[order_N] + 1)
    return torch.cat(ids).numpy(), row_T, order_N


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


def solve(
    presence: Presence,
    scale_GC: Tensor,
    label_NC: Tensor,
    penalty: float,
    tolerance: float = _TOLERANCE,
    *,
    link: "Link | None" = None,
) -> Solution:
    """Minimize the sum of the rows' log losses plus `penalty` / 2 times the squared weights without the bias.

    Newton's method with conjugate gradients (Lin, Weng & Keerthi 2008, with a line search for the trust region), until
    the gradient's norm is `tolerance` times that at weights of 0. The problem is convex, so there is no random draw.
    With one logit, that of the first label is 0; with more, the probabilities are their softmax, unless `link` says
    that each is a sigmoid of its own, or weighs the rows.
    """
    link = link or Link(label_NC.shape[1] > 1)
    penalty_G1 = torch.full((len(scale_GC), 1), penalty, dtype=torch.float64)
    penalty_G1[-1] = 0.0
    weight_GC, logit_NC = torch.zeros_like(scale_GC), torch.zeros_like(label_NC)
    value, probability_NC = _penalized_loss(link, logit_NC, label_NC, weight_GC, penalty_G1)
    n_steps, n_products, first = 0, 0, math.inf
    while True:
        rest_NC = link.weighed(probability_NC - label_NC)
        gradient_GC = scale_GC * presence.sums(rest_NC, presence.share_N1) + penalty_G1 * weight_GC
        norm = float(gradient_GC.norm())
        first, n_products = (norm if n_steps == 0 else first), n_products + 1
        if norm <= tolerance * first or n_steps == _MOST_STEPS:
            break
        step_GC, step_NC, n = _newton_step(link, presence, scale_GC, penalty_G1, probability_NC, gradient_GC)
        slope, size = float((gradient_GC * step_GC).sum()), 1.0
        while True:
            new_GC, new_NC = weight_GC + size * step_GC, logit_NC + size * step_NC
            new, probability_NC = _penalized_loss(link, new_NC, label_NC, new_GC, penalty_G1)
            if new <= value + 1e-4 * size * slope or size < 1e-6:
                break
            size /= 2
        weight_GC, logit_NC, value = new_GC, new_NC, new
        n_steps, n_products = n_steps + 1, n_products + n
    loss = max(0.0, float(link.losses(logit_NC, label_NC).mean()) / (1 if link.is_softmax else logit_NC.shape[1]))
    return Solution(weight_GC, n_steps, n_products, norm / first if first else 0.0, loss)


def _newton_step(
    link: "Link",
    presence: Presence,
    scale_GC: Tensor,
    penalty_G1: Tensor,
    probability_NC: Tensor,
    gradient_GC: Tensor,
) -> tuple[Tensor, Tensor, int]:
    """Solve Hessian × step = -gradient by conjugate gradients; return the step, its logits, the number of products."""
    step_GC, step_NC = torch.zeros_like(gradient_GC), torch.zeros_like(probability_NC)
    rest_GC = -gradient_GC
    direction_GC = rest_GC.clone()
    squared = float(rest_GC.square().sum())
    enough, n_products = squared * _REST**2, 0
    while squared > enough:
        logit_NC = presence.logits(scale_GC * direction_GC)
        moved_NC = link.moved(probability_NC, logit_NC)
        curved_GC = scale_GC * presence.sums(moved_NC, presence.share_N1) + penalty_G1 * direction_GC
        n_products += 2
        size = squared / float((direction_GC * curved_GC).sum())
        step_GC.add_(direction_GC, alpha=size)
        step_NC.add_(logit_NC, alpha=size)
        rest_GC.sub_(curved_GC, alpha=size)
        squared, before = float(rest_GC.square().sum()), squared
        direction_GC.mul_(squared / before).add_(rest_GC)
    return step_GC, step_NC, n_products


def _penalized_loss(
    link: "Link", logit_NC: Tensor, label_NC: Tensor, weight_GC: Tensor, penalty_G1: Tensor
) -> tuple[float, Tensor]:
    """Return the penalized loss, and probability_NC."""
    loss = link.losses(logit_NC, label_NC).sum() + 0.5 * (penalty_G1 * weight_GC.square()).sum()
    return float(loss), link.probabilities(logit_NC)


class Link(NamedTuple):
    """How logits are probabilities: by the softmax of a row's, or by the sigmoid of each.

    Losses are multiplied by weight_N1, of a row, or weight_NC, of each sigmoid; None means 1.
    """

    is_softmax: bool
    weight_NC: Tensor | None = None

    def weighed(self, value_NC: Tensor) -> Tensor:
        """Return values multiplied by the weights."""
        return value_NC if self.weight_NC is None else value_NC * self.weight_NC

    def probabilities(self, logit_NC: Tensor) -> Tensor:
        """Return probability_NC."""
        return logit_NC.softmax(dim=1) if self.is_softmax else logit_NC.sigmoid()

    def losses(self, logit_NC: Tensor, label_NC: Tensor) -> Tensor:
        """Return the log loss of each row, over all its sigmoids."""
        if self.weight_NC is not None and not self.is_softmax:
            return self.weighed(F.softplus(logit_NC) - logit_NC * label_NC).sum(dim=1)
        total_N = logit_NC.logsumexp(dim=1) if self.is_softmax else F.softplus(logit_NC).sum(dim=1)
        loss_N = total_N - (logit_NC * label_NC).sum(dim=1)
        return self.weighed(loss_N[:, None])[:, 0]

    def moved(self, probability_NC: Tensor, logit_NC: Tensor) -> Tensor:
        """Return the derivative of the probabilities along some logits, weighed."""
        if not self.is_softmax:
            return self.weighed(probability_NC * (logit_NC - probability_NC * logit_NC))
        return self.weighed(probability_NC * (logit_NC - (probability_NC * logit_NC).sum(1, keepdim=True)))
