"""Optimizers, and the learning rate as a function of the step."""

import inspect
import math

import torch
from torch import nn

from sentiment_cli.config.schema import Train


def _without_dynamo(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Take off what keeps torch.compile out of an optimizer: its first use imports torch._dynamo, which costs 3 s."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in ("add_param_group", "zero_grad", "step")}
    methods["step"] = torch.no_grad()(methods["step"])
    return type(kind.__name__, (kind,), methods)


_OPTIMIZERS = {"adamw": _without_dynamo(torch.optim.AdamW), "adam": _without_dynamo(torch.optim.Adam)}


def build_optimizer(model: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov & Hutter 2019) or Adam (Kingma & Ba 2015); decay spares biases and embeddings."""
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    spared = {id(table) for table in tables}
    decayed = [p for p in model.parameters() if p.dim() > 1 and id(p) not in spared]
    other = [p for p in model.parameters() if p.dim() <= 1 or id(p) in spared]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": other, "weight_decay": 0.0}]
    return _OPTIMIZERS[settings.optimizer](groups, lr=settings.lr, fused=True)  # type: ignore[call-arg]


def learning_rate_at(step: int, n_steps: int, settings: Train) -> float:
    """Return the learning rate of a step counted from 0: a linear rise, then constant, linear or cosine to nothing."""
    n_warmup = round(settings.warmup * n_steps)
    if step < n_warmup:
        return settings.lr * (step + 1) / n_warmup
    share = (step - n_warmup) / max(1, n_steps - n_warmup)
    if settings.schedule == "linear":
        return settings.lr * (1 - share)
    if settings.schedule == "cosine":
        return settings.lr * 0.5 * (1 + math.cos(math.pi * share))
    return settings.lr
