"""Optimizers, and the learning rate as a function of the step."""

import math

import torch
from torch import nn

from sentiment_cli.config.schema import Train

_OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


def build_optimizer(model: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov & Hutter 2019) or Adam (Kingma & Ba 2015); decay spares biases and embeddings."""
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    spared = {id(table) for table in tables}
    decayed = [p for p in model.parameters() if p.dim() > 1 and id(p) not in spared]
    other = [p for p in model.parameters() if p.dim() <= 1 or id(p) in spared]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": other, "weight_decay": 0.0}]
    optimizer: torch.optim.Optimizer = _OPTIMIZERS[settings.optimizer](groups, lr=settings.lr, fused=True)
    return optimizer


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
