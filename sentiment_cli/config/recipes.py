"""The shipped experiments, and which file a CONFIG argument names."""

import difflib
from pathlib import Path

from sentiment_cli.config.paths import is_file, recipes_dir
from sentiment_cli.errors import UsageError


def recipe_names() -> list[str]:
    """Return the names of the shipped experiments."""
    return sorted(path.stem for path in recipes_dir().glob("*.yaml"))


def recipe_path(name: str) -> Path:
    """Return a shipped experiment's file. Raises UsageError that suggests the nearest name."""
    if name in recipe_names():
        return recipes_dir() / f"{name}.yaml"
    near = difflib.get_close_matches(name, recipe_names(), n=1)
    raise UsageError(
        f"there is no shipped experiment {name!r}; there are {', '.join(recipe_names())}",
        f"sentiment recipes show {near[0]}" if near else "sentiment recipes list",
    )


def recipe_summary(name: str) -> str:
    """Return the first line of the comment that opens a shipped experiment."""
    first = recipe_path(name).read_text("utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()


def find_config(config: str | None) -> Path:
    """Return the file that CONFIG names: a path, or a shipped experiment's name; None is the default experiment."""
    if config is None:
        return recipes_dir() / "default.yaml"
    if is_file(Path(config)):
        return Path(config)
    names = recipe_names()
    if config in names:
        return recipes_dir() / f"{config}.yaml"
    near = difflib.get_close_matches(Path(config).stem, names, n=1)
    raise UsageError(
        f"{config} is neither a file nor a shipped experiment ({', '.join(names)})"
        f"{f'; did you mean {near[0]}?' if near else ''}",
        "sentiment recipes list",
    )
