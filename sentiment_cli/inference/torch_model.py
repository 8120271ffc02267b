"""A finished model in torch: its weights loaded, and rows scored on any device."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sentiment_cli.config.schema import Experiment, Text
from sentiment_cli.data.batching.batches import DeviceRows, gather
from sentiment_cli.data.batching.truncation import concatenate_rows, cut_batches, read_lengths
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.models.classifier import AnyClassifier, build_classifier
from sentiment_cli.onnx.runtime import ScoreFn
from sentiment_cli.runs.saved_model import WEIGHTS, Artefact, experiment_of
from sentiment_cli.storage import store

Built = TypeVar("Built", bound=nn.Module)
# Rows times width of one batch: large enough to fill a device.
BATCH_TOKENS = 16_384


def load_model(artefact: Artefact) -> AnyClassifier:
    """Return a finished classifier on the CPU, in evaluation mode. Raises IntegrityError as `load_built` does."""
    return load_built(artefact, build_classifier)


def load_built(artefact: Artefact, build: Callable[[Experiment, Vocabulary, int], Built]) -> Built:
    """Return a finished model of any task on the CPU, in evaluation mode.

    Raises IntegrityError where the tensors are not the experiment's own: others, of other shapes or kinds, or with
    numbers that are not finite.
    """
    place, weights = artefact.files.place(WEIGHTS), load_weights(artefact)
    try:
        experiment, n_labels = experiment_of(artefact), len(artefact.labels)
        model = _filled(lambda: build(experiment, artefact.vocabulary, n_labels), weights)
    except (RuntimeError, ValueError) as error:
        raise store.IntegrityError(f"{place} does not hold the model's weights: {error}") from error
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise store.IntegrityError(f"{place}: {name} holds numbers that are not finite")
    return model


def load_weights(artefact: Artefact) -> dict[str, Tensor]:
    """Return a model's tensors by name, for any task. Raises IntegrityError for damage."""
    try:
        weights: dict[str, Tensor] = safetensors.torch.load(artefact.read(WEIGHTS))
    except (safetensors.SafetensorError, RuntimeError, ValueError) as error:
        place = artefact.files.place(WEIGHTS)
        raise store.IntegrityError(f"{place} does not hold the model's weights: {error}") from error
    return weights


def model_of(
    experiment: Experiment, vocabulary: Vocabulary, n_labels: int, weights: dict[str, Tensor]
) -> AnyClassifier:
    """Return the experiment's classifier on the CPU with these weights, in evaluation mode.

    Raises RuntimeError for other tensors than the model's, and for other shapes and types.
    """
    return _filled(lambda: build_classifier(experiment, vocabulary, n_labels), weights)


def _filled(build: Callable[[], Built], weights: dict[str, Tensor]) -> Built:
    with torch.device("meta"):  # no time on random weights that are replaced at once
        model = build()
    for name, tensor in model.state_dict().items():
        if name in weights and weights[name].dtype != tensor.dtype:
            raise RuntimeError(f"{name} is of {weights[name].dtype}, where {tensor.dtype} is meant")
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval()


def answers_of(model: AnyClassifier) -> ScoreFn:
    """Return the function that a model computes on the CPU."""

    @torch.inference_mode()
    def answer(ids_BL: NDArray[np.int64], length_B: NDArray[np.int64]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = model(torch.from_numpy(ids_BL), torch.from_numpy(length_B)).numpy()
        return logits

    return answer


def rows_of(rows_ids: Iterable[NDArray[np.int32]]) -> tuple[DeviceRows, NDArray[np.int64]]:
    """Put token ids of unlabelled rows together; return them and the rows' lengths."""
    laid_out = concatenate_rows(list(rows_ids))
    ids_T, starts_N1 = map(torch.from_numpy, laid_out)
    return DeviceRows(ids_T, starts_N1, torch.zeros_like(starts_N1[1:])), laid_out.length_N


def count_batches(length_N: NDArray[np.int64], text: Text) -> int:
    """Return how many batches `score_rows` reads rows of these lengths in."""
    return sum(1 for _ in _batches(read_lengths(length_N, text)))


def _batches(read_N: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return cut_batches(np.argsort(read_N, kind="stable"), read_N, BATCH_TOKENS)


@torch.inference_mode()
def score_rows(
    model: AnyClassifier,
    rows: DeviceRows,
    length_N: NDArray[np.int64],
    text: Text,
    *,
    first: int = 0,
    every: int = 1,
    on_read: Callable[[int], object] | None = None,
) -> NDArray[np.float64]:
    """Return the model's outputs of all rows, in their order, in float32; rows of like length are read together.

    They are logit_N (or star ratings on their scale), or logit_NC where the model has a logit per label. With
    several processes, each reads every `every`-th batch from `first` on, and the outputs of other rows are 0. `on_read`
    is called after each batch with the number of tokens read so far.
    """
    was_training = model.training
    model.eval()
    read_N = read_lengths(length_N, text)
    logits = np.zeros(len(length_N) if model.n_logits == 1 else (len(length_N), model.n_logits))
    device = rows.starts_N1.device
    n_read = 0
    for row_B in itertools.islice(_batches(read_N), first, None, every):
        batch = gather(rows, torch.from_numpy(row_B).to(device), int(read_N[row_B].max()), text)
        logits[row_B] = model(batch.ids_BL, batch.length_B).cpu().numpy()
        if on_read is not None:
            n_read += int(read_N[row_B].sum())
            on_read(n_read)
    model.train(was_training)
    return logits
