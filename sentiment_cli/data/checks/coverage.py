"""How much of the validation rows is unknown to a vocabulary, and what to type where that is much."""

from sentiment_cli import console
from sentiment_cli.config.commands import command_with
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.checks.checks import Finding
from sentiment_cli.data.corpus.fit_settings import settle
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.errors import DataError

_MUCH = 0.2  # IMDb has 2 to 6 %, tweets some 10 %; without a language's spaces it is 40 %


def unknown_share(packed: Packed, vocabulary: Vocabulary) -> float:
    """Return the share of the tokens that are unknown."""
    n_words = int((packed.ids_T < vocabulary.n_whole).sum())
    return int((packed.ids_T == vocabulary.unknown_id).sum()) / max(1, n_words)


def warn_of_unknown(share: float, experiment: Experiment) -> None:
    """Warn where a large share of the validation tokens is unknown, and name the command to type."""
    if share > _MUCH:
        console.warn(f"{_message(share)}\n  try: {_remedy(experiment)}")


def unknown_findings(experiment: Experiment) -> list[Finding]:
    """Return the same as a finding, of rows that are prepared for it; what cannot be prepared is one, too."""
    if experiment.task == "pairs":
        return []
    try:
        corpus = prepare(settle(experiment), ("train", "valid"))
    except DataError as error:
        return [Finding("warning", f"the rows cannot be divided: {error}", 1)]
    valid = corpus.split("valid")
    share = unknown_share(valid, corpus.vocabulary)
    if share <= _MUCH:
        return []
    n_unknown = round(share * len(valid.ids_T))
    return [Finding("warning", f"{_message(share)}; try: {_remedy(experiment)}", n_unknown)]


def _message(share: float) -> str:
    return f"{share:.0%} of the validation tokens are unknown: the vocabulary, of training rows, does not have them"


def _remedy(experiment: Experiment) -> str:
    """Return the command that trains with another tokenizer, or shows what there is where a vocabulary is given."""
    is_given = experiment.init_from is not None or experiment.vocabulary.vectors is not None
    if experiment.text.tokenizer == "bpe" or is_given:
        return command_with("sentiment data info", experiment, {})
    changes: dict[str, object] = {"text.tokenizer": "bpe", "vocabulary.size": None}
    return command_with(experiment.command, experiment, changes)
