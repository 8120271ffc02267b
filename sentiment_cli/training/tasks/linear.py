"""The linear model: logistic regression on n-grams scaled by log-count ratios, solved by Newton's method.

Wang & Manning 2012 scale the presence of each n-gram by its naive-Bayes log-count ratio; with n-grams of one to three
words Mesnil et al. 2014 reach 91.87 % on IMDb. The ratio sets how far the penalty lets a weight grow.
"""

import time
from typing import NamedTuple

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
from sentiment_cli.data.corpus.targets import codes_of, is_binary, n_outputs
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.errors import DataError
from sentiment_cli.models.layers.ngrams import count_ngrams
from sentiment_cli.models.linear import LinearClassifier
from sentiment_cli.training.checkpoints import TrainProgress
from sentiment_cli.training.class_weights import class_weights
from sentiment_cli.training.tasks.distillation import add_soft_labels
from sentiment_cli.training.tasks.newton import Link, Solution, solve
from sentiment_cli.training.tasks.presence import (
    Presence,
    build_bag,
    build_presence,
    inverse_frequencies,
    log_count_ratios,
    sizes,
)

_CPU = torch.device("cpu")
_READ_AT_ONCE = 2**18  # tokens, padding included, so that they fit in the CPU caches
# A word has about twenty pieces (character n-grams): at full scale they outweigh n-grams of words. Cross-validated
# (three folds, penalty 0.01), questions of six kinds reach 85.8 % at 1, 86.7 at 0.5 and 87.2 at 0.25, restaurant
# sentences 82.6, 85.0 and 84.1, and German tweets, whose words are long, 79.7 at 0.5 and 78.2 at 0.25.
_PIECE_SCALE = 0.5


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
    code_KC = output_codes(experiment, corpus)
    truth_NC = torch.from_numpy(code_KC[packed.label_N].astype(np.float64))
    if experiment.teacher.run:
        packed, _, soft_N = add_soft_labels(experiment, corpus, packed, ids)
        truth_NC = as_targets(soft_N)
    began = time.monotonic()
    features = read_features(packed, experiment, corpus.vocabulary)
    truth_NC = truth_NC[torch.from_numpy(features.order_N)]
    counted_s = time.monotonic() - began
    label_N = packed.label_N[features.order_N]
    weight_CJ, weight_NC = class_weights(experiment, corpus, label_N), None
    if weight_CJ is not None:  # by row or, of several labels, by yes and no
        is_several = weight_CJ.shape[1] == 2
        weight_NC = np.where(code_KC[label_N], weight_CJ[:, 1], weight_CJ[:, 0]) if is_several else weight_CJ[label_N]
    link = Link(has_softmax(experiment, corpus), None if weight_NC is None else torch.from_numpy(weight_NC))
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


def as_targets(soft_N: Tensor) -> Tensor:
    """Return the soft labels of add_soft_labels as truth_NC, in float64."""
    truth_NC = soft_N.double().view(len(soft_N), -1)
    if truth_NC.shape[1] > 1:  # float32 probabilities that do not add up to 1 have no solution in the biases
        truth_NC /= truth_NC.sum(dim=1, keepdim=True)
    return truth_NC


def output_codes(experiment: Experiment, corpus: Corpus) -> NDArray[np.bool_]:
    """Return code_KC: the yes and no of each output for each value of label_N; of two labels that of the second."""
    target, n_labels = experiment.data.target, len(corpus.labels)
    code_KC = codes_of(target, n_labels, corpus.sets_KC)
    return np.eye(n_labels, dtype=np.bool_)[:, -n_outputs(target, n_labels) :] if code_KC is None else code_KC


def has_softmax(experiment: Experiment, corpus: Corpus) -> bool:
    """Say whether the outputs of a row are logits of one softmax; otherwise each is of a yes or no of its own."""
    target = experiment.data.target
    return n_outputs(target, len(corpus.labels)) > 1 and not is_binary(target)


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


def read_features(packed: Packed, experiment: Experiment, vocabulary: Vocabulary) -> Features:
    """Find the features of some rows. Raises DataError where there are none."""
    settings = experiment.model.linear
    ids_T, row_T, order_N = read_rows(packed, experiment.text)
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


def read_rows(packed: Packed, text: Text) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Return the tokens that the model reads of all rows with a token, the shortest row first, padding after each.

    Returns ids_T, row_T (the place of each token's row among these) and order_N, the rows in that order.
    """
    read_N = read_lengths(packed.length_N, text)
    order_N = np.flatnonzero(packed.length_N)
    if not len(order_N):
        raise DataError("no training review has a token", "sentiment data check")
    order_N = order_N[np.argsort(read_N[order_N], kind="stable")]
    rows, ids = rows_on(_CPU, packed), []
    for row_B in cut_batches(order_N, read_N, _READ_AT_ONCE):
        width = int(read_N[row_B[-1]])
        batch = gather(rows, torch.from_numpy(row_B), width, text)
        is_kept_BL = torch.arange(width + 1) <= batch.length_B[:, None]
        ids.append(F.pad(batch.ids_BL, (0, 1))[is_kept_BL])
    row_T = np.repeat(np.arange(len(order_N), dtype=np.int32), read_N[order_N] + 1)
    return torch.cat(ids).numpy(), row_T, order_N
