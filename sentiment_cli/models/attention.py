"""Attention, the operation that the models which attend share."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
