"""Settings that follow from the data: from a few facts of the training rows to values, each with its reason.

A setting that is null is chosen here before anything is prepared. What was chosen is said, and written into the run's
experiment as plain values, so that the run repeats whatever becomes of the rules.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np

from sentiment_cli import console
from sentiment_cli.config.schema import Data, Experiment
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.corpus.splits import assign_rows
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.data.tokens.characters import is_unspaced

_ROWS_READ = 2_000  # of which lengths and script are known well enough
_LONG = 500  # characters of a row on average
_UNSPACED = 0.3  # of the letters
_MANY_LABELS = 20
_LINEAR = (
    "ngrams",
    "char_ngrams",
    "min_count",
    "weighting",
    "normalize",
    "penalty",
)  # of the linear model, what can be null


class Facts(NamedTuple):
    """What is known of the training rows; characters are of a row on average, unspaced ones a share of letters."""

    n_rows: int
    n_labels: int
    characters: float
    unspaced_share: float


class Chosen(NamedTuple):
    """A setting of a section of the experiment, its value, and what it follows from."""

    key: str
    value: Any
    reason: str


def choose_linear(facts: Facts) -> list[Chosen]:
    """Choose the settings of the linear model.

    The kinds of rows were told apart, and the values chosen, by cross-validation of the training rows of IMDb and
    eleven smaller sets (docs/models.md).
    """
    values: dict[str, Any]
    if facts.unspaced_share > _UNSPACED:
        reason = f"{facts.unspaced_share:.0%} of the letters are of scripts without spaces"
        values = {"ngrams": 4, "char_ngrams": (), "min_count": 2, "normalize": True, "penalty": 0.2}
    elif facts.characters > _LONG:
        reason = f"rows are long, {facts.characters:,.0f} characters on average"
        values = {"ngrams": 3, "char_ngrams": (), "min_count": 3, "normalize": False, "penalty": 4.0}
    else:
        reason = f"rows are short, {facts.characters:,.0f} characters on average"
        values = {"ngrams": 3, "char_ngrams": (2, 5), "min_count": 2, "normalize": True, "penalty": 0.02}
    values["weighting"] = "idf" if facts.n_labels > _MANY_LABELS else "bayes"
    return [Chosen(f"model.linear.{key}", value, reason) for key, value in values.items()]


def settle(experiment: Experiment, *, is_said: bool = False) -> Experiment:
    """Return the experiment with values for the settings that follow from the data; said where asked for."""
    linear, vocabulary = experiment.model.linear, experiment.vocabulary
    unset = {f"model.linear.{key}" for key in _LINEAR if getattr(linear, key) is None}
    unset |= {"vocabulary.min_count"} if vocabulary.min_count is None else set()
    if experiment.model.kind != "linear" or not unset:
        return experiment
    chosen = [one for one in choose_linear(read_facts(experiment.data)) if one.key in unset]
    pieces, tokenizer = "model.linear.char_ngrams", experiment.text.tokenizer
    if tokenizer != "words" and pieces in unset:
        chosen = [one for one in chosen if one.key != pieces]
        chosen.append(Chosen(pieces, (), f"pieces are of words, and text.tokenizer is {tokenizer}"))
    linear = linear.model_copy(update={one.key.rpartition(".")[2]: one.value for one in chosen})
    if vocabulary.min_count is None:  # pieces come from all words; else a rarer word than a feature is needed nowhere
        of_words = 1 if linear.char_ngrams else linear.min_count
        vocabulary = vocabulary.model_copy(update={"min_count": of_words})
        reason = "words are made of pieces" if linear.char_ngrams else "rarer words are no features"
        chosen.append(Chosen("vocabulary.min_count", of_words, reason))
    if is_said:
        for reason, some in itertools.groupby(chosen, key=lambda one: one.reason):
            values = ", ".join(f"{one.key} {_shown(one.value)}" for one in some)
            console.say(f"chosen: {values}: {reason}")
    model = experiment.model.model_copy(update={"linear": linear})
    return experiment.model_copy(update={"model": model, "vocabulary": vocabulary})


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value).lower()


def read_facts(data: Data) -> Facts:
    """Return the facts of a source's training rows, validation and test left out."""
    texts = prepare_texts(find_source(data), "labelled")
    of, is_wanted_N = assign_rows(texts, data)["train"]
    wanted = np.flatnonzero(is_wanted_N)
    is_read_N = np.zeros_like(is_wanted_N)
    is_read_N[wanted[:: max(1, len(wanted) // _ROWS_READ)]] = True
    n_read = n_characters = n_letters = n_unspaced = 0
    for text in itertools.chain.from_iterable(texts.read(of, is_read_N)):
        letters = [character for character in text if character.isalpha()]
        n_read, n_characters, n_letters = n_read + 1, n_characters + len(text), n_letters + len(letters)
        n_unspaced += 0 if text.isascii() else sum(map(is_unspaced, letters))
    return Facts(len(wanted), len(texts.labels), n_characters / max(1, n_read), n_unspaced / max(1, n_letters))
