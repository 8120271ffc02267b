"""Skip-gram word vectors with negative sampling (Mikolov et al. 2013)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.layers.lookup import look_up


class SkipGram(nn.Module):
    """Two vectors per word: `embedding`, which is kept, and `context`, its vector as a context word.

    Negative samples are drawn in proportion to their counts to the power 0.75, once per batch: all its tokens share
    them, so that their products are one matrix product. Each of the `samples` has the weight `negatives` / `samples`
    for each pair of words, which in expectation equals `negatives` separate samples per pair.
    """

    def __init__(self, count_V: Tensor, width: int, *, samples: int, reach: int = 5, negatives: int = 5) -> None:
        super().__init__()
        n_entries = len(count_V)
        self.samples, self.reach, self.negatives = samples, reach, negatives
        self.embedding = nn.Embedding(n_entries, width)
        self.context = nn.Embedding(n_entries, width, _weight=torch.zeros(n_entries, width))
        with torch.no_grad():
            self.embedding.weight.uniform_(-0.5 / width, 0.5 / width)
        self.register_buffer("chance_V", count_V.double().pow(0.75).cumsum(0), persistent=False)

    chance_V: Tensor

    def loss(self, ids_BL: Tensor) -> Tensor:
        """Return the mean loss per token in nats, over context words within a random distance and negative samples."""
        word_BLD, context_BLD = look_up(ids_BL, self.embedding), look_up(ids_BL, self.context)
        # Each token draws its window size, so that near words have more weight. One product with all words of the row
        # is faster than ten passes over the vectors, one per distance, although most of it is discarded.
        reach_BL = torch.randint(1, self.reach + 1, ids_BL.shape, device=ids_BL.device)
        place_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
        distance_LL = (place_L[:, None] - place_L).abs()
        is_pair_BLL = (distance_LL <= reach_BL[:, :, None]) & (distance_LL > 0)
        score_BLL = torch.bmm(word_BLD, context_BLD.transpose(1, 2)).float()
        total = (F.softplus(-score_BLL) * is_pair_BLL).sum()
        drawn_K = torch.searchsorted(
            self.chance_V, torch.rand(self.samples, device=ids_BL.device, dtype=torch.float64) * self.chance_V[-1]
        )
        score_TK = (word_BLD.flatten(0, 1) @ look_up(drawn_K, self.context).t()).float()
        weight_T = is_pair_BLL.sum(dim=2).flatten() * (self.negatives / self.samples)
        # torch.dot, and not @, which autocast would compute in half precision: a sum of 395,000 is infinite in float16.
        return (total + torch.dot(weight_T.to(score_TK.dtype), F.softplus(score_TK).sum(dim=1))) / ids_BL.numel()
