"""Scaled dot-product attention, and a decoder's attention over the encoder's states."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Attending = Literal["none", "bahdanau", "luong"]


def attend(
    query: Tensor, key: Tensor, value: Tensor, is_seen: Tensor | None = None, *, is_causal: bool = False
) -> Tensor:
    """Return softmax(Q K' / sqrt(D)) V over the last two of four dimensions (Vaswani et al. 2017, eq. 1).

    A query attends to the keys that `is_seen` marks, or with `is_causal` to those up to its own position. On a CPU it
    computes in float32: the kernel for bf16 is not faster there, and five times slower without oneDNN's cache of
    primitives, which is off (see device.set_up).
    """
    dtype = torch.promote_types(query.dtype, torch.float32) if query.device.type == "cpu" else query.dtype
    with torch.autocast("cpu", enabled=False):
        values = F.scaled_dot_product_attention(
            query.to(dtype), key.to(dtype), value.to(dtype), is_seen, is_causal=is_causal
        )
    return values.to(query.dtype)


class Memory(NamedTuple):
    """The memory that a decoder attends to: the encoder's states, their keys, and the mask of padding."""

    states_BLD: Tensor
    key_BLD: Tensor
    is_padding_BL: Tensor


class Attention(nn.Module):
    """Attention weights of the encoder's states h for a state s of the decoder; the weight of padding is 0.

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
        """Return the memory, computed once for all steps."""
        is_padding_BL = torch.arange(states_BLD.shape[1], device=length_B.device) >= length_B[:, None]
        return Memory(states_BLD, states_BLD if self.key is None else self.key(states_BLD), is_padding_BL)

    def forward(self, state_NMD: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return context_NMD and weight_NML; N / B of the N rows read each row of the memory."""
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
