"""Causal self-attention of an encoder's states over the states before them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.layers.attention import attend
from sentiment_cli.models.layers.encoders import Encoded, last_of


class Context(nn.Module):
    """Concatenate each state with an attention-weighted sum of all states up to it, or of the last `window` states.

    The general score of Luong et al. 2015 within one sequence: the weight of step s at step t is the softmax of
    (W h_t) · h_s, scaled by the root of the width (Vaswani et al. 2017). No step attends to a later one, so padding,
    which follows the row, is excluded.
    """

    def __init__(self, width: int, window: int | None) -> None:
        super().__init__()
        self.width = 2 * width
        self.window = window
        self.query = nn.Linear(width, width, bias=False)

    def forward(self, encoded: Encoded, length_B: Tensor) -> Encoded:
        """Return states_BLD and last_BD, each followed by the context of its step, of width `self.width`."""
        states_BLD = encoded.states_BLD
        query_BLD = self.query(states_BLD)
        if self.window is None:
            states_B1LD = states_BLD[:, None]
            context_BLD = attend(query_BLD[:, None], states_B1LD, states_B1LD, is_causal=True).squeeze(1)
        else:
            context_BLD = _attend_locally(query_BLD, states_BLD, min(self.window, states_BLD.shape[1]))
        last_BD = torch.cat([encoded.last_BD, last_of(context_BLD, length_B)], dim=1)
        return Encoded(torch.cat([states_BLD, context_BLD], dim=2), last_BD)

    def weights(self, states_BLD: Tensor) -> Tensor:
        """Return weight_BLL: the weight of step s (last dimension) in the context of step t; they sum to 1 over s."""
        score_BLL: Tensor = self.query(states_BLD) @ states_BLD.transpose(1, 2) / states_BLD.shape[2] ** 0.5
        is_seen_LL = torch.ones(score_BLL.shape[1:], dtype=torch.bool, device=score_BLL.device).tril()
        if self.window is not None:
            is_seen_LL = is_seen_LL.triu(1 - self.window)
        return score_BLL.float().masked_fill(~is_seen_LL, -torch.inf).softmax(dim=2)


def _attend_locally(query_BLD: Tensor, states_BLD: Tensor, window: int) -> Tensor:
    """Attend to the last `window` states in pieces of `window` steps, each of which sees itself and the one before.

    The work grows with length times window, not with the square of the length. N counts pieces, K steps of a piece.
    """
    batch, length, width = states_BLD.shape
    query_BNKD, piece_BNKD = (
        F.pad(values_BLD, (0, 0, 0, -length % window)).view(batch, -1, window, width)
        for values_BLD in (query_BLD, states_BLD)
    )
    before_BNKD = F.pad(piece_BNKD, (0, 0, 0, 0, 1, -1))
    key_BNKD = torch.cat([before_BNKD, piece_BNKD], dim=2)  # 2 K steps
    is_seen_KK = torch.ones(window, 2 * window, dtype=torch.bool, device=states_BLD.device).tril(window).triu(1)
    is_seen_NKK = is_seen_KK.repeat(key_BNKD.shape[1], 1, 1)
    is_seen_NKK[0, :, :window] = False  # the first piece has no previous one
    context_BNKD = attend(query_BNKD, key_BNKD, key_BNKD, is_seen_NKK)
    return context_BNKD.reshape(batch, -1, width)[:, :length]
