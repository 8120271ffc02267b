"""Recurrent cells without gates, and the interface of all cells.

A layer reads one direction of a padded batch from left to right, `layer(input_BLD, start)`, and returns states_BLD
and the last state; without `start` it begins with zeros. In training, weight dropout zeroes recurrent weights with the
same mask at every step and for every row (Merity et al. 2018), and state dropout zeroes units of the state that a step
reads with the same mask at every step of a row (Gal & Ghahramani 2016).
"""

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
    state_mask,
    tanh,
    uniform_parameter,
    weight_gradient,
    with_initial,
    zero_state,
)


class Rnn(nn.RNN):
    """Elman 1990: h_t = f(W x_t + U h_t-1 + b), where f is tanh or relu. The weights have torch's names."""

    n_gates, forget_gate = 1, None
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(
        self,
        input_width: int,
        width: int,
        *,
        nonlinearity: str = "tanh",
        weight_dropout: float = 0.0,
        state_dropout: float = 0.0,
    ) -> None:
        super().__init__(input_width, width, nonlinearity=nonlinearity, batch_first=True)
        self.width, self.weight_dropout, self.state_dropout = width, weight_dropout, state_dropout

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:  # type: ignore[override]
        state_weight = F.dropout(self.weight_hh_l0, self.weight_dropout, self.training)
        (start_BD,) = start or zero_state(state_weight, len(input_BLD), 1)
        if input_BLD.is_cuda and not (self.training and self.state_dropout):
            kernel = torch.rnn_tanh if self.nonlinearity == "tanh" else torch.rnn_relu
            return read_fused(kernel, self, input_BLD, (start_BD,), state_weight)
        from_input_LBD = project(input_BLD, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)
        mask_BD = state_mask(start_BD, self.state_dropout, self.training)
        states_LBD = _scan(from_input_LBD, state_weight, start_BD, mask_BD, self.nonlinearity)
        return states_LBD.transpose(0, 1), (states_LBD[-1],)


class OutputRnn(nn.Module):
    """The cell of many introductions: two linear maps of the concatenated input and state.

    s_t = W [x_t, s_t-1] + b, and y_t = log softmax(V [x_t, s_t-1] + c), which the next layer reads: the cell of
    PyTorch's tutorial "NLP From Scratch: Classifying Names with a Character-Level RNN" (Robertson 2017). The two maps
    are stacked, the state's first. Of an initial state (y, s) only s is read.
    """

    n_gates, forget_gate = 2, None

    def __init__(
        self, input_width: int, width: int, *, weight_dropout: float = 0.0, state_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width, self.weight_dropout, self.state_dropout = width, weight_dropout, state_dropout
        self.input_weight = uniform_parameter(width, 2 * width, input_width)
        self.state_weight = uniform_parameter(width, 2 * width, width)
        self.bias = uniform_parameter(width, 2 * width)

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:
        state_DD, output_DD = F.dropout(self.state_weight, self.weight_dropout, self.training).chunk(2)
        _, start_BD = start or zero_state(state_DD, len(input_BLD), 2)
        mask_BD = state_mask(start_BD, self.state_dropout, self.training)
        to_state_LBD, to_output_LBD = project(input_BLD, self.input_weight, self.bias).chunk(2, dim=2)
        states_LBD = _scan(to_state_LBD, state_DD, start_BD, mask_BD, "linear")
        before_LBD = torch.cat([start_BD[None], states_LBD[:-1]])
        before_LBD = before_LBD if mask_BD is None else before_LBD * mask_BD
        output_LBD = (to_output_LBD + F.linear(before_LBD, output_DD)).log_softmax(dim=2)
        return output_LBD.transpose(0, 1), (output_LBD[-1], states_LBD[-1])


def _scan(
    from_input_LBD: Tensor, weight_DD: Tensor, start_BD: Tensor, mask_BD: Tensor | None, nonlinearity: str
) -> Tensor:
    states_LBD: Tensor = _ElmanScan.apply(from_input_LBD, weight_DD, start_BD, mask_BD, nonlinearity)  # type: ignore[no-untyped-call]
    return states_LBD


class _ElmanScan(torch.autograd.Function):
    """h_t = f(x_t + W (m * h_t-1)) with f tanh, relu or linear, and its gradient through time.

    torch has no kernel for it on a CPU, and takes about fifteen operations per step and its gradient. This takes four,
    and computes the weights' gradient in one matrix product at the end.
    """

    @staticmethod
    def forward(
        ctx: Any, input_LBD: Tensor, weight_DD: Tensor, start_BD: Tensor, mask_BD: Tensor | None, nonlinearity: str
    ) -> Tensor:
        all_LBD, weight_DD = alloc_states(start_BD, len(input_LBD)), kernel_weight(weight_DD)
        elman_steps(input_LBD, weight_DD, mask_BD, nonlinearity, all_LBD)
        ctx.nonlinearity = nonlinearity
        ctx.save_for_backward(all_LBD, weight_DD, mask_BD)
        return all_LBD[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        all_LBD, weight_DD, mask_BD = ctx.saved_tensors
        states_LBD, by_state_BD = all_LBD[1:], own_copy(grads[0][-1])
        if ctx.nonlinearity == "tanh":
            inner_LBD = 1 - states_LBD.square()  # slopes, replaced by the pre-activations' gradients step by step
        elif ctx.nonlinearity == "relu":
            inner_LBD = (states_LBD > 0).to(states_LBD.dtype)
        else:
            inner_LBD = torch.ones_like(states_LBD)
        elman_grad_steps(grads[0][:-1], weight_DD, mask_BD, inner_LBD, by_state_BD)
        return inner_LBD, weight_gradient(inner_LBD, all_LBD[:-1], mask_BD), by_state_BD, None, None


@in_one_kernel("all_LBD")
def elman_steps(
    input_LBD: Tensor, weight_DD: Tensor, mask_BD: Tensor | None, nonlinearity: str, all_LBD: Tensor
) -> None:
    turned_DD = weight_DD.t()
    for input_BD, before_BD, state_BD in zip(input_LBD, all_LBD[:-1], all_LBD[1:], strict=True):
        read_BD = before_BD if mask_BD is None else torch.mul(before_BD, mask_BD)
        torch.addmm(input_BD, read_BD, turned_DD, out=state_BD)
        if nonlinearity == "tanh":
            tanh(state_BD, out=state_BD)
        elif nonlinearity == "relu":
            state_BD.relu_()


@in_one_kernel("inner_LBD", "by_state_BD")
def elman_grad_steps(
    grad_LBD: Tensor, weight_DD: Tensor, mask_BD: Tensor | None, inner_LBD: Tensor, by_state_BD: Tensor
) -> None:
    """Turn slopes into gradients, also of the initial state; grad_LBD is that of the output but the last state's."""
    state_BD = by_state_BD
    for grad_BD, inner_BD in reversed(
        list(zip(with_initial(grad_LBD, state_BD, len(inner_LBD)), inner_LBD, strict=True))
    ):
        state_BD = grad_through_state(grad_BD, inner_BD.mul_(state_BD), weight_DD, mask_BD)
    by_state_BD.copy_(state_BD)
