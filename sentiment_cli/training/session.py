"""A training in memory: what its parts share, and how it is saved."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus import Corpus
from sentiment_cli.models.classifier import AnyClassifier
from sentiment_cli.training.checkpoints import Identity, Progress, save_checkpoint
from sentiment_cli.training.loop import Average, LossScale
from sentiment_cli.training.parallel import Group
from sentiment_cli.training.stopping import Stop


@dataclass
class Session:
    """One sitting of a training, on its device."""

    run: Path
    experiment: Experiment
    identity: Identity
    corpus: Corpus
    device: torch.device
    bf16: bool
    model: AnyClassifier
    optimizer: torch.optim.Optimizer
    average: Average | None
    scale: LossScale | None
    progress: Progress
    stop: Stop
    group: Group

    @property
    def validated(self) -> AnyClassifier:
        """The model that is validated and kept."""
        model = self.model if self.average is None else self.average.model
        assert isinstance(model, AnyClassifier)
        return model

    def save(self) -> None:
        """Save a checkpoint of the present step, in the first process."""
        if not self.group.is_writer:
            return
        began = time.monotonic()
        self.progress.scale_2 = self.scale.state_2 if self.scale is not None else None
        averaged = self.average.model if self.average is not None else None
        keep = self.experiment.train.keep
        save_checkpoint(self.run, self.identity, self.progress, self.model, self.optimizer, averaged, keep)
        self.progress.seconds["save"] += time.monotonic() - began

    def check_stop(self) -> None:
        """Raise StopNow in every process if a signal came to one."""
        self.stop.number = self.group.largest(self.stop.number)
        self.stop.check()
