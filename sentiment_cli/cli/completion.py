"""What a shell completes: names of experiments and runs, and keys of settings."""

from sentiment_cli.config.recipes import recipe_names


def experiments(incomplete: str) -> list[str]:
    """Return the shipped experiments and the experiment files here that begin so."""
    return [name for name in recipe_names() if name.startswith(incomplete)] + _files(incomplete, (".yaml", ".yml"))


def recipes(incomplete: str) -> list[str]:
    """Return the shipped experiments that begin so."""
    return [name for name in recipe_names() if name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Return the runs that begin so, and the packed models here."""
    from sentiment_cli.runs.directory import all_runs

    found = [run.path.name for run in all_runs()]
    return [name for name in found if name.startswith(incomplete)] + _files(incomplete, (".model",))


def settings(incomplete: str) -> list[str]:
    """Return the keys of settings that begin so, each with the = that its value follows."""
    from sentiment_cli.config.nearest import setting_keys

    return [f"{key}=" for key in setting_keys() if key.startswith(incomplete)]


def _files(incomplete: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return the files of these kinds whose path begins so, and the folders on the way to others."""
    import os

    folder = os.path.dirname(incomplete)  # noqa: PTH120 - `./` and the like stay as they were typed
    try:
        entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
    except OSError:
        return []
    found = []
    for entry in entries:
        path = os.path.join(folder, entry.name)  # noqa: PTH118
        if path.startswith(incomplete) and not entry.name.startswith("."):
            if entry.is_dir() and incomplete:
                found.append(f"{path}/")
            elif entry.name.endswith(suffixes):
                found.append(path)
    return found
