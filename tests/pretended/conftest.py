"""Tests on a pretended CUDA device, which must be there before torch: `make pretended` gives them a process."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from made_up import corpus_for, made_small

from sentiment_cli import console
from sentiment_cli.config.schema import Experiment
from sentiment_cli.training.loader import BatchLoader
from sentiment_cli.training.loop import Step
from sentiment_cli.training.state import TrainState
from sentiment_cli.workflows.profile import begin_training, endless_steps

CUDA = torch.device("cuda")
_HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return True if not config.pluginmanager.has_plugin("pretended_cuda.plugin") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.pretended)


class Begun(NamedTuple):
    """A training of a small recipe before its first step."""

    experiment: Experiment
    state: TrainState
    loader: BatchLoader

    def steps(self) -> Iterator[Step]:
        return endless_steps(self.state, self.loader)


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Begun]:
    """Begin a small training on made-up rows."""
    monkeypatch.setattr(console, "say", lambda *texts, **options: None)
    counted = itertools.count()

    def build(name: str, settings: Sequence[str] = (), *, length: int = 16, device: torch.device = CUDA) -> Begun:
        experiment = made_small(name, length, [f"train.device={device.type}", *settings])
        run = tmp_path / f"run-{next(counted)}"
        return Begun(experiment, *begin_training(experiment, corpus_for(experiment), device, run))

    return build
