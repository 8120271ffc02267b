"""The language-model task: BPTT streams, the loss of the next word, perplexity on held-out reviews."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.packed import Corpus, Packed
from sentiment_cli.evaluation.sequence_metrics import SequenceScores, score_tokens
from sentiment_cli.models.language_model import (
    LanguageModel,
    activation_penalty,
    build_language_model,
    forget,
    put_rows,
    temporal_penalty,
    vocabulary_rows,
)
from sentiment_cli.models.layers.lookup import marked_places
from sentiment_cli.training.gradients import Objective
from sentiment_cli.training.loader import BatchLoader
from sentiment_cli.training.state import TrainState
from sentiment_cli.training.tasks.bptt_streams import (
    Streams,
    Window,
    check_enough,
    count_windows,
    lay_out_reviews,
    read_streams,
    streams_of,
    streams_on,
    window_of,
)
from sentiment_cli.training.tasks.pretraining_rows import held_out_rows, reading_rows

_ROWS = 32  # per batch of validation


def build_model(experiment: Experiment, corpus: Corpus) -> LanguageModel:
    """Build the language model, with weights from torch's global random generator."""
    return build_language_model(experiment, corpus.vocabulary, len(corpus.labels))


def build_stream_loader(state: TrainState) -> BatchLoader:
    """Return the data loader of the training and unlabelled rows, without the held-out ones."""
    packed, _ = reading_rows(state.job.corpus, state.job.experiment)
    settings, row_N = state.job.experiment.train, np.flatnonzero(packed.length_N)
    n_streams, window = streams_of(settings)
    assert settings.epochs is not None  # null is for classifiers alone
    n_windows = count_windows(packed, window)
    check_enough(len(packed.ids_T) + len(row_N), n_windows, settings)

    def lay_out(epoch: int) -> Streams:
        order_N = np.random.default_rng((state.job.experiment.seed, epoch)).permutation(row_N)
        language = state.job.experiment.model.language
        return lay_out_reviews(packed, order_N, n_streams, n_windows // n_streams, window, language)

    return read_streams(lay_out, [n_windows // n_streams] * settings.epochs, state.job.device, settings)


def zero_states(experiment: Experiment, model: nn.Module) -> list[Tensor]:
    """Return the hidden states of every stream before its first word: tensors of all layers, one row per stream."""
    assert isinstance(model, LanguageModel)
    n_streams, _ = streams_of(experiment.train)
    return list(itertools.chain.from_iterable(model.zero_state(n_streams, torch.device("cpu"))))


def build_loss(state: TrainState) -> Objective:
    """Return the loss of the next words, which also updates the carried states of the streams."""
    settings, language_model = state.job.experiment.train, state.model
    assert isinstance(language_model, LanguageModel)
    carried, device = iter(state.carried), state.job.device
    layers = [tuple(itertools.islice(carried, len(layer))) for layer in language_model.zero_state(1, device)]

    def loss(model: nn.Module, window: Window) -> Tensor:
        assert isinstance(model, LanguageModel)
        before = forget(vocabulary_rows(layers, window.stream_B), window.is_fresh_B)
        hidden_BLD, last = model(window.ids_BL[:, :-1], before, window.label_BL[:, :-1])
        put_rows(layers, window.stream_B, last)
        place_T = places_read(window)
        dropped_TD = model.drop(hidden_BLD).flatten(0, 1).index_select(0, place_T)
        found = model.loss(dropped_TD, window.ids_BL[:, 1:].flatten().index_select(0, place_T))
        if settings.activation_penalty:
            found = found + settings.activation_penalty * activation_penalty(dropped_TD)
        if settings.temporal_penalty:
            found = found + settings.temporal_penalty * temporal_penalty(hidden_BLD, places_read(window, later=True))
        return found * (window.length_B.float().mean() / window.mean_length_B[0])

    return loss


@torch.inference_mode()
def validate_streams(state: TrainState) -> SequenceScores | None:
    """Score the words and ends of the held-out reviews over the whole vocabulary; None where not finite."""
    model, experiment = state.validated, state.job.experiment
    assert isinstance(model, LanguageModel)
    packed = held_out_rows(state.job.corpus, experiment)
    total, n_tokens = score_text(model.eval(), packed, experiment, state.job.device, state.check_stop)
    model.train(model is state.model)
    return score_tokens(total, n_tokens)


def score_text(
    model: LanguageModel,
    packed: Packed,
    experiment: Experiment,
    device: torch.device,
    batch_done: Callable[[], object] = lambda: None,
) -> tuple[float, int]:
    """Return the summed loss in nats of the rows' words and ends, and their number.

    `batch_done` is called after each batch.
    """
    row_N = np.flatnonzero(packed.length_N)
    row_N = row_N[np.argsort(packed.length_N[row_N], kind="stable")]
    total, n_tokens = 0.0, 0
    for first in range(0, len(row_N), _ROWS):
        row_B = row_N[first : first + _ROWS]
        width = int(packed.length_N[row_B[-1]]) + 1
        streams = lay_out_reviews(packed, row_B, len(row_B), 1, width, experiment.model.language)
        window = window_of(streams_on(device, streams), streams.length_SW, 0)
        hidden_BLD, _ = model(window.ids_BL[:, :-1], None, window.label_BL[:, :-1])
        place_T = places_read(window)
        target_T = window.ids_BL[:, 1:].flatten().index_select(0, place_T)
        loss = model.loss(hidden_BLD.flatten(0, 1).index_select(0, place_T), target_T)
        total += float(loss) * int(streams.length_SW.sum())
        n_tokens += int(streams.length_SW.sum())
        batch_done()
    return total, n_tokens


def places_read(window: Window, *, later: bool = False) -> Tensor:
    """Return the flat places of the tokens that are read; with `later`, counted from the second of each row."""
    first = int(later)
    column_L = torch.arange(first, window.ids_BL.shape[1] - 1, device=window.length_B.device)
    n_read = int((window.host_length_B - first).clamp(min=0).sum())
    return marked_places(column_L < window.length_B[:, None], n_read)
