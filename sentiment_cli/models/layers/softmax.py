"""Output layers over a vocabulary: full, sampled and adaptive softmax.

Each has `loss(hidden_TD, target_T)`, the mean over T tokens in nats, `log_probabilities(hidden_TD)`, which are exact,
and `n_compared`, the least number of words that each training token is compared with. A word's logit is its bias plus
the product of its vector with the hidden state; the vectors are the layer's own or those of an embedding (tied
embeddings, Press & Wolf 2017; Inan et al. 2017). Sampled and adaptive softmax assume ids in order of falling frequency:
those of words are, those of byte pairs nearly, after the 256 bytes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.models.layers.cross_entropy import full_cross_entropy, sampled_cross_entropy
from sentiment_cli.models.layers.lookup import look_up

ONE = 1 << 32  # one, of counts in fractions that are whole numbers


class FullSoftmax(nn.Module):
    """The softmax over all words."""

    def __init__(self, n_entries: int, width: int, *, tied: nn.Embedding | None = None) -> None:
        super().__init__()
        self.width, self.n_compared = width, n_entries
        self.words = _Words(n_entries, width, tied)

    def loss(self, hidden_TD: Tensor, target_T: Tensor) -> Tensor:
        return full_cross_entropy(hidden_TD, self.words.table.weight, self.words.bias, target_T) / len(target_T)

    def log_probabilities(self, hidden_TD: Tensor) -> Tensor:
        """Return log_probability_TV, in float32 at least."""
        return _log_softmax(hidden_TD, self.words.table.weight, self.words.bias)


class SampledSoftmax(nn.Module):
    """Sampled softmax: in training, over the true word and `samples` others, the same for all tokens of a batch.

    The samples' logits are corrected by the log of their expected count, and the true word is excluded from them
    (Bengio & Senecal 2008; Jean et al. 2015; in the form of Blanc & Rendle 2018): in expectation, the sum of
    exponentials is that of the full softmax.

    A word's expected count follows its rank by Zipf's law and is at most 1; frequent words are in every sample. Samples
    are systematic (Madow & Madow 1944): no word occurs twice in one, and every expected count is exact. After `eval()`
    the loss is exact.
    """

    cumulated_V: Tensor
    log_count_V: Tensor

    def __init__(self, n_entries: int, width: int, *, samples: int, tied: nn.Embedding | None = None) -> None:
        super().__init__()
        self.width, self.samples = width, min(samples, n_entries)
        assert self.samples > 1, "a single one may be the word that came"
        self.n_compared = self.samples
        self.words = _Words(n_entries, width, tied)
        with torch.device("cpu"):
            share_V = expected_counts(1 / torch.arange(1, n_entries + 1).double(), self.samples)
        self.register_buffer("cumulated_V", share_V.cumsum(0), persistent=False)
        self.register_buffer("log_count_V", (share_V.double() / ONE).log().float(), persistent=False)

    def loss(self, hidden_TD: Tensor, target_T: Tensor) -> Tensor:
        table, bias_V = self.words.table, self.words.bias
        if not self.training:
            return full_cross_entropy(hidden_TD, table.weight, bias_V, target_T) / len(target_T)
        sample_S = self.draw()
        ids_X = torch.cat([sample_S, target_T])  # one look-up, and one gradient of the table
        correction_X = F.pad(self.log_count_V.index_select(0, sample_S), (0, len(target_T)))
        bias_X = bias_V.index_select(0, ids_X) - correction_X
        place_T = torch.searchsorted(sample_S, target_T.contiguous()).clamp(max=self.samples - 1)
        is_sampled_T = sample_S[place_T] == target_T
        rows_XD = look_up(ids_X, table)
        return sampled_cross_entropy(hidden_TD, rows_XD, bias_X, place_T, is_sampled_T) / len(target_T)

    def draw(self) -> Tensor:
        """Draw sample_S, in ascending order, from one number of torch's global random generator."""
        device = self.cumulated_V.device
        point_S = torch.arange(self.samples, device=device) * ONE + torch.randint(ONE, (1,), device=device)
        return torch.searchsorted(self.cumulated_V, point_S, right=True)

    def log_probabilities(self, hidden_TD: Tensor) -> Tensor:
        """Return log_probability_TV, in float32 at least."""
        return _log_softmax(hidden_TD, self.words.table.weight, self.words.bias)


class AdaptiveSoftmax(nn.Module):
    """Adaptive softmax: over frequent words and clusters of rare words, and within each cluster (Grave et al. 2017).

    `cutoffs` are the ids at which clusters begin. The vectors of the i-th cluster are 4^i times narrower than the
    hidden state, which is mapped to their width; tied embeddings keep the full width (as in Merity et al. 2018).
    """

    def __init__(self, n_entries: int, width: int, *, cutoffs: Sequence[int], tied: nn.Embedding | None = None) -> None:
        super().__init__()
        assert list(cutoffs) == sorted({*cutoffs}), "cutoffs rise"
        cutoffs = [cutoff for cutoff in cutoffs if 0 < cutoff < n_entries]
        self.width, self.n_entries, self.cutoffs = width, n_entries, cutoffs
        self.sizes = [end - start for start, end in zip([0, *cutoffs], [*cutoffs, n_entries], strict=True)]
        self.n_compared = self.sizes[0] + len(cutoffs)
        self.bias = nn.Parameter(torch.zeros(n_entries))
        self.cluster_weight = nn.Parameter(_fresh(len(cutoffs), width))
        self.cluster_bias = nn.Parameter(torch.zeros(len(cutoffs)))
        self._tied = (tied,)
        widths = [] if tied is not None else [max(1, width // 4**i) for i in range(len(self.sizes))]
        self.tables = nn.ParameterList(_fresh(*shape) for shape in zip(self.sizes, widths, strict=False))
        self.maps = nn.ModuleList(nn.Linear(width, narrow, bias=False) for narrow in widths[1:])

    def loss(self, hidden_TD: Tensor, target_T: Tensor) -> Tensor:
        (head_weight, head_bias), *tails = self._parts()
        cutoff_K = torch.tensor(self.cutoffs, device=target_T.device)
        cluster_T = torch.bucketize(target_T, cutoff_K, right=True)  # 0 for a frequent word
        head_T = torch.where(cluster_T == 0, target_T, self.sizes[0] - 1 + cluster_T)
        total = full_cross_entropy(hidden_TD, head_weight, head_bias, head_T)
        for i, (weight_CN, bias_C) in enumerate(tails, 1):
            row_N = (cluster_T == i).nonzero().squeeze(1)
            if len(row_N):
                hidden_ND = self._mapped(hidden_TD.index_select(0, row_N), i)
                target_N = target_T.index_select(0, row_N) - self.cutoffs[i - 1]
                total = total + full_cross_entropy(hidden_ND, weight_CN, bias_C, target_N)
        return total / len(target_T)

    def log_probabilities(self, hidden_TD: Tensor) -> Tensor:
        """Return log_probability_TV, in float32 at least."""
        (head_weight, head_bias), *tails = self._parts()
        head_TH = _log_softmax(hidden_TD, head_weight, head_bias)
        parts = [head_TH[:, : self.sizes[0]]]
        for i, (weight_CN, bias_C) in enumerate(tails, 1):
            within_TC = _log_softmax(self._mapped(hidden_TD, i), weight_CN, bias_C)
            parts.append(within_TC + head_TH[:, self.sizes[0] - 1 + i, None])
        return torch.cat(parts, dim=1)

    def _mapped(self, hidden_ND: Tensor, i: int) -> Tensor:
        mapped_ND: Tensor = self.maps[i - 1](hidden_ND) if len(self.maps) else hidden_ND
        return mapped_ND

    def _parts(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight and bias of the head, whose last rows are the clusters, and of each cluster."""
        (tied,) = self._tied
        weights = list(self.tables) if tied is None else list(torch.split(tied.weight, self.sizes))
        biases = list(torch.split(self.bias, self.sizes))
        weights[0] = torch.cat([weights[0], self.cluster_weight])
        biases[0] = torch.cat([biases[0], self.cluster_bias])
        return list(zip(weights, biases, strict=True))


Softmax = FullSoftmax | SampledSoftmax | AdaptiveSoftmax


def build_softmax(language: schema.Language, n_entries: int, width: int, *, tied: nn.Embedding | None) -> Softmax:
    """Build the output layer, with its own vectors or those of the `tied` embedding."""
    if language.softmax == "full":
        return FullSoftmax(n_entries, width, tied=tied)
    if language.softmax == "adaptive":
        return AdaptiveSoftmax(n_entries, width, cutoffs=language.cutoffs, tied=tied)
    return SampledSoftmax(n_entries, width, samples=language.samples, tied=tied)


class _Words(nn.Module):
    """The bias and the vector of each word, from its own table or the `tied` embedding."""

    def __init__(self, n_entries: int, width: int, tied: nn.Embedding | None) -> None:
        super().__init__()
        assert tied is None or tied.weight.shape == (n_entries, width)
        self.bias = nn.Parameter(torch.zeros(n_entries))
        self.own = nn.Embedding(n_entries, width, _weight=_fresh(n_entries, width).data) if tied is None else None
        self._tied = (tied,)  # in a tuple, so that torch does not register the weight twice

    @property
    def table(self) -> nn.Embedding:
        table = self._tied[0] or self.own
        assert table is not None
        return table


def _fresh(n_rows: int, width: int) -> nn.Parameter:
    """Draw a matrix as torch initializes that of a linear layer."""
    return nn.Parameter(torch.empty(n_rows, width).uniform_(-(width**-0.5), width**-0.5))


def expected_counts(weight_V: Tensor, samples: int) -> Tensor:
    """Return the expected count of each word in a sample, in units of 1 / ONE: proportional to its weight, at most ONE.

    Counts are integers, so that they sum to exactly `samples` times ONE on any device.
    """
    count_V, is_open_V = torch.ones_like(weight_V), torch.ones_like(weight_V, dtype=torch.bool)
    while is_open_V.any():
        n_left = samples - int((~is_open_V).sum())
        count_V[is_open_V] = weight_V[is_open_V] * (n_left / weight_V[is_open_V].sum())
        if not (count_V > 1).any():
            break
        is_open_V, count_V = is_open_V & (count_V < 1), count_V.clamp(max=1)
    whole_V = (count_V * ONE).long()
    whole_V[whole_V.argmin()] += samples * ONE - whole_V.sum()
    return whole_V


def _log_softmax(hidden_TD: Tensor, weight_CD: Tensor, bias_C: Tensor) -> Tensor:
    logit_TC = F.linear(hidden_TD, weight_CD)
    return (logit_TC.to(torch.promote_types(logit_TC.dtype, torch.float32)) + bias_C).log_softmax(dim=1)
