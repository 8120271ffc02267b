"""Exact contributions of words and n-grams in the linear model, from its weights or its graph, without torch."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.tokens.vocabulary import PAD_ID
from sentiment_cli.inference.explain.words import ExplainedRow
from sentiment_cli.inference.predictor import MemberPredictor
from sentiment_cli.onnx.constants import read_constants
from sentiment_cli.runs.saved_model import GRAPH, WEIGHTS, Artefact
from sentiment_cli.storage import store

_NGRAMS_LISTED = 10


class NgramWeights(NamedTuple):
    """key_K: the n-grams that there are, as `models.ngrams` numbers them; weight_FC of all features; bias_C.

    size_F, of a model that is normalized: a row's weights are divided by the root of the sum of its features' sizes.
    `scale` multiplies the logits, where they are added to those of a network.
    """

    key_K: NDArray[np.int64]
    weight_FC: NDArray[np.float32]
    bias_C: NDArray[np.float32]
    size_F: NDArray[np.float32] | None = None
    scale: float = 1.0


class Feature(NamedTuple):
    """A word or n-gram of a row: the positions of its first tokens, its number of tokens, and its contribution."""

    places: list[int]
    length: int
    added: float


def has_ngram_weights(artefact: Artefact) -> bool:
    """Say whether the weights of a linear model are at hand: in their own file, or in its graph."""
    return artefact.has_weights or (artefact.no_graph is None and _weights_of_graph(artefact) is not None)


def load_ngram_weights(artefact: Artefact) -> NgramWeights:
    """Read the weights of a linear model, by itself or beside a network. Raises IntegrityError for other weights."""
    if not artefact.has_weights and (of_graph := _weights_of_graph(artefact)) is not None:
        return of_graph
    import safetensors.numpy

    settings = artefact.settings["model"]
    at = "" if settings["kind"] == "linear" else "wide.linear."
    try:
        found = safetensors.numpy.load(artefact.read(WEIGHTS))
        size_F = found[f"{at}size"] if settings["linear"].get("normalize", False) else None
        scale = float(found["wide.scale"]) if at else 1.0
        weights = NgramWeights(found[f"{at}keys"], found[f"{at}weight"], found[f"{at}bias"], size_F, scale)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise store.IntegrityError(f"{artefact.path} does not hold the weights of a linear model: {error!r}") from error
    n_ngrams, n_logits = weights.key_K.size, artefact.n_logits
    n_features = len(artefact.vocabulary.entries) + n_ngrams
    shapes = [(n_ngrams,), (n_features, n_logits), (n_logits,), (n_features,)]
    arrays = [array for array in weights[:4] if array is not None]
    is_whole = [array.shape for array in arrays] == shapes[: len(arrays)] and weights.key_K.dtype == np.int64
    if not is_whole or not all(np.isfinite(array).all() for array in arrays):
        raise store.IntegrityError(f"{artefact.path} holds other numbers than a linear model of its words and labels")
    return weights


def _weights_of_graph(artefact: Artefact) -> NgramWeights | None:
    """Find the weights among the constants of a packed model's graph; None where they are not there as they are.

    The longest vector of floats is the weights, with a 0 behind them for n-grams that are none; the n-grams are as many
    as the features beyond the words. A model that is normalized has two such vectors, and one in int8 none.
    """
    constants = read_constants(artefact.read(GRAPH))
    n_entries, n_logits = len(artefact.vocabulary.entries), artefact.n_logits
    shape = () if n_logits == 1 else (n_logits,)
    floats = [array for array in constants if array.dtype.kind == "f"]
    weights = [array for array in floats if array.ndim and len(array) > n_entries and array.shape[1:] == shape]
    biases = [array for array in floats if array.shape == shape]
    if len(weights) != 1 or len(biases) != 1:
        return None
    (weight_FC,), (bias_C,) = weights, biases
    n_ngrams = len(weight_FC) - 1 - n_entries
    keys = [array for array in constants if array.dtype.kind == "i" and array.shape == (n_ngrams,)]
    keys = [key_K for key_K in keys if (np.diff(key_K) > 0).all() and key_K[0] >= n_entries]
    if len(keys) != (1 if n_ngrams else 0):
        return None
    key_K = keys[0].astype(np.int64) if keys else np.zeros(0, np.int64)
    weight_FC = weight_FC[:-1].astype(np.float32).reshape(-1, n_logits)
    if not np.isfinite(weight_FC).all() or not np.isfinite(bias_C).all():
        raise store.IntegrityError(f"{artefact.path} holds weights that are not finite")
    return NgramWeights(key_K, weight_FC, bias_C.astype(np.float32).reshape(n_logits))


def find_features(
    weights: NgramWeights,
    ids_L: NDArray[np.int32],
    direction_C: NDArray[np.float64],
    *,
    n_entries: int,
    unknown_id: int,
    longest: int,
) -> list[Feature]:
    """Return the features of a row, each once; with the bias they sum to the logits' product with `direction_C`."""
    key_K, next_L = weights.key_K, ids_L.astype(np.int64)
    at_T = np.flatnonzero((next_L != PAD_ID) & (next_L != unknown_id))
    feature_T = next_L[at_T]
    places: dict[tuple[int, int], list[int]] = {}  # by length and feature
    for n in range(1, longest + 1):
        if n > 1:
            inside_T = at_T + n - 1 < len(next_L)
            at_T, feature_T = at_T[inside_T], feature_T[inside_T]
            key_T = feature_T * n_entries + next_L[at_T + n - 1]
            place_T = np.searchsorted(key_K, key_T)
            found_T = place_T < len(key_K)
            found_T[found_T] = key_K[place_T[found_T]] == key_T[found_T]
            at_T, feature_T = at_T[found_T], place_T[found_T] + n_entries
        for feature, at in zip(feature_T.tolist(), at_T.tolist(), strict=True):
            places.setdefault((n, feature), []).append(at)
    found_F = [feature for _, feature in places]
    added_F = weights.weight_FC[found_F].astype(np.float64) @ direction_C * weights.scale
    if weights.size_F is not None:
        added_F /= math.sqrt(max(1.0, float(weights.size_F[found_F].sum())))
    return [Feature(at, n, added) for ((n, _), at), added in zip(places.items(), added_F.tolist(), strict=True)]


def share_out(features: list[Feature], length: int) -> NDArray[np.float64]:
    """Return added_L: each feature's contribution, divided equally among all tokens of all its occurrences."""
    added_L = np.zeros(length)
    for places, n, added in features:
        for at in places:
            added_L[at : at + n] += added / (len(places) * n)
    return added_L


def share_weights(
    member: MemberPredictor,
    weights: NgramWeights,
    ids_L: NDArray[np.integer],
    row: ExplainedRow,
    direction_C: NDArray[np.float64],
) -> tuple[NDArray[np.float64], list[tuple[str, float]]]:
    """Return what the weights add at each kept token, which come last in the row, and the strongest n-grams."""
    features = find_features(
        weights,
        ids_L.astype(np.int32),
        direction_C,
        n_entries=len(member.vocabulary.entries),
        unknown_id=member.vocabulary.unknown_id,
        longest=member.artefact.settings["model"]["linear"]["ngrams"],
    )
    features.sort(key=lambda feature: -abs(feature.added))
    ngrams, before = list[tuple[str, float]](), len(ids_L) - len(row.ids_K)
    for places, n, added in features:
        first = max(0, places[0] - before)
        words = dict.fromkeys(row.word_K[first : max(0, places[0] - before + n)].tolist())
        if words and len(ngrams) < _NGRAMS_LISTED:  # the start token alone is no word
            ngrams.append((" ".join(row.words[word].text for word in words), added))
    return share_out(features, len(ids_L))[before:], ngrams
