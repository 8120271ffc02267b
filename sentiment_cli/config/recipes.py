"""The shipped experiments, and which file a CONFIG argument names."""

import contextlib
import difflib
import os
import re
import shlex
from pathlib import Path

from sentiment_cli.config.nearest import nearest
from sentiment_cli.config.paths import EXPERIMENT_FILE, is_file, recipes_dir
from sentiment_cli.errors import Change, UsageError

_DATA_SUFFIXES = tuple(
    f"{suffix}{packed}" for suffix in (".csv", ".tsv", ".jsonl", ".parquet", ".txt", ".xlsx") for packed in ("", ".gz")
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CLEAR = 0.85
_RUNS_OF_DEFAULT = ("imdb", "imdb-lstm")  # what people call the default experiment by its data, and by its run
_LIST = "sentiment recipes list"


def recipe_names() -> list[str]:
    """Return the names of the shipped experiments."""
    return sorted(path.stem for path in recipes_dir().glob("*.yaml"))


def recipe_path(name: str) -> Path:
    """Return a shipped experiment's file. Raises UsageError that suggests the nearest name."""
    if name in recipe_names():
        return recipes_dir() / f"{name}.yaml"
    near = nearest(name, recipe_names())
    raise UsageError(
        f"there is no shipped experiment {name!r}{f'. Did you mean {near!r}?' if near else ''}",
        Change(words={name: near}, otherwise=_LIST) if near else _LIST,
    )


def recipe_summary(name: str) -> str:
    """Return the first line of the comment that opens a shipped experiment."""
    first = recipe_path(name).read_text("utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()


def is_config(config: str) -> bool:
    """Say whether CONFIG names a file or a shipped experiment."""
    return is_file(Path(config)) or config in recipe_names()


def find_config(config: str | None) -> Path:
    """Return the file that CONFIG names: a path, or a shipped experiment's name; None is the default experiment.

    Raises UsageError that says what else the word may have been meant for.
    """
    if config is None:
        return recipes_dir() / "default.yaml"
    path = Path(config)
    if is_file(path):
        if path.name.lower().endswith(_DATA_SUFFIXES):
            raise _is_data(config)
        return path
    if config in recipe_names():
        return recipes_dir() / f"{config}.yaml"
    if os.path.isdir(config):  # noqa: PTH112 - says no, where Path.is_dir raises, to a name that none can have
        if is_file(path / EXPERIMENT_FILE):
            experiment = str(path / EXPERIMENT_FILE)
            raise UsageError(f"{config} is a run, not an experiment", Change(words={config: experiment}))
        raise UsageError(f"{config} is a folder, not an experiment", _with_data(config))
    key, equals, _ = config.partition("=")
    if equals and re.fullmatch(r"[\w.-]+", key):
        raise UsageError(
            f"{config!r} is no experiment; settings are changed with --set",
            Change("--set", config, words={config: None}),
        )
    if _URL.match(config):
        name = config.partition("?")[0].rstrip("/").rpartition("/")[2] or "my.yaml"
        raise UsageError(
            f"{config}: files are read from this machine, not from the web; download it first",
            shlex.join(["curl", "-fLo", name, config]),
        )
    if path.suffix or len(path.parts) > 1:
        raise _no_file(path)
    near = _nearest_recipe(config)
    raise UsageError(
        f"there is no experiment {config!r}{f'. Did you mean {near!r}?' if near else ''}",
        Change(words={config: near}, otherwise=_LIST) if near else _LIST,
    )


def _is_data(config: str) -> UsageError:
    """Return the error about a data file given instead of an experiment."""
    return UsageError(f"{config} is data, not an experiment", _with_data(config))


def _with_data(config: str) -> Change:
    return Change("--set", f"data.source={config}", words={config: "linear"})


def _no_file(path: Path) -> UsageError:
    """Return the error about an experiment file that is not there, which suggests one beside it, or a shipped one."""
    beside: list[str] = []
    with contextlib.suppress(OSError):
        beside = [one.name for one in path.parent.iterdir() if one.suffix in (".yaml", ".yml")]
    near = nearest(path.name, beside, 0.75)
    if near is not None:
        found: str | None = str(path.parent / near)
    else:
        found = _nearest_recipe(path.stem) if path.suffix in (".yaml", ".yml") else None
    said = f"{path}: no such file{f'. Did you mean {found!r}?' if found else ''}"
    return UsageError(said, Change(words={str(path): found}, otherwise=_LIST) if found else _LIST)


def _nearest_recipe(name: str) -> str | None:
    """Return the nearest shipped experiment; one that classifies, unless another is much nearer."""
    lower = name.lower()
    if lower in _RUNS_OF_DEFAULT:
        return "default"
    near = difflib.get_close_matches(lower, recipe_names(), n=5)
    if not near or difflib.SequenceMatcher(None, lower, near[0]).ratio() > _CLEAR:
        return near[0] if near else None
    return next((one for one in near if "\ntask:" not in recipe_path(one).read_text("utf-8")), near[0])
