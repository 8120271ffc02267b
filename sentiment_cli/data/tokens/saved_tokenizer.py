"""A saved tokenizer, made anew from its settings: of the file only the entries and merges are used, once checked.

The `tokenizers` library does whatever a file says: patterns that take for ever, replacements that grow a text a million
times, padding to a length of its own. So the steps are those that this program builds from the settings, and a file
with any others is refused.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NoReturn, cast

from tokenizers import Tokenizer, models

from sentiment_cli.data.tokens.characters import with_pipeline
from sentiment_cli.errors import DataError

# Patterns that earlier versions wrote, by the ones that took their place and match the same.
_EARLIER = {r"<\s*[bB][rR]\s*/?\s*>": r"<\s*[bB][rR]\s*(?:/\s*)?>"}
# What settings that an earlier version did not know were then.
_DEFAULTS = {"tokenizer": "words", "lowercase": True, "markup": "break", "punctuation": "keep", "characters": "raw"}
_TOKENIZERS = ("words", "whitespace", "bpe")


def rebuild_tokenizer(data: bytes, entries: Sequence[str], unknown_id: int, text: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer of a model with these entries and settings `text`.

    Raises DataError for a file that holds other steps than those of the settings, or other entries.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"holds no tokenizer: {error}") from error
    settings = cast("Any", SimpleNamespace(**{**_DEFAULTS, **text}))
    if settings.tokenizer not in _TOKENIZERS or not isinstance(found, dict) or not isinstance(found.get("model"), dict):
        _refuse("it")
    with _refusals():
        model = _model(found["model"], entries, unknown_id, settings.tokenizer)
        tokenizer = with_pipeline(Tokenizer(model), settings)
        blank = models.BPE() if settings.tokenizer == "bpe" else models.WordLevel({"a": 0}, unk_token="a")
        expected = json.loads(with_pipeline(Tokenizer(blank), settings).to_str())
    for part in expected.keys() | found.keys():
        if part != "model" and _current(found.get(part)) != expected.get(part):
            _refuse(str(part))
    if {key: value for key, value in found["model"].items() if key not in ("vocab", "merges", "unk_token")} != {
        key: value for key, value in expected["model"].items() if key not in ("vocab", "merges", "unk_token")
    }:
        _refuse("model")
    return tokenizer


@contextlib.contextmanager
def panics() -> Iterator[None]:
    """Turn a panic of the library, which is not an Exception, into DataError."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise DataError(f"makes the tokenizers library give up: {error}") from error


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn whatever the library has against entries into DataError; it has no class of its own for it."""
    try:
        with panics():
            yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"holds no tokenizer: {error}") from error


def _model(found: dict[str, Any], entries: Sequence[str], unknown_id: int, kind: str) -> models.Model:
    """Return the model: entries by their ids, or byte pairs as well."""
    ids = {entry: i for i, entry in enumerate(entries)}
    if found.get("vocab") != ids or not all(type(number) is int for number in found["vocab"].values()):
        n = len(found["vocab"]) if isinstance(found.get("vocab"), dict) else 0
        if n == len(entries):
            raise DataError("knows other entries than vocabulary.json")
        raise DataError(f"knows {n:,} entries, and vocabulary.json {len(entries):,}")
    if kind != "bpe":
        if (unknown := found.get("unk_token")) is None or ids.get(unknown) != unknown_id:
            _refuse("model.unk_token")
        return models.WordLevel(ids, unk_token=unknown)
    merges = found.get("merges")
    if not isinstance(merges, list) or len(merges) > len(ids) or found.get("unk_token") is not None:
        _refuse("model.merges")
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges]
    if not all(len(pair) == 2 and {*pair, "".join(pair)} <= ids.keys() for pair in pairs):
        _refuse("model.merges")
    return models.BPE(ids, cast("Any", pairs))


def _current(part: Any) -> Any:
    """Return a part of the file with earlier patterns replaced by today's equivalents."""
    if isinstance(part, dict):
        return {key: _current(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_current(value) for value in part]
    return _EARLIER.get(part, part) if isinstance(part, str) else part


def _refuse(part: str) -> NoReturn:
    raise DataError(f"holds no tokenizer of ours: {part} is not what this program writes for the model's settings")
