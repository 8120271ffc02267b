"""Attribution: the contribution of each word to the model's output.

The output is what the answer is made of: the log-odds of the second of two labels, calibrated as the probability is;
of more labels the answer's logit less the mean of the others'; of several labels a row the log-odds of one; of ordered
labels the mean log-odds of a higher one; or stars. Four methods share it out among the words:

    gradients  integrated gradients, from every word read as unknown (Sundararajan et al. 2017); needs torch
    occlusion  what the output loses where a word is read as unknown (Li, Monroe & Jurafsky 2016); needs outputs alone
    weights    of the linear model: those of its words and n-grams, of which the output is the sum
    attention  how much of each word's state is pooled: no contribution, and adds up to nothing but 1

With the first two the words add to the output of the text with every word unknown, with the third to the bias. What
they add should be the rest of the output; the gap is by how much it is more.
"""

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console, extras
from sentiment_cli.data.batching.truncation import concatenate_rows, gather_rows, read_lengths
from sentiment_cli.errors import UsageError
from sentiment_cli.inference.explain import linear_weights
from sentiment_cli.inference.explain.aims import Target, aim_at
from sentiment_cli.inference.explain.linear_weights import NgramWeights, load_ngram_weights, share_weights
from sentiment_cli.inference.explain.words import ExplainedRow, WordSpan, read_text
from sentiment_cli.inference.predictor import (
    MemberPredictor,
    Prediction,
    Predictor,
)

if TYPE_CHECKING:
    from sentiment_cli.models.classifier import Classifier

AttributionMethod = Literal["gradients", "occlusion", "weights", "attention"]

_NAMES: dict[AttributionMethod, str] = {
    "gradients": "integrated gradients",
    "occlusion": "occlusion",
    "weights": "the model's weights",
    "attention": "attention",
}

# The most tokens, over all rows in which words are masked: one to three seconds of an LSTM.
_TOKENS_READ = 400_000
_FEWEST_WINDOWS = 16
_MOST_WITH_GRADIENTS = 16_384  # tokens of a row, of which all states are kept at once


class Attribution(NamedTuple):
    """added: for each member, added_K, the contribution of each token it reads, from `baseline` to `output`."""

    added: Sequence[NDArray[np.float64]]
    baseline: float
    output: float
    note: str = ""
    ngrams: Sequence[tuple[str, float]] = ()


class Explanation(NamedTuple):
    """Contributions of the words, in order; for attention weights, output, baseline and gap are None."""

    method: AttributionMethod
    of: str
    output: float | None
    baseline: float | None
    gap: float | None
    words: list[WordSpan]
    added: list[float]
    note: str = ""
    ngrams: Sequence[tuple[str, float]] = ()

    def summary(self) -> str:
        """Return a line with output, baseline and gap."""
        if self.output is None or self.baseline is None or self.gap is None:
            return f"{_NAMES[self.method]}, {self.note}"
        rest = self.output - self.baseline
        share = f" ({abs(self.gap / rest):.2%})" if abs(rest) > 1e-3 else ""
        return (
            f"{_NAMES[self.method]}: {self.of} {self.output:.2f} = {self.baseline:.2f} "
            f"{'by itself' if self.method == 'weights' else 'with every word unknown'} "
            f"{self.output - self.baseline + self.gap:+.2f} by the words; gap {self.gap:+.3f}{share}"
            + (f"; {self.note}" if self.note else "")
        )

    def levels(self, most: int) -> list[int]:
        """Return the contributions as integers, scaled so that the strongest one is `most`."""
        strongest = max(map(abs, self.added), default=0.0) or 1.0
        return [round(most * added / strongest) for added in self.added]

    def to_json(self) -> dict[str, Any]:
        """Return the fields, each word as an object."""
        kind = "weight" if self.method == "attention" else "contribution"
        words = [
            {"text": word.text, "start": word.start, "end": word.end, kind: added}
            | {"unknown": word.unknown, "read": word.read}
            for word, added in zip(self.words, self.added, strict=True)
        ]
        fields = {**self._asdict(), "words": words}
        fields["ngrams"] = [{"text": text, "contribution": added} for text, added in self.ngrams]
        return {name: value for name, value in fields.items() if name != "added"}


class Explainer:
    """Explains a model's predictions; the method's requirements are loaded once.

        explainer = Explainer(predictor)                  by the method that suits the model best
        explainer.explain("I just really loved the movie")

    Raises UsageError for a method that is not of such a model.
    """

    def __init__(self, predictor: Predictor, method: AttributionMethod | None = None) -> None:
        self._predictor = predictor
        self.method = _check(method, predictor) if method else best_method(predictor)
        self._weights, self._model = None, None
        if self.method == "weights" or (self.method == "gradients" and _has_skip(predictor.members[0])):
            self._weights = load_ngram_weights(predictor.model.first)
        if self.method not in ("weights", "occlusion"):
            self._model = _load_torch(predictor.members[0], self.method)

    def explain_answer(self, answer: Prediction) -> list[Explanation]:
        """Return an explanation of an answer or, where it gives several labels, one of each."""
        places = [self._predictor.labels.index(label) for label in answer.labels or ()]
        return [self.explain(answer.text, place) for place in places] or [self.explain(answer.text)]

    def explain(self, text: str, label: int | None = None) -> Explanation:
        """Return the contribution of each word of a text; to a label of its own, where there are several a row."""
        predictor, method, notes = self._predictor, self.method, []
        rows = read_text(predictor, text)
        row, member = rows[0], predictor.members[0]
        outputs = predictor.outputs([[one.ids_L] for one in rows])
        aim = aim_at(predictor, outputs, label)
        read = zip(predictor.members, rows, strict=True)
        if not any(any(map(one.vocabulary.is_word, its.ids_K.tolist())) for one, its in read):
            notes.append("low evidence: the model reads no word that it knows")
        if method == "gradients" and len(row.kept_K) > _MOST_WITH_GRADIENTS:
            method = "occlusion"
            notes.append(f"integrated gradients are for texts of up to {_MOST_WITH_GRADIENTS:,} tokens")
        if not any(len(row.kept_K) for row in rows):
            value = float(aim.values(outputs)[0])
            shared = Attribution([np.zeros(0) for _ in rows], value, value)
        elif self._weights is not None and method == "weights":
            shared = _read_weights(member, self._weights, row, aim)
        elif self._model is not None and method != "occlusion":
            shared = _ask_torch(member, self._model, self._weights, row, aim, method)
        else:
            shared = occlude(predictor, rows, aim)
        notes += [shared.note] if shared.note else []
        by_member = [row.sum_words(added_K) for row, added_K in zip(rows, shared.added, strict=True)]
        added, note = [sum(of_word) for of_word in zip(*by_member, strict=True)], "; ".join(notes)
        if method == "attention":
            return Explanation(method, aim.of, None, None, None, row.words, added, note)
        gap = float(sum(map(np.sum, shared.added))) - (shared.output - shared.baseline)
        return Explanation(method, aim.of, shared.output, shared.baseline, gap, row.words, added, note, shared.ngrams)


def explanations_json(answer: Prediction, explanations: Sequence[Explanation]) -> dict[str, Any]:
    """Return the fields of explanations beside an answer's: one explanation, or a list where labels are several."""
    if answer.labels is not None:
        return {"explanations": [one.to_json() for one in explanations]}
    return {"explanation": explanations[0].to_json()}


def best_method(predictor: Predictor) -> AttributionMethod:
    """Return weights for a linear model, gradients where weights and torch are at hand, else occlusion."""
    if predictor.model.is_ensemble:
        return "occlusion"
    artefact = predictor.model.first
    if predictor.settings["model"]["kind"] == "linear":
        return "weights" if linear_weights.has_ngram_weights(artefact) else "occlusion"
    if not artefact.has_weights:
        return "occlusion"
    return "gradients" if extras.is_installed("torch") else "occlusion"


def occlude(predictor: Predictor, rows: Sequence[ExplainedRow], aim: Target) -> Attribution:
    """Read each known word as unknown, in turn, or several side by side where a text is long.

    What the output loses is what the word, or in equal parts each of their tokens, adds.
    """
    members = list(zip(predictor.members, rows, strict=True))
    known = [np.flatnonzero(row.ids_K != member.vocabulary.unknown_id) for member, row in members]
    known_W = np.unique(np.concatenate([row.word_K[known_K] for row, known_K in zip(rows, known, strict=True)]))
    read = sum(int(read_lengths(np.array([len(row.ids_K)]), one.artefact.reading)[0]) for one, row in members)
    n_words = len(known_W)
    n_windows = max(1, min(n_words, max(_FEWEST_WINDOWS, _TOKENS_READ // read)))
    masked, windows = [], []
    for (member, row), known_K in zip(members, known, strict=True):
        window_U = np.searchsorted(known_W, row.word_K[known_K]) * n_windows // max(1, n_words)
        unknown_id = np.int32(member.vocabulary.unknown_id)
        read_ids = [row.ids_K, np.full_like(row.ids_K, unknown_id)]
        for window in range(n_windows):
            read_ids.append(row.ids_K.copy())
            read_ids[-1][known_K[window_U == window]] = unknown_id
        masked.append(read_ids)
        windows.append(window_U)
    value_N = aim.values(predictor.outputs(masked))
    n_tokens_I = np.maximum(1, np.bincount(np.concatenate(windows), minlength=n_windows))  # I: windows
    lost_I = (value_N[0] - value_N[2:]) / n_tokens_I
    added = []
    for row, known_K, window_U in zip(rows, known, windows, strict=True):
        added.append(np.zeros(len(row.ids_K)))
        added[-1][known_K] = lost_I[window_U]
    note = "" if n_windows >= n_words else f"{n_words / n_windows:.1f} words at a time"
    return Attribution(added, float(value_N[1]), float(value_N[0]), note)


def _read_weights(member: MemberPredictor, weights: NgramWeights, row: ExplainedRow, aim: Target) -> Attribution:
    added_K, ngrams = share_weights(member, weights, row.ids_K, row, aim.direction_C)
    bias = float(aim.values(weights.bias_C[None].astype(np.float64))[0])
    output = float(aim.values(member.outputs([row.ids_K]))[0])
    return Attribution([added_K], bias, output, ngrams=ngrams)


def _ask_torch(
    member: MemberPredictor,
    model: "Classifier",
    weights: NgramWeights | None,
    row: ExplainedRow,
    aim: Target,
    method: AttributionMethod,
) -> Attribution:
    """Explain with torch. The kept tokens come last in the row, after start token and padding.

    `weights` are those of a linear model whose logits are added: what its n-grams add is exact, and comes on top.
    """
    from sentiment_cli.inference.explain import integrated_gradients

    reading, n_kept = member.artefact.reading, len(row.kept_K)
    width = int(read_lengths(np.array([len(row.ids_L)]), reading)[0])
    (ids_L,), _ = gather_rows(concatenate_rows([row.ids_L]), np.zeros(1, dtype=np.int64), width, reading)
    if method == "attention":
        weight_L = integrated_gradients.attention_weights(model, ids_L)
        return Attribution(
            [weight_L[-n_kept:]], 0.0, 0.0, "weights, not contributions: each state knows of other words, too"
        )
    baseline_L = ids_L.copy()
    baseline_L[-n_kept:] = member.vocabulary.unknown_id
    found = integrated_gradients.integrate_row(model, baseline_L, ids_L, aim.direction_C)
    added_K, before, note, ngrams = found.added_L[-n_kept:], found.before + aim.offset, "", list[tuple[str, float]]()
    if weights is not None:  # the integral leaves out what the linear model adds, which is the same at both ends
        linear_K, ngrams = share_weights(member, weights, ids_L, row, aim.direction_C)
        note = f"of which {added_K.sum():+.2f} by the network and {linear_K.sum():+.2f} by its linear part"
        added_K, before = added_K + linear_K, before - float(linear_K.sum())
    return Attribution([added_K], before, found.after + aim.offset, note, ngrams)


def _has_skip(member: MemberPredictor) -> bool:
    """Say whether the logits of a linear model are added to those of the network."""
    return member.artefact.settings["model"].get("wide", {}).get("use") in ("skip", "both")


def _load_torch(member: MemberPredictor, method: AttributionMethod) -> "Classifier":
    if "torch" not in sys.modules:
        needs = {"gradients": "integrated gradients need", "attention": "attention's weights need"}[method]
        console.say(f"loading torch: {needs} the model's weights")
    from sentiment_cli.inference.torch_model import load_model
    from sentiment_cli.models.classifier import Classifier

    model = load_model(member.artefact)
    assert isinstance(model, Classifier)
    return model


def _check(method: AttributionMethod, predictor: Predictor) -> AttributionMethod:
    """Raise UsageError if the model does not support the method."""
    settings, model = predictor.settings["model"], predictor.model
    is_linear, problem = settings["kind"] == "linear", None
    if method != "occlusion" and model.is_ensemble:
        problem = f"{model.path} is an ensemble, which occlusion alone explains: {method} are of one model"
    elif method == "weights" and is_linear:
        problem = None if linear_weights.has_ngram_weights(model.first) else f"{model.path} holds no weights"
    elif method != "occlusion" and not model.first.has_weights:
        problem = f"{model.path} holds no weights, which {method} need"
    elif method == "weights" and not is_linear:
        problem = f"weights explain a linear model, and this one is of kind {settings['kind']}"
    elif method == "gradients" and is_linear:
        problem = "a linear model has no word vectors for gradients; its weights say all there is to say"
    elif method == "attention" and (is_linear or settings["head"] != "pooled" or settings["pooling"] != "attention"):
        problem = "attention explains a model with model.pooling: attention, which this one has not"
    if problem:
        run = shlex.quote(str(model.path))
        raise UsageError(problem, f'sentiment predict --run {run} --explain "I just really loved the movie"')
    return method
