"""Layers with an elementwise recurrence: all matrix products come before it, and it runs as one scan."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.cells import State


class MinGRU(nn.Module):
    """h_t = (1 - z_t) h_t-1 + z_t (W_h x_t), with z_t = sigmoid(W_z x_t) (Feng et al. 2024).

    The candidate is linear, as in the paper's text. Its appendix makes it positive only to take logarithms, which a
    scan over gates between 0 and 1 does not need.
    """

    def __init__(
        self, input_width: int, width: int, *, weight_dropout: float = 0.0, state_dropout: float = 0.0
    ) -> None:
        super().__init__()
        assert weight_dropout == state_dropout == 0, "the recurrence has no matrix"
        self.width, self.n_gates = width, 2
        bound = input_width**-0.5
        self.input_weight = nn.Parameter(torch.empty(2 * width, input_width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(2 * width).uniform_(-bound, bound))

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:
        """Return states_BLD and the last of them."""
        gate_BLD, candidate_BLD = _project(input_BLD, self.input_weight, self.bias).chunk(2, dim=2)
        (start_BD,) = start or (_zeros(gate_BLD),)
        states_BLD = _gated_scan((-gate_BLD).sigmoid(), candidate_BLD, start_BD)
        return states_BLD, (states_BLD[:, -1],)


class SRU(nn.Module):
    """Simple recurrent unit (Lei et al. 2018): a state c behind a forget gate, and a highway past it.

    f_t = sigmoid(W_f x_t + v_f c_t-1 + b_f), c_t = f_t c_t-1 + (1 - f_t) W x_t,
    r_t = sigmoid(W_r x_t + v_r c_t-1 + b_r), h_t = r_t c_t + (1 - r_t) a x_t.

    The factor a = sqrt(3) keeps the variance of fresh layers on top of each other. Where the input is not as wide as
    the state, the highway takes a linear map of it. Matrices and v are drawn as in the authors' code.
    """

    def __init__(
        self, input_width: int, width: int, *, weight_dropout: float = 0.0, state_dropout: float = 0.0
    ) -> None:
        super().__init__()
        assert weight_dropout == state_dropout == 0, "the recurrence has no matrix"
        self.width, self.n_gates = width, 3 if input_width == width else 4
        bound = (3 / input_width) ** 0.5
        self.input_weight = nn.Parameter(torch.empty(self.n_gates * width, input_width).uniform_(-bound, bound))
        self.peephole = nn.Parameter(torch.empty(2 * width).uniform_(-(1.5**0.5), 1.5**0.5))  # v_f, v_r
        self.bias = nn.Parameter(torch.zeros(2 * width))  # b_f, b_r

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:
        """Return states_BLD and the last (h, c), of which the recurrence reads c alone."""
        bias_G = F.pad(self.bias, (0, (self.n_gates - 2) * self.width))
        forget_BLD, reset_BLD, value_BLD, *mapped = _project(input_BLD, self.input_weight, bias_G).chunk(
            self.n_gates, dim=2
        )
        highway_BLD = mapped[0] if mapped else input_BLD.to(value_BLD.dtype)
        forget_peephole_D, reset_peephole_D = self.peephole.chunk(2)
        _, start_BD = start or (_zeros(value_BLD),) * 2
        memory_BLD: Tensor = _SRUScan.apply(forget_BLD, value_BLD, forget_peephole_D, start_BD)  # type: ignore[no-untyped-call]
        reset_BLD = torch.addcmul(reset_BLD, _before(memory_BLD, start_BD), reset_peephole_D).sigmoid()
        states_BLD = torch.lerp(highway_BLD * 3**0.5, memory_BLD, reset_BLD)
        return states_BLD, (states_BLD[:, -1], memory_BLD[:, -1])


class QRNN(nn.Module):
    """Quasi-recurrent network (Bradbury et al. 2017) with fo-pooling and a convolution over two tokens.

    z_t, f_t, o_t = tanh, sigmoid, sigmoid of W [x_t-1, x_t] + b, c_t = f_t c_t-1 + (1 - f_t) z_t, h_t = o_t c_t.
    """

    def __init__(
        self, input_width: int, width: int, *, weight_dropout: float = 0.0, state_dropout: float = 0.0
    ) -> None:
        super().__init__()
        assert weight_dropout == state_dropout == 0, "the recurrence has no matrix"
        self.width, self.n_gates = width, 3
        bound = (2 * input_width) ** -0.5
        self.input_weight = nn.Parameter(torch.empty(3 * width, 2 * input_width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(3 * width).uniform_(-bound, bound))

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:
        """Return states_BLD and the last (h, c, x), of which c and x, the last input, are read."""
        previous_BD = _zeros(input_BLD) if start is None else start[2]
        window_BLD = torch.cat([_before(input_BLD, previous_BD), input_BLD], dim=2)
        value_BLD, forget_BLD, out_BLD = _project(window_BLD, self.input_weight, self.bias).chunk(3, dim=2)
        start_BD = _zeros(value_BLD) if start is None else start[1]
        memory_BLD = _gated_scan(forget_BLD.sigmoid(), value_BLD.tanh(), start_BD)
        states_BLD = out_BLD.sigmoid() * memory_BLD
        return states_BLD, (states_BLD[:, -1], memory_BLD[:, -1], input_BLD[:, -1])


def _project(input_BLD: Tensor, weight_GD: Tensor, bias_G: Tensor) -> Tensor:
    """Return what the input gives to each gate, in float32 at least: autocast may lower the product alone."""
    from_input_BLG = F.linear(input_BLD, weight_GD, bias_G)
    return from_input_BLG.to(torch.promote_types(from_input_BLG.dtype, torch.float32))


def _zeros(values_BLD: Tensor) -> Tensor:
    return values_BLD.new_zeros(len(values_BLD), values_BLD.shape[2])


def _before(values_BLD: Tensor, start_BD: Tensor) -> Tensor:
    """Return for each step the value of the step before it."""
    return torch.cat([start_BD[:, None], values_BLD[:, :-1]], dim=1)


def _gated_scan(keep_BLD: Tensor, value_BLD: Tensor, start_BD: Tensor) -> Tensor:
    states_BLD: Tensor = _GatedScan.apply(keep_BLD, value_BLD, start_BD)  # type: ignore[no-untyped-call]
    return states_BLD


class _GatedScan(torch.autograd.Function):
    """s_t = k_t s_t-1 + (1 - k_t) v_t, whose gradient is a linear scan from the end."""

    @staticmethod
    def forward(ctx: Any, keep_BLD: Tensor, value_BLD: Tensor, start_BD: Tensor) -> Tensor:
        if _is_sequential(keep_BLD):
            states_BLD, before_BD = torch.empty_like(keep_BLD), start_BD
            for keep_BD, value_BD, state_BD in _steps(keep_BLD, value_BLD, states_BLD):
                before_BD = torch.lerp(value_BD, before_BD, keep_BD, out=state_BD)
        else:
            states_BLD = _scan_as_tree(keep_BLD, (1 - keep_BLD) * value_BLD, start_BD)
        ctx.save_for_backward(keep_BLD, value_BLD, states_BLD, start_BD)
        return states_BLD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep_BLD, value_BLD, states_BLD, start_BD = ctx.saved_tensors
        grad_BLD = _scan_from_end(keep_BLD, grads[0])
        keep_grad_BLD = _before(states_BLD, start_BD).sub_(value_BLD).mul_(grad_BLD)
        start_grad_BD = grad_BLD[:, 0] * keep_BLD[:, 0]
        return keep_grad_BLD, torch.addcmul(grad_BLD, grad_BLD, keep_BLD, value=-1), start_grad_BD


class _SRUScan(torch.autograd.Function):
    """c_t = f_t c_t-1 + (1 - f_t) x_t with f_t = sigmoid(a_t + v c_t-1).

    Forward it is not linear, and goes one step after the other on every device. Its gradient is a linear scan.
    """

    @staticmethod
    def forward(ctx: Any, gate_BLD: Tensor, value_BLD: Tensor, peephole_D: Tensor, start_BD: Tensor) -> Tensor:
        forget_BLD, memory_BLD = torch.empty_like(value_BLD), torch.empty_like(value_BLD)
        before_BD = start_BD
        for gate_BD, value_BD, forget_BD, memory_BD in _steps(gate_BLD, value_BLD, forget_BLD, memory_BLD):
            torch.addcmul(gate_BD, before_BD, peephole_D, out=forget_BD).sigmoid_()
            before_BD = torch.lerp(value_BD, before_BD, forget_BD, out=memory_BD)
        ctx.save_for_backward(forget_BLD, value_BLD, memory_BLD, peephole_D, start_BD)
        return memory_BLD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        forget_BLD, value_BLD, memory_BLD, peephole_D, start_BD = ctx.saved_tensors
        before_BLD = _before(memory_BLD, start_BD)
        slope_BLD = (before_BLD - value_BLD) * forget_BLD * (1 - forget_BLD)  # of c_t by what goes into the sigmoid
        keep_BLD = torch.addcmul(forget_BLD, slope_BLD, peephole_D)  # of c_t by c_t-1
        grad_BLD = _scan_from_end(keep_BLD, grads[0])
        gate_grad_BLD = slope_BLD.mul_(grad_BLD)
        peephole_grad_D = (gate_grad_BLD * before_BLD).sum((0, 1))
        return gate_grad_BLD, grad_BLD * (1 - forget_BLD), peephole_grad_D, grad_BLD[:, 0] * keep_BLD[:, 0]


def _steps(*values_BLD: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(tensor_BLD.unbind(1) for tensor_BLD in values_BLD), strict=True)


def _scan_from_end(keep_BLD: Tensor, grad_BLD: Tensor) -> Tensor:
    """Return g_BLD with g_t = grad_t + k_t+1 g_t+1, what each state of a scan adds to the loss in all."""
    if not _is_sequential(keep_BLD):
        after_BLD = torch.cat([keep_BLD[:, :1], keep_BLD[:, 1:].flip(1)], dim=1)  # the first one meets a zero
        return _scan_as_tree(after_BLD, grad_BLD.flip(1), torch.zeros_like(grad_BLD[:, 0])).flip(1)
    sums_BLD = torch.empty_like(keep_BLD)
    sums, keeps, grads = sums_BLD.unbind(1), keep_BLD.unbind(1), grad_BLD.unbind(1)
    sums[-1].copy_(grads[-1])
    for t in range(len(sums) - 2, -1, -1):
        torch.addcmul(grads[t], keeps[t + 1], sums[t + 1], out=sums[t])
    return sums_BLD


def _is_sequential(values_BLD: Tensor) -> bool:
    """Say whether one operation per step beats the tree: on two CPU cores it takes less than half the time."""
    return values_BLD.device.type == "cpu"


def _scan_as_tree(keep_BLD: Tensor, inflow_BLD: Tensor, start_BD: Tensor) -> Tensor:
    """Return s_BLD with s_t = k_t s_t-1 + i_t in about 4 log2(L) operations (associative scan, Blelloch 1990).

    Pairs of steps are joined to one, which gives every second state by a scan of half the length; one more step from
    each of these gives those between.
    """
    length = inflow_BLD.shape[1]
    states_BLD = torch.empty_like(inflow_BLD)
    if length > 1:
        first, second = slice(0, length - length % 2, 2), slice(1, None, 2)
        joined_keep_BLD = keep_BLD[:, first] * keep_BLD[:, second]
        joined_inflow_BLD = torch.addcmul(inflow_BLD[:, second], keep_BLD[:, second], inflow_BLD[:, first])
        states_BLD[:, second] = _scan_as_tree(joined_keep_BLD, joined_inflow_BLD, start_BD)
    before_BLD = torch.cat([start_BD[:, None], states_BLD[:, 1:-1:2]], dim=1)
    states_BLD[:, ::2] = torch.addcmul(inflow_BLD[:, ::2], keep_BLD[:, ::2], before_BLD)
    return states_BLD
