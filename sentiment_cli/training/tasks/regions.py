"""The region-embedding task: streams of whole text, and the weights of the words that regions predict."""

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.models.regions import RegionPretraining
from sentiment_cli.training.loader import BatchLoader
from sentiment_cli.training.state import TrainState
from sentiment_cli.training.tasks.bptt_streams import count_word_windows, lay_out_words, read_streams, tokens_of
from sentiment_cli.training.tasks.pretraining_rows import reading_rows
from sentiment_cli.training.tasks.skip_gram import chance_by_frequency, count_words

_SMOOTHING = 10


def build_model(experiment: Experiment, corpus: Corpus) -> RegionPretraining:
    """Build the region embedding, with weights from torch's global random generator."""
    packed, _ = reading_rows(corpus, experiment)
    count_V, settings = count_words(packed, corpus.vocabulary), experiment.model.regions
    weight_V = chance_by_frequency(count_V) if settings.weights == "frequency" else weights_by_label(corpus)
    weight_V = np.where(count_V > 0, weight_V, 0.0)
    mean = (weight_V * count_V).sum() / max(1, count_V.sum())
    weight = torch.from_numpy(weight_V / (mean or 1.0)).float()  # 1 on average over the words of the text
    samples = experiment.model.language.samples
    return RegionPretraining(settings, torch.from_numpy(count_V), weight, samples=samples)


def weights_by_label(corpus: Corpus) -> NDArray[np.float64]:
    """Return how much each word tells of the labels of the training rows: its largest absolute log-count ratio.

    The ratio of a label is that of naive Bayes (Wang & Manning 2012): of the share of the label's rows that hold the
    word to the share of all other rows. Each count is increased by 10, so that rare words, of which little is known,
    weigh little.
    """
    train, n_entries = corpus.split("train"), len(corpus.vocabulary.entries)
    row_T = np.repeat(np.arange(len(train.length_N)), train.length_N)
    once = np.unique(row_T * n_entries + train.ids_T[: len(row_T)])
    row_P, word_P = once // n_entries, once % n_entries
    of_V = np.bincount(word_P, minlength=n_entries)
    largest_V = np.zeros(n_entries)
    for label in range(len(corpus.labels)):
        is_own_N = train.label_N == label
        own_V = np.bincount(word_P, weights=is_own_N[row_P], minlength=n_entries)
        share_V = (own_V + _SMOOTHING) / (is_own_N.sum() + 2 * _SMOOTHING)
        other_V = (of_V - own_V + _SMOOTHING) / ((~is_own_N).sum() + 2 * _SMOOTHING)
        largest_V = np.maximum(largest_V, np.abs(np.log(share_V / other_V)))
    return largest_V


def build_region_loader(state: TrainState) -> BatchLoader:
    """Return the data loader of all words of training and unlabelled rows, in a new order of rows in each epoch."""
    packed, _ = reading_rows(state.job.corpus, state.job.experiment)
    settings, row_N = state.job.experiment.train, np.flatnonzero(packed.length_N)
    n_epochs = settings.epochs
    assert n_epochs is not None  # null is for classifiers alone

    def words_of(epoch: int) -> NDArray[np.int32]:
        return tokens_of(packed, np.random.default_rng((state.job.experiment.seed, epoch)).permutation(row_N))

    n_windows = [count_word_windows(int(packed.length_N.sum()), settings)] * n_epochs
    return read_streams(lambda epoch: lay_out_words(words_of(epoch), settings), n_windows, state.job.device, settings)
