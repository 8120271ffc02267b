"""Validation errors as problems with a place in a file and a suggestion."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from sentiment_cli.config import yaml_text
from sentiment_cli.config.files import EXTENDS
from sentiment_cli.config.layers import Layers
from sentiment_cli.config.nearest import nearest, nearest_setting, setting_keys
from sentiment_cli.config.schema import Experiment
from sentiment_cli.config.yaml_text import KeyPath, Place, Problem, Remedy, YamlDocument


def last_set(layers: Layers, paths: Sequence[KeyPath]) -> tuple[YamlDocument, Place]:
    """Return the place of the setting that was set last, which causes the contradiction."""
    for document in reversed(layers.documents):
        places = [document.values[path] for path in paths if path in document.values]
        if places:
            return document, max(places, key=lambda place: (place.line, place.column))
    return layers.documents[0], Place(1, 1)


def brought_by_init_from(layers: Layers, paths: Sequence[KeyPath]) -> str:
    """Name the settings that come from init_from and are not in this experiment's files."""
    taken = layers.documents[: layers.n_taken]
    said = [f"; init_from brings {'.'.join(map(str, path))}" for path in paths if layers.source_of(path) in taken]
    return "".join(said)


def is_consequence(detail: Any, found: list[Any]) -> bool:
    """Say whether an error is a list that is too short only because its items were wrong."""
    return detail["type"] == "too_short" and any(
        other["loc"][:-1] == detail["loc"] and other is not detail for other in found
    )


def set_value(values: dict[Any, Any], path: Sequence[Any], value: Any) -> None:
    """Set the value at `path`; what lies above and is no mapping becomes one."""
    for part in path[:-1]:
        inner = values.get(part)
        values[part] = inner if isinstance(inner, dict) else {}
        values = values[part]
    values[path[-1]] = value


def remove_value(values: Any, path: KeyPath) -> None:
    """Remove the value at `path`, or the list that holds it."""
    for i, part in enumerate(path[:-1]):
        if not isinstance(values.get(part), dict):
            path = path[: i + 1]
            break
        values = values[part]
    values.pop(path[-1], None)


def problem_of(layers: Layers, detail: Any) -> Problem:
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
        detected = Remedy("auto detects it", "data.delimiter=auto") if dotted == "data.delimiter" else None
        return Problem(document, place, said.removeprefix("Value error, "), 1, lambda: detected)
    said = (said[0].lower() + said[1:]).replace("input should", "it should")
    if kind == "string_pattern_mismatch":
        said = f"it should be {field_of(path).description}"
    elif kind == "model_type":
        said = "it should be a section of settings"
    value = detail.get("input")
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}…"
    message = f"{dotted} is {shown}: {said}"
    if dotted == "data.label_map" and isinstance(value, str):
        message = f"{dotted} is {shown}: it should be a mapping or a list of OLD=NEW"
        return Problem(document, place, message, 1, lambda: _as_map(value))
    if kind == "model_type" and isinstance(value, str):
        return Problem(document, place, message, 1, lambda: _meant(path, document))
    if kind == "literal_error" and isinstance(value, str):
        choices = [part.strip("'") for part in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return Problem(document, place, message, max(1, len(value)), lambda: _choice(value, choices, dotted, document))
    return Problem(document, place, message, 1)


def _as_map(text: str) -> Remedy | None:
    """Return the mapping that OLD=NEW,OLD=NEW means."""
    pairs = [re.split(r"[=:]", pair) for pair in text.split(",") if pair.strip()]
    if not pairs or any(len(pair) != 2 or not pair[0].strip() for pair in pairs):
        return None
    written = json.dumps({old.strip(): new.strip() for old, new in pairs}, ensure_ascii=False)
    return Remedy(f"write {written}", f"data.label_map={written}")


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


def field_of(path: KeyPath) -> FieldInfo:
    """Return the field of a setting that there is."""
    model = _section(path[:-1])
    assert model is not None
    fields = model.model_fields
    return next(field for name, field in fields.items() if path[-1] in (name, field.alias))


def takes(key: str, text: str) -> bool:
    """Say whether a setting's value can be this YAML, whatever the other settings are."""
    field = field_of(tuple(key.split(".")))
    document = yaml_text.parse(key, text.encode("utf-8", "surrogateescape"), is_file=False)
    kind: Any = Annotated[(field.annotation, *field.metadata, None)]
    adapter: TypeAdapter[Any] = TypeAdapter(kind, config=ConfigDict(strict=True))
    try:
        adapter.validate_python(document.value)
    except ValidationError:
        return False
    return not document.problems
