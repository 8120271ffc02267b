"""Optional packages: the extra that installs each, and the error where one is missing.

    extras.require("serve", "serving")       raises MachineError unless every package of the extra is installed
    with extras.explained(): ...             an import of one that fails becomes the same error
"""

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec

from sentiment_cli.errors import MachineError

PACKAGES = {
    "train": ("torch", "onnx", "safetensors"),
    "parquet": ("pyarrow",),
    "plot": ("matplotlib",),
    "tensorboard": ("tensorboardX",),
    "serve": ("starlette", "uvicorn", "h11"),
}
_BUILDS = "; on Linux pip takes a CUDA build of some 5 GB; how to get a CPU build: https://pytorch.org/get-started/locally/"


def is_installed(package: str) -> bool:
    """Return whether a package can be imported; nothing is imported."""
    return find_spec(package) is not None


def require(extra: str, what: str) -> None:
    """Raise MachineError where a package of an extra is not installed; `what` needs it."""
    missing = [name for name in PACKAGES[extra] if not is_installed(name)]
    if missing:
        raise lacking(extra, what, missing)


def lacking(extra: str, what: str, packages: list[str]) -> MachineError:
    """Return the error of what needs packages that are not installed."""
    listed = " and ".join([", ".join(packages[:-1]), packages[-1]] if len(packages) > 1 else packages)
    said = f"{what} needs {listed}, which {'is' if len(packages) == 1 else 'are'} not installed"
    return MachineError(
        said + (_BUILDS if "torch" in packages else ""),
        f"pip install 'sentiment-cli[{extra}]'",
    )


def explain(error: ModuleNotFoundError, what: str = "this command") -> MachineError | None:
    """Return the error about an optional package that an import did not find; None for any other module."""
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in PACKAGES.items() if package in packages), None)
    if extra is None or is_installed(package):
        return None
    return lacking(extra, what, [name for name in PACKAGES[extra] if not is_installed(name)])


@contextlib.contextmanager
def explained(what: str = "this") -> Iterator[None]:
    """Raise the error about a missing optional package in place of a ModuleNotFoundError."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = explain(error, what)
        if missing is None:
            raise
        raise missing from None
