"""Cells with an elementwise recurrence (minGRU, SRU, QRNN): all matrix products come first, then one scan."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.cells.fused import in_one_kernel
from sentiment_cli.models.cells.recurrence import State, alloc_states, blocks_from_end, project, steps

_aten = torch.ops.aten


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
        """Return states_BLD and the last state."""
        # 1 - sigmoid(x) is sigmoid(-x): the smallest thing to negate are the gate's weights.
        weight_GD, bias_G = (torch.cat([-a[: self.width], a[self.width :]]) for a in (self.input_weight, self.bias))
        to_keep_LBD, candidate_LBD = project(input_BLD, weight_GD, bias_G).chunk(2, dim=2)
        (start_BD,) = start or (torch.zeros_like(to_keep_LBD[0]),)
        states_LBD = _gated_scan(to_keep_LBD, candidate_LBD, start_BD)
        return states_LBD.transpose(0, 1), (states_LBD[-1],)


class SRU(nn.Module):
    """Simple recurrent unit (Lei et al. 2018): a state c with a forget gate, and a highway connection.

    f_t = sigmoid(W_f x_t + v_f c_t-1 + b_f), c_t = f_t c_t-1 + (1 - f_t) W x_t,
    r_t = sigmoid(W_r x_t + v_r c_t-1 + b_r), h_t = r_t c_t + (1 - r_t) a x_t.

    The factor a = sqrt(3) keeps the variance through newly initialized layers. Where the input is not as wide as the
    state, the highway applies a linear map. Matrices and v are initialized as in the authors' code.
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
        """Return states_BLD and the last (h, c); the recurrence reads only c."""
        from_input_LBG = project(input_BLD, self.input_weight[: 3 * self.width], F.pad(self.bias, (0, self.width)))
        highway_BLD = F.linear(input_BLD, self.input_weight[3 * self.width :]) if self.n_gates == 4 else input_BLD
        highway_LBD = highway_BLD.transpose(0, 1).to(from_input_LBG.dtype) * 3**0.5
        _, start_BD = start or (torch.zeros_like(highway_LBD[0]),) * 2
        states_LBD, memory_BD = _SRUScan.apply(from_input_LBG, highway_LBD, self.peephole.view(2, -1), start_BD)  # type: ignore[no-untyped-call]
        return states_LBD.transpose(0, 1), (states_LBD[-1], memory_BD)


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
        """Return states_BLD and the last (h, c, x); the recurrence reads c and x, the last input."""
        input_LBD = input_BLD.transpose(0, 1)
        previous_BD = torch.zeros_like(input_LBD[0]) if start is None else start[2]
        window_LBD = torch.cat([torch.cat([previous_BD[None], input_LBD[:-1]]), input_LBD], dim=2)
        from_input_LBG = project(window_LBD.transpose(0, 1), self.input_weight, self.bias)
        value_LBD, forget_LBD, out_LBD = from_input_LBG.chunk(3, dim=2)
        start_BD = torch.zeros_like(value_LBD[0]) if start is None else start[1]
        memory_LBD = _gated_scan(forget_LBD, value_LBD.tanh(), start_BD)
        states_LBD = out_LBD.sigmoid() * memory_LBD
        return states_LBD.transpose(0, 1), (states_LBD[-1], memory_LBD[-1], input_LBD[-1])


def _gated_scan(gate_LBD: Tensor, value_LBD: Tensor, start_BD: Tensor) -> Tensor:
    states_LBD: Tensor = _GatedScan.apply(gate_LBD, value_LBD, start_BD)  # type: ignore[no-untyped-call]
    return states_LBD


class _GatedScan(torch.autograd.Function):
    """s_t = k_t s_t-1 + (1 - k_t) v_t with k_t = sigmoid(a_t), whose gradient is a linear scan in reverse."""

    @staticmethod
    def forward(ctx: Any, gate_LBD: Tensor, value_LBD: Tensor, start_BD: Tensor) -> Tensor:
        keep_LBD, states_LBD = gate_LBD.sigmoid(), alloc_states(start_BD, len(gate_LBD))
        if _is_sequential(keep_LBD):
            for keep_BD, value_BD, before_BD, state_BD in steps(keep_LBD, value_LBD, states_LBD[:-1], states_LBD[1:]):
                torch.lerp(value_BD, before_BD, keep_BD, out=state_BD)
        else:
            states_LBD[1:] = _scan_as_tree(keep_LBD, (1 - keep_LBD) * value_LBD, start_BD)
        ctx.save_for_backward(keep_LBD, value_LBD, states_LBD)
        return states_LBD[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep_LBD, value_LBD, states_LBD = ctx.saved_tensors
        gate_grad_LBD, value_grad_LBD = torch.empty_like(keep_LBD), torch.empty_like(keep_LBD)
        carried_BD = torch.zeros_like(states_LBD[0])
        for block in blocks_from_end(keep_LBD):
            keep, value, before = keep_LBD[block], value_LBD[block], states_LBD[:-1][block]
            grad = _scan_from_end(keep, grads[0][block], carried_BD)
            _aten.sigmoid_backward((before - value).mul_(grad), keep, grad_input=gate_grad_LBD[block])
            torch.addcmul(grad, grad, keep, value=-1, out=value_grad_LBD[block])
            carried_BD = grad[0] * keep[0]
        return gate_grad_LBD, value_grad_LBD, carried_BD


class _SRUScan(torch.autograd.Function):
    """c_t = f_t c_t-1 + (1 - f_t) x_t and h_t = r_t c_t + (1 - r_t) y_t; f_t, r_t = sigmoid(a_t + v c_t-1).

    The forward pass is not linear and runs step by step, on a GPU in one kernel. Its gradient is a linear scan.
    """

    @staticmethod
    def forward(
        ctx: Any, from_input_LBG: Tensor, highway_LBD: Tensor, peephole_2D: Tensor, start_BD: Tensor
    ) -> tuple[Tensor, Tensor]:
        memory_LBD, (_, value_LBD) = alloc_states(start_BD, len(highway_LBD)), _gates_and_value(from_input_LBG)
        gates_LB2D = highway_LBD.new_empty(*highway_LBD.shape[:2], 2, start_BD.shape[1])
        sru_steps(from_input_LBG, peephole_2D, gates_LB2D, memory_LBD)
        ctx.save_for_backward(gates_LB2D, value_LBD, memory_LBD, highway_LBD, peephole_2D)
        return torch.lerp(highway_LBD, memory_LBD[1:], gates_LB2D[:, :, 1]), memory_LBD[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        gates_LB2D, value_LBD, memory_LBD, highway_LBD, peephole_2D = ctx.saved_tensors
        from_input_grad_LBG = gates_LB2D.new_empty(*value_LBD.shape[:2], 3 * value_LBD.shape[2])
        gates_grad_LB2D, value_grad_LBD = _gates_and_value(from_input_grad_LBG)
        highway_grad_LBD, peephole_grad_2D = torch.empty_like(highway_LBD), torch.zeros_like(peephole_2D)
        carried_BD = grads[1]
        for block in blocks_from_end(highway_LBD):
            grad, value, before = grads[0][block], value_LBD[block], memory_LBD[:-1][block]
            from_highway = memory_LBD[1:][block] - highway_LBD[block]
            (forget, reset), gates_grad = gates_LB2D[block].unbind(2), gates_grad_LB2D[block]
            torch.addcmul(grad, grad, reset, value=-1, out=highway_grad_LBD[block])
            _aten.sigmoid_backward(from_highway.mul_(grad), reset, grad_input=gates_grad[:, :, 1])
            slope = _aten.sigmoid_backward(before - value, forget)  # of c_t by what goes into its sigmoid
            keep = torch.addcmul(forget, slope, peephole_2D[0])  # of c_t by c_t-1
            by_reset = gates_grad[:, :, 1] * peephole_2D[1]  # what c_t-1 gets from the reset gate
            own = grad * reset
            own[:-1] += by_reset[1:]
            memory_grad = _scan_from_end(keep, own, carried_BD)
            torch.mul(slope, memory_grad, out=gates_grad[:, :, 0])
            torch.addcmul(memory_grad, memory_grad, forget, value=-1, out=value_grad_LBD[block])
            peephole_grad_2D += (gates_grad * before[:, :, None]).sum((0, 1))
            carried_BD = torch.addcmul(by_reset[0], memory_grad[0], keep[0])
        return from_input_grad_LBG, highway_grad_LBD, peephole_grad_2D, carried_BD


@in_one_kernel("gates_LB2D", "memory_LBD")
def sru_steps(from_input_LBG: Tensor, peephole_2D: Tensor, gates_LB2D: Tensor, memory_LBD: Tensor) -> None:
    per_step = (*_gates_and_value(from_input_LBG), gates_LB2D, gates_LB2D[:, :, 0], memory_LBD[:-1], memory_LBD[1:])
    for raw_B2D, value_BD, gates_B2D, forget_BD, before_BD, memory_BD in steps(*per_step):
        torch.addcmul(raw_B2D, before_BD[:, None], peephole_2D, out=gates_B2D).sigmoid_()
        torch.lerp(value_BD, before_BD, forget_BD, out=memory_BD)


def _gates_and_value(from_input_LBG: Tensor) -> tuple[Tensor, Tensor]:
    width = from_input_LBG.shape[-1] // 3
    gates_LBG = from_input_LBG[..., : 2 * width]
    return gates_LBG.view(*gates_LBG.shape[:2], 2, width), from_input_LBG[..., 2 * width :]


def _scan_from_end(keep_LBD: Tensor, grad_LBD: Tensor, carried_BD: Tensor) -> Tensor:
    """Return g_LBD with g_t = grad_t + k_t+1 g_t+1, where the last one adds the gradient carried from the next block.

    It is the total gradient of the loss by each state of a scan.
    """
    if not _is_sequential(keep_LBD):
        after_LBD = torch.cat([torch.ones_like(keep_LBD[:1]), keep_LBD[1:].flip(0)])
        return _scan_as_tree(after_LBD, grad_LBD.flip(0), carried_BD).flip(0)
    sums_LBD = torch.empty_like(keep_LBD)
    sums, keeps, grads = sums_LBD.unbind(), keep_LBD.unbind(), grad_LBD.unbind()
    torch.add(grads[-1], carried_BD, out=sums[-1])
    for t in range(len(sums) - 2, -1, -1):
        torch.addcmul(grads[t], keeps[t + 1], sums[t + 1], out=sums[t])
    return sums_LBD


def _is_sequential(values_LBD: Tensor) -> bool:
    """Return whether one operation per step beats the tree: on two CPU cores it takes less than half the time."""
    return values_LBD.device.type == "cpu"


def _scan_as_tree(keep_LBD: Tensor, inflow_LBD: Tensor, start_BD: Tensor) -> Tensor:
    """Return s_LBD with s_t = k_t s_t-1 + i_t in about 4 log2(L) operations (associative scan, Blelloch 1990).

    Pairs of steps are combined into one, which gives every second state by a scan of half the length; one more step
    from each of these gives the others.
    """
    length = len(inflow_LBD)
    states_LBD = torch.empty_like(inflow_LBD)
    if length > 1:
        first, second = slice(0, length - length % 2, 2), slice(1, None, 2)
        joined_keep_LBD = keep_LBD[first] * keep_LBD[second]
        joined_inflow_LBD = torch.addcmul(inflow_LBD[second], keep_LBD[second], inflow_LBD[first])
        states_LBD[second] = _scan_as_tree(joined_keep_LBD, joined_inflow_LBD, start_BD)
    before_LBD = torch.cat([start_BD[None], states_LBD[1:-1:2]])
    states_LBD[::2] = torch.addcmul(inflow_LBD[::2], keep_LBD[::2], before_LBD)
    return states_LBD
