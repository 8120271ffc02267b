"""The wide part of a network: a linear model on n-grams beside it, as input channels and as a skip connection.

Wide and deep (Cheng et al. 2016). A linear model fits its training rows far better than others, and a network that
reads its answers about them trusts it too much. Therefore the training rows read models that were fitted without them
(cross-fitting, as in stacking: Wolpert 1992), and all other rows the model of all training rows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.data.corpus.targets import TargetName
from sentiment_cli.models.layers.ngrams import NONE
from sentiment_cli.models.linear import LinearClassifier


class WidePart(nn.Module):
    """The linear model of all training rows, those of the folds, and what the network makes of them.

    The channel of a token is a linear map of the weights of the n-grams that end with it, one per length and logit,
    divided by their typical size. The skip connection adds the linear model's logits, times `scale`, to the network's.
    Training fits `linear`, `gain` and the tables of the folds before the first step. Fold 0 is the model of all
    training rows. The tables are no part of a finished model.
    """

    gain: Tensor
    table: Tensor | None
    bias_KC: Tensor | None

    def __init__(
        self, settings: schema.Model, n_entries: int, unknown_id: int, n_labels: int, target: TargetName
    ) -> None:
        super().__init__()
        self.linear = LinearClassifier(settings.linear, n_entries, unknown_id, n_labels, target)
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("table", None, persistent=False)
        self.register_buffer("bias_KC", None, persistent=False)
        assert settings.wide.dropout is not None  # where it follows from the data, `fit_settings` has set it
        self.channel, self.scale, self.dropout = None, None, settings.wide.dropout
        if settings.wide.use in ("channel", "both"):
            self.channel = nn.Linear(self.linear.longest * self.linear.n_logits, settings.wide.width)
        if settings.wide.use in ("skip", "both"):
            self.scale = nn.Parameter(torch.ones(()))

    @property
    def width(self) -> int:
        """The number of channels."""
        return self.channel.out_features if self.channel is not None else 0

    def fit(self, key_K: Tensor, weight_KFC: Tensor, bias_KC: Tensor, gain: float, size_F: Tensor | None) -> None:
        """Set the linear models: that of all rows first, then those of the folds."""
        self.linear.keys, self.linear.weight, self.linear.bias = key_K, weight_KFC[0].clone(), bias_KC[0].clone()
        if size_F is not None:
            self.linear.size = size_F
        self.gain, self.table, self.bias_KC = torch.tensor(gain), weight_KFC.flatten(0, 1), bias_KC

    def forward(self, ids_BL: Tensor, length_B: Tensor, fold_B: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return channel_BLD and what is added to the logits, each None where the model has none.

        The models are those of `fold_B`; without it, that of all training rows.
        """
        linear, found = self.linear, self.linear.features(ids_BL, length_B)
        weight_FC, bias_C, first_B1 = linear.weight, linear.bias, torch.zeros_like(length_B)[:, None]
        if fold_B is not None:
            assert self.table is not None
            assert self.bias_KC is not None
            weight_FC, bias_C, first_B1 = self.table, self.bias_KC[fold_B], fold_B[:, None] * len(linear.weight)
        channel_BLD = None if self.channel is None else self._channel(found, weight_FC, first_B1)
        if self.scale is None:
            return channel_BLD, None
        added = self.scale * linear.logits(found, weight_FC, bias_C, first_B1)
        if self.training and self.dropout:
            is_kept_B = torch.rand(len(added), device=added.device) >= self.dropout
            added = added * (is_kept_B if added.dim() == 1 else is_kept_B[:, None])
        return channel_BLD, added

    def _channel(self, found: list[Tensor], weight_FC: Tensor, first_B1: Tensor) -> Tensor:
        assert self.channel is not None
        length, parts = found[0].shape[1], list[Tensor]()
        for n in range(self.linear.longest):
            if n >= length:  # rows shorter than such an n-gram
                parts.append(torch.zeros_like(parts[0]))
                continue
            feature_BL = F.pad(found[n], (n, 0), value=NONE)  # by the place at which it ends
            weight_BLC = F.embedding(feature_BL.clamp(min=0) + first_B1, weight_FC)
            parts.append(weight_BLC * (feature_BL != NONE)[..., None])
        channel_BLD: Tensor = self.channel(torch.cat(parts, dim=2) * self.gain)
        return channel_BLD
