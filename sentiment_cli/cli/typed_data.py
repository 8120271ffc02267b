"""Data on the command line: --data and --test as settings, and a CONFIG argument that is a data file or folder."""

import contextlib
import difflib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from sentiment_cli import console
from sentiment_cli.errors import Change, DataError, UsageError

if TYPE_CHECKING:
    from sentiment_cli.config.schema import Data, Experiment

DataOption = Annotated[
    str | None, Option("--data", metavar="FILE", help="File or folder of the rows (data.source), or imdb or sample.")
]
TestOption = Annotated[str | None, Option("--test", metavar="FILE", help="File or folder of test rows (data.test).")]
_YAML = (".yaml", ".yml")
_EXPERIMENT = {"name", "extends"}  # one of which an experiment in JSON has
_UNITS_S = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}


def with_data(override: Sequence[str] | None, data: str | None, test: str | None, *, config: str | None) -> list[str]:
    """Return the settings of --set with those of --data and --test.

    Raises UsageError for a setting that is given twice, and for test rows without data.
    """
    settings = list(override or ())
    if test is not None and data is None and config is None and not any(one.startswith("data.") for one in settings):
        raise UsageError(f"--test {test} goes with your own data, which --data names", Change(without=["--test"]))
    for option, key, value in (("--data", "data.source", data), ("--test", "data.test", test)):
        if value is None:
            continue
        if (twice := next((one for one in settings if one.partition("=")[0] == key), None)) is not None:
            raise UsageError(f"{option} {value} and --set {twice} both set {key}", Change(words={twice: None}))
        settings.append(f"{key}={json.dumps(value, ensure_ascii=False)}")
    return settings


def label_settings(override: Sequence[str], load: "Callable[[Sequence[str]], Data]") -> list[str]:
    """Return the settings that read several labels a row and are not set, where the data have them, and say so.

    `load` returns the data of the settings, with further ones.
    """
    from sentiment_cli.data.corpus.label_form import find_label_form, implied_target

    targets = [one.partition("=")[2] for one in override if one.startswith("data.target=")]
    if targets and targets[-1] != "multilabel":
        return []
    found = implied_target(override)
    if any(one.startswith("data.label_separator=") for one in override):
        return found
    form = find_label_form(load(found))
    if form is None:
        return found
    console.say(form.said)
    return form.overrides()


def load_inspected(
    config: str | None, data: str | None, test: str | None, override: Sequence[str] | None
) -> "Experiment":
    """Return the experiment of a command that inspects data; several labels a row are recognized as `train` does.

    The data of an experiment file are read as the file says.
    """
    from sentiment_cli.config.loader import load_experiment

    settings = with_data(override, data, test, config=config)
    if any(one.startswith("data.source=") for one in settings):
        settings += label_settings(settings, lambda further: load_experiment(config, [*settings, *further]).data)
    return load_experiment(config, settings)


def is_data(config: str | None) -> bool:
    """Say whether a CONFIG argument is a data file or folder, not an experiment, as the readers tell them apart.

    Raises DataError for a file that no reader takes, such as a spreadsheet.
    """
    from sentiment_cli.config.paths import is_file
    from sentiment_cli.config.recipes import recipe_names

    if config is None:
        return False
    path = Path(config)
    if is_file(path):
        if path.suffix.lower() in _YAML:
            return False
        from sentiment_cli.data.sources.path_kinds import ARCHIVES
        from sentiment_cli.data.tables.readers import kind_of_file

        if path.name.lower().endswith(ARCHIVES):
            return True
        kind = kind_of_file(path)
        if kind is None and path.suffix.lower() == ".txt":  # the reader says what is missing in it
            return True
        return kind is not None and not (kind == ".json" and _is_experiment(path))
    if config in recipe_names() or config == "auto":
        return False
    return os.path.isdir(path) and not is_file(path / "experiment.yaml")  # noqa: PTH112 - Path's raises for odd names


def is_table(path: str) -> bool:
    """Say whether a path is that of a file with a table's name."""
    from sentiment_cli.config.paths import is_file
    from sentiment_cli.data.files.file_kinds import table_suffix

    return is_file(Path(path)) and table_suffix(path) is not None


def refuse_missing_data(config: str) -> None:
    """Raise DataError for a CONFIG argument with the name of a table that is missing, or nearly that of one at hand.

    The error names the nearest file.
    """
    from sentiment_cli.data.files.file_kinds import missing_file, table_suffix

    path = Path(config)
    if os.path.lexists(path) or re.match(r"[A-Za-z]+://", config):
        return
    if (near := _nearest_table(path)) is not None:
        raise DataError(f"{config}: there is no such file or folder", Change(words={config: near}))
    if table_suffix(path.name) is not None:
        found = missing_file(path, "CONFIG")
        raise type(found)(f"{config}: there is no such file or folder", found.hint)


def _nearest_table(path: Path) -> str | None:
    """Return the table beside a missing file that its name may mean: my.csv for my.cvs, and for my unless a recipe."""
    from sentiment_cli.config.recipes import recipe_names
    from sentiment_cli.data.files.file_kinds import table_suffix

    names: list[str] = []
    with contextlib.suppress(OSError):
        names = [one.name for one in path.parent.iterdir() if table_suffix(one.name) is not None]
    if path.suffix in _YAML or path.name in (*recipe_names(), "auto"):
        return None
    if not path.suffix:
        near = [name for name in sorted(names) if Path(name).stem == path.name]
    else:
        near = difflib.get_close_matches(path.name, names, n=1)
    return str(path.parent / near[0]) if near else None


def seconds_of(text: str | None) -> float | None:
    """Return the seconds of a duration such as 90s, 5m or 1h. Raises UsageError for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if found is None or found[2] not in _UNITS_S or not float(found[1]):
        raise UsageError(f"--time {text} is not a duration such as 90s, 5m or 1h", Change("--time", "5m"))
    return float(found[1]) * _UNITS_S[found[2]]


def _is_experiment(path: Path) -> bool:
    """Say whether a JSON file holds the settings of an experiment, which YAML reads too."""
    from sentiment_cli.config.schema import Experiment
    from sentiment_cli.storage import store

    try:
        values = json.loads(store.read_named(path))
    except (ValueError, RecursionError):
        return False
    known = {"extends", *Experiment.model_fields}
    return isinstance(values, dict) and bool(_EXPERIMENT & set(values)) and set(values) <= known
