"""Where things are: data, runs, the local copy of IMDb, and the shipped experiments."""

import os
import shlex
from pathlib import Path

from sentiment_cli.errors import UsageError

# What Linux takes of a path (4,096) less room for the names of our own files; macOS takes 1,024 and says so itself.
_LONGEST_PATH, _LONGEST_NAME = 3_500, 255
EXPERIMENT_FILE = "experiment.yaml"  # the file that makes a directory a run
PACKAGE_DIR = Path(__file__).resolve().parents[1]


def is_file(path: Path) -> bool:
    """Say whether a file is there; a name that no file can have is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def data_dir() -> Path:
    """SENTIMENT_DATA, or ./data: downloads in raw/, prepared data in cache/."""
    return _place("SENTIMENT_DATA", "data")


def runs_dir() -> Path:
    """SENTIMENT_RUNS, or ./runs: one directory per run."""
    return _place("SENTIMENT_RUNS", "runs")


def local_imdb() -> Path | None:
    """SENTIMENT_IMDB: a copy of the IMDb archive, or a folder it was extracted to; used instead of the download."""
    return _place("SENTIMENT_IMDB", "") if os.environ.get("SENTIMENT_IMDB") else None


def _place(variable: str, default: str) -> Path:
    """Return the path that a variable names. Raises UsageError for one that no system takes."""
    path = Path(os.environ.get(variable) or default)
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if len(os.fsencode(path)) > _LONGEST_PATH or longest > _LONGEST_NAME:
        raise UsageError(
            f"{variable} is a path of {len(os.fsencode(path)):,} bytes whose longest name has {longest:,}; "
            f"at most {_LONGEST_PATH:,} and {_LONGEST_NAME} can be used",
            f"unset {variable}",
        )
    return path


def shown(path: Path) -> str:
    """Name a directory so that it is understood from everywhere: in full, with ~ for the home directory."""
    full = os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home raises where there is none
    return f"~{full.removeprefix(home)}" if full.startswith(f"{home}{os.sep}") else full


def how_to_get_imdb(path: Path) -> str:
    """Return the command to try where a copy of IMDb cannot be used: the download, or a look at the file."""
    return "unset SENTIMENT_IMDB" if local_imdb() is not None else shlex.join(["sha256sum", str(path)])


def recipes_dir() -> Path:
    """The shipped experiments: beside the package in a checkout (so that an edited one is used), else in the wheel."""
    beside = PACKAGE_DIR.parent / "configs"
    return beside if (beside / "default.yaml").is_file() else PACKAGE_DIR / "configs"
