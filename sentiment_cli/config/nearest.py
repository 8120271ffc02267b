"""The setting or the choice that a wrong spelling means."""

import difflib
import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel

# Names of settings in other tools, and the setting meant by a section that was given a value.
_ELSEWHERE = {
    "learning_rate": "train.lr",
    "num_layers": "model.encoder.layers",
    "hidden_size": "model.encoder.width",
    "hidden_dim": "model.encoder.width",
    "embedding_dim": "model.embedding.width",
    "embedding_size": "model.embedding.width",
    "max_length": "text.max_tokens",
    "max_len": "text.max_tokens",
    "vocab_size": "vocabulary.size",
    "max_epochs": "train.epochs",
    "num_epochs": "train.epochs",
}
_MEANT = {
    "data": "data.source",
    "model": "model.kind",
    "model.encoder": "model.encoder.cell",
    "text": "text.tokenizer",
    "vocabulary": "vocabulary.size",
    "teacher": "teacher.run",
    # Names that several sections have.
    "width": "model.encoder.width",
    "dropout": "model.encoder.dropout",
    "min_count": "vocabulary.min_count",
}


def nearest(word: str, choices: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the choice that is nearest to a word: the same but for case, or else one that looks alike."""
    by_lower = {choice.lower(): choice for choice in choices}
    if word.lower() in by_lower:
        return by_lower[word.lower()]
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


@functools.cache
def setting_keys() -> tuple[str, ...]:
    """Return every setting's key, in the schema's order."""
    from sentiment_cli.config.schema import Experiment  # which takes its time, and names of files need no settings

    return tuple(_keys_of(Experiment, ""))


def _keys_of(model: "type[BaseModel]", prefix: str) -> Iterable[str]:
    from pydantic import BaseModel

    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys_of(field.annotation, f"{key}.")
        else:
            yield key


def nearest_setting(path: Sequence[str], cutoff: float = 0.0) -> str | None:
    """Return the whole key of the setting that a wrong key means: the same name elsewhere, or one that looks alike.

    `cutoff` is how much alike at least; with 1.0 the name is the same, or that of other tools.
    """
    wrong = ".".join(path).lower().replace("-", "_")
    section, _, name = wrong.rpartition(".")
    keys = setting_keys()
    lower = {key.lower(): key for key in keys}
    meant = lower.get(wrong) or _ELSEWHERE.get(name) or _MEANT.get(wrong)
    if meant in keys:
        return meant
    ends = [key for key in keys if key.lower().endswith(f".{wrong}")]
    if ends:
        return ends[0]
    beside = {key.rpartition(".")[2]: key for key in keys if key.rpartition(".")[0].lower() == section}
    named = [key for key in keys if key.rpartition(".")[2].lower() == name]
    near = nearest(name, beside, max(cutoff, 0.6 if named else 0.5))
    if near is not None:
        return beside[near]
    if named:
        return next((key for key in named if section and key.startswith(section)), named[0])
    if section:
        return nearest(wrong, keys, max(cutoff, 0.75))
    by_name = {key.rpartition(".")[2]: key for key in reversed(keys)}
    near = nearest(name, by_name, max(cutoff, 0.75))
    return by_name[near] if near is not None else None
