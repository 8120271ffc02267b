"""Predictions of a model for texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.data.batching.truncation import kept_positions, max_own_tokens
from sentiment_cli.data.corpus.ratings import ratings_of
from sentiment_cli.data.corpus.targets import TargetName, rank_probabilities, sigmoid
from sentiment_cli.data.tokens.saved_tokenizer import panics
from sentiment_cli.data.tokens.tokenizer import encode
from sentiment_cli.inference.scoring import score_ids
from sentiment_cli.onnx.runtime import ScoreFn, n_cores, open_graph
from sentiment_cli.runs.ensemble_model import SavedModel, open_model
from sentiment_cli.runs.saved_model import GRAPH, Artefact
from sentiment_cli.storage import store

_OF_SOME = ("stars", "labels")  # fields that models of some targets have


class Prediction(NamedTuple):
    """One text's answer; `probability` is the label's, tokens are counted before truncation, without the start token.

    A model of several labels a row gives those from their thresholds on, the likeliest first, as `labels`, which may be
    empty; `label` is then the likeliest of all. A model of star ratings gives `stars`, whose sign is the label, and no
    probabilities: a mean rating does not say how far the truth may lie from it.
    """

    text: str
    label: str
    probability: float | None
    probabilities: dict[str, float] | None
    tokens: int
    unknown: int
    truncated: bool
    low_evidence: bool
    stars: float | None = None
    labels: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields; stars and labels only of a model that predicts them."""
        return {name: value for name, value in self._asdict().items() if name not in _OF_SOME or value is not None}


class Evidence(NamedTuple):
    """Token counts of a text; the fields are those of `Prediction`."""

    tokens: int
    unknown: int
    truncated: bool
    low_evidence: bool


class MemberPredictor:
    """One network of a model, with the pipeline it was trained with; by its graph, else, with torch, by its weights."""

    def __init__(self, artefact: Artefact, n_threads: int | None = None) -> None:
        self.artefact, self.vocabulary, self.tokenizer = artefact, artefact.vocabulary, artefact.tokenizer
        self._most_read = max_own_tokens(artefact.reading)
        self._answers, most_threads = _load(artefact)
        self._n_threads = most_threads if n_threads is None else min(n_threads, most_threads)

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the token ids of each text, all of them."""
        with panics():
            return list(encode(self.tokenizer, texts))

    def kept(self, ids_L: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the places of the tokens that the model reads of a row, which are not all of a long one."""
        return kept_positions(len(ids_L), self.artefact.reading)

    def outputs(self, rows_ids: Sequence[NDArray[np.int32]], *, is_urgent: bool = False) -> NDArray[np.float64]:
        """Return the network's outputs for rows of complete token ids, in order; `score_ids` says what is urgent.

        That is logit_N, of the second of two labels, or logit_NC, not divided by the temperature, or star ratings on
        their scale. Raises IntegrityError for a network that puts out what is no finite number.
        """
        outputs = score_ids(
            self._answers,
            rows_ids,
            self.artefact.reading,
            self.artefact.n_logits,
            n_threads=self._n_threads,
            is_urgent=is_urgent,
        )
        if not np.isfinite(outputs).all():
            raise store.IntegrityError(f"{self.artefact.path} answers with numbers that are not finite")
        return outputs

    def evidence(self, ids_L: NDArray[np.int32]) -> Evidence:
        """Return the token counts of a text."""
        is_whole_L = ids_L < self.vocabulary.n_whole
        return Evidence(
            tokens=int(is_whole_L.sum()),
            unknown=int((ids_L == self.vocabulary.unknown_id).sum()),
            truncated=self._most_read is not None and len(ids_L) > self._most_read,
            low_evidence=not any(map(self.vocabulary.is_word, ids_L.tolist())),
        )


class Predictor:
    """Answers for texts by a model's members, each with its own pipeline.

        predictor = Predictor(open_model(path))
        predictor.predict(["I just really loved the movie"])
        predictor.outputs(predictor.encode(texts))            logits, not divided by predictor.temperature

    Of an ensemble, tokens and unknown ones are counted as the first member has them; a text is truncated, and its
    evidence low, where it is so for every member.
    """

    def __init__(self, model: SavedModel, n_threads: int | None = None) -> None:
        self.model, self.settings, self.combined = model, model.settings, model.combined
        self.labels, self.target, self.temperature = model.labels, model.target, model.temperature
        self.members = [MemberPredictor(artefact, n_threads) for artefact in model.models]

    def predict(self, texts: Sequence[str], *, is_urgent: bool = False) -> list[Prediction]:
        """Return one prediction per text, in order; one with no known word has `low_evidence`.

        Urgent texts are divided among the cores; others are computed in batches that every machine cuts alike.
        """
        return self.judge(texts, self.encode(texts), is_urgent=is_urgent)

    def encode(self, texts: Sequence[str]) -> list[list[NDArray[np.int32]]]:
        """Return for each member the token ids of each text."""
        return [member.encode(texts) for member in self.members]

    def judge(
        self, texts: Sequence[str], rows: Sequence[Sequence[NDArray[np.int32]]], *, is_urgent: bool = False
    ) -> list[Prediction]:
        """Return the predictions for texts whose token ids come from `encode`."""
        known = [map(member.evidence, rows_ids) for member, rows_ids in zip(self.members, rows, strict=True)]
        evidence = [
            of_members[0]._replace(
                truncated=all(one.truncated for one in of_members),
                low_evidence=all(one.low_evidence for one in of_members),
            )
            for of_members in zip(*known, strict=True)
        ]
        return _predictions(self.model, texts, self.outputs(rows, is_urgent=is_urgent), evidence)

    def outputs(self, rows: Sequence[Sequence[NDArray[np.int32]]], *, is_urgent: bool = False) -> NDArray[np.float64]:
        """Return the outputs of texts whose token ids come from `encode`, not divided by the temperature."""
        return self.combined(
            [member.outputs(ids, is_urgent=is_urgent) for member, ids in zip(self.members, rows, strict=True)]
        )


def open_predictor(path: Path, n_threads: int | None = None) -> Predictor:
    """Open a classifier for prediction, by default with a batch at once for each core. Raises as `open_model` does."""
    return Predictor(open_model(path), n_threads)


def _predictions(
    model: SavedModel, texts: Sequence[str], output: NDArray[np.float64], evidence: Sequence[Evidence]
) -> list[Prediction]:
    said: list[tuple[list[float] | None, float | None]]
    given: list[tuple[str, ...] | None] = [None] * len(texts)
    if model.target == "stars":
        best_N, said = (output >= 0).astype(np.int64), [(None, stars) for stars in ratings_of(output).tolist()]
    else:
        probability_NC = probabilities_of(output / model.temperature, model.target)
        best_N = decide(probability_NC, model.target, model.threshold_C)
        said = [(row, None) for row in probability_NC.tolist()]
        if model.target == "multilabel":
            given = _given(probability_NC, model.labels, model.threshold_C)
    return [
        Prediction(
            text=text,
            label=model.labels[best],
            probability=None if probabilities is None else probabilities[best],
            probabilities=None if probabilities is None else dict(zip(model.labels, probabilities, strict=True)),
            stars=stars,
            labels=labels,
            **known._asdict(),
        )
        for text, best, (probabilities, stars), labels, known in zip(
            texts, best_N.tolist(), said, given, evidence, strict=True
        )
    ]


def _given(
    probability_NC: NDArray[np.float64], labels: Sequence[str], threshold_C: Sequence[float] | None
) -> list[tuple[str, ...] | None]:
    """Return the labels that each row is given, the likeliest first."""
    is_given_NC = given_labels(probability_NC, threshold_C)
    order_NC = np.argsort(-probability_NC, axis=1, kind="stable")
    return [
        tuple(labels[c] for c in order_C if is_given_C[c])
        for order_C, is_given_C in zip(order_NC.tolist(), is_given_NC.tolist(), strict=True)
    ]


def _load(artefact: Artefact) -> tuple[ScoreFn, int]:
    """Return what answers by the graph, else by the weights, and how many threads may ask it at the same time."""
    if artefact.no_graph is None:
        graph = artefact.read(GRAPH)
        try:
            answers, n_logits = open_graph(graph)
        except store.IntegrityError as error:
            raise store.IntegrityError(f"{artefact.files.place(GRAPH)}: {error}") from error
        if n_logits != artefact.n_logits:
            raise store.IntegrityError(
                f"{artefact.files.place(GRAPH)} puts out {n_logits} numbers a row, and {len(artefact.labels)} labels "
                f"want {artefact.n_logits}"
            )
        return answers, n_cores()
    console.say(f"loading torch: {artefact.no_graph}")
    from sentiment_cli.inference.torch_model import answers_of, load_model

    return answers_of(load_model(artefact)), 1  # torch has threads of its own


def likeliest(probability_NC: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return each row's likeliest label; of equals the last, so that the second of two labels has it from 0.5 on."""
    likeliest_N: NDArray[np.int64] = probability_NC.shape[1] - 1 - probability_NC[:, ::-1].argmax(axis=1)
    return likeliest_N


def probabilities_of(outputs: NDArray[np.float64], target: TargetName) -> NDArray[np.float64]:
    """Return probability_NC from a model's outputs, which are divided by its temperature; not of stars.

    They sum to 1 over the labels of a row, but for a target of several labels a row.
    """
    if target == "multilabel":
        return sigmoid(outputs)
    return rank_probabilities(outputs) if target == "ordinal" else class_probabilities(outputs)


def decide(
    probability_NC: NDArray[np.float64], target: TargetName, threshold_C: Sequence[float] | None = None
) -> NDArray[np.int64]:
    """Return the label of each row: the likeliest, or of ordered labels the median, which is nearest on average.

    With thresholds a label's probability counts in proportion to its own.
    """
    if target == "ordinal":
        above_NC = 1 - np.cumsum(probability_NC, axis=1)[:, :-1]
        return np.asarray((above_NC >= 0.5).sum(axis=1), dtype=np.int64)
    return likeliest(probability_NC if threshold_C is None else probability_NC / np.array(threshold_C))


def given_labels(probability_NC: NDArray[np.float64], threshold_C: Sequence[float] | None) -> NDArray[np.bool_]:
    """Return which labels each row is given, of any number: those from their threshold on, 0.5 if none was fitted."""
    return np.asarray(probability_NC >= (0.5 if threshold_C is None else np.array(threshold_C)))


def class_probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probability_NC from logit_NC, or from logit_N of the second of two labels, without overflow."""
    if logits.ndim == 1:
        positive_N = sigmoid(logits)
        return np.stack([1.0 - positive_N, positive_N], axis=1)
    odds_NC = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability_NC: NDArray[np.float64] = odds_NC / odds_NC.sum(axis=1, keepdims=True)
    return probability_NC
