"""Servers that the tests ask, on the quick run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clients import Running, Start

from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.serving.model import Served, open_served
from sentiment_cli.serving.settings import Settings


@pytest.fixture(scope="session")
def served(quick_run: Path) -> Served:
    return open_served(quick_run)


@pytest.fixture(scope="session")
def predictor(quick_run: Path) -> Any:
    return open_predictor(quick_run)


@pytest.fixture
def start(served: Served) -> Iterator[Start]:
    """Start a server on the quick run, or another model, with settings of its own."""
    running: list[Running] = []

    def begin(model: Served | None = None, **settings: Any) -> Running:
        running.append(Running(Settings(port=0, **settings), model or served))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


@pytest.fixture(scope="session")
def everyone(served: Served) -> Iterator[Running]:
    """A server with the usual settings, which tests share that leave it as it is."""
    running = Running(Settings(port=0), served)
    yield running
    assert running.stop() == 0
