"""Attention: the operation that the models which attend share, and what a decoder looks up in an encoder's states."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Attending = Literal["none", "bahdanau", "luong"]


def attend(
    query: Tensor, key: Tensor, value: Tensor, is_seen: Tensor | None = None, *, is_causal: bool = False
) -> Tensor:
    """Return softmax(Q K' / sqrt(D)) V over the last two of four dimensions (Vaswani et al. 2017, eq. 1).

    A query takes from those keys alone that `is_seen` says, or with `is_causal` from none behind its own place. On a
    CPU it computes in float32: the kernel for bf16 is no faster there, and five times slower without oneDNN's cache of
    primitives, which is off (see device.set_up).
    """
    dtype = torch.promote_types(query.dtype, torch.float32) if query.device.type == "cpu" else query.dtype
    with torch.autocast("cpu", enabled=False):
        values = F.scaled_dot_product_attention(
            query.to(dtype), key.to(dtype), value.to(dtype), is_seen, is_causal=is_causal
        )
    return values.to(query.dtype)


class Memory(NamedTuple):
    """What a decoder attends to: the encoder's states, what they are found by, and which places hold padding."""

    states_BLD: Tensor
    key_BLD: Tensor
    is_padding_BL: Tensor


class Attention(nn.Module):
    """Weigh the encoder's states h by a state s of the decoder; padding weighs 0.

    bahdanau: by the softmax of v · tanh(W s + U h + b) (Bahdanau et al. 2015, appendix A.1.2); luong: of (W s) · h
    (Luong et al. 2015, eq. 8, general).
    """

    def __init__(self, kind: Attending, width: int, encoder_width: int) -> None:
        super().__init__()
        is_additive = kind == "bahdanau"
        self.query = nn.Linear(width, width if is_additive else encoder_width, bias=False)
        self.key = nn.Linear(encoder_width, width) if is_additive else None
        self.score = nn.Linear(width, 1, bias=False) if is_additive else None

    def remember(self, states_BLD: Tensor, length_B: Tensor) -> Memory:
        """Do what is the same at all steps."""
        is_padding_BL = torch.arange(states_BLD.shape[1], device=length_B.device) >= length_B[:, None]
        return Memory(states_BLD, states_BLD if self.key is None else self.key(states_BLD), is_padding_BL)

    def forward(self, state_NMD: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return context_NMD and weight_NML; of the N rows N / B read each of the memory's, in K steps together."""
        n_rows, n_steps, _ = state_NMD.shape
        batch, length, width = memory.key_BLD.shape
        query_BKD = self.query(state_NMD).view(batch, -1, width)
        if self.score is None:
            score_BKL = query_BKD @ memory.key_BLD.transpose(1, 2)
        else:
            score_BKL = self.score(torch.tanh(query_BKD[:, :, None] + memory.key_BLD[:, None])).squeeze(3)
        score_BKL = score_BKL.to(torch.promote_types(score_BKL.dtype, torch.float32))
        weight_BKL = score_BKL.masked_fill(memory.is_padding_BL[:, None], -torch.inf).softmax(dim=2)
        context_BKD = weight_BKL.to(memory.states_BLD.dtype) @ memory.states_BLD
        return context_BKD.view(n_rows, n_steps, -1), weight_BKL.view(n_rows, n_steps, length)
