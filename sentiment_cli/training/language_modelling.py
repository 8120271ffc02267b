"""Language modelling as a task: streams of words, the loss of the next one, perplexity on held-out reviews."""

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus import Corpus, Packed
from sentiment_cli.evaluation.perplexity import SequenceScores, score_tokens
from sentiment_cli.models.language_model import (
    LanguageModel,
    activation_penalty,
    build_language_model,
    put_rows,
    rows_of,
    temporal_penalty,
)
from sentiment_cli.training.loop import Objective
from sentiment_cli.training.material import Material, Window, lay_out, read_streams
from sentiment_cli.training.session import Session
from sentiment_cli.training.unlabelled import held_out_rows, reading_rows

_STREAMS, _WINDOW = 32, 128  # of validation


def build_model(experiment: Experiment, corpus: Corpus) -> LanguageModel:
    """Build the language model, with fresh weights from torch's global generator."""
    return build_language_model(experiment, corpus.vocabulary, len(corpus.labels))


def plot_streams(session: Session) -> Material:
    """Return the steps over the training rows' words and the unlabelled ones', less those validated on."""
    packed, ids = reading_rows(session.corpus, session.experiment)
    return read_streams(packed, ids, session.device, session.experiment)


def zero_states(experiment: Experiment, model: nn.Module) -> list[Tensor]:
    """Return the state of every stream before its first word: tensors with a row per stream, of all layers in turn."""
    assert isinstance(model, LanguageModel)
    n_streams = experiment.train.batch_tokens // experiment.train.window
    return list(itertools.chain.from_iterable(model.zero_state(n_streams, torch.device("cpu"))))


def build_loss(session: Session) -> Objective:
    """Return the loss of the next words, which moves the streams' states on."""
    settings, language_model = session.experiment.train, session.model
    assert isinstance(language_model, LanguageModel)
    carried = iter(session.carried)
    state = [tuple(itertools.islice(carried, len(layer))) for layer in language_model.zero_state(1, session.device)]

    def loss(model: nn.Module, window: Window) -> Tensor:
        assert isinstance(model, LanguageModel)
        before = rows_of(state, window.stream_B)
        hidden_BLD, last = model(window.ids_BL[:, :-1], before, window.label_BL[:, :-1])
        put_rows(state, window.stream_B, last)
        dropped_BLD = model.drop(hidden_BLD)
        found = model.loss(dropped_BLD, window.ids_BL[:, 1:])
        if settings.activation_penalty:
            found = found + settings.activation_penalty * activation_penalty(dropped_BLD)
        if settings.temporal_penalty:
            found = found + settings.temporal_penalty * temporal_penalty(hidden_BLD)
        return found

    return loss


@torch.inference_mode()
def validate_streams(session: Session) -> SequenceScores | None:
    """Score the words of the held-out reviews and their ends, over the whole vocabulary; None where not finite."""
    model, experiment = session.validated, session.experiment
    assert isinstance(model, LanguageModel)
    packed = held_out_rows(session.corpus, experiment)
    total, n_tokens = score_text(model.eval(), packed, experiment, session.device)
    model.train(model is session.model)
    return score_tokens(total, n_tokens) if np.isfinite(total) else None


def score_text(model: LanguageModel, packed: Packed, experiment: Experiment, device: torch.device) -> tuple[float, int]:
    """Return the summed loss in nats of the rows' words and ends, and how many they are.

    The first start token is not foreseen, and what is left over, fewer than there are streams, not read.
    """
    row_N = np.flatnonzero(packed.length_N)
    n_streams = min(_STREAMS, len(row_N))
    length = (int(packed.length_N.sum()) + len(row_N) - 1) // n_streams
    streams = lay_out(packed, row_N, n_streams, length, experiment.model.language)
    ids_SL, label_SL = (torch.from_numpy(tokens_SL).to(device).long() for tokens_SL in streams)
    state, total = model.zero_state(n_streams, device), 0.0
    for first in range(0, length, _WINDOW):
        ids_BL, label_BL = (tokens_SL[:, first : first + _WINDOW + 1] for tokens_SL in (ids_SL, label_SL))
        hidden_BLD, state = model(ids_BL[:, :-1], state, label_BL[:, :-1])
        total += float(model.loss(hidden_BLD, ids_BL[:, 1:])) * hidden_BLD.shape[:2].numel()
    return total, n_streams * length
