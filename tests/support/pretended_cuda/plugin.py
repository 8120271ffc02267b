"""The plugin of pytest that loads the pretended device before any test imports torch: `-p pretended_cuda.plugin`."""

import pytest

import pretended_cuda

if pretended_cuda.compiler() is not None:
    pretended_cuda.load()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if pretended_cuda.compiler() is None:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="no C++ compiler, which the pretended device is built with"))
