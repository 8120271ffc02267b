"""The command that says an experiment again, whatever was typed: a shipped one and what is set otherwise."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from sentiment_cli.config.loader import differences, load_experiment
from sentiment_cli.config.recipes import recipe_names
from sentiment_cli.config.schema import Experiment
from sentiment_cli.config.yaml_text import read_scalar
from sentiment_cli.errors import Change

_PLAIN = re.compile(r"[\w./~-]+")


def command_with(command: str, experiment: Experiment, changes: Mapping[str, Any]) -> str:
    """Return the command for an experiment with some settings changed, to be pasted into a shell.

    It starts from the shipped experiment that differs least, the default one among equals. The run's name is left out.
    """

    def settings_over(name: str) -> dict[str, Any]:
        found = {key: value for key, _, value in differences(load_experiment(name), experiment)}
        return {key: value for key, value in {**found, **changes}.items() if key != "name"}

    over = {name: settings_over(name) for name in sorted(recipe_names(), key=lambda name: name != "default")}
    base = min(over, key=lambda name: len(over[name]))
    words = [word for key, value in over[base].items() for word in ("--set", f"{key}={_written(value)}")]
    return shlex.join([*command.split(), *([] if base == "default" else [base]), *words])


def reset(experiment: Experiment, *sections: str) -> Change:
    """Return the typed command with some sections as the schema has them, which turns a part of a model off."""
    changed = [
        f"{key}={_written(value)}"
        for key, value, _ in differences(Experiment(name=experiment.name), experiment)
        if key.startswith(tuple(f"{section}." for section in sections))
    ]
    return Change(*(word for one in changed for word in ("--set", one)))


def _written(value: Any) -> str:
    is_plain = isinstance(value, str) and _PLAIN.fullmatch(value) and read_scalar(value) == value
    return value if is_plain else json.dumps(value, ensure_ascii=False)
