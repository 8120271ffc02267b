"""Settings that follow from the data: from a few facts of the training rows to values, each with its reason.

A setting that is null is chosen here before anything is prepared. What was chosen is said, and written into the run's
experiment as plain values, so that the run repeats whatever becomes of the rules.

This module is longer than 300 lines because it holds every rule that chooses a setting.
"""

import functools
import itertools
import math
import operator
import re
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.config.schema import CORPORA, Data, Experiment, Gpu, Linear, Model
from sentiment_cli.config.values import Section
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.corpus.splits import assign_rows
from sentiment_cli.data.corpus.targets import is_unbalanced
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.data.tokens.characters import is_unspaced

_ROWS_READ = 2_000
_LONG = 500  # characters of a row on average
_UNSPACED = 0.3  # of the letters
_MANY_LABELS = 20
_MANY_ROWS = 15_000
_STEPS_PER_EPOCH = 100  # of a network, about
_FEW_STEPS = 200
_BATCH_TOKENS = (512, 32_768)  # smallest and largest: powers of two
_SHORT = (15, 60)  # tokens of a row on average
FEW_ROWS, _FOLDS = 2_000, 10
_Section = TypeVar("_Section", bound=Section)
_TOKEN = re.compile(r"\w+|[^\w\s]")
# What can be null: of a network, and of the linear model.
_NETWORK = (
    "vocabulary.min_count",
    "model.embedding.dropout",
    "model.wide.use",
    "model.wide.dropout",
    "train.lr",
    "train.batch_tokens",
    "train.epochs",
)
_PIECES = "model.linear.char_ngrams"
_LINEAR = ("ngrams", "char_ngrams", "min_count", "weighting", "normalize", "penalty")


class Facts(NamedTuple):
    """Facts of the training rows; characters and tokens are means per row, unspaced ones a share of the letters.

    `is_drawn` says that the validation rows were drawn from the training rows, `is_unbalanced` that one label has many
    more rows than the others.
    """

    n_rows: int
    n_labels: int
    characters: float
    unspaced_share: float
    tokens: float
    is_drawn: bool = True
    is_unbalanced: bool = False


class _Pace(NamedTuple):
    """How a network learns: learning rate, dropout of the vectors, fewest epochs, and about how many steps in all."""

    lr: float
    dropout: float
    epochs: int
    steps: int


# A network soon knows short rows by heart unless dropout is strong and steps are small. Of the few words of even
# shorter ones, such as questions, strong dropout leaves too little. Of these and of long rows the wide part knows much
# before the first step.
_SLOWLY, _FAST, _MOST_EPOCHS = _Pace(1e-3, 0.5, 10, 1_300), _Pace(3e-3, 0.3, 3, 600), 40
# Each of many labels has few rows, and it takes more steps to tell it from the others.
_LONGER = _Pace(2e-3, 0.5, 14, 1_800)


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


def choose_weights(facts: Facts, experiment: Experiment) -> Chosen:
    """Choose the class weights of a linear model: balanced where labels are unbalanced and rows are not few.

    Of other targets, of a teacher's labels and of few rows none were measured (docs/labels.md).
    """
    is_measured = experiment.data.target == "label" and not experiment.teacher.run and facts.n_rows >= FEW_ROWS
    if facts.is_unbalanced and is_measured:
        return Chosen("train.class_weight", "balanced", "one label has 1.5 times the rows of the others on average")
    return Chosen("train.class_weight", "none", "labels are balanced, rows are few, or labels are not single ones")


def choose_characters(facts: Facts) -> list[Chosen]:
    """Choose other settings of the linear model for few rows: those that characters 2-5 + LR has, nearly.

    Cross-validation tells which suits the rows (docs/training.md). Of scripts without spaces there are none.
    """
    if facts.unspaced_share > _UNSPACED:
        return []
    reason = f"{facts.n_rows:,} rows share pieces of words, more than words"
    values = {"ngrams": 3, "char_ngrams": (2, 5), "min_count": 1, "weighting": "idf", "normalize": True, "penalty": 1.0}
    return [Chosen(f"model.linear.{key}", value, reason) for key, value in values.items()]


def choose_network(facts: Facts, max_tokens: int | None) -> list[Chosen]:
    """Choose the settings of a network that reads up to `max_tokens` tokens of a row.

    The values were chosen on validation rows of the sets that docs/training.md names.
    """
    n_tokens = facts.n_rows * min(facts.tokens, max_tokens or math.inf)
    smallest, largest = _BATCH_TOKENS
    power = 2 ** round(math.log2(max(1.0, n_tokens / _STEPS_PER_EPOCH)))
    batch_tokens = max(smallest, min(largest, power), max_tokens or 1)
    per_epoch = max(1, math.ceil(n_tokens / batch_tokens))
    how, reason = _pace(facts)
    epochs = max(how.epochs, min(_MOST_EPOCHS, math.ceil(how.steps / per_epoch)))
    size = f"{facts.n_rows:,} rows of {facts.tokens:,.0f} tokens make about {per_epoch:,} steps per epoch"
    min_count = 2 if facts.n_rows > _MANY_ROWS else 1
    return [
        Chosen("train.lr", how.lr, reason),
        Chosen("model.embedding.dropout", how.dropout, reason),
        Chosen("train.batch_tokens", batch_tokens, size),
        Chosen("train.epochs", epochs, f"about {epochs * per_epoch:,} steps in all"),
        Chosen("vocabulary.min_count", min_count, f"{facts.n_rows:,} rows to learn words from"),
    ]


def _pace(facts: Facts) -> tuple[_Pace, str]:
    """Return how a network learns these rows, and what that follows from."""
    if facts.n_labels > _MANY_LABELS:
        return _LONGER, f"{facts.n_labels:,} labels"
    is_short = _SHORT[0] <= facts.tokens <= _SHORT[1]
    return _SLOWLY if is_short else _FAST, f"rows of {facts.tokens:,.0f} tokens"


def choose_wide(facts: Facts, model: Model) -> list[Chosen]:
    """Choose whether a network has a wide part, and for how many rows of a batch its logits are left out.

    With many labels, and with short rows, the ensemble of network and linear model is better without one
    (docs/training.md).
    """
    use, reason = model.wide.use, "the network learns to judge by itself as well"
    if use is None and model.head == "steps":
        use, reason = "none", "model.head steps judges each token"
    elif use is None:
        how, reason = _pace(facts)
        use = "both" if how is _FAST else "none"
    has_logits = use in ("skip", "both")
    return [Chosen("model.wide.use", use, reason), Chosen("model.wide.dropout", 0.8 if has_logits else 0.0, reason)]


def with_characters(experiment: Experiment) -> Experiment | None:
    """Return a linear experiment for few rows with other values for what is null; None where there are none."""
    linear = experiment.model.linear
    chosen = [one for one in choose_characters(read_facts(experiment.data)) if _is_unset(linear, one.key)]
    if experiment.text.tokenizer != "words" or not chosen:
        return None
    _say(chosen)
    return _with(experiment, chosen)


def _is_unset(linear: Linear, key: str) -> bool:
    return getattr(linear, key.rpartition(".")[2]) is None


def cross_validate_few(experiment: Experiment) -> Experiment:
    """Return a linear experiment that is cross-validated where its rows are few; another one as it is.

    Fewer than 2,000 rows leave 200 or fewer to validate on, a standard error of two points or more.
    """
    if experiment.model.kind != "linear" or experiment.train.folds is not None or not experiment.train.refit:
        return experiment
    facts = read_facts(experiment.data)
    if facts.n_rows >= FEW_ROWS or not facts.is_drawn or experiment.data.valid.folds is not None:
        return experiment
    reason = f"{facts.n_rows:,} training rows are few, so each is a validation row once"
    chosen = [Chosen("train.folds", _FOLDS, reason), Chosen("vocabulary.from_", ("train", "valid"), reason)]
    _say(chosen)
    return _with(experiment, chosen)


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
    unset = {key for key in _NETWORK if operator.attrgetter(key)(experiment) is None}
    model = experiment.model
    of_linear = {f"model.linear.{key}" for key in _LINEAR if getattr(model.linear, key) is None}
    if not unset | of_linear:
        return experiment
    facts, width = read_facts(experiment.data), experiment.text.pad_to or experiment.text.max_tokens
    wide = choose_wide(facts, model)
    chosen = [one for one in (*choose_network(facts, width), *wide) if one.key in unset]
    read = choose_linear(facts) if wide[0].value != "none" else []
    chosen += [one for one in read if one.key in of_linear and one.key != _PIECES]
    if is_said:
        _say(chosen)
    rest = of_linear - {one.key for one in chosen}  # character n-grams, and all where there is no wide part
    usual = [Chosen(key, Linear.model_fields[key.rpartition(".")[2]].default, "the default") for key in sorted(rest)]
    return _with(experiment, [*chosen, *usual])


def settle_device(experiment: Experiment, *, is_gpu: bool, is_said: bool = False) -> Experiment:
    """Return the experiment with the settings of `train.gpu` in their places on a GPU, and none of these."""
    of_gpu = experiment.train.gpu.model_dump(exclude_none=True) if is_gpu else {}
    chosen = [Chosen(f"train.{key}", value, "train.gpu, as this trains on a GPU") for key, value in of_gpu.items()]
    if is_said:
        _say(chosen)
    return _with(experiment, [*chosen, Chosen("train.gpu", Gpu(), "what is settled is for every device")])


def _with(experiment: Experiment, chosen: Sequence[Chosen]) -> Experiment:
    """Return the experiment with what was chosen."""
    return functools.reduce(lambda section, one: _replaced(section, one.key, one.value), chosen, experiment)


def _replaced(section: _Section, key: str, value: Any) -> _Section:
    name, _, rest = key.partition(".")
    inner = _replaced(getattr(section, name), rest, value) if rest else value
    return section.model_copy(update={name: inner})


def _settle_linear(experiment: Experiment, *, is_said: bool) -> Experiment:
    linear, vocabulary = experiment.model.linear, experiment.vocabulary
    unset = {f"model.linear.{key}" for key in _LINEAR if getattr(linear, key) is None}
    unset |= {"vocabulary.min_count"} if vocabulary.min_count is None else set()
    unset |= {"train.class_weight"} if experiment.train.class_weight is None else set()
    if not unset:
        return experiment
    facts = read_facts(experiment.data)
    chosen = [one for one in (*choose_linear(facts), choose_weights(facts, experiment)) if one.key in unset]
    tokenizer = experiment.text.tokenizer
    if tokenizer != "words" and _PIECES in unset:
        chosen = [one for one in chosen if one.key != _PIECES]
        chosen.append(Chosen(_PIECES, (), f"pieces are of words, and text.tokenizer is {tokenizer}"))
    experiment = _with(experiment, chosen)
    linear = experiment.model.linear
    if vocabulary.min_count is None:  # pieces come from all words; else a rarer word than a feature is needed nowhere
        of_words = 1 if linear.char_ngrams else linear.min_count
        reason = "words are made of pieces" if linear.char_ngrams else "rarer words are no features"
        chosen.append(Chosen("vocabulary.min_count", of_words, reason))
    if is_said:
        _say(chosen)
    return _with(experiment, chosen)


def _say(chosen: list[Chosen]) -> None:
    usual = {("train.class_weight", "none"), ("model.wide.dropout", 0.0)}
    chosen = [one for one in chosen if one[:2] not in usual]
    for reason, some in itertools.groupby(chosen, key=lambda one: one.reason):
        values = ", ".join(f"{one.key.rstrip('_')} {_shown(one.value)}" for one in some)
        console.say(f"chosen: {values}: {reason}")


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value).lower()


def spread_rows(n_rows: int) -> NDArray[np.bool_]:
    """Mark about 2,000 rows, evenly spread, of which lengths and script are known well enough."""
    is_read_N = np.zeros(n_rows, dtype=np.bool_)
    is_read_N[:: max(1, n_rows // _ROWS_READ)] = True
    return is_read_N


def read_facts(data: Data) -> Facts:
    """Return the facts of a source's training rows, validation and test left out."""
    texts = prepare_texts(find_source(data), "labelled")
    splits = assign_rows(texts, data)
    of, is_wanted_N = splits["train"]
    n_rows = int(is_wanted_N.sum())
    is_read_N = np.zeros_like(is_wanted_N)
    is_read_N[is_wanted_N] = spread_rows(n_rows)
    n_read = n_characters = n_letters = n_unspaced = n_tokens = 0
    for text in itertools.chain.from_iterable(texts.read(of, is_read_N)):
        letters = [character for character in text if character.isalpha()]
        n_read, n_characters, n_letters = n_read + 1, n_characters + len(text), n_letters + len(letters)
        unspaced = 0 if text.isascii() else sum(map(is_unspaced, letters))
        n_unspaced += unspaced
        n_tokens += unspaced + len(_TOKEN.findall(text))
    return Facts(
        n_rows,
        len(texts.labels),
        n_characters / max(1, n_read),
        n_unspaced / max(1, n_letters),
        n_tokens / max(1, n_read),
        is_drawn=splits["valid"][0] == "train",
        is_unbalanced=is_unbalanced(texts.counts("train").tolist()),
    )
