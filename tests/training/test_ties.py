"""Robustness case A2: of epochs with equal monitored figures, the one with the lower loss is kept."""

import pytest

from sentiment_cli.training.tasks import classification as classifying_module
from sentiment_cli.training.tasks.classification import score_outputs
from sentiment_cli.workflows.train import fit

TINY = ("model.encoder.width=4", "model.embedding.width=4", "train.max_steps=4", "train.threads=1")


@pytest.mark.parametrize(
    ("monitor", "figures", "losses", "best"),
    [
        ("accuracy", [1.0, 1.0, 1.0], [0.7, 0.4, 0.5], 2),
        ("f1", [0.5, 0.5, 0.5], [0.3, 0.2, 0.1], 3),
        ("auc", [0.9, 1.0, 1.0], [0.1, 0.4, 0.3], 3),
        ("accuracy", [1.0, 1.0, 1.0], [0.4, 0.4, 0.4], 1),
        ("loss", [0.5, 0.4, 0.4], [0.5, 0.4, 0.4], 2),
    ],
)
def test_of_equal_epochs_the_lower_loss_is_kept(
    experiment, monkeypatch: pytest.MonkeyPatch, monitor: str, figures: list[float], losses: list[float], best: int
) -> None:
    said = iter(zip(figures, losses, strict=True))

    def scripted(*args):
        figure, loss = next(said)
        return type(real := score_outputs(*args))(**{**vars(real), "loss": loss, monitor: figure})

    monkeypatch.setattr(classifying_module, "score_outputs", scripted)
    settings = ("train.epochs=3", "train.batch_tokens=100000", f"train.monitor={monitor}", "train.patience=null")
    assert fit(experiment(*TINY, *settings)).scores.loss == losses[best - 1]
