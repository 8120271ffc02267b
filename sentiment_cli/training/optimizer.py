"""Optimizers, and the learning rate as a function of the step."""

import inspect
import math
from collections.abc import Sequence

import torch
from torch import nn

from sentiment_cli.config.schema import Train


def _without_dynamo(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Take off what keeps torch.compile out of an optimizer: its first use imports torch._dynamo, which costs 3 s."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in ("add_param_group", "zero_grad", "step")}
    methods["step"] = torch.no_grad()(methods["step"])
    return type(kind.__name__, (kind,), methods)


_ADAMW, _ADAM, _SGD = map(_without_dynamo, (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD))


def build_optimizer(model: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov & Hutter 2019), Adam (Kingma & Ba 2015) or SGD with momentum (Sutskever et al. 2013).

    Weight decay spares biases and embeddings.
    """
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    spared = {id(table) for table in tables}
    decayed = [p for p in model.parameters() if p.dim() > 1 and id(p) not in spared]
    other = [p for p in model.parameters() if p.dim() <= 1 or id(p) in spared]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": other, "weight_decay": 0.0}]
    if settings.optimizer == "sgd":
        return _SGD(groups, lr=settings.lr, momentum=settings.momentum, fused=True)  # type: ignore[call-arg]
    kind = _ADAMW if settings.optimizer == "adamw" else _ADAM
    return kind(groups, lr=settings.lr, eps=settings.eps, fused=True)  # type: ignore[call-arg]


def learning_rate_at(step: int, n_steps: int, settings: Train, n_reductions: int = 0) -> float:
    """Return the learning rate of a step counted from 0: a rise over train.warmup, then what train.schedule says.

    `n_reductions` is how often a plateau was met so far, which the schedule of that name heeds. One-cycle rises from
    lr / 25 and ends at lr / 250,000, both along half a cosine (Smith & Topin 2019, with the numbers of torch's
    OneCycleLR).
    """
    n_warmup = round(settings.warmup * n_steps)
    if settings.schedule == "one-cycle":
        top = n_warmup - 1
        if step <= top:
            return _half_cosine(settings.lr / 25, settings.lr, step / max(1, top))
        return _half_cosine(settings.lr, settings.lr / 250_000, (step - top) / (n_steps - 1 - top))
    if step < n_warmup:
        return settings.lr * (step + 1) / n_warmup
    share = (step - n_warmup) / max(1, n_steps - n_warmup)
    if settings.schedule == "linear":
        return settings.lr * (1 - share)
    if settings.schedule == "cosine":
        return settings.lr * 0.5 * (1 + math.cos(math.pi * share))
    if settings.schedule == "plateau":
        return settings.lr * settings.plateau_factor**n_reductions
    return settings.lr


def count_plateaus(gains: Sequence[float], patience: int) -> int:
    """Return how often more than `patience` evaluations in a row brought no better figure; higher is better."""
    n_plateaus, n_bad, best = 0, 0, -math.inf
    for gain in gains:
        n_bad = 0 if gain > best else n_bad + 1
        best = max(best, gain)
        if n_bad > patience:
            n_plateaus, n_bad = n_plateaus + 1, 0
    return n_plateaus


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
