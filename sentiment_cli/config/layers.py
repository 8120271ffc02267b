"""Values of an experiment's file, the files it extends and `--set`, laid over each other, each with its place."""

import copy
import dataclasses
import json
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiment_cli.config import yaml_text
from sentiment_cli.config.files import EXTENDS, load_chain, taken_over
from sentiment_cli.config.nearest import nearest_setting
from sentiment_cli.config.recipes import find_config, is_config
from sentiment_cli.config.schema import CORPORA, PATH_KEYS
from sentiment_cli.config.values import listed_pairs
from sentiment_cli.config.yaml_text import KeyPath, Place, YamlDocument
from sentiment_cli.errors import Change, UsageError

_WHOLE = ("data", "label_map")
_HOW_TO_SET = "sentiment train --set train.lr=3e-4"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclasses.dataclass(frozen=True)
class Layers:
    """The merged values of all layers, and the layers; the last layer that has a path sets it.

    The first `n_taken` are those of the pretraining that init_from names.
    """

    values: dict[str, Any]
    documents: list[YamlDocument]
    n_taken: int

    def source_of(self, path: KeyPath) -> YamlDocument | None:
        return next((document for document in reversed(self.documents) if path in document.values), None)


def load_layers(config: str | Path | None, overrides: Sequence[str]) -> Layers:
    set_here = [_parse_override(override, config) for override in overrides]
    chain = load_chain(find_config(str(config) if config else None))
    laid = [(document, _with_pairs(document.value)) for document in chain]
    for document, path, value in set_here:
        for part in reversed(path):
            value = {part: value}
        laid.append((document, value if len(path) > len(_WHOLE) else _with_pairs(value)))
    said = {key: value[key] for _, value in laid for key in ("init_from", "task") if key in value}
    sources = [value["data"].get("source") for _, value in laid if isinstance(value.get("data"), dict)]
    source = next((one for one in reversed(sources) if one is not None), None)
    taken = taken_over(said.get("init_from"), said.get("task"), source)
    laid = [*((document, document.value) for document in taken), *laid]
    values: dict[str, Any] = {}
    for i, (document, value) in enumerate(laid):
        value = _for_every_device(copy.deepcopy(value), values, document)
        _lay_over(values, value, [earlier for earlier, _ in laid[: i + 1]], document)
    values.pop(EXTENDS, None)
    layers = Layers(values, [document for document, _ in laid], len(taken))
    _anchor_paths(layers)
    return layers


def _with_pairs(value: dict[str, Any]) -> dict[str, Any]:
    """Return settings with a label map as pairs, so that it replaces another map instead of merging with it."""
    section, key = _WHOLE
    settings = value.get(section) if isinstance(value, dict) else None
    renamed = settings.get(key) if isinstance(settings, dict) else None
    if not isinstance(renamed, dict) or any(isinstance(new, (dict, list)) for new in renamed.values()):
        return value
    return {**value, section: {**settings, key: listed_pairs(renamed)}} if settings else value


def _for_every_device(value: dict[str, Any], lower: dict[str, Any], document: YamlDocument) -> dict[str, Any]:
    """Return settings that also replace what the layers below have for GPUs, where they set it without `gpu`.

    Learning rate and epochs for GPUs are chosen for the batch there: another batch replaces all three.
    """
    train, below = (one.get("train") if isinstance(one, dict) else None for one in (value, lower))
    of_gpu = below.get("gpu") if isinstance(below, dict) else None
    if isinstance(train, dict) and isinstance(of_gpu, dict) and isinstance(train.get("gpu", {}), dict):
        own = train.get("gpu", {})
        for key in (key for key in of_gpu if key not in own and (key in train or "batch_tokens" in train)):
            train.setdefault("gpu", {})[key] = None
            document.values["train", "gpu", key] = document.values["train", key if key in train else "batch_tokens"]
    return value


def _anchor_paths(layers: Layers) -> None:
    """Make paths absolute: those in a file are relative to it, those of --set to the current directory."""
    for path in PATH_KEYS:
        *above, key = path
        settings: Any = layers.values
        document = layers.source_of(path)
        for section in above:
            settings = settings.get(section) if isinstance(settings, dict) else None
        if not isinstance(settings, dict):
            continue
        value = settings.get(key)
        if isinstance(value, str) and _URL.match(value) and document is not None:
            _, place = document.place_of(path)
            raise _url_error(".".join(path), value, document, place)
        if isinstance(value, str) and value and value not in CORPORA and document is not None:
            folder = Path(document.name).parent if document.is_file else Path()
            # Path.resolve would follow links, Path.expanduser raise for the home of nobody.
            settings[key] = os.path.abspath(folder / os.path.expanduser(value))  # noqa: PTH100, PTH111


def _url_error(key: str, url: str, document: YamlDocument, place: Place) -> UsageError:
    where = f"{document.name}:{place.line}:{place.column}: " if document.is_file else ""
    name = url.partition("?")[0].rstrip("/").rpartition("/")[2] or "reviews.csv"
    return UsageError(
        f"{where}{key} is {url}: files are read from this machine, not from the web; download it first",
        shlex.join(["curl", "-fLo", name, url]),
    )


def _parse_override(override: str, config: str | Path | None = None) -> tuple[YamlDocument, list[str], Any]:
    key, equals, text = override.partition("=")
    path = key.split(".")
    if not equals and config is not None and not is_config(str(config)) and nearest_setting(path) is not None:
        value = str(config)  # --set train.lr 0.1
        raise UsageError(
            f"--set {override!r} is not KEY=VALUE; is {value} its value?",
            Change(words={override: f"{nearest_setting(path)}={value}", value: None}),
        )
    if not equals or not all(path):
        raise UsageError(f"--set {override!r} is not KEY=VALUE", _HOW_TO_SET)
    if key == EXTENDS:
        raise UsageError(f"--set {override}: extends belongs in a file", "sentiment recipes copy default --to my.yaml")
    name = f"--set {' '.join(override.split())}"
    if key == "data.delimiter" and not re.fullmatch(r"""".+"|'.+'""", text):
        text = json.dumps(text)  # most delimiters are signs of YAML
    document = yaml_text.parse(name, text.encode("utf-8", "surrogateescape"), is_file=False)
    document.override = override
    value, start = document.value, tuple(path)
    document.values = {(*start, *inner): place for inner, place in document.values.items()}
    document.values |= {start[:end]: Place(1, 1) for end in range(1, len(start) + 1)}
    return document, path, value


def _lay_over(
    values: dict[str, Any], upper: dict[str, Any], documents: list[YamlDocument], document: YamlDocument
) -> None:
    """Merge `upper` into `values`: mappings merge, other values replace, with the origins below them."""

    gone: set[KeyPath] = set()

    def merge(lower: dict[str, Any], new: dict[str, Any], path: KeyPath) -> None:
        for key, value in new.items():
            if isinstance(value, dict) and isinstance(lower.get(key), dict):
                merge(lower[key], value, (*path, key))
                continue
            if key in lower:
                gone.add((*path, key))
            lower[key] = value

    merge(values, upper, ())
    if gone:
        for earlier in documents:
            if earlier is not document:
                earlier.values = {
                    path: place
                    for path, place in earlier.values.items()
                    if not any(path[:end] in gone for end in range(1, len(path) + 1))
                }
