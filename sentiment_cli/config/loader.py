"""From a file and `--set` overrides to a validated Experiment, every mistake reported at once with its place."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sentiment_cli.config import yaml_text
from sentiment_cli.config.paths import recipes_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.config.yaml_text import Document, Place, Problem
from sentiment_cli.errors import UsageError


def load_experiment(config: str | Path | None, overrides: Sequence[str] = ()) -> Experiment:
    """Load an experiment file (or a shipped recipe by name; None is `default`) with KEY=VALUE overrides on top.

    Raises UsageError that shows each problem's line and column. Needs neither torch nor the network.
    """
    path = find_config(config)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    document = yaml_text.parse(str(path), data)
    origin = {}
    for override in overrides:
        key, value = _split_override(override)
        _put(document.values, key, value, override)
        origin[tuple(key)] = override
    return _validate(document, origin)


def experiment_from_values(values: dict[str, Any]) -> Experiment:
    """Validate values that this tool wrote itself, such as an artefact's."""
    return Experiment.model_validate(values)


def experiment_values(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment as plain values, every default spelled out."""
    return experiment.model_dump(mode="json", by_alias=True)


def experiment_yaml(experiment: Experiment) -> bytes:
    """Return the resolved experiment as a file that loads to the same experiment."""
    text = yaml.safe_dump(experiment_values(experiment), sort_keys=False, allow_unicode=True)
    return text.encode()


def find_config(config: str | Path | None) -> Path:
    """Return the file that CONFIG names: a path, or a shipped recipe's name; None is the default experiment."""
    if config is None:
        return recipes_dir() / "default.yaml"
    if Path(config).is_file():
        return Path(config)
    names = sorted(path.stem for path in recipes_dir().glob("*.yaml"))
    if str(config) in names:
        return recipes_dir() / f"{config}.yaml"
    near = difflib.get_close_matches(str(config), names, n=1)
    raise UsageError(
        f"{config} is neither a file nor a shipped experiment ({', '.join(names)})",
        f"sentiment train {near[0] if near else 'default'}",
    )


def _split_override(override: str) -> tuple[list[str], Any]:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {override!r} is not KEY=VALUE", "sentiment train --set train.lr=3e-4")
    return key.strip().split("."), yaml_text.parse_scalar(value)


def _put(values: dict[str, Any], key: list[str], value: Any, override: str) -> None:
    for part in key[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UsageError(f"--set {override}: {part} is a value, not a section")
        values = inner
    values[key[-1]] = value


def _validate(document: Document, origin: dict[tuple[str, ...], str]) -> Experiment:
    try:
        experiment = Experiment.model_validate(document.values)
    except ValidationError as error:
        problems, said = [], []
        for detail in error.errors(include_url=False):
            path = tuple(part for part in detail["loc"] if not _is_union_branch(part))
            message, hint = _explain(path, detail["type"], detail["msg"], detail.get("input"))
            override = next((text for key, text in origin.items() if path[: len(key)] == key), None)
            if override is not None:
                said.append(f"--set {override}: {message}{' (' + hint + ')' if hint else ''}")
            else:
                unknown = detail["type"] == "extra_forbidden"
                problems.append(_problem(document, path, message, hint, at_key=unknown))
        if said and not problems and not document.problems:
            raise UsageError("\n".join([*said, "Nothing was downloaded or written."])) from None
        for line in said:
            document.problems.append(Problem(Place(len(document.text.splitlines()) + 1, 1), line))
        yaml_text.fail(document, *problems)
    if document.problems:
        yaml_text.fail(document)
    return experiment


def _problem(
    document: Document, path: tuple[str | int, ...], message: str, hint: str | None, *, at_key: bool
) -> Problem:
    for end in range(len(path), -1, -1):
        place = (document.keys if at_key else document.places).get(path[:end])
        if place is not None:
            width = len(str(path[end - 1])) if at_key and end else 1
            return Problem(place, message, width, hint)
    return Problem(Place(1, 1), message, 1, hint)


def _explain(path: tuple[str | int, ...], kind: str, said: str, value: Any) -> tuple[str, str | None]:
    dotted = ".".join(map(str, path))
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), _known_keys(path[:-1]), n=1, cutoff=0.5)
        return f"{dotted} is not a setting", f"did you mean {near[0]}?" if near else None
    if kind == "missing":
        return f"{dotted} is missing", f"add a line such as `{path[-1]}: my-run`"
    if kind == "value_error":
        return said.removeprefix("Value error, "), None
    said = said[0].lower() + said[1:]
    return f"{dotted} is {value!r}: {said.replace('input should', 'it should')}", None


def _known_keys(path: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = Experiment
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return []
        model = field.annotation
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_union_branch(part: str | int) -> bool:
    return isinstance(part, str) and ("[" in part or part in {"int", "float", "none"})
