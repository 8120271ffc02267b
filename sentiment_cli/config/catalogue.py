"""What can be built, a sentence each: for `sentiment models`, which needs no torch for it."""

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
