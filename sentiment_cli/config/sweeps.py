"""A sweep's file: an experiment, and the settings to search with their ranges or choices, each checked by the schema.

tune: my-lstm.yaml
search:
  train.lr: {from: 1e-4, to: 1e-2, scale: log}
  model.encoder.width: [64, 128, 256]
trials: 30
"""

import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sentiment_cli.config import yaml_text
from sentiment_cli.config.contradictions import contradictions
from sentiment_cli.config.layers import Layers, load_layers
from sentiment_cli.config.loader import problems_with, validated
from sentiment_cli.config.nearest import nearest, nearest_setting
from sentiment_cli.config.problems import field_of
from sentiment_cli.config.schema import Experiment
from sentiment_cli.config.train_settings import Train
from sentiment_cli.config.yaml_text import KeyPath, Place, Problem, Remedy, YamlDocument

SearchMethod = Literal["tpe", "random", "grid"]
_KEYS = ("tune", "search", "trials", "method", "prune", "monitor", "seed")
_RANGE = ("from", "to", "scale")
# Only what is chosen on validation: no data, no seed, and nothing that names test.
_SECTIONS = ("model", "train", "text", "vocabulary")
_NOT_SEARCHED = ("train.monitor", "train.device", "train.threads")
_MONITORS = typing.get_args(Train.model_fields["monitor"].annotation)
_MOST_TRIALS, _LARGEST_SEED = 100_000, 2**31 - 1


class SearchRange(NamedTuple):
    """Numbers between two ends, both included; whole where the setting is."""

    low: float
    high: float
    is_log: bool
    is_whole: bool


Choices = tuple[Any, ...]


@dataclass(frozen=True)
class Sweep:
    """What a sweep's file says, with the experiment that it starts from."""

    name: str
    experiment: Experiment
    search: dict[str, SearchRange | Choices]
    trials: int
    method: SearchMethod
    prune: Literal["median", "none"]
    seed: int

    @property
    def monitor(self) -> str:
        return self.experiment.train.monitor

    def identity(self) -> dict[str, Any]:
        """Return what a sweep that goes on must have in common with the one that was begun."""
        search = {key: list(one) if isinstance(one, tuple) else one for key, one in self.search.items()}
        return {"search": search, "method": self.method, "prune": self.prune, "seed": self.seed}


def load_sweep(path: Path, data: bytes, overrides: list[str]) -> Sweep:
    """Read a sweep's file; `overrides` change its experiment. Raises UsageError that shows each problem's place."""
    document = yaml_text.parse(str(path), data)
    if not isinstance(document.value, dict) or "tune" not in document.value:
        place = document.keys.get(("tune",), Place(1, 1))
        yaml_text.fail([Problem(document, place, "a sweep names its experiment, such as `tune: my-lstm.yaml`")])
    reader = _Reader(document)
    values = document.value
    for key in values:
        if key not in _KEYS:
            near = nearest(str(key), _KEYS)
            reader.add((key,), f"{key} is not a key of a sweep", near and f"did you mean {near}?", at_key=True)
    config = str(values["tune"])
    beside = path.parent / config
    layers = load_layers(beside if beside.is_file() else config, overrides)
    experiment = validated(layers)
    if experiment.command != "sentiment train":
        reader.add(("tune",), f"{experiment.name} is trained by {experiment.command}, and tune searches classifiers")
    monitor = reader.choice("monitor", _MONITORS, experiment.train.monitor)
    before = set(contradictions(experiment))
    experiment = experiment.model_copy(update={"train": experiment.train.model_copy(update={"monitor": monitor})})
    for contradiction in set(contradictions(experiment)) - before:
        reader.add(("monitor",), contradiction.message.replace("train.monitor", f"monitor {monitor}", 1))
    method = reader.choice("method", typing.get_args(SearchMethod), "tpe")
    prune = reader.choice("prune", ("median", "none"), "median")
    trials = reader.whole("trials", 1, _MOST_TRIALS, 30)
    seed = reader.whole("seed", 0, _LARGEST_SEED, 0)
    search: dict[str, SearchRange | Choices] = {}
    wanted = values.get("search")
    if not isinstance(wanted, dict) or not wanted:
        reader.add(("search",), "search has the settings and their ranges, such as `model.dropout: {from: 0, to: 0.7}`")
    else:
        for key, given in wanted.items():
            found = reader.searched(layers, key, given)
            if found is not None:
                search[key] = found
                if method == "grid" and isinstance(found, SearchRange):
                    reader.add(("search", key), f"{key} has a range, and a grid needs a list of values")
    problems = [*document.problems, *reader.problems]
    if problems:
        yaml_text.fail(problems)
    return Sweep(path.stem, experiment, search, trials, method, prune, seed)  # type: ignore[arg-type]


class _Reader:
    """Reads values of a sweep's document and collects what is wrong with them."""

    def __init__(self, document: YamlDocument) -> None:
        self._document = document
        self.problems: list[Problem] = []

    def add(self, path: KeyPath, message: str, remedy: str | None = None, *, at_key: bool = False) -> None:
        reached, place = self._document.place_of(path, at_key=at_key)
        width = len(str(reached[-1])) if at_key and reached else 1
        shown = Remedy(remedy) if remedy else None
        self.problems.append(Problem(self._document, place, message, width, (lambda: shown) if shown else None))

    def choice(self, key: str, among: tuple[str, ...], default: str) -> str:
        value = self._document.value.get(key, default)
        if value in among:
            return str(value)
        near = nearest(str(value), among)
        self.add((key,), f"{key} is {value!r}, not one of {', '.join(among)}", near and f"did you mean {near}?")
        return default

    def whole(self, key: str, least: int, most: int, default: int) -> int:
        value = self._document.value.get(key, default)
        if type(value) is int and least <= value <= most:
            return value
        self.add((key,), f"{key} is {value!r}, not a whole number from {least} to {most:,}")
        return default

    def searched(self, layers: Layers, key: str, given: Any) -> SearchRange | Choices | None:
        """Return the range or the choices of a setting, each end or choice tried in the experiment."""
        path = tuple(key.split("."))
        if path[0] not in _SECTIONS or key in _NOT_SEARCHED:
            near = None if path[0] in ("data", "seed", "name") else nearest_setting(list(path))
            where = ", ".join(f"{one}.…" for one in _SECTIONS)
            self.add(
                ("search", key),
                f"{key} is not searched: settings of {where} are",
                near and f"did you mean {near}?",
                at_key=True,
            )
            return None
        if isinstance(given, list):
            if not given:
                self.add(("search", key), f"{key} has no values to choose from")
                return None
            return (
                tuple(given)
                if self._try(layers, path, {("search", key, i): one for i, one in enumerate(given)})
                else None
            )
        if not isinstance(given, dict) or not {"from", "to"} <= given.keys() <= set(_RANGE):
            self.add(("search", key), f"{key} needs {{from: …, to: …, scale: log}} or a list of values")
            return None
        ends: dict[KeyPath, Any] = {("search", key, end): given[end] for end in ("from", "to")}
        if not self._try(layers, path, ends):
            return None
        low, high, scale = given["from"], given["to"], given.get("scale", "linear")
        if any(type(one) not in (int, float) for one in (low, high)) or not low < high:
            self.add(("search", key, "to"), f"{key} goes from {low!r} to {high!r}, not from a number to a larger one")
            return None
        if scale not in ("linear", "log") or (scale == "log" and low <= 0):
            what = "log of a number that is not above 0" if scale == "log" else f"{scale!r}, not linear or log"
            self.add(("search", key, "scale" if "scale" in given else "from"), f"{key} has the scale {what}")
            return None
        return SearchRange(low, high, scale == "log", _is_whole(path))

    def _try(self, layers: Layers, path: KeyPath, values: dict[KeyPath, Any]) -> bool:
        found: list[Problem] = []
        for place, value in values.items():
            key_place = self._document.keys[place[:2]]
            at = YamlDocument(
                self._document.name,
                self._document.text,
                keys={path[:end]: key_place for end in range(1, len(path) + 1)},
                values={
                    **{path[:end]: self._document.values[place] for end in range(1, len(path) + 1)},
                },
            )
            found += problems_with(layers, at, path, value)
        unique = {(one.place.line, one.place.column, one.message): one for one in found}
        self.problems += unique.values()
        return not found


def _is_whole(path: KeyPath) -> bool:
    """Say whether a setting is a whole number by its type."""

    def types(annotation: Any) -> set[Any]:
        inner = typing.get_args(annotation)
        return {annotation} if not inner else set().union(*(types(one) for one in inner))

    found = types(field_of(path).annotation)
    return int in found and float not in found
