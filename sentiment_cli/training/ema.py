"""An exponential moving average of the weights, which is validated and kept in their place."""

import copy

import torch
from torch import nn


class EMA:
    """An exponential moving average of a model's weights, held as a second model (Polyak & Juditsky 1992).

    The decay of the first steps is smaller, (1 + step) / (10 + step), so that the initial weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        for layer in self.model.modules():
            if isinstance(layer, nn.RNNBase):  # copied one by one, its weights are no longer in one piece, for cuDNN
                layer.flatten_parameters()
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)
