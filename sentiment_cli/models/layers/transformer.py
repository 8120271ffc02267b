"""A Transformer encoder of padded batches."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.models.layers.attention import attend
from sentiment_cli.models.layers.encoders import Encoded, drop_columns, last_of


class TransformerEncoder(nn.Module):
    """Self-attention and feed-forward layers (Vaswani et al. 2017) with pre-layer normalization (Xiong et al. 2020).

    Sinusoidal positions are added to the input, after a linear map where its width differs. Dropout acts on the output
    of each part, with the same mask at every step of a row; the paper draws a new mask at every step.
    """

    needs_ends = False

    def __init__(self, settings: schema.Encoder, input_width: int) -> None:
        super().__init__()
        self.width = settings.width
        self.enter = nn.Identity() if input_width == self.width else nn.Linear(input_width, self.width)
        self.blocks = nn.ModuleList(
            TransformerBlock(self.width, settings.heads, settings.dropout) for _ in range(settings.layers)
        )
        self.norm = nn.LayerNorm(self.width)

    def forward(self, input_BLD: Tensor, length_B: Tensor) -> Encoded:
        length = input_BLD.shape[1]
        is_token_B11L = (torch.arange(length, device=length_B.device) < length_B[:, None])[:, None, None]
        position_LD = sinusoids(length, self.width, input_BLD.device, input_BLD.dtype)
        states_BLD = self.enter(input_BLD) + position_LD  # under autocast the sums stay in float32
        for block in self.blocks:
            states_BLD = block(states_BLD, is_token_B11L)
        states_BLD = self.norm(states_BLD)
        return Encoded(states_BLD, last_of(states_BLD, length_B))


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)), four times as wide inside, with GELU."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        assert width % heads == 0
        self.heads, self.dropout = heads, dropout
        self.attention_norm, self.inner_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, states_BLD: Tensor, is_token_B11L: Tensor) -> Tensor:
        """Return states_BLD, each of which attends to the tokens of its row only."""
        projected_BLD = self.query_key_value(self.attention_norm(states_BLD))
        query, key, value = projected_BLD.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each B heads L D
        heads_BLD = attend(query, key, value, is_token_B11L).transpose(1, 2).flatten(2)
        states_BLD = states_BLD + drop_columns(self.joined(heads_BLD), self.dropout, self.training)
        added_BLD = self.outer(F.gelu(self.inner(self.inner_norm(states_BLD))))
        return states_BLD + drop_columns(added_BLD, self.dropout, self.training)


def sinusoids(length: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return position_LD: at even columns 2i sin(t / 10000^(2i / width)), at odd ones the cosine (Vaswani et al. 3.5).

    Computed at each call: a table would need the length of the longest row ever read.
    """
    column_D = torch.arange(0, width, 2, device=device, dtype=dtype)
    angle_LD = torch.arange(length, device=device, dtype=dtype)[:, None] * 10_000 ** (-column_D / width)
    return torch.stack([angle_LD.sin(), angle_LD.cos()], dim=2).flatten(1)[:, :width]
