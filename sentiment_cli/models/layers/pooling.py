"""Pooling: one vector per review from one per token; padding is excluded."""

import torch
from torch import Tensor, nn

from sentiment_cli.models.layers.encoders import Encoded


class Pooling(nn.Module):
    """Pool by `kind`: last state, mean, maximum, mean and maximum (both), all three (concat), or attention.

    Attention weights each state by a learnt query (Bahdanau et al. 2015 without the decoder): the softmax over the
    tokens of v · tanh(W h).
    """

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.width = width * {"both": 2, "concat": 3}.get(kind, 1)
        if kind == "attention":
            self.key = nn.Linear(width, width)
            self.query = nn.Linear(width, 1, bias=False)

    def forward(self, encoded: Encoded, length_B: Tensor) -> Tensor:
        """Return pooled_BD, of width `self.width`."""
        if self.kind == "last":
            return encoded.last_BD
        states_BLD = encoded.states_BLD
        padding_BL = torch.arange(states_BLD.shape[1], device=length_B.device) >= length_B[:, None]
        if self.kind == "attention":
            weight_BL = self.weights(states_BLD, length_B)
            return torch.bmm(weight_BL[:, None].to(states_BLD.dtype), states_BLD).squeeze(1)
        pooled = [encoded.last_BD] if self.kind == "concat" else []
        if self.kind in ("mean", "both", "concat"):
            # The mean as one product with a matrix of 1 / length: no masked copy of the states is made.
            weight_BL = (~padding_BL).float() / length_B[:, None]
            pooled.append(torch.bmm(weight_BL[:, None].to(states_BLD.dtype), states_BLD).squeeze(1))
        if self.kind in ("max", "both", "concat"):
            # Adding minus infinity copies the states faster than filling does, and the gradient of max with its index
            # is a scatter, that of amax four passes over the states.
            bias_BL = torch.zeros_like(padding_BL, dtype=states_BLD.dtype).masked_fill(padding_BL, -torch.inf)
            pooled.append((states_BLD + bias_BL[:, :, None]).max(dim=1).values)
        return torch.cat(pooled, dim=1)

    def weights(self, states_BLD: Tensor, length_B: Tensor) -> Tensor:
        """Return weight_BL, the attention weight of each state; they sum to 1 per row and are 0 at padding."""
        score_BL = self.query(torch.tanh(self.key(states_BLD))).squeeze(2)
        padding_BL = torch.arange(states_BLD.shape[1], device=length_B.device) >= length_B[:, None]
        weight_BL: Tensor = score_BL.float().masked_fill(padding_BL, -torch.inf).softmax(dim=1)
        return weight_BL
