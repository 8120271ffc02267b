"""Long short-term memory: with forget gate, as of 1997, and with peepholes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.cells.fused import in_one_kernel, kernel_weight
from sentiment_cli.models.cells.recurrence import (
    State,
    alloc_states,
    grad_through_state,
    own_copy,
    project,
    read_fused,
    read_with,
    state_mask,
    steps,
    tanh,
    uniform_parameter,
    weight_gradient,
    with_initial,
    zero_state,
)

_aten = torch.ops.aten
_ALWAYS = 100.0  # the bias of a gate that is always open: in every precision, sigmoid(100) is 1


class Lstm(nn.LSTM):
    """LSTM with forget gate (Gers, Schmidhuber & Cummins 2000), on torch's kernel, with torch's weights and names.

    c_t = f_t * c_t-1 + i_t * g_t and h_t = o_t * tanh(c_t); the gates i, f and o are sigmoids of W x_t + U h_t-1 + b,
    the candidate g is its tanh.
    """

    n_gates, forget_gate = 4, 1
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(
        self, input_width: int, width: int, *, weight_dropout: float = 0.0, state_dropout: float = 0.0
    ) -> None:
        super().__init__(input_width, width, batch_first=True)
        self.width, self.weight_dropout, self.state_dropout = width, weight_dropout, state_dropout

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:  # type: ignore[override]
        state_weight = F.dropout(self.weight_hh_l0, self.weight_dropout, self.training)
        start = start or zero_state(state_weight, len(input_BLD), 2)
        if self.training and self.state_dropout:
            bias_G = self.bias_ih_l0 + self.bias_hh_l0
            mask_BD = state_mask(start[0], self.state_dropout, self.training)
            return read_scan(input_BLD, self.weight_ih_l0, state_weight, bias_G, start, mask_BD)
        return read_fused(torch.lstm, self, input_BLD, start, state_weight)


class Lstm1997(nn.Module):
    """Input and output gates only (Hochreiter & Schmidhuber 1997): c_t = c_t-1 + i_t * g_t.

    The paper does not fix its two squashing functions; as in later work (Greff et al. 2017), both are tanh.
    """

    n_gates, forget_gate = 3, None

    def __init__(
        self, input_width: int, width: int, *, weight_dropout: float = 0.0, state_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width, self.weight_dropout, self.state_dropout = width, weight_dropout, state_dropout
        self.input_weight = uniform_parameter(width, 3 * width, input_width)
        self.state_weight = uniform_parameter(width, 3 * width, width)
        self.bias = uniform_parameter(width, 3 * width)

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:
        state_weight = F.dropout(self.state_weight, self.weight_dropout, self.training)
        start = start or zero_state(state_weight, len(input_BLD), 2)
        if input_BLD.is_cuda and not (self.training and self.state_dropout):
            weights = [self._with_forget_gate(values, 0.0) for values in (self.input_weight, state_weight)]
            bias_G = self._with_forget_gate(self.bias, _ALWAYS)
            weights += [bias_G, torch.zeros_like(bias_G)]
            return read_with(torch.lstm, weights, input_BLD, start, training=self.training)
        mask_BD = state_mask(start[0], self.state_dropout, self.training)
        return read_scan(input_BLD, self.input_weight, state_weight, self.bias, start, mask_BD)

    def _with_forget_gate(self, values: Tensor, fill: float) -> Tensor:
        """Return weights or a bias for cuDNN's LSTM, whose second gate forgets."""
        forget = values.new_full((self.width, *values.shape[1:]), fill)
        return torch.cat([values[: self.width], forget, values[self.width :]])


class PeepholeLstm(nn.Module):
    """LSTM with forget gate and peepholes (Gers & Schmidhuber 2000; Gers, Schraudolph & Schmidhuber 2002).

    Each unit of a gate also reads its unit of the memory: p * c_t-1 for the input and the forget gate, p * c_t for the
    output gate. State dropout does not apply to the memory, nor to what the peepholes read.
    """

    n_gates, forget_gate = 4, 1

    def __init__(
        self, input_width: int, width: int, *, weight_dropout: float = 0.0, state_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width, self.weight_dropout, self.state_dropout = width, weight_dropout, state_dropout
        self.input_weight = uniform_parameter(width, 4 * width, input_width)
        self.state_weight = uniform_parameter(width, 4 * width, width)
        self.bias = uniform_parameter(width, 4 * width)
        self.peephole = uniform_parameter(width, 3 * width)  # of input, forget and output gate

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:
        state_weight = F.dropout(self.state_weight, self.weight_dropout, self.training)
        start = start or zero_state(state_weight, len(input_BLD), 2)
        mask_BD = state_mask(start[0], self.state_dropout, self.training)
        peephole_3D = self.peephole.view(3, self.width)
        return read_scan(input_BLD, self.input_weight, state_weight, self.bias, start, mask_BD, peephole_3D)


def read_scan(
    input_BLD: Tensor,
    input_weight_GD: Tensor,
    state_weight_GD: Tensor,
    bias_G: Tensor,
    start: State,
    mask_BD: Tensor | None,
    peephole_3D: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Read one direction without cuDNN; the gates are in torch's order: input, forget if there is one, new, output."""
    from_input_LBG = project(input_BLD, input_weight_GD, bias_G)
    states_LBD, memory_BD = _LstmScan.apply(from_input_LBG, state_weight_GD, peephole_3D, *start, mask_BD)  # type: ignore[no-untyped-call]
    return states_LBD.transpose(0, 1), (states_LBD[-1], memory_BD)


class _LstmScan(torch.autograd.Function):
    """The recurrence of all LSTMs here, and its gradient through time.

    The forward pass takes one product and about thirteen operations per step. The backward pass first computes, for all
    steps at once, the slopes that turn the gradients of state and memory into those of the gates; then it takes one
    product and four operations per step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        from_input_LBG: Tensor,
        weight_GD: Tensor,
        peephole_3D: Tensor | None,
        start_BD: Tensor,
        start_memory_BD: Tensor,
        mask_BD: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        length, weight_GD = len(from_input_LBG), kernel_weight(weight_GD)
        all_LBD, memory_LBD = alloc_states(start_BD, length), alloc_states(start_memory_BD, length)
        new_LBD, squashed_LBD = (torch.empty_like(all_LBD[1:]) for _ in range(2))
        gates_LBG = torch.empty_like(from_input_LBG)
        lstm_steps(
            from_input_LBG, weight_GD, peephole_3D, mask_BD, gates_LBG, new_LBD, squashed_LBD, memory_LBD, all_LBD
        )
        ctx.save_for_backward(gates_LBG, new_LBD, memory_LBD, squashed_LBD, all_LBD, weight_GD, peephole_3D, mask_BD)
        return all_LBD[1:], memory_LBD[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gates_LBG, new_LBD, memory_LBD, squashed_LBD, all_LBD, weight_GD, peephole_3D, mask_BD = ctx.saved_tensors
        n_gates = gates_LBG.shape[2] // all_LBD.shape[2]
        in_LBD, *forget, _, out_LBD = gates_LBG.chunk(n_gates, dim=2)
        inner_LBG = torch.empty_like(gates_LBG)  # slopes of the gates, replaced by their gradients step by step
        in_slope_LBD, *forget_slope, new_slope_LBD, out_slope_LBD = inner_LBG.chunk(n_gates, dim=2)
        _aten.sigmoid_backward(new_LBD, in_LBD, grad_input=in_slope_LBD)
        _aten.tanh_backward(in_LBD, new_LBD, grad_input=new_slope_LBD)
        _aten.sigmoid_backward(squashed_LBD, out_LBD, grad_input=out_slope_LBD)
        to_memory_LBD = _aten.tanh_backward(out_LBD, squashed_LBD)  # from the state to the memory of the same step,
        carried_LBD = forget[0] if forget else None  # and from there to the previous memory
        if forget:
            _aten.sigmoid_backward(memory_LBD[:-1], forget[0], grad_input=forget_slope[0])
        if peephole_3D is not None:
            to_memory_LBD += out_slope_LBD * peephole_3D[2]
            carried_LBD = forget[0] + in_slope_LBD * peephole_3D[0] + forget_slope[0] * peephole_3D[1]
        state_BD, memory_BD = own_copy(grads[0][-1]), own_copy(grads[1])
        lstm_grad_steps(grads[0][:-1], weight_GD, mask_BD, to_memory_LBD, carried_LBD, inner_LBG, memory_BD, state_BD)
        peephole_grad_3D = None
        if peephole_3D is not None:
            seen = (memory_LBD[:-1], memory_LBD[:-1], memory_LBD[1:])
            moved = (in_slope_LBD, forget_slope[0], out_slope_LBD)
            peephole_grad_3D = torch.stack([(a * b).sum((0, 1)) for a, b in zip(seen, moved, strict=True)])
        weight_grad_GD = weight_gradient(inner_LBG, all_LBD[:-1], mask_BD)
        return inner_LBG, weight_grad_GD, peephole_grad_3D, state_BD, memory_BD, None


@in_one_kernel("gates_LBG", "new_LBD", "squashed_LBD", "memory_LBD", "all_LBD")
def lstm_steps(
    from_input_LBG: Tensor,
    weight_GD: Tensor,
    peephole_3D: Tensor | None,
    mask_BD: Tensor | None,
    gates_LBG: Tensor,
    new_LBD: Tensor,
    squashed_LBD: Tensor,
    memory_LBD: Tensor,
    all_LBD: Tensor,
) -> None:
    width, turned_DG = all_LBD.shape[2], weight_GD.t()
    sigmoids_LBG = gates_LBG[:, :, : -2 * width]
    in_LBD, *forget, raw_LBD, out_LBD = gates_LBG.chunk(gates_LBG.shape[2] // width, dim=2)
    per_step = [from_input_LBG, gates_LBG, sigmoids_LBG, in_LBD, forget[0] if forget else in_LBD, raw_LBD, out_LBD]
    per_step += [new_LBD, squashed_LBD, memory_LBD[:-1], memory_LBD[1:], all_LBD[:-1], all_LBD[1:]]
    for views in steps(*per_step):
        from_input_BG, gates_BG, sigmoids_BG, in_BD, forget_BD, raw_BD, out_BD, *states = views
        new_BD, squashed_BD, old_memory_BD, memory_BD, read_BD, state_BD = states
        if mask_BD is not None:
            read_BD = torch.mul(read_BD, mask_BD)
        torch.addmm(from_input_BG, read_BD, turned_DG, out=gates_BG)
        if peephole_3D is not None:
            in_BD.addcmul_(old_memory_BD, peephole_3D[0])
            forget_BD.addcmul_(old_memory_BD, peephole_3D[1])
        sigmoids_BG.sigmoid_()
        torch.mul(in_BD, tanh(raw_BD, out=new_BD), out=memory_BD)
        if forget:
            memory_BD.addcmul_(forget_BD, old_memory_BD)
        else:
            memory_BD.add_(old_memory_BD)
        if peephole_3D is not None:
            out_BD.addcmul_(memory_BD, peephole_3D[2])
        torch.mul(out_BD.sigmoid_(), tanh(memory_BD, out=squashed_BD), out=state_BD)


@in_one_kernel("inner_LBG", "by_memory_BD", "by_state_BD")
def lstm_grad_steps(
    grad_LBD: Tensor,
    weight_GD: Tensor,
    mask_BD: Tensor | None,
    to_memory_LBD: Tensor,
    carried_LBD: Tensor | None,
    inner_LBG: Tensor,
    by_memory_BD: Tensor,
    by_state_BD: Tensor,
) -> None:
    """Turn slopes into gradients, also of the initial state; grad_LBD is that of the output but the last state's."""
    (batch, width), memory_BD, state_BD = by_state_BD.shape, by_memory_BD, by_state_BD
    inner_LBKD = inner_LBG.view(len(inner_LBG), batch, -1, width)
    carried = carried_LBD.unbind() if carried_LBD is not None else [None] * len(inner_LBG)
    per_step = (to_memory_LBD, inner_LBG, inner_LBKD[:, :, :-1], inner_LBKD[:, :, -1])
    views = zip(with_initial(grad_LBD, state_BD, len(inner_LBG)), carried, steps(*per_step), strict=True)
    for grad_BD, carried_BD, (to_memory_BD, inner_BG, of_memory_BKD, of_state_BD) in reversed(list(views)):
        memory_BD.addcmul_(state_BD, to_memory_BD)
        of_memory_BKD.mul_(memory_BD[:, None])
        of_state_BD.mul_(state_BD)
        if carried_BD is not None:
            memory_BD.mul_(carried_BD)
        state_BD = grad_through_state(grad_BD, inner_BG, weight_GD, mask_BD)
    by_state_BD.copy_(state_BD)
