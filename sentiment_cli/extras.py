"""Optional packages: the extra that installs each, and the error where one is missing.

extras.require("serve", "serving")       raises MachineError unless every package of the extra is installed
with extras.explained(): ...             an import that does not find one of them becomes the same error
"""

import contextlib
import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from sentiment_cli.errors import MachineError

PACKAGES = {
    "train": ("torch", "onnx", "safetensors"),
    "parquet": ("pyarrow",),
    "plot": ("matplotlib",),
    "tensorboard": ("tensorboardX",),
    "serve": ("starlette", "uvicorn", "h11"),
    "ray": ("ray",),
}
_BUILDS = (
    ". On Linux pip takes a CUDA build of some 5 GB; how to get a CPU build: https://pytorch.org/get-started/locally/"
)


def is_installed(package: str) -> bool:
    """Return whether a package can be imported; nothing is imported."""
    return find_spec(package) is not None


def missing_packages(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed."""
    return [name for name in PACKAGES[extra] if not is_installed(name)]


def command(extra: str) -> str:
    """Return the command that installs an extra where this program is installed: by pip, pipx or `uv tool`."""
    environment, packages = Path(sys.prefix), " ".join(PACKAGES[extra])
    if (environment / "pipx_metadata.json").exists():
        return f"pipx inject sentiment-cli {packages}"
    if (environment / "uv-receipt.toml").exists():
        return f"uv pip install --python {shlex.quote(sys.prefix)} {packages}"
    return f"pip install 'sentiment-cli[{extra}]'"


def require(extra: str, what: str) -> None:
    """Raise MachineError where a package of an extra is not installed; `what` needs it."""
    if packages := missing_packages(extra):
        *others, last = packages
        listed = f"{', '.join(others)} and {last}" if others else last
        said = f"{what} needs {listed}, which {'are' if others else 'is'} not installed"
        raise MachineError(said + (_BUILDS if "torch" in packages else ""), command(extra))


@contextlib.contextmanager
def explained(what: str = "this") -> Iterator[None]:
    """Raise the error about a missing optional package in place of a ModuleNotFoundError of one."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        for extra in (extra for extra, packages in PACKAGES.items() if package in packages):
            require(extra, what)
        raise
