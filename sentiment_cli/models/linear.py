"""The linear classifier: a weighted sum of the words and n-grams of a review → logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.data.corpus.targets import TargetName, n_outputs
from sentiment_cli.data.tokens.vocabulary import PAD_ID
from sentiment_cli.models.layers.ngrams import NONE, longer_features, word_features


class LinearClassifier(nn.Module):
    """A linear classifier: one logit, that of the second label, for two labels; otherwise one logit per label.

    Of other targets it has as many logits as `targets.n_outputs` says.

    Features are binary: whether a word or n-gram is in a row. `keys` (int64) are the keys of the n-grams; training fits
    `weight` (features × logits) and `bias`: an untrained model has no n-grams, and weights of 0. With `normalize` the
    sum of a row's weights is divided by the root of the sum of its features' `size`, the number of features that each
    one counts for, including the pieces of a known word.
    """

    keys: Tensor
    size: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(
        self, settings: schema.Linear, n_entries: int, unknown_id: int, n_labels: int, target: TargetName = "label"
    ) -> None:
        super().__init__()
        assert n_labels >= 2
        self.n_logits = n_outputs(target, n_labels)
        assert settings.ngrams is not None
        self.longest, self.n_entries, self.unknown_id = settings.ngrams, n_entries, unknown_id
        self.is_normalized = bool(settings.normalize)
        self.register_buffer("keys", torch.empty(0, dtype=torch.long))
        self.register_buffer("weight", torch.zeros(n_entries, self.n_logits))
        self.register_buffer("bias", torch.zeros(self.n_logits))
        if self.is_normalized:
            self.register_buffer("size", torch.zeros(n_entries))
        self.register_load_state_dict_pre_hook(_make_room)  # type: ignore[no-untyped-call]

    def forward(self, ids_BL: Tensor, length_B: Tensor) -> Tensor:
        """Return logit_B for two labels, logit_BC for more."""
        return self.logits(self.features(ids_BL, length_B), self.weight, self.bias)

    def features(self, ids_BL: Tensor, length_B: Tensor) -> list[Tensor]:
        """Return for n = 1 ... longest the features of the n-grams that begin at each place; the longer have fewer."""
        is_outside_BL = torch.arange(ids_BL.shape[1], device=ids_BL.device) >= length_B[:, None]
        ids_BL = ids_BL.masked_fill(is_outside_BL, PAD_ID)
        feature_BL = word_features(ids_BL, self.unknown_id)
        found = [feature_BL]
        for n in range(2, min(self.longest, ids_BL.shape[1]) + 1):
            feature_BL = longer_features(feature_BL[:, :-1], ids_BL[:, n - 1 :], self.keys, self.n_entries)
            found.append(feature_BL)
        return found

    def logits(self, found: list[Tensor], weight_FC: Tensor, bias_C: Tensor, first_B1: Tensor | int = 0) -> Tensor:
        """Return logit_B or logit_BC of rows with these features: each counts once.

        The weights of a row's features begin at row `first_B1` of weight_FC; `bias_C` may be bias_BC.
        """
        feature_BP = torch.cat(found, dim=1).sort(dim=1).values
        is_counted_BP = (feature_BP != NONE) & (feature_BP != F.pad(feature_BP[:, :-1], (1, 0), value=NONE))
        weight_BPC = F.embedding(feature_BP.clamp(min=0) + first_B1, weight_FC) * is_counted_BP[..., None]
        sum_BC = weight_BPC.sum(dim=1)
        if self.is_normalized:
            size_BP = F.embedding(feature_BP.clamp(min=0), self.size[:, None]).squeeze(2) * is_counted_BP
            sum_BC = sum_BC / size_BP.sum(dim=1, keepdim=True).clamp(min=1).sqrt()
        logit_BC = sum_BC + bias_C
        return logit_BC.squeeze(1) if self.n_logits == 1 else logit_BC


def _make_room(model: LinearClassifier, weights: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Resize the model to the number of n-grams in the weights that are about to be loaded."""
    for name in ("keys", "weight", "size"):
        if (loaded := weights.get(prefix + name)) is not None:
            setattr(model, name, torch.empty_like(loaded, device=getattr(model, name).device))
