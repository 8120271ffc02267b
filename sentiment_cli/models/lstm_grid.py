"""A grid LSTM: each cell has one LSTM along time and one along depth."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.cells import State

_aten = torch.ops.aten


class LstmGrid(nn.Module):
    """A grid LSTM over time x depth (Kalchbrenner, Danihelka & Graves 2015), with weights of its own at each depth.

    The input enters at the bottom as the state along depth, through a linear map where widths differ, with no memory.
    The state along depth at the top is what is seen.
    """

    n_gates = 8

    def __init__(
        self,
        input_width: int,
        width: int,
        *,
        depth: int = 2,
        weight_dropout: float = 0.0,
        state_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.enter = nn.Identity() if input_width == width else nn.Linear(input_width, width, bias=False)
        self.blocks = nn.ModuleList(GridBlock(width, weight_dropout, state_dropout) for _ in range(depth))

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:
        """Return states_BLD and, after the last column, the visible state, then each block's h and c along time.

        A start is such a tuple. Its visible state is not read, as it comes from below and not from the step before.
        """
        states_LBD, memory_LBD = self.enter(input_BLD).transpose(0, 1).contiguous(), None
        times: State = ()
        for i, block in enumerate(self.blocks):
            own_start = None if start is None else start[1 + 2 * i : 3 + 2 * i]
            states_LBD, memory_LBD, *time = block(states_LBD, memory_LBD, own_start)
            times += tuple(time)
        return states_LBD.transpose(0, 1), (states_LBD[-1], *times)


class GridBlock(nn.Module):
    """One depth of a grid LSTM: a step reads the state along time of the step before and that along depth from below.

    Both LSTMs read both states, and each has its own memory, of where its own state comes from:

        i, f, o = sigmoid(W h_depth + U h_time + b), g = tanh(likewise), for time and for depth
        c' = i g + f c,  h' = o tanh(c')

    They are computed as one of twice the width: a gate is time | depth.
    """

    n_gates = 8  # in, forget, out, new, each for time and for depth

    def __init__(self, width: int, weight_dropout: float, state_dropout: float) -> None:
        super().__init__()
        self.width, self.weight_dropout, self.state_dropout = width, weight_dropout, state_dropout
        bound = width**-0.5  # as in torch's own layers
        self.input_weight = nn.Parameter(torch.empty(8 * width, width).uniform_(-bound, bound))
        self.state_weight = nn.Parameter(torch.empty(8 * width, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(8 * width).uniform_(-bound, bound))

    def forward(
        self, below_LBD: Tensor, from_below_LBD: Tensor | None, start: State | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return h and c along depth of all steps, and h and c along time of the last; no memory is zero memory."""
        like_BD = self.bias.new_ones(below_LBD.shape[1], self.width)
        scanned: tuple[Tensor, Tensor, Tensor, Tensor] = _BlockScan.apply(  # type: ignore[no-untyped-call]
            below_LBD.to(self.bias.dtype),
            from_below_LBD,
            self.input_weight,
            F.dropout(self.state_weight, self.weight_dropout, self.training),
            self.bias,
            *(start or (torch.zeros_like(like_BD),) * 2),
            F.dropout(like_BD, self.state_dropout) if self.training and self.state_dropout else None,
        )
        return scanned


class _BlockScan(torch.autograd.Function):
    """A block through time; E is twice the width: time | depth. by_x is the gradient by x."""

    @staticmethod
    def forward(
        ctx: Any,
        below_LBD: Tensor,
        from_below_LBD: Tensor | None,
        input_weight_GD: Tensor,
        state_weight_GD: Tensor,
        bias_G: Tensor,
        start_BD: Tensor,
        start_memory_BD: Tensor,
        mask_BD: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        length, batch, width = below_LBD.shape
        # Under autocast this product alone is of lower precision: those of the scan are written into given tensors.
        from_below_NG = torch.addmm(bias_G, below_LBD.flatten(0, 1), input_weight_GD.t())
        gates_LBG = from_below_NG.to(bias_G.dtype).view(length, batch, -1)
        memory_LBE, states_LBE, entering_LBE = (bias_G.new_empty(length, batch, 2 * width) for _ in range(3))
        entering_LBE[:, :, width:] = 0 if from_below_LBD is None else from_below_LBD
        read_LBD = torch.empty_like(below_LBD)
        state_BD, before_BD = start_BD, start_memory_BD
        for gates_BG, entering_BE, read_BD, memory_BE, state_BE in zip(
            gates_LBG, entering_LBE, read_LBD, memory_LBE, states_LBE, strict=True
        ):
            if mask_BD is None:
                read_BD.copy_(state_BD)
            else:
                torch.mul(state_BD, mask_BD, out=read_BD)
            entering_BE[:, :width] = before_BD
            gates_BG.addmm_(read_BD, state_weight_GD.t())
            gates_BG[:, : 6 * width].sigmoid_()
            gates_BG[:, 6 * width :].tanh_()
            in_BE, forget_BE, out_BE, new_BE = gates_BG.chunk(4, dim=1)
            torch.mul(forget_BE, entering_BE, out=memory_BE).addcmul_(in_BE, new_BE)
            torch.tanh(memory_BE, out=state_BE).mul_(out_BE)
            state_BD, before_BD = state_BE[:, :width], memory_BE[:, :width]
        ctx.save_for_backward(
            below_LBD, input_weight_GD, state_weight_GD, mask_BD, gates_LBG, entering_LBE, read_LBD, memory_LBE
        )
        return states_LBE[:, :, width:], memory_LBE[:, :, width:], state_BD.clone(), before_BD.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        below_LBD, input_weight_GD, state_weight_GD, mask_BD, *scanned = ctx.saved_tensors
        gates_LBG, entering_LBE, read_LBD, memory_LBE = scanned
        width = below_LBD.shape[2]
        by_gates_LBG = torch.empty_like(gates_LBG)
        by_from_below_LBD = torch.empty_like(below_LBD) if ctx.needs_input_grad[1] else None
        by_state_BE, by_memory_BE = (torch.empty_like(memory_LBE[0]) for _ in range(2))
        by_state_BE[:, :width], by_memory_BE[:, :width] = grads[2], grads[3]
        for t in reversed(range(len(gates_LBG))):
            gates_BG, by_gates_BG, squashed_BE = gates_LBG[t], by_gates_LBG[t], memory_LBE[t].tanh()
            in_BE, forget_BE, out_BE, new_BE = gates_BG.chunk(4, dim=1)
            by_in_BE, by_forget_BE, by_out_BE, by_new_BE = by_gates_BG.chunk(4, dim=1)
            by_state_BE[:, width:], by_memory_BE[:, width:] = grads[0][t], grads[1][t]
            torch.mul(by_state_BE, squashed_BE, out=by_out_BE)
            by_memory_BE.add_(_aten.tanh_backward(by_state_BE.mul_(out_BE), squashed_BE))
            torch.mul(by_memory_BE, new_BE, out=by_in_BE)
            torch.mul(by_memory_BE, in_BE, out=by_new_BE)
            torch.mul(by_memory_BE, entering_LBE[t], out=by_forget_BE)
            by_memory_BE.mul_(forget_BE)
            by_sigmoids = by_gates_BG[:, : 6 * width]
            _aten.sigmoid_backward(by_sigmoids, gates_BG[:, : 6 * width], grad_input=by_sigmoids)
            _aten.tanh_backward(by_new_BE, new_BE, grad_input=by_new_BE)
            if by_from_below_LBD is not None:
                by_from_below_LBD[t] = by_memory_BE[:, width:]
            torch.mm(by_gates_BG, state_weight_GD, out=by_state_BE[:, :width])
            if mask_BD is not None:
                by_state_BE[:, :width].mul_(mask_BD)
        by_gates_NG = by_gates_LBG.flatten(0, 1)
        return (
            (by_gates_NG @ input_weight_GD).view_as(below_LBD),
            by_from_below_LBD,
            by_gates_NG.t() @ below_LBD.flatten(0, 1),
            by_gates_NG.t() @ read_LBD.flatten(0, 1),
            by_gates_NG.sum(0),
            by_state_BE[:, :width],
            by_memory_BE[:, :width],
            None,
        )
