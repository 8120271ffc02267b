"""Skip-gram word vectors with negative sampling (Mikolov et al. 2013)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.layers.lookup import look_up


class ContextWords(nn.Embedding):
    """The vectors of words as context words, of which negative sampling compares some with each place.

    Negative samples are drawn in proportion to their counts to the power 0.75, once per batch: all its tokens share
    them, so that their products are one matrix product. Each of the `samples` has the weight `negatives` / `samples`
    for each pair of words, which in expectation equals `negatives` separate samples per pair.
    """

    chance_V: Tensor

    def __init__(self, count_V: Tensor, width: int, *, samples: int, negatives: int = 5) -> None:
        n_entries = len(count_V)
        super().__init__(n_entries, width, _weight=torch.zeros(n_entries, width))
        self.samples, self.negatives = samples, negatives
        self.register_buffer("chance_V", count_V.double().pow(0.75).cumsum(0), persistent=False)

    def loss(
        self,
        state_BLD: Tensor,
        ids_BL: Tensor,
        is_pair_BLL: Tensor,
        weight_V: Tensor | None = None,
        bias_V: Tensor | None = None,
    ) -> Tensor:
        """Return the mean loss per token in nats, where the state of a place predicts the words of its pairs.

        `weight_V` weighs each word, as a context word and as a negative sample; `bias_V` is added to its scores.
        """
        # One product with all words of the row is faster than ten passes over the vectors, one per distance, although
        # most of it is discarded.
        score_BLL = torch.bmm(state_BLD, look_up(ids_BL, self).transpose(1, 2)).float()
        if bias_V is not None:
            score_BLL = score_BLL + bias_V[ids_BL][:, None]
        loss_BLL = F.softplus(-score_BLL) * is_pair_BLL
        total = (loss_BLL if weight_V is None else loss_BLL * weight_V[ids_BL][:, None]).sum()
        drawn_K = torch.searchsorted(
            self.chance_V, torch.rand(self.samples, device=ids_BL.device, dtype=torch.float64) * self.chance_V[-1]
        )
        score_TK = (state_BLD.flatten(0, 1) @ look_up(drawn_K, self).t()).float()
        if bias_V is not None:
            score_TK = score_TK + bias_V[drawn_K]
        loss_TK = F.softplus(score_TK)
        loss_T = loss_TK.sum(dim=1) if weight_V is None else (loss_TK * weight_V[drawn_K]).sum(dim=1)
        weight_T = is_pair_BLL.sum(dim=2).flatten() * (self.negatives / self.samples)
        # torch.dot, and not @, which autocast would compute in half precision: a sum of 395,000 is infinite in float16.
        return (total + torch.dot(weight_T.to(score_TK.dtype), loss_T)) / ids_BL.numel()


class SkipGram(nn.Module):
    """Two vectors per word: `embedding`, which is kept, and `context`, its vector as a context word."""

    def __init__(self, count_V: Tensor, width: int, *, samples: int, reach: int = 5, negatives: int = 5) -> None:
        super().__init__()
        n_entries, self.reach = len(count_V), reach
        self.embedding = nn.Embedding(n_entries, width)
        self.context = ContextWords(count_V, width, samples=samples, negatives=negatives)
        with torch.no_grad():
            self.embedding.weight.uniform_(-0.5 / width, 0.5 / width)

    def loss(self, ids_BL: Tensor) -> Tensor:
        """Return the mean loss per token in nats, over context words within a random distance and negative samples."""
        # Each token draws its window size, so that near words have more weight.
        reach_BL = torch.randint(1, self.reach + 1, ids_BL.shape, device=ids_BL.device)
        place_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
        distance_LL = (place_L[:, None] - place_L).abs()
        is_pair_BLL = (distance_LL <= reach_BL[:, :, None]) & (distance_LL > 0)
        return self.context.loss(look_up(ids_BL, self.embedding), ids_BL, is_pair_BLL)
