"""What a model says of texts."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_cli.config.schema import Text
from sentiment_cli.data.batches import Rows, cut_batches, gather, read_lengths
from sentiment_cli.data.stars import ratings_of
from sentiment_cli.data.tokenizer import encode, most_tokens
from sentiment_cli.inference.artefact import Artefact
from sentiment_cli.models.classifier import AnyClassifier

# Rows times width of one batch: large enough to fill a device, small enough for the caches of a CPU.
_BATCH_TOKENS = 16_384


class Prediction(NamedTuple):
    """One text's answer; `probability` is the label's, tokens are counted before truncation, without the start token.

    A model of star ratings gives `stars`, whose sign is the label, and no probabilities: a mean rating does not say how
    far the truth may lie from it.
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

    def to_json(self) -> dict[str, Any]:
        """Return the fields; stars only of a model that predicts them."""
        fields = self._asdict()
        return fields if self.stars is not None else {name: fields[name] for name in fields if name != "stars"}


class Predictor:
    """Answers for texts, with the pipeline the model was trained with."""

    def __init__(self, artefact: Artefact) -> None:
        self._artefact = artefact
        text, vocabulary = artefact.experiment.text, artefact.vocabulary
        self._most_read = most_tokens(text)
        self._is_word_V = np.array([len(entry) > 1 and any(map(str.isalpha, entry)) for entry in vocabulary.entries])
        self._is_word_V[: vocabulary.specials] = False

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction per text, in order; one with no known word has `low_evidence`."""
        artefact = self._artefact
        rows_ids = list(encode(artefact.tokenizer, texts))
        output = score_rows(artefact.model, *rows_of(rows_ids), artefact.experiment.text)
        if artefact.experiment.data.target == "stars":
            best_N, said = (output >= 0).astype(np.int64), [(None, stars) for stars in ratings_of(output).tolist()]
        else:
            probability_NC = class_probabilities(output / artefact.temperature)
            best_N, said = likeliest(probability_NC), [(row, None) for row in probability_NC.tolist()]
        return [
            self._prediction(text, ids, best, probabilities, stars)
            for text, ids, best, (probabilities, stars) in zip(texts, rows_ids, best_N.tolist(), said, strict=True)
        ]

    def _prediction(
        self, text: str, ids_L: NDArray[np.int32], best: int, probabilities: list[float] | None, stars: float | None
    ) -> Prediction:
        labels = self._artefact.labels
        return Prediction(
            text=text,
            label=labels[best],
            probability=None if probabilities is None else probabilities[best],
            probabilities=None if probabilities is None else dict(zip(labels, probabilities, strict=True)),
            stars=stars,
            tokens=len(ids_L),
            unknown=int((ids_L == self._artefact.vocabulary.unknown_id).sum()),
            truncated=self._most_read is not None and len(ids_L) > self._most_read,
            low_evidence=not self._is_word_V[ids_L].any(),
        )


def rows_of(rows_ids: Iterable[NDArray[np.int32]]) -> tuple[Rows, NDArray[np.int64]]:
    """Pack token ids of unlabelled rows; return them and the rows' lengths."""
    ids = [*rows_ids, np.zeros(1, dtype=np.int32)]  # the padding token that empty rows point at
    length_N = np.array([len(row) for row in ids[:-1]], dtype=np.int64)
    starts_N1 = torch.from_numpy(np.concatenate([[0], np.cumsum(length_N)]))
    no_label_N = torch.zeros(len(length_N), dtype=torch.long)
    return Rows(torch.from_numpy(np.concatenate(ids)), starts_N1, no_label_N), length_N


@torch.inference_mode()
def score_rows(
    model: AnyClassifier,
    rows: Rows,
    length_N: NDArray[np.int64],
    text: Text,
    *,
    first: int = 0,
    every: int = 1,
    on_read: Callable[[int], object] | None = None,
) -> NDArray[np.float64]:
    """Return the model's outputs of all rows, in their order, in float32; rows of like length are read together.

    They are logit_N (or star ratings on their scale), or logit_NC where the model has a logit per label. Of several
    processes each reads every so many-th batch, from its `first` on; the other rows' outputs are then 0. `on_read` is
    told after each batch how many tokens have been read.
    """
    was_training = model.training
    model.eval()
    read_N = read_lengths(length_N, text)
    logits = np.zeros(len(length_N) if model.n_logits == 1 else (len(length_N), model.n_logits))
    device = rows.starts_N1.device
    batches = cut_batches(np.argsort(read_N, kind="stable"), read_N, _BATCH_TOKENS)
    n_read = 0
    for row_B in itertools.islice(batches, first, None, every):
        batch = gather(rows, torch.from_numpy(row_B).to(device), int(read_N[row_B].max()), text)
        logits[row_B] = model(batch.ids_BL, batch.length_B).cpu().numpy()
        if on_read is not None:
            n_read += int(read_N[row_B].sum())
            on_read(n_read)
    model.train(was_training)
    return logits


def likeliest(probability_NC: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return each row's likeliest label; of equals the last, so that the second of two labels has it from 0.5 on."""
    likeliest_N: NDArray[np.int64] = probability_NC.shape[1] - 1 - probability_NC[:, ::-1].argmax(axis=1)
    return likeliest_N


def class_probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probability_NC from logit_NC, or from logit_N of the second of two labels, without overflow."""
    if logits.ndim == 1:
        positive_N = 0.5 * (1.0 + np.tanh(0.5 * logits))  # the sigmoid
        return np.stack([1.0 - positive_N, positive_N], axis=1)
    odds_NC = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability_NC: NDArray[np.float64] = odds_NC / odds_NC.sum(axis=1, keepdims=True)
    return probability_NC
