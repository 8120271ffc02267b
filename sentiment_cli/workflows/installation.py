"""Facts about this machine and installation that belong in a bug report; none of them needs torch."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import sentiment_cli
from sentiment_cli.config.paths import data_dir, local_imdb, recipes_dir, runs_dir

_LIBRARIES = (
    "torch",
    "onnx",
    "safetensors",
    "numpy",
    "onnxruntime",
    "tokenizers",
    "pydantic",
    "typer",
    "rich",
    "pyyaml",
)


def system_facts() -> dict[str, str]:
    """Return the versions of what is installed, and the machine's cores and memory."""
    return {
        "sentiment": sentiment_cli.__version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        **{name: _version(name) for name in _LIBRARIES},
        "cores": f"{os.cpu_count()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
    }


def place_facts() -> dict[str, str]:
    """Return where experiments, data, runs and IMDb are."""
    found = {"experiments": str(recipes_dir())}
    for name, path in (("data", data_dir()), ("runs", runs_dir())):
        found[name] = f"{path} ({_free_gigabytes(path):.0f} GB free)"
    archive = local_imdb() or data_dir() / "raw" / "aclImdb_v1.tar.gz"
    is_there = os.path.exists(archive)  # noqa: PTH110 - Path.exists raises for what it may not look at
    found["IMDb"] = f"{archive} ({'there' if is_there else 'not there yet'})"
    return found


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _free_gigabytes(path: Path) -> float:
    while not path.exists():
        path = path.absolute().parent
    return shutil.disk_usage(path).free / 1e9
