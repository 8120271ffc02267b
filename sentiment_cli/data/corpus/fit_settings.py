"""Settings that follow from the data: from a few facts of the training rows to values, each with its reason.

A setting that is null is chosen here before anything is prepared. What was chosen is said, and written into the run's
experiment as plain values, so that the run repeats whatever becomes of the rules.
"""

import itertools
import math
import re
import shlex
from typing import Any, NamedTuple

import numpy as np

from sentiment_cli import console
from sentiment_cli.config.schema import CORPORA, Data, Experiment
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.corpus.splits import assign_rows
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.data.tokens.characters import is_unspaced

_ROWS_READ = 2_000  # of which lengths and script are known well enough
_LONG = 500  # characters of a row on average
_UNSPACED = 0.3  # of the letters
_MANY_LABELS = 20
_MANY_ROWS = 15_000
_STEPS_PER_EPOCH = 100  # of a network, about
_FEW_STEPS = 200
_STEPS = 800  # of a network's whole training, about
_BATCH_TOKENS = (512, 32_768)  # smallest and largest: powers of two
_EPOCHS = (7, 40)
_TOKEN = re.compile(r"\w+|[^\w\s]")
_NETWORK = ("vocabulary.min_count", "train.batch_tokens", "train.epochs")  # of a network, what can be null
_LINEAR = (
    "ngrams",
    "char_ngrams",
    "min_count",
    "weighting",
    "normalize",
    "penalty",
)  # of the linear model, what can be null


class Facts(NamedTuple):
    """Facts of the training rows; characters and tokens are means per row, unspaced ones a share of the letters."""

    n_rows: int
    n_labels: int
    characters: float
    unspaced_share: float
    tokens: float


class Chosen(NamedTuple):
    """A setting of a section of the experiment, its value, and what it follows from."""

    key: str
    value: Any
    reason: str


def choose_linear(facts: Facts) -> list[Chosen]:
    """Choose the settings of the linear model.

    The kinds of rows and the values were chosen by cross-validation on the training rows of IMDb and eleven smaller
    sets (docs/models.md).
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


def choose_network(facts: Facts, max_tokens: int | None) -> list[Chosen]:
    """Choose the settings of a network that reads up to `max_tokens` tokens of a row.

    The values were chosen on validation rows of three sets of 5,000 to 11,000 short rows (docs/training.md); of IMDb
    they are those of the default experiment.
    """
    n_tokens = facts.n_rows * min(facts.tokens, max_tokens or math.inf)
    smallest, largest = _BATCH_TOKENS
    power = 2 ** round(math.log2(max(1.0, n_tokens / _STEPS_PER_EPOCH)))
    batch_tokens = max(smallest, min(largest, power), max_tokens or 1)
    per_epoch = max(1, math.ceil(n_tokens / batch_tokens))
    least, most = _EPOCHS
    epochs = max(least, min(most, math.ceil(_STEPS / per_epoch)))
    size = f"{facts.n_rows:,} rows of {facts.tokens:,.0f} tokens make about {per_epoch:,} steps per epoch"
    min_count = 2 if facts.n_rows > _MANY_ROWS else 1
    return [
        Chosen("train.batch_tokens", batch_tokens, size),
        Chosen("train.epochs", epochs, f"about {epochs * per_epoch:,} steps in all"),
        Chosen("vocabulary.min_count", min_count, f"{facts.n_rows:,} rows to learn words from"),
    ]


def warn_of_few_steps(experiment: Experiment, n_steps: int) -> None:
    """Warn where a training on the user's own data plans too few steps to learn, with the command that chooses them."""
    data, train = experiment.data, experiment.train
    if n_steps >= _FEW_STEPS or train.max_steps is not None or data.source in CORPORA:
        return
    command = shlex.join(["sentiment", "train", data.source])
    console.warn(
        f"training plans {n_steps:,} steps, fewer than the {_FEW_STEPS} that most networks need: batches of "
        f"{train.batch_tokens:,} tokens are for more rows. `{command}` chooses model and settings from the data"
    )


def settle(experiment: Experiment, *, is_said: bool = False) -> Experiment:
    """Return the experiment with values for the settings that follow from the data; said where asked for."""
    if experiment.model.kind == "linear":
        return _settle_linear(experiment, is_said=is_said)
    vocabulary, train = experiment.vocabulary, experiment.train
    now = (vocabulary.min_count, train.batch_tokens, train.epochs)
    unset = {key for key, value in zip(_NETWORK, now, strict=True) if value is None}
    linear = experiment.model.linear
    if experiment.model.wide.use != "none":
        unset |= {f"model.linear.{key}" for key in _LINEAR if getattr(linear, key) is None}
    if not unset:
        return experiment
    facts, width = read_facts(experiment.data), experiment.text.pad_to or experiment.text.max_tokens
    chosen = [one for one in (*choose_network(facts, width), *choose_linear(facts)) if one.key in unset]
    if is_said:
        _say(chosen)
    values = {one.key: one.value for one in chosen}
    linear = linear.model_copy(
        update={key.rpartition(".")[2]: value for key, value in values.items() if key.startswith("model.")}
    )
    experiment = experiment.model_copy(update={"model": experiment.model.model_copy(update={"linear": linear})})
    return experiment.model_copy(
        update={
            section: settings.model_copy(
                update={key.partition(".")[2]: values[key] for key in values if key.startswith(f"{section}.")}
            )
            for section, settings in (("vocabulary", vocabulary), ("train", train))
        }
    )


def _settle_linear(experiment: Experiment, *, is_said: bool) -> Experiment:
    linear, vocabulary = experiment.model.linear, experiment.vocabulary
    unset = {f"model.linear.{key}" for key in _LINEAR if getattr(linear, key) is None}
    unset |= {"vocabulary.min_count"} if vocabulary.min_count is None else set()
    if not unset:
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
        _say(chosen)
    model = experiment.model.model_copy(update={"linear": linear})
    return experiment.model_copy(update={"model": model, "vocabulary": vocabulary})


def _say(chosen: list[Chosen]) -> None:
    for reason, some in itertools.groupby(chosen, key=lambda one: one.reason):
        values = ", ".join(f"{one.key} {_shown(one.value)}" for one in some)
        console.say(f"chosen: {values}: {reason}")


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value).lower()


def read_facts(data: Data) -> Facts:
    """Return the facts of a source's training rows, validation and test left out."""
    texts = prepare_texts(find_source(data), "labelled")
    of, is_wanted_N = assign_rows(texts, data)["train"]
    wanted = np.flatnonzero(is_wanted_N)
    is_read_N = np.zeros_like(is_wanted_N)
    is_read_N[wanted[:: max(1, len(wanted) // _ROWS_READ)]] = True
    n_read = n_characters = n_letters = n_unspaced = n_tokens = 0
    for text in itertools.chain.from_iterable(texts.read(of, is_read_N)):
        letters = [character for character in text if character.isalpha()]
        n_read, n_characters, n_letters = n_read + 1, n_characters + len(text), n_letters + len(letters)
        unspaced = 0 if text.isascii() else sum(map(is_unspaced, letters))
        n_unspaced += unspaced
        n_tokens += unspaced + len(_TOKEN.findall(text))
    return Facts(
        len(wanted),
        len(texts.labels),
        n_characters / max(1, n_read),
        n_unspaced / max(1, n_letters),
        n_tokens / max(1, n_read),
    )
