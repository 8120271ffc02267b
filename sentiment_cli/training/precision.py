"""Mixed precision: the dtype that a step computes in, and loss scaling for fp16."""

import torch
from torch import Tensor


class GradScaler:
    """The factor that multiplies the loss in fp16, so that small gradients do not underflow (Micikevicius et al. 2018).

    A step whose gradient overflows is skipped and halves the factor; 2,000 good steps in a row double it. `state_2`
    holds the factor, a power of two, and the steps since it last changed; it stays on the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.state_2 = torch.tensor([2.0**16, 0.0], device=device)

    @property
    def factor(self) -> Tensor:
        return self.state_2[0]

    def unscale(self, loss: Tensor, grads: list[Tensor]) -> Tensor:
        """Divide the gradients by the factor, in place; return the loss divided by it."""
        torch._foreach_mul_(grads, 1 / self.factor)
        return loss / self.factor

    def check_overflow(self, loss: Tensor, grad_norm: Tensor) -> Tensor:
        """Return whether to skip this step, as a tensor on the device, and update the factor.

        A step is not skipped where the loss itself is not finite, or where the factor cannot fall any further.
        """
        is_skipped = ~grad_norm.isfinite() & loss.isfinite() & (self.factor > 1)
        self.update(is_skipped)
        return is_skipped

    def update(self, is_skipped: Tensor) -> None:
        factor, n_good = self.state_2[0], self.state_2[1] + 1
        grown = torch.where(n_good >= 2000, torch.stack([factor * 2, n_good * 0]), torch.stack([factor, n_good]))
        halved = torch.stack([(factor / 2).clamp(min=1), n_good * 0])
        self.state_2 = torch.where(is_skipped, halved, grown)


def autocast_dtype(scaler: GradScaler | None, *, bf16: bool) -> torch.dtype | None:
    """Return the dtype of torch.autocast: fp16 with a scaler, bf16 where asked for, None for fp32."""
    return torch.float16 if scaler is not None else torch.bfloat16 if bf16 else None
