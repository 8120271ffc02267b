"""How large a model is and roughly what it costs, counted without training or drawing it."""

from typing import NamedTuple

import torch
from torch import nn

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.vocabulary import Vocabulary
from sentiment_cli.models.classifier import build_classifier


class Part(NamedTuple):
    """A part of a model: its parameters, and the multiply-adds that one token costs in its matrices, read forward."""

    name: str
    parameters: int
    products: int


def parts_of(experiment: Experiment, n_entries: int, n_labels: int = 2) -> list[Part]:
    """Count the parts of an experiment's model.

    A matrix is taken to multiply each token once, in each direction that has one; tables of vectors multiply nothing,
    and the output multiplies each row once, which is not counted. Training costs about three times as much.
    """
    with torch.device("meta"):
        model = build_classifier(experiment, Vocabulary(("",) * n_entries, 1), n_labels)
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    parts = []
    for name, module in model.named_children():
        parameters = list(module.parameters())
        if parameters:
            per_row = name in ("output", "dropout")
            products = sum(p.numel() for p in parameters if p.dim() > 1 and id(p) not in tables and not per_row)
            parts.append(Part(name, sum(p.numel() for p in parameters), products))
    return parts
