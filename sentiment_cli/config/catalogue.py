"""Models and built-in experiments, one sentence each, without torch."""

from typing import NamedTuple


class Recipe(NamedTuple):
    """A built-in experiment: its group, its accuracy on IMDb's test reviews in per cent, its minutes, what it is.

    The figures are those of docs/leaderboard.md, or of the experiment's own header, on two CPU cores. The minutes are
    of training from prepared data, or of all stages where other runs are trained first. None is not measured.
    """

    group: str
    test: float | None
    minutes: float | None
    what: str


_START, _FAMILY, _UNLABELLED, _PRETRAINING = (
    "start here",
    "labels only",
    "with the unlabelled reviews (other runs are trained first)",
    "pretraining (sentiment pretrain NAME)",
)
RECIPES = {
    "sample": Recipe(_START, None, 0.1, "the demo: a small LSTM on a synthetic sample"),
    "linear": Recipe(_START, 91.87, 10 / 60, "logistic regression on word n-grams"),
    "pocket": Recipe(_START, 92.05, 21, "linear, the model that is bundled"),
    "default": Recipe(_START, 91.67, 111 / 60, "LSTM with a linear model beside it"),
    "own": Recipe(_START, None, None, "GRU whose settings follow from your data"),
    "best-labels": Recipe(_FAMILY, 91.84, 446 / 60, "GRU with a linear model beside it"),
    "gru-bigrams": Recipe(_FAMILY, 90.77, 468 / 60, "GRU in both directions, words and bigrams"),
    "gru-attention": Recipe(_FAMILY, 90.47, 547 / 60, "GRU in both directions, attention pooling"),
    "gru": Recipe(_FAMILY, 90.34, 728 / 60, "GRU in both directions"),
    "lstm-bi": Recipe(_FAMILY, 89.86, 274 / 60, "LSTM in both directions"),
    "lstm-stacked": Recipe(_FAMILY, 90.04, 761 / 60, "two layers of LSTM in both directions"),
    "bag": Recipe(_FAMILY, 89.55, 76 / 60, "mean of word and hashed bigram vectors"),
    "mingru": Recipe(_FAMILY, 88.84, 406 / 60, "two layers of minGRU in both directions"),
    "lstm": Recipe(_FAMILY, 88.50, 146 / 60, "LSTM, forward"),
    "goru": Recipe(_FAMILY, 88.34, 474 / 60, "gated orthogonal unit in both directions"),
    "lstm-grid": Recipe(_FAMILY, 88.23, 1110 / 60, "grid LSTM over time and depth, forward"),
    "lstm-1997": Recipe(_FAMILY, 87.96, None, "the first LSTM, without a forget gate"),
    "lstm-2d": Recipe(_FAMILY, 87.08, 326 / 60, "2D LSTM over sentences and words"),
    "transformer": Recipe(_FAMILY, 86.58, 515 / 60, "Transformer encoder of two layers"),
    "keras-lstm": Recipe(_FAMILY, 84.88, 33, "the LSTM of the Keras example"),
    "elman": Recipe(_FAMILY, 82.64, 144 / 60, "Elman RNN, forward"),
    "elman-bi": Recipe(_FAMILY, 82.62, 348 / 60, "Elman RNN in both directions"),
    "tutorial-rnn": Recipe(_FAMILY, 72.76, 408 / 60, "the Elman RNN of a classic tutorial"),
    "linear-taught": Recipe(_UNLABELLED, 92.25, None, "linear distilled from two teachers"),
    "imdb-best-cpu": Recipe(_UNLABELLED, 92.77, 69, "GRU distilled from three teachers"),
    "imdb-student": Recipe(_UNLABELLED, None, 9, "GRU distilled from two teachers"),
    "imdb-best": Recipe(_UNLABELLED, None, None, "fine-tuned AWD-LSTM (ULMFiT), for a GPU"),
    "linear-teacher": Recipe(_UNLABELLED, None, 20 / 60, "linear without a refit, a teacher"),
    "imdb-regions": Recipe(_PRETRAINING, None, None, "region embeddings"),
    "imdb-vectors": Recipe(_PRETRAINING, None, 140 / 60, "word vectors (skip-gram)"),
    "imdb-lm": Recipe(_PRETRAINING, None, 21, "language model: two layers of minGRU"),
    "imdb-lm-backward": Recipe(_PRETRAINING, None, 41, "the same, reading backward"),
    "imdb-autoencoder": Recipe(_PRETRAINING, None, 37, "sequence autoencoder"),
    "imdb-best-lm": Recipe(_PRETRAINING, None, None, "AWD-LSTM in three layers, for a GPU"),
}

KINDS = {
    "recurrent": "a recurrent cell over word vectors, in one or both directions, in layers (model.encoder)",
    "transformer": "self-attention over word vectors, in layers (model.encoder.heads)",
    "bag": "word and hashed n-gram vectors, pooled as they are (model.embedding.ngrams)",
    "linear": "logistic regression on n-grams weighted by naive Bayes (model.linear)",
}
CELLS = {
    "lstm": "LSTM with input, forget and output gates (Hochreiter & Schmidhuber 1997; Gers et al. 2000)",
    "lstm-1997": "the first LSTM, without a forget gate (Hochreiter & Schmidhuber 1997)",
    "lstm-peephole": "LSTM whose gates look into the memory cell (Gers & Schmidhuber 2000)",
    "rnn": "Elman network with tanh (Elman 1990)",
    "rnn-relu": "Elman network with rectified units",
    "rnn-output": "two linear maps of word and state, to the next state and to a log-softmax output",
    "gru": "gated recurrent unit (Cho et al. 2014)",
    "orthogonal": "orthogonal recurrent matrix with modReLU (Arjovsky et al. 2016)",
    "goru": "gated orthogonal recurrent unit (Jing et al. 2017)",
    "mingru": "gates of the word alone, the recurrence elementwise: one scan (Feng et al. 2024)",
    "sru": "simple recurrent unit: one scan with a highway past it (Lei et al. 2018)",
    "qrnn": "quasi-recurrent network: gates of two words, fo-pooling as one scan (Bradbury et al. 2017)",
    "lstm-2d": "two-dimensional LSTM over sentences and words (Graves et al. 2007)",
    "lstm-grid": "grid LSTM over time and depth (Kalchbrenner et al. 2015)",
}
POOLINGS = {
    "last": "the state after the last word",
    "mean": "the mean of the states",
    "max": "the maximum of the states, number by number",
    "both": "mean and maximum side by side",
    "concat": "last state, mean and maximum side by side (Howard & Ruder 2018)",
    "attention": "the states weighted by a learnt query",
}
