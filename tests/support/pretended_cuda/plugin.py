"""The plugin of pytest that loads the pretended device before any test imports torch: `-p pretended_cuda.plugin`."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

import pretended_cuda

CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"


def reason_to_skip() -> str | None:
    """Return why the device cannot be built here: it is bound to the insides of one version of torch."""
    if pretended_cuda.compiler() is None:
        return "no C++ compiler, which the pretended device is built with"
    pinned = re.search(r"^torch==(\S+)", CONSTRAINTS.read_text("utf-8"), re.M)
    assert pinned is not None
    found = version("torch").partition("+")[0]
    return None if found == pinned[1] else f"the pretended device is for torch {pinned[1]}, and this is {found}"


_REASON = reason_to_skip()
if _REASON is None:
    pretended_cuda.load()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _REASON is not None:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=_REASON))
