"""The optimizer, its parameter groups, and the learning rate as a function of the step."""

import math
import re
from collections.abc import Sequence

import torch
from torch import nn

from sentiment_cli.config.schema import Train
from sentiment_cli.training.sparse_rows import with_sparse_rows, zero_moments


def build_optimizer(model: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov & Hutter 2019), Adam (Kingma & Ba 2015) or SGD with momentum (Sutskever et al. 2013).

    Weight decay does not apply to biases and embeddings. With train.lazy_embeddings, embeddings get sparse gradients.
    Each parameter group has its depth below the output (`deep`) and its factor of the learning rate (`lr_scale`), for
    layer-wise learning-rate decay.
    """
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    for table in tables:
        table.sparse = settings.lazy_embeddings
    spared = {id(table.weight) for table in tables}
    is_layered = settings.layer_decay != 1 or settings.unfreeze is not None
    found: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, p in model.named_parameters():
        if not p.requires_grad:  # frozen region embeddings
            continue
        depth = depth_of(name, model) if is_layered else 0
        found.setdefault((depth, p.dim() > 1 and id(p) not in spared), []).append(p)
    groups = [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if is_decayed else 0.0,
            "lr_scale": settings.layer_decay**depth,
            "deep": depth,
        }
        for (depth, is_decayed), parameters in sorted(found.items(), key=lambda group: (group[0][0], not group[0][1]))
    ]
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "sgd":
        optimizer = with_sparse_rows(torch.optim.SGD)(
            groups, lr=settings.peak_lr, momentum=settings.momentum, fused=True
        )  # type: ignore[call-arg]
    else:
        kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
        optimizer = with_sparse_rows(kind)(groups, lr=settings.peak_lr, eps=settings.eps, fused=True)  # type: ignore[call-arg]
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = zero_moments(parameter, group)
    return optimizer


def depth_of(name: str, model: nn.Module) -> int:
    """Return the depth of a parameter: 0 in the output layer, 1 in the top layer, the largest in the embeddings."""
    encoder = getattr(model, "encoder", None)
    n_layers = len(getattr(encoder, "forward_layers", getattr(encoder, "blocks", ())))
    if name.startswith("embedding."):
        return n_layers + 1
    if found := re.match(r"encoder\.(\w+)\.(\d+)\.", name):  # a module list with one or two modules per layer
        return n_layers - int(found[2]) * n_layers // len(getattr(encoder, found[1]))
    return (
        n_layers
        if name.startswith(("encoder.enter.", "wide.channel.", "regions."))
        else int(name.startswith("encoder."))
    )


def freeze(optimizer: torch.optim.Optimizer, n_epochs: int, settings: Train) -> None:
    """Freeze all layers but those that train.unfreeze frees after `n_epochs` epochs (gradual unfreezing, top first)."""
    n_free = math.inf if settings.unfreeze is None else n_epochs // settings.unfreeze
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.requires_grad_(group["deep"] <= n_free)


def learning_rate_at(step: int, n_steps: int, settings: Train, n_reductions: int = 0) -> float:
    """Return the learning rate of a step counted from 0: a linear warm-up, then train.schedule.

    `n_reductions` is the number of plateaus so far, for the plateau schedule. One-cycle rises from lr / 25 and ends at
    lr / 250,000, both along half a cosine (Smith & Topin 2019, with the numbers of torch's OneCycleLR).
    """
    n_warmup = round(settings.warmup * n_steps)
    if settings.schedule == "one-cycle":
        top = n_warmup - 1
        if step <= top:
            return _half_cosine(settings.peak_lr / 25, settings.peak_lr, step / max(1, top))
        return _half_cosine(settings.peak_lr, settings.peak_lr / 250_000, (step - top) / (n_steps - 1 - top))
    if step < n_warmup:
        return settings.peak_lr * (step + 1) / n_warmup
    share = (step - n_warmup) / max(1, n_steps - n_warmup)
    if settings.schedule == "linear":
        return settings.peak_lr * (1 - share)
    if settings.schedule == "cosine":
        return settings.peak_lr * 0.5 * (1 + math.cos(math.pi * share))
    if settings.schedule == "plateau":
        return settings.peak_lr * settings.plateau_factor**n_reductions
    return settings.peak_lr


def count_plateaus(gains: Sequence[float], patience: int) -> int:
    """Return how often more than `patience` evaluations in a row did not improve the best; higher is better."""
    n_plateaus, n_bad, best = 0, 0, -math.inf
    for gain in gains:
        n_bad = 0 if gain > best else n_bad + 1
        best = max(best, gain)
        if n_bad > patience:
            n_plateaus, n_bad = n_plateaus + 1, 0
    return n_plateaus


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
