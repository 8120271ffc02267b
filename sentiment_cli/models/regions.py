"""Region embeddings: a vector per place for the words in a window around it, pretrained to predict the words beside it.

Johnson & Zhang 2015 and 2016 (tv-embeddings). What predicts the words around a short region holds more of its meaning
than the vectors of its words, since the order within the region is part of it ("not good", "could have been better").
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config.model_settings import Regions
from sentiment_cli.models.layers.lookup import look_up
from sentiment_cli.models.skip_gram import ContextWords

_STD = 0.1  # of the initial vectors: of vectors of standard deviation 1 the map's tanh is at -1 or 1 from the start


class RegionEmbedding(nn.Module):
    """region_t = tanh(W · [v_{t-r} ; … ; v_{t+r}] + b), with vectors v of zeros beyond the ends of a row.

    The vectors are its own, beside those that an encoder reads. Where the embedding is frozen, its weights have no
    gradient.
    """

    def __init__(self, settings: Regions, n_entries: int) -> None:
        super().__init__()
        self.window, self.width = settings.window, settings.width
        weight_VD = torch.empty(n_entries, settings.width)
        if not weight_VD.is_meta:
            weight_VD.normal_(std=_STD)
        self.vectors = nn.Embedding(n_entries, settings.width, _weight=weight_VD)
        self.map = nn.Linear(settings.window * settings.width, settings.width)
        if settings.use == "frozen":
            self.requires_grad_(False)

    def forward(self, ids_BL: Tensor, length_B: Tensor | None = None) -> Tensor:
        """Return region_BLD; without `length_B` every place of a row holds a word."""
        vector_BLD = look_up(ids_BL, self.vectors)
        length, half = ids_BL.shape[1], self.window // 2
        if length_B is not None:
            is_token_BL = torch.arange(length, device=ids_BL.device) < length_B[:, None]
            vector_BLD = vector_BLD * is_token_BL[..., None]
        padded_BLD = F.pad(vector_BLD, (0, 0, half, half))
        parts = [padded_BLD[:, shift : shift + length] for shift in range(self.window)]
        region_BLD: Tensor = torch.tanh(self.map(torch.cat(parts, dim=2)))
        return region_BLD


class RegionPretraining(nn.Module):
    """A region embedding and the vectors of the words that it predicts, by negative sampling as in skip-gram.

    A region of `window` words predicts the `reach` words before it and after it. Every word has a weight in the loss,
    `weight_V`, whether it is there or a negative sample, and a bias in its score. Without the biases, which begin at
    what a region that tells nothing would say, 95 % of a region's vector was what all regions have in common.
    """

    weight_V: Tensor

    def __init__(
        self, settings: Regions, count_V: Tensor, weight_V: Tensor, *, samples: int, reach: int = 5, negatives: int = 5
    ) -> None:
        super().__init__()
        self.reach = reach
        self.regions = RegionEmbedding(settings, len(count_V))
        self.context = ContextWords(count_V, settings.width, samples=samples, negatives=negatives)
        self.bias_V = nn.Parameter(torch.full((len(count_V),), -math.log(negatives)))
        self.register_buffer("weight_V", weight_V, persistent=False)

    def loss(self, ids_BL: Tensor) -> Tensor:
        """Return the mean loss per token in nats."""
        place_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
        distance_LL, half = (place_L[:, None] - place_L).abs(), self.regions.window // 2
        is_pair_LL = (distance_LL > half) & (distance_LL <= half + self.reach)
        return self.context.loss(
            self.regions(ids_BL), ids_BL, is_pair_LL.expand(len(ids_BL), -1, -1), self.weight_V.float(), self.bias_V
        )
