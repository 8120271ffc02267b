"""From a file, what it extends, and `--set` overrides to a validated Experiment, every mistake reported at once."""

import copy
import dataclasses
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sentiment_cli.config import yaml_text
from sentiment_cli.config.contradictions import contradictions
from sentiment_cli.config.earlier import spell_out_earlier
from sentiment_cli.config.files import EXTENDS, load_chain, taken_over
from sentiment_cli.config.nearest import nearest, nearest_setting, setting_keys
from sentiment_cli.config.recipes import find_config, is_config
from sentiment_cli.config.schema import CORPORA, PATH_KEYS, Experiment, listed_pairs
from sentiment_cli.config.yaml_text import KeyPath, Place, Problem, Remedy, YamlDocument
from sentiment_cli.errors import Change, UsageError

_WHOLE = ("data", "label_map")
_HOW_TO_SET = "sentiment train --set train.lr=3e-4"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Setting(NamedTuple):
    """One value of a resolved experiment and who set it: `default`, `FILE:LINE`, or the `--set`."""

    key: str
    value: Any
    origin: str


@dataclasses.dataclass(frozen=True)
class _Layers:
    """Values of all layers laid over each other, and which of them said what: the last one that has the path.

    The first `n_taken` are of the pretraining that init_from names.
    """

    values: dict[str, Any]
    documents: list[YamlDocument]
    n_taken: int

    def source_of(self, path: KeyPath) -> YamlDocument | None:
        return next((document for document in reversed(self.documents) if path in document.values), None)


def load_experiment(config: str | Path | None, overrides: Sequence[str] = ()) -> Experiment:
    """Load an experiment file (or a shipped recipe by name; None is `default`) with KEY=VALUE overrides on top.

    Raises UsageError that shows each problem's line and column. Needs neither torch nor the network.
    """
    return _validate(_load_layers(config, overrides))


def load_settings(config: str | Path | None, overrides: Sequence[str] = ()) -> list[Setting]:
    """Load as `load_experiment` does and return every value with its origin, in the schema's order."""
    layers = _load_layers(config, overrides)
    experiment = _validate(layers)
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


def _load_layers(config: str | Path | None, overrides: Sequence[str]) -> _Layers:
    set_here = [_parse_override(override, config) for override in overrides]
    chain = load_chain(find_config(str(config) if config else None))
    laid = [(document, _with_pairs(document.value)) for document in chain]
    for document, path, value in set_here:
        for part in reversed(path):
            value = {part: value}
        laid.append((document, value if len(path) > len(_WHOLE) else _with_pairs(value)))
    said = {key: value[key] for _, value in laid for key in ("init_from", "task") if key in value}
    taken = taken_over(said.get("init_from"), said.get("task"))
    laid = [*((document, document.value) for document in taken), *laid]
    values: dict[str, Any] = {}
    for i, (document, value) in enumerate(laid):
        _lay_over(values, copy.deepcopy(value), [earlier for earlier, _ in laid[: i + 1]], document)
    values.pop(EXTENDS, None)
    layers = _Layers(values, [document for document, _ in laid], len(taken))
    _anchor_paths(layers)
    return layers


def _with_pairs(value: dict[str, Any]) -> dict[str, Any]:
    """Return settings with a label map as pairs: it takes the place of another one whole, as a list does."""
    section, key = _WHOLE
    settings = value.get(section) if isinstance(value, dict) else None
    renamed = settings.get(key) if isinstance(settings, dict) else None
    if not isinstance(renamed, dict) or any(isinstance(new, (dict, list)) for new in renamed.values()):
        return value
    return {**value, section: {**settings, key: listed_pairs(renamed)}} if settings else value


def _anchor_paths(layers: _Layers) -> None:
    """Make paths absolute: those in a file are meant from where it lies, those of --set from here."""
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
    document = yaml_text.parse(name, text.encode("utf-8", "surrogateescape"), is_file=False)
    document.override = override
    value, start = document.value, tuple(path)
    document.values = {(*start, *inner): place for inner, place in document.values.items()}
    document.values |= {start[:end]: Place(1, 1) for end in range(1, len(start) + 1)}
    return document, path, value


def _lay_over(
    values: dict[str, Any], upper: dict[str, Any], documents: list[YamlDocument], document: YamlDocument
) -> None:
    """Lay `upper` over `values`: mappings merge, anything else replaces, and what was below it is forgotten."""

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


def _validate(layers: _Layers) -> Experiment:
    """Validate; on mistakes repair and go on, so that contradictions among the right settings are reported too."""
    problems = [problem for document in layers.documents for problem in document.problems]
    values = copy.deepcopy(layers.values)
    told: set[KeyPath] = set()
    while True:
        try:
            experiment = Experiment.model_validate(values)
            break
        except ValidationError as error:
            found = error.errors(include_url=False)
            fresh = [detail for detail in found if detail["loc"] not in told]
            problems += [_problem(layers, detail) for detail in fresh if not _is_consequence(detail, found)]
            told |= {detail["loc"] for detail in fresh}
            for detail in found:
                if detail["type"] == "missing":
                    values["name"] = "unnamed"  # the one setting without a default
                else:
                    _remove(values, detail["loc"])
    for contradiction in contradictions(experiment):
        paths = [tuple(key.split(".")) for key in contradiction.keys]
        if not any(path[: len(wrong)] == wrong for path in paths for wrong in told):
            problems.append(Problem(*_last_said(layers, paths), contradiction.message + _brought(layers, paths)))
    if problems:
        yaml_text.fail(problems)
    return experiment


def _last_said(layers: _Layers, paths: Sequence[KeyPath]) -> tuple[YamlDocument, Place]:
    """Return where the last of several settings was set: that is the one that brought the contradiction in."""
    for document in reversed(layers.documents):
        places = [document.values[path] for path in paths if path in document.values]
        if places:
            return document, max(places, key=lambda place: (place.line, place.column))
    return layers.documents[0], Place(1, 1)


def _brought(layers: _Layers, paths: Sequence[KeyPath]) -> str:
    """Say which of several settings init_from has brought, which stand nowhere in this experiment."""
    taken = layers.documents[: layers.n_taken]
    said = [f"; init_from brings {'.'.join(map(str, path))}" for path in paths if layers.source_of(path) in taken]
    return "".join(said)


def _is_consequence(detail: Any, found: list[Any]) -> bool:
    """A list that is too short only because its items were wrong."""
    return detail["type"] == "too_short" and any(
        other["loc"][:-1] == detail["loc"] and other is not detail for other in found
    )


def _remove(values: Any, path: KeyPath) -> None:
    """Take the value at `path`, or the list that it stands in, out."""
    for i, part in enumerate(path[:-1]):
        if not isinstance(values.get(part), dict):
            path = path[: i + 1]
            break
        values = values[part]
    values.pop(path[-1], None)


def _problem(layers: _Layers, detail: Any) -> Problem:
    path, kind = detail["loc"], detail["type"]
    dotted = ".".join(map(str, path))
    unknown = kind == "extra_forbidden"
    document = None
    for end in range(len(path), -1, -1):
        document = layers.source_of(path[:end])
        if document is not None:
            break
    if document is None or kind == "missing":
        document = next(d for d in reversed(layers.documents) if d.is_file)
    reached, place = document.place_of(path, at_key=unknown)
    width = len(str(reached[-1])) if unknown and reached else 1
    if unknown:
        return Problem(document, place, f"{dotted} is not a setting", width, lambda: _meant(path, document))
    if kind == "missing":
        remedy = Remedy(f"add a line such as `{path[-1]}: my-run`")
        return Problem(document, place, f"{dotted} is missing", 1, lambda: remedy)
    said = detail["msg"]
    if kind == "value_error":
        return Problem(document, place, said.removeprefix("Value error, "), 1)
    said = (said[0].lower() + said[1:]).replace("input should", "it should")
    if kind == "string_pattern_mismatch":
        said = f"it should be {_field(path).description}"
    elif kind == "model_type":
        said = "it should be a section of settings"
    value = detail.get("input")
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}…"
    message = f"{dotted} is {shown}: {said}"
    if kind == "model_type" and isinstance(value, str):
        return Problem(document, place, message, 1, lambda: _meant(path, document))
    if kind == "literal_error" and isinstance(value, str):
        choices = [part.strip("'") for part in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return Problem(document, place, message, max(1, len(value)), lambda: _choice(value, choices, dotted, document))
    return Problem(document, place, message, 1)


def _choice(value: str, choices: list[str], key: str, document: YamlDocument) -> Remedy | None:
    near = nearest(value, choices)
    if near is None:
        return None
    is_whole = (document.override or "").partition("=")[0] == key
    return Remedy(f"did you mean {near}?", f"{key}={near}" if is_whole else None)


def _meant(path: KeyPath, document: YamlDocument) -> Remedy | None:
    """Suggest the setting that a key, or a section that was given a value, means."""
    parts = [str(part) for part in path]
    if "." in parts[-1] and ".".join(parts) in setting_keys():
        inner = parts[-1].split(".")
        return Remedy(f"write it as {': {'.join(inner)}: …{'}' * (len(inner) - 1)}")
    if document.override is not None:
        key, _, text = document.override.partition("=")
        meant = nearest_setting(key.split(".")) if len(parts) <= key.count(".") + 1 else None
        return Remedy(f"did you mean {meant}?", f"{meant}={text}") if meant not in (None, key) else None
    elsewhere = nearest_setting(parts)
    is_named_so = elsewhere is not None and elsewhere.rpartition(".")[2].lower() == parts[-1].lower()
    near = nearest(parts[-1], known_keys(path[:-1]), 0.6 if is_named_so else 0.5) or elsewhere
    return Remedy(f"did you mean {near}?") if near is not None and near != parts[-1] else None


def known_keys(section: KeyPath) -> list[str]:
    """Return the keys of a section; () is the top level."""
    model = _section(section)
    keys = [field.alias or name for name, field in model.model_fields.items()] if model else []
    return keys if section else [*keys, EXTENDS]


def _section(path: KeyPath) -> type[BaseModel] | None:
    model: type[BaseModel] = Experiment
    for part in path:
        annotation = next((f.annotation for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        if not isinstance(annotation, type) or not issubclass(annotation, BaseModel):
            return None
        model = annotation
    return model


def _field(path: KeyPath) -> FieldInfo:
    model = _section(path[:-1])
    assert model is not None
    return model.model_fields[str(path[-1])]


def _leaves(values: dict[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value
