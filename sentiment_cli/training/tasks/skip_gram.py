"""The word-vector task: streams with frequent words subsampled, and the skip-gram loss of the words around each."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.packed import Corpus, Packed
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.evaluation.sequence_metrics import SequenceScores
from sentiment_cli.models.regions import RegionPretraining
from sentiment_cli.models.skip_gram import SkipGram
from sentiment_cli.training.gradients import Objective
from sentiment_cli.training.loader import BatchLoader
from sentiment_cli.training.state import TrainState
from sentiment_cli.training.tasks.bptt_streams import (
    Window,
    count_word_windows,
    lay_out_words,
    read_streams,
    thin_out,
    tokens_of,
)
from sentiment_cli.training.tasks.pretraining_rows import held_out_rows, reading_rows

# A word with share s of all tokens is kept with probability sqrt(t / s) (Mikolov et al. 2013; t as for small corpora).
_THINNING = 1e-4
_WINDOW = 128  # BPTT length of validation


def build_model(experiment: Experiment, corpus: Corpus) -> SkipGram:
    """Build the word vectors, with weights from torch's global random generator."""
    packed, _ = reading_rows(corpus, experiment)
    count_V = torch.from_numpy(count_words(packed, corpus.vocabulary))
    return SkipGram(count_V, experiment.model.embedding.width, samples=experiment.model.language.samples)


def count_words(packed: Packed, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Count each word of the vocabulary in the rows; special tokens count 0."""
    count_V: NDArray[np.int64] = np.bincount(packed.ids_T, minlength=len(vocabulary.entries))
    count_V[: vocabulary.specials] = 0
    return count_V


def chance_by_frequency(count_V: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the chance to keep each word when frequent ones are subsampled, 0 for words that do not occur."""
    with np.errstate(divide="ignore"):
        chance_V: NDArray[np.float64] = np.minimum(1.0, np.sqrt(_THINNING * count_V.sum() / count_V))
    return np.where(count_V > 0, chance_V, 0.0)  # unknown words carry no information about each other


def build_context_loader(state: TrainState) -> BatchLoader:
    """Return the data loader of the words of training and unlabelled rows, with frequent words subsampled."""
    packed, _ = reading_rows(state.job.corpus, state.job.experiment)
    chance_V = chance_by_frequency(count_words(packed, state.job.corpus.vocabulary))
    settings, row_N = state.job.experiment.train, np.flatnonzero(packed.length_N)
    n_epochs = settings.epochs
    assert n_epochs is not None  # null is for classifiers alone

    def words_of(epoch: int) -> NDArray[np.int32]:
        generator = np.random.default_rng((state.job.experiment.seed, epoch))
        order_N = generator.permutation(row_N)
        return tokens_of(thin_out(packed, chance_V, generator), order_N)

    n_windows = (count_word_windows(len(words_of(epoch)), settings) for epoch in range(n_epochs))
    return read_streams(lambda epoch: lay_out_words(words_of(epoch), settings), n_windows, state.job.device, settings)


def build_loss(state: TrainState) -> Objective:
    """Return the loss of the words around each token."""

    def loss(model: nn.Module, window: Window) -> Tensor:
        assert isinstance(model, SkipGram | RegionPretraining)
        return model.loss(window.ids_BL[:, :-1])

    return loss


@torch.inference_mode()
def validate(state: TrainState) -> SequenceScores | None:
    """Score the words of the held-out unlabelled reviews against negative samples drawn with a fixed seed."""
    model, corpus = state.validated, state.job.corpus
    assert isinstance(model, SkipGram | RegionPretraining)
    ids_T = held_out_rows(corpus, state.job.experiment).ids_T
    ids_T = ids_T[ids_T >= corpus.vocabulary.specials]
    width = min(_WINDOW, len(ids_T))
    ids_BL = torch.from_numpy(ids_T[: len(ids_T) // width * width].reshape(-1, width)).to(state.job.device).long()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        losses = []
        for part_BL in torch.split(ids_BL, 256):
            losses.append(model.loss(part_BL).double() * part_BL.numel())
            state.check_stop()
    mean = float(torch.stack(losses).sum()) / ids_BL.numel()
    return SequenceScores(ids_BL.numel(), mean, perplexity=None) if np.isfinite(mean) else None
