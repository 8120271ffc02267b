"""Check torch on this machine: its devices, and a few seconds of training."""

import time

import torch

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.batching.batches import Batch
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.errors import MachineError
from sentiment_cli.models.classifier import build_classifier
from sentiment_cli.models.device import describe, nvidia_driver, runs_bf16, select_device, set_up
from sentiment_cli.training.loop import train_steps
from sentiment_cli.training.losses.labels import classification_loss
from sentiment_cli.training.optimizer import build_optimizer

_ENTRIES = 1000


def device_facts() -> dict[str, str]:
    """Return what torch trains on here."""
    device = select_device("auto")
    return {
        "threads": f"{torch.get_num_threads()} of torch",
        "device": describe(device),
        "GPU": _gpu(),
        "bf16": "multiplied natively, so used" if runs_bf16(device, "auto") else "not native, so not used",
    }


def synthetic_training(seconds: float) -> tuple[float, float, float]:
    """Train the default model on synthetic rows for about `seconds`; return tokens/s, the first and the last loss.

    The label of a row is whether more than half of its tokens are even. Raises MachineError where the loss does not
    fall.
    """
    experiment = load_experiment(None)
    device = select_device("auto")
    set_up(device, None)
    torch.manual_seed(0)
    model = build_classifier(experiment, Vocabulary(("",) * _ENTRIES, 1), 2).to(device)
    ids_BL = torch.randint(2, _ENTRIES, (64, 64), device=device)
    length_B = torch.full((64,), 64, device=device)
    batch = Batch(ids_BL, length_B, ((ids_BL % 2 == 0).sum(dim=1) > 32).long())
    steps = train_steps(
        model.train(),
        classification_loss,
        iter(lambda: batch, None),
        build_optimizer(model, experiment.train),
        lambda step: 3e-3,
        seed=0,
        bf16=runs_bf16(device, "auto"),
        max_grad_norm=1.0,
    )
    losses = [float(next(steps).loss)]
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        losses.append(float(next(steps).loss))
    rate = (len(losses) - 1) * ids_BL.numel() / (time.monotonic() - began)
    if not losses[-1] < losses[0]:
        raise MachineError(f"a synthetic training went wrong: its loss went from {losses[0]:.3f} to {losses[-1]:.3f}")
    return rate, losses[0], losses[-1]


def _gpu() -> str:
    if torch.cuda.is_available():
        names = (torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return f"{', '.join(names)}, usable"
    if nvidia_driver():
        return f"an NVIDIA GPU is here, but torch {torch.__version__} cannot use it"
    return "MPS, usable" if torch.backends.mps.is_available() else "none seen"
