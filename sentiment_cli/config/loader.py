"""Load an experiment from a file, the files it extends and `--set`; report all mistakes at once."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from sentiment_cli.config import yaml_text
from sentiment_cli.config.contradictions import contradictions
from sentiment_cli.config.earlier import spell_out_earlier
from sentiment_cli.config.layers import Layers, load_layers
from sentiment_cli.config.problems import (
    brought_by_init_from,
    is_consequence,
    last_set,
    problem_of,
    remove_value,
    set_value,
)
from sentiment_cli.config.problems import known_keys as known_keys
from sentiment_cli.config.schema import Experiment
from sentiment_cli.config.yaml_text import KeyPath, Problem, YamlDocument
from sentiment_cli.errors import Change


class Setting(NamedTuple):
    """One value of a resolved experiment and its origin: `default`, `FILE:LINE`, or the `--set`."""

    key: str
    value: Any
    origin: str


def load_experiment(config: str | Path | None, overrides: Sequence[str] = ()) -> Experiment:
    """Load an experiment file (or a shipped recipe by name; None is `default`) with KEY=VALUE overrides on top.

    Raises UsageError that shows each problem's line and column. Needs neither torch nor the network.
    """
    return validated(load_layers(config, overrides))


def load_settings(config: str | Path | None, overrides: Sequence[str] = ()) -> list[Setting]:
    """Load as `load_experiment` does and return every value with its origin, in the schema's order."""
    layers = load_layers(config, overrides)
    experiment = validated(layers)
    settings = []
    for path, value in _leaves(experiment_values(experiment)):
        document = layers.source_of(path)
        if document is None:
            origin = "default"
        elif document.is_file:
            origin = f"{document.name}:{document.place_of(path)[1].line}"
        else:
            origin = document.name
        settings.append(Setting(".".join(map(str, path)), value, origin))
    return settings


def experiment_from_values(values: dict[str, Any]) -> Experiment:
    """Validate values that this tool wrote itself, such as an artefact's."""
    values = copy.deepcopy(values)
    spell_out_earlier(values)
    return Experiment.model_validate(values)


def experiment_values(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment as plain values, every default spelled out."""
    return experiment.model_dump(mode="json", by_alias=True)


def experiment_yaml(experiment: Experiment) -> bytes:
    """Return the resolved experiment as a file that loads to the same experiment."""
    return yaml.dump(experiment_values(experiment), Dumper=_Dumper, sort_keys=False, allow_unicode=True).encode()


def inline_yaml(value: Any) -> str:
    """Return one setting's value as YAML on one line."""
    written = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=1 << 30)
    return written.removesuffix("\n").removesuffix("\n...")


class _Dumper(yaml.SafeDumper):
    """Quotes what our own reading of plain scalars would not take for text, such as 1e3."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = None if yaml_text.read_scalar(text) == text else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def differences(one: Experiment, other: Experiment) -> list[tuple[str, Any, Any]]:
    """Return (key, value, other value) for the settings in which two experiments differ."""
    theirs = flat_values(other)
    return [(key, value, theirs[key]) for key, value in flat_values(one).items() if value != theirs[key]]


def flat_values(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment's plain values by their full keys."""
    return {".".join(map(str, path)): value for path, value in _leaves(experiment_values(experiment))}


def validated(layers: Layers) -> Experiment:
    """Return the experiment that layers describe. Raises UsageError as `load_experiment` does."""
    experiment, problems = _examined(layers)
    if problems:
        yaml_text.fail(problems, _with_defaults(layers, experiment))
    return experiment


def _with_defaults(layers: Layers, experiment: Experiment) -> Change | None:
    """Return the typed command with defaults for what contradicts each other; None if these are no help.

    They are for what files set and `--set` contradicts or, where that does not do, for what `--set` sets.
    """
    typed = {path for document in layers.documents if document.override is not None for path in document.values}
    against = {key for found in contradictions(experiment) for key in found.keys}
    default_of = {key: default for key, default, _ in differences(Experiment(name=experiment.name), experiment)}
    for is_typed in (False, True) if typed else ():
        reset = [key for key in default_of if key in against and (tuple(key.split(".")) in typed) == is_typed]
        values = copy.deepcopy(layers.values)
        for key in reset:
            set_value(values, key.split("."), default_of[key])
        if reset and not _examined(Layers(values, layers.documents, layers.n_taken))[1]:
            return Change(*(word for key in reset for word in ("--set", f"{key}={inline_yaml(default_of[key])}")))
    return None


def problems_with(layers: Layers, document: YamlDocument, path: KeyPath, value: Any) -> list[Problem]:
    """Return what is wrong when a document sets one more setting, over layers in which nothing is."""
    values = copy.deepcopy(layers.values)
    set_value(values, path, value)
    return _examined(Layers(values, [*layers.documents, document], layers.n_taken))[1]


def _examined(layers: Layers) -> tuple[Experiment, list[Problem]]:
    """Validate; replace wrong values and continue, so that contradictions among the other settings are reported too."""
    problems = [problem for document in layers.documents for problem in document.problems]
    values = copy.deepcopy(layers.values)
    reported: set[KeyPath] = set()
    while True:
        try:
            experiment = Experiment.model_validate(values)
            break
        except ValidationError as error:
            found = error.errors(include_url=False)
            fresh = [detail for detail in found if detail["loc"] not in reported]
            problems += [problem_of(layers, detail) for detail in fresh if not is_consequence(detail, found)]
            reported |= {detail["loc"] for detail in fresh}
            for detail in found:
                if detail["type"] == "missing":
                    values["name"] = "unnamed"  # the one setting without a default
                else:
                    remove_value(values, detail["loc"])
    for contradiction in contradictions(experiment):
        paths = [tuple(key.split(".")) for key in contradiction.keys]
        if not any(path[: len(wrong)] == wrong for path in paths for wrong in reported):
            problems.append(
                Problem(*last_set(layers, paths), contradiction.message + brought_by_init_from(layers, paths))
            )
    return experiment, problems


def _leaves(values: dict[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value
