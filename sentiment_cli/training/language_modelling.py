"""Language modelling as a task: streams of words, the loss of the next one, perplexity on held-out reviews."""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batches import Batch
from sentiment_cli.data.corpus import Corpus, Packed
from sentiment_cli.data.splits import held_out
from sentiment_cli.evaluation.perplexity import SequenceScores, score_tokens
from sentiment_cli.models.language_model import LanguageModel, build_language_model
from sentiment_cli.training.loop import Objective
from sentiment_cli.training.material import Material, join_rows, lay_out, read_streams, select_rows
from sentiment_cli.training.session import Session

SPLITS = ("train", "unsup")
_STREAMS, _WINDOW = 32, 128  # of validation


def build_model(experiment: Experiment, corpus: Corpus) -> LanguageModel:
    """Build the language model, with fresh weights from torch's global generator."""
    return build_language_model(experiment, corpus.vocabulary, len(corpus.labels))


def plot_streams(session: Session) -> Material:
    """Return the steps over the training rows' words and the unlabelled ones', less those validated on."""
    packed, ids = reading_rows(session.corpus, session.experiment)
    return read_streams(packed, ids, session.device, session.experiment)


def reading_rows(corpus: Corpus, experiment: Experiment) -> tuple[Packed, list[str]]:
    """Return the rows that pretraining reads, with their ids: training rows, and unlabelled ones not validated on."""
    is_read_N = ~hold_out(corpus, experiment)
    packed = join_rows(corpus.split("train"), select_rows(corpus.split("unsup"), is_read_N))
    return packed, corpus.ids("train") + list(itertools.compress(corpus.ids("unsup"), is_read_N))


def hold_out(corpus: Corpus, experiment: Experiment) -> NDArray[np.bool_]:
    """Mark the unlabelled rows that are validated on; all rows of a movie, where movies are known."""
    valid, unsup = experiment.data.valid, corpus.split("unsup")
    return held_out(unsup.label_N, unsup.group_N, valid.by, valid.unsup_share, valid.seed)


def zero_states(experiment: Experiment, model: nn.Module) -> list[Tensor]:
    """Return the state of every stream before its first word, as flat tensors with a row per stream."""
    assert isinstance(model, LanguageModel)
    return model.zero_states(experiment.train.batch_tokens // experiment.train.window)


def build_loss(session: Session) -> Objective:
    """Return the loss of the next words, which moves the streams' states on."""
    settings, carried = session.experiment.train, session.carried

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, LanguageModel)
        found = model.loss(
            batch.ids_BL,
            [state[batch.label_B] for state in carried],
            activation_penalty=settings.activation_penalty,
            temporal_penalty=settings.temporal_penalty,
        )
        for state, last in zip(carried, found.states, strict=True):
            state[batch.label_B] = last.to(state.dtype)
        return found.loss

    return loss


@torch.inference_mode()
def validate_streams(session: Session) -> SequenceScores | None:
    """Score every word of the held-out reviews and their ends, over the whole vocabulary; None where not finite."""
    model, corpus, experiment = session.validated, session.corpus, session.experiment
    assert isinstance(model, LanguageModel)
    packed = select_rows(corpus.split("unsup"), hold_out(corpus, experiment))
    total, n_tokens = score_text(model.eval(), packed, experiment, session.device)
    model.train(model is session.model)
    return score_tokens(total, n_tokens) if np.isfinite(total) else None


def score_text(model: LanguageModel, packed: Packed, experiment: Experiment, device: torch.device) -> tuple[float, int]:
    """Return the summed loss in nats of the rows' words, and how many they are."""
    row_N = np.flatnonzero(packed.length_N)
    n_streams = min(_STREAMS, len(row_N))
    length = (int(packed.length_N.sum()) + len(row_N) - 1) // n_streams
    ids_SL = torch.from_numpy(lay_out(packed, row_N, n_streams, length, experiment.model.language)).to(device).long()
    states, total = [state.to(device) for state in model.zero_states(n_streams)], 0.0
    for first in range(0, length, _WINDOW):
        ids_BL = ids_SL[:, first : first + _WINDOW + 1]
        nats, states = model.nats(ids_BL, states)
        total += float(nats)
    return total, n_streams * length
