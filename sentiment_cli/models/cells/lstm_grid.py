"""A grid LSTM: each cell has one LSTM along time and one along depth."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.cells.lstm import read_scan
from sentiment_cli.models.cells.recurrence import State, blocks_from_end, read_with, steps, tanh, weight_gradient

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
        state_weight_GD = F.dropout(self.state_weight, self.weight_dropout, self.training)
        start_BD, start_memory_BD = start or (torch.zeros_like(like_BD),) * 2
        mask_BD = F.dropout(like_BD, self.state_dropout) if self.training and self.state_dropout else None
        below_LBD = below_LBD.to(self.bias.dtype)
        given = (below_LBD, from_below_LBD, self.input_weight, state_weight_GD, self.bias)
        if below_LBD.is_cuda:
            return _read_time_first(*given, start_BD, start_memory_BD, mask_BD, training=self.training)
        scanned: tuple[Tensor, Tensor, Tensor, Tensor] = _BlockScan.apply(  # type: ignore[no-untyped-call]
            *given, start_BD, start_memory_BD, mask_BD
        )
        return scanned


def _read_time_first(
    below_LBD: Tensor,
    from_below_LBD: Tensor | None,
    input_weight_GD: Tensor,
    state_weight_GD: Tensor,
    bias_G: Tensor,
    start_BD: Tensor,
    start_memory_BD: Tensor,
    mask_BD: Tensor | None,
    *,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Read a block as an LSTM along time, then all its LSTMs along depth at once.

    What goes along time does not depend on what goes along depth in the same block, so that a kernel of cuDNN's reads
    it. On a CPU the two together take fewer and larger products.
    """
    width = below_LBD.shape[2]
    (time_in, depth_in), (time_state, depth_state), (time_bias, depth_bias) = (
        weights.view(4, 2, width, *weights.shape[1:]).unbind(1)
        for weights in (input_weight_GD, state_weight_GD, bias_G)
    )
    # torch's order of the gates is in, forget, new, out.
    of_input, of_state, bias = (
        torch.cat([gates[:2], gates[3:], gates[2:3]]).flatten(0, 1) for gates in (time_in, time_state, time_bias)
    )
    start = (start_BD, start_memory_BD)
    if mask_BD is None:
        weights = [of_input, of_state, bias, torch.zeros_like(bias)]
        states_BLD, last = read_with(torch.lstm, weights, below_LBD.transpose(0, 1), start, training=training)
    else:
        states_BLD, last = read_scan(below_LBD.transpose(0, 1), of_input, of_state, bias, start, mask_BD)
    before_LBD = torch.cat([start_BD[None].to(states_BLD.dtype), states_BLD.transpose(0, 1)[:-1]])
    read_LBD = before_LBD if mask_BD is None else before_LBD * mask_BD
    gates_LBG = F.linear(below_LBD, depth_in.flatten(0, 1), depth_bias.flatten()).to(bias_G.dtype)
    gates_LBG = gates_LBG + F.linear(read_LBD, depth_state.flatten(0, 1))
    sigmoids_LBG, raw_LBD = gates_LBG.tensor_split((3 * width,), dim=2)
    in_LBD, forget_LBD, out_LBD = sigmoids_LBG.sigmoid().chunk(3, dim=2)
    memory_LBD = in_LBD * raw_LBD.tanh()
    if from_below_LBD is not None:
        memory_LBD = memory_LBD + forget_LBD * from_below_LBD
    last_BD, last_memory_BD = (one.to(bias_G.dtype) for one in last)
    return out_LBD * memory_LBD.tanh(), memory_LBD, last_BD, last_memory_BD


class _BlockScan(torch.autograd.Function):
    """A block through time; E is twice the width: time | depth. by_x is the gradient by x, or the slope before it."""

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
        memory_LBE, squashed_LBE = (bias_G.new_empty(length, batch, 2 * width) for _ in range(2))
        # Row t is what step t reads: both memories, and the half of the states along time. It fills row t + 1.
        entering_LBE, states_LBE = (bias_G.new_empty(length + 1, batch, 2 * width) for _ in range(2))
        entering_LBE[0, :, :width], states_LBE[0, :, :width] = start_memory_BD, start_BD
        entering_LBE[:-1, :, width:] = 0 if from_below_LBD is None else from_below_LBD
        per_step = [gates_LBG, *gates_LBG.tensor_split((6 * width,), dim=2), *gates_LBG.chunk(4, dim=2)[:3]]
        per_step += [states_LBE[:-1, :, :width], entering_LBE[:-1], memory_LBE, squashed_LBE, states_LBE[1:]]
        per_step += [entering_LBE[1:, :, :width]]
        for views in steps(*per_step):
            gates_BG, sigmoids_BG, new_BE, in_BE, forget_BE, out_BE, *states = views
            read_BD, entering_BE, memory_BE, squashed_BE, state_BE, entering_next_BD = states
            if mask_BD is not None:
                read_BD = torch.mul(read_BD, mask_BD)
            gates_BG.addmm_(read_BD, state_weight_GD.t())
            sigmoids_BG.sigmoid_()
            tanh(new_BE, out=new_BE)
            torch.mul(forget_BE, entering_BE, out=memory_BE).addcmul_(in_BE, new_BE)
            torch.mul(tanh(memory_BE, out=squashed_BE), out_BE, out=state_BE)
            entering_next_BD.copy_(memory_BE[:, :width])
        ctx.save_for_backward(
            below_LBD, input_weight_GD, state_weight_GD, mask_BD, gates_LBG, entering_LBE, squashed_LBE, states_LBE
        )
        last_BD, last_memory_BD = (tensor_LBE[-1, :, :width].clone() for tensor_LBE in (states_LBE, entering_LBE))
        return states_LBE[1:, :, width:], memory_LBE[:, :, width:], last_BD, last_memory_BD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        below_LBD, input_weight_GD, state_weight_GD, mask_BD, *scanned = ctx.saved_tensors
        gates_LBG, entering_LBE, squashed_LBE, states_LBE = scanned
        batch, width = below_LBD.shape[1:]
        by_gates_LBG = torch.empty_like(gates_LBG)  # the gates' slopes, turned into their gradients step by step
        by_from_below_LBD = torch.empty_like(below_LBD) if ctx.needs_input_grad[1] else None
        by_state_BD, by_memory_BD = grads[2], grads[3]  # along time
        for block in blocks_from_end(squashed_LBE):
            by_gates, squashed = by_gates_LBG[block], squashed_LBE[block]
            in_gate, forget, out_gate, new = gates_LBG[block].chunk(4, dim=2)
            by_in, by_forget, by_out, by_new = by_gates.chunk(4, dim=2)
            _aten.sigmoid_backward(new, in_gate, grad_input=by_in)
            _aten.sigmoid_backward(entering_LBE[:-1][block], forget, grad_input=by_forget)
            _aten.sigmoid_backward(squashed, out_gate, grad_input=by_out)
            _aten.tanh_backward(in_gate, new, grad_input=by_new)
            to_memory = _aten.tanh_backward(out_gate, squashed)  # from the states to the memories of the same step
            # With room for what the step before the block gets.
            by_states, by_memories = (squashed.new_empty(len(squashed) + 1, batch, 2 * width) for _ in range(2))
            by_states[1:, :, width:], by_memories[1:, :, width:] = grads[0][block], grads[1][block]
            by_states[-1, :, :width], by_memories[-1, :, :width] = by_state_BD, by_memory_BD
            per_step = [by_gates, by_gates[:, :, : 4 * width].view(len(squashed), batch, 2, -1), by_out, by_new]
            per_step += [forget[:, :, :width], to_memory, by_states[1:], by_memories[1:]]
            per_step += [by_states[:-1, :, :width], by_memories[:-1, :, :width]]
            for views in reversed(list(steps(*per_step))):
                by_gates_BG, by_in_and_forget_B2E, by_out_BE, by_new_BE, forget_BD, to_memory_BE, *by_read = views
                by_state_BE, by_memory_BE, by_state_before_BD, by_memory_before_BD = by_read
                by_memory_BE.addcmul_(by_state_BE, to_memory_BE)
                by_in_and_forget_B2E.mul_(by_memory_BE[:, None])
                by_new_BE.mul_(by_memory_BE)
                by_out_BE.mul_(by_state_BE)
                torch.mul(by_memory_BE[:, :width], forget_BD, out=by_memory_before_BD)
                torch.mm(by_gates_BG, state_weight_GD, out=by_state_before_BD)
                if mask_BD is not None:
                    by_state_before_BD.mul_(mask_BD)
            if by_from_below_LBD is not None:
                torch.mul(by_memories[1:, :, width:], forget[:, :, width:], out=by_from_below_LBD[block])
            by_state_BD, by_memory_BD = by_states[0, :, :width], by_memories[0, :, :width]
        by_gates_NG = by_gates_LBG.flatten(0, 1)
        return (
            (by_gates_NG @ input_weight_GD).view_as(below_LBD),
            by_from_below_LBD,
            by_gates_NG.t() @ below_LBD.flatten(0, 1),
            weight_gradient(by_gates_LBG, states_LBE[:-1, :, :width], mask_BD),
            by_gates_NG.sum(0),
            by_state_BD,
            by_memory_BD,
            None,
        )
