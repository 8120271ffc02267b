"""Checks of a corpus before the run is created: training rows have tokens, and train.monitor is defined."""

import numpy as np

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.training.class_weights import class_weights


def check_corpus(experiment: Experiment, corpus: Corpus) -> None:
    """Raise UsageError where validation rows do not define train.monitor, DataError where training has no feature."""
    if experiment.task != "classify":
        return
    _check_monitor(experiment, corpus)
    class_weights(experiment, corpus, corpus.split("train").label_N)  # refuses labels that there are not
    _check_tokens(experiment, corpus)


def _check_monitor(experiment: Experiment, corpus: Corpus) -> None:
    monitor = experiment.train.monitor
    if experiment.model.kind == "linear" or monitor not in ("auc", "f1"):
        return
    counts = corpus.counts("valid")
    if corpus.sets_KC is not None and counts.any():  # the mean is over the labels that have a row
        return
    absent = [label for label, count in zip(corpus.labels, counts, strict=True) if not count]
    if absent if monitor == "auc" else len(absent) > len(corpus.labels) - 2:
        named = ", ".join(map(repr, absent[:8])) + (", …" if len(absent) > 8 else "")
        raise UsageError(
            f"train.monitor is {monitor}, which validation does not have: none of its {counts.sum():,} rows is "
            f"labelled {named}",
            "--set train.monitor=loss",
        )


def _check_tokens(experiment: Experiment, corpus: Corpus) -> None:
    """Raise DataError where no training row has a token or, for a linear model, none is in enough rows."""
    train, vocabulary = corpus.split("train"), corpus.vocabulary
    known_T = np.asarray(train.ids_T)
    if not len(known_T):
        raise DataError(
            f"no row of training has a token: all {len(train.label_N):,} texts are empty, or hold nothing that "
            "text.tokenizer takes for one",
            "--set text.tokenizer=bpe --set text.punctuation=keep"
            if experiment.text.tokenizer != "bpe" or experiment.text.punctuation != "keep"
            else "sentiment train sample",
        )
    if experiment.model.kind != "linear":
        return
    least = experiment.model.linear.min_count
    assert least is not None  # chosen by then
    rows_T = np.repeat(np.arange(len(train.label_N)), train.length_N)
    count_V = np.bincount(known_T, minlength=len(vocabulary.entries))
    count_V[: vocabulary.specials] = 0
    for token in np.argsort(-count_V):  # the first one is in enough rows, as a rule
        if count_V[token] < least:
            break
        if len(np.unique(rows_T[known_T == token])) >= least:
            return
    settings = {"model.linear.min_count": least, "vocabulary.min_count": experiment.vocabulary.min_count}
    if all(value == 1 for value in settings.values()):
        raise DataError(
            "no word of the vocabulary is in a training text",
            f"--set vocabulary.size={30_000 if experiment.text.tokenizer != 'bpe' else 8_000}",
        )
    raise DataError(
        f"no n-gram is in {least} training rows, as model.linear.min_count requires, of words that are in "
        f"{experiment.vocabulary.min_count} places, as vocabulary.min_count requires",
        " ".join(f"--set {key}=1" for key in settings),
    )
