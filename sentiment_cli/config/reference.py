"""What can be set, for people and for editors: a JSON Schema and docs/configuration.md, both from the schema."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import PydanticUndefined

from sentiment_cli.config.files import EXTENDS
from sentiment_cli.config.schema import Experiment
from sentiment_cli.config.values import Section

_EXTENDS_MEANING = "file (relative to this one) or shipped experiment whose settings hold where this file is silent"
_OPENING = """\
# Configuration

An experiment is a YAML file of these settings; all but `name` have a default. `sentiment init my.yaml` writes a file to
start from. `sentiment config show FILE` prints a file with every setting, and where each value comes from as a comment.
`sentiment config check FILE` reports all mistakes, and `--set KEY=VALUE` changes a setting of any command that takes an
experiment.

`sentiment config schema > experiment.schema.json` writes a JSON Schema. Editors with a YAML language server complete
and check keys when a file begins with

```yaml
# yaml-language-server: $schema=experiment.schema.json
```

This page is written by `sentiment config schema --markdown`.

| key | values | default | meaning |
|---|---|---|---|
"""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an experiment file."""
    schema = Experiment.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"][EXTENDS] = {"type": "string", "description": _EXTENDS_MEANING}
    schema["anyOf"] = [{"required": schema.pop("required")}, {"required": [EXTENDS]}]
    return schema


def markdown() -> str:
    """Return docs/configuration.md."""
    rows = [f"| `{EXTENDS}` | text | | {_EXTENDS_MEANING} |", *_rows(Experiment, "")]
    return _OPENING + "\n".join(rows) + "\n"


def meanings() -> dict[str, str]:
    """Return what each setting means, by its full key."""
    return dict(_meanings(Experiment, ""))


def _meanings(section: type[Section], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _meanings(field.annotation, f"{key}.")
        else:
            yield key, field.description or ""


def _rows(section: type[Section], prefix: str) -> Iterator[str]:
    properties = section.model_json_schema(by_alias=True)["properties"]
    for name, field in section.model_fields.items():
        key = field.alias or name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _rows(field.annotation, f"{prefix}{key}.")
            continue
        default = "" if field.default is PydanticUndefined else f"`{_yaml(field.default)}`"
        yield f"| `{prefix}{key}` | {_values(properties[key])} | {default} | {field.description} |"


def _values(property_: dict[str, Any]) -> str:
    if "anyOf" in property_:
        return " or ".join(_values(choice) for choice in property_["anyOf"])
    if "enum" in property_:
        return ", ".join(f"`{_yaml(choice)}`" for choice in property_["enum"])
    if "const" in property_:
        return f"`{property_['const']}`"
    if property_["type"] == "array":
        return f"list of {_values(property_['items'])}"
    kind = {
        "integer": "whole number",
        "number": "number",
        "boolean": "`true`, `false`",
        "string": "text",
        "object": "mapping",
    }
    bounds = [
        f"{sign} {property_[name]}"
        for name, sign in [("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")]
        if name in property_
    ]
    return " ".join([kind.get(property_["type"], f"`{property_['type']}`"), ", ".join(bounds)]).strip()


def _yaml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
