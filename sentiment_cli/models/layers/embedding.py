"""Word embeddings, hashed n-gram embeddings, and their dropouts."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.data.tokens.vocabulary import PAD_ID
from sentiment_cli.models.layers.encoders import drop_columns
from sentiment_cli.models.layers.lookup import look_up

MULTIPLIER = 0x9E3779B97F4A7C15 - 2**64  # 2^64 over the golden ratio (Knuth, TAOCP 3, 6.4), as a signed number


class WordEmbedding(nn.Embedding):
    """The vector of each word, plus those of the 2-grams, 3-grams ... that end with it.

    An n-gram's vector is a row of a shared table, chosen by a hash (Weinberger et al. 2009; Joulin et al. 2017). Row 0
    is for positions without an n-gram. The table is initialized to zero: a row that no training n-gram is hashed to
    adds nothing.
    """

    def __init__(self, settings: schema.Embedding, n_entries: int, unknown_id: int, *, pad_is_input: bool) -> None:
        weight_VD = torch.empty(n_entries, settings.width)
        if not weight_VD.is_meta:  # where normal_ would import torch._dynamo and sympy: 1 s of CPU for nothing
            weight_VD.normal_()
        super().__init__(n_entries, settings.width, _weight=weight_VD)
        self.unknown_id = unknown_id
        self.word_dropout, self.dropout = settings.word_dropout, settings.dropout
        self.element_dropout, self.type_dropout = settings.element_dropout, settings.type_dropout
        self.longest, self.buckets, self.ngrams = settings.ngrams, settings.buckets, None
        with torch.no_grad():
            if settings.uniform is not None:
                self.weight.uniform_(-settings.uniform, settings.uniform)
            else:
                self.weight.mul_(settings.std)  # torch draws them with standard deviation 1
            if not pad_is_input:  # only an empty row reads padding: its vector is zero
                self.weight[PAD_ID].zero_()
        if settings.ngrams > 1:
            zeros = torch.zeros(settings.buckets + 1, settings.width)
            self.ngrams = nn.Embedding(settings.buckets + 1, settings.width, padding_idx=0, _weight=zeros)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Return embedded_BLD. Words are dropped before n-grams are formed."""
        if self.training and self.word_dropout:
            dropped_BL = torch.rand(ids_BL.shape, device=ids_BL.device) < self.word_dropout
            ids_BL = ids_BL.masked_fill(dropped_BL, self.unknown_id)
        embedded_BLD = look_up(ids_BL, self)
        if self.training:
            embedded_BLD = drop_types(embedded_BLD, ids_BL, self.num_embeddings, self.type_dropout)
        if self.ngrams is not None:
            for row_BL in ngram_rows(ids_BL, self.longest, self.buckets):
                embedded_BLD = embedded_BLD + look_up(row_BL, self.ngrams)
        embedded_BLD = drop_columns(embedded_BLD, self.dropout, self.training)
        return F.dropout(embedded_BLD, self.element_dropout, self.training) if self.element_dropout else embedded_BLD


def ngram_rows(ids_BL: Tensor, longest: int, buckets: int) -> Iterator[Tensor]:
    """Yield row_BL for n = 2 ... longest: 1 ... buckets for the n-gram that ends at a token, 0 if it holds padding.

    An n-gram that would begin before the row also holds padding. The hash alternately adds a word and multiplies, and
    takes the high bits (Dietzfelbinger et al. 1997); int64 overflows in the same way on every device.
    """
    hash_BL, whole_BL = ids_BL * MULTIPLIER, ids_BL != PAD_ID
    for n in range(2, longest + 1):
        first_BL = F.pad(ids_BL, (n - 1, 0), value=PAD_ID)[:, : ids_BL.shape[1]]
        hash_BL = (hash_BL + first_BL) * MULTIPLIER
        whole_BL = whole_BL & (first_BL != PAD_ID)
        yield torch.where(whole_BL, (hash_BL >> 33) % buckets + 1, 0)


def drop_types(embedded_BLD: Tensor, ids_BL: Tensor, n_types: int, share: float) -> Tensor:
    """Zero the vectors of some word types at all positions of the batch, and scale up the rest (Gal & Ghahramani 2016).

    The embedding dropout of Merity et al. 2018.
    """
    if share == 0:
        return embedded_BLD
    kept_V = torch.rand(n_types, device=ids_BL.device) >= share
    return embedded_BLD * (F.embedding(ids_BL, kept_V[:, None]).to(embedded_BLD.dtype) / (1 - share))
