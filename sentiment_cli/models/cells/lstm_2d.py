"""A two-dimensional LSTM over the grid of a review: its sentences below each other, each a line of words."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.cells.recurrence import State

# A longer sentence continues on the next line: a batch takes a step per diagonal, at most its number of lines + 63.
# IMDb's sentences have 20 words, and 1 in 100 more than 64.
LONGEST_LINE = 64
_aten = torch.ops.aten


def end_marks(entries: Sequence[str]) -> Tensor:
    """Return is_mark_V: whether an entry of the vocabulary ends a sentence, by its last character but for quotes."""
    return torch.tensor([entry.rstrip("\"'’”)]").endswith((".", "!", "?", "…")) for entry in entries])


def sentence_ends(ids_BL: Tensor, is_mark_V: Tensor) -> Tensor:
    """Return ends_BL: after which tokens a sentence ends, of a run of marks the last."""
    is_mark_BL = is_mark_V.index_select(0, ids_BL.flatten()).view_as(ids_BL)
    return is_mark_BL & ~F.pad(is_mark_BL[:, 1:], (0, 1))


def reversed_ends(ends_BL: Tensor, flip_N: Tensor) -> Tensor:
    """Return ends_BL of rows read from their own ends, where flip_N reverses each row of the flat batch.

    A sentence read backwards ends with its first word. The grid of a row so reversed begins at the last sentence's last
    word: `Lstm2d` then scans the review from the other corner.
    """
    return _begins(ends_BL).flatten().index_select(0, flip_N).view_as(ends_BL)


def _begins(ends_BL: Tensor) -> Tensor:
    """Return before which tokens a sentence ended; the first of a row needs no mark."""
    return F.pad(ends_BL[:, :-1], (1, 0))


class Layout(NamedTuple):
    """The T tokens of a padded batch of N places, sorted by the diagonals of their rows' grids.

    order_T: the place of each; rank_N: its inverse, T at padding; diagonals: the ranks of each; before_T2: the rank of
    each token's left neighbour and that of its upper one, T for none; after_T2: of each token's right and lower
    neighbours, where it stands itself in their before_T2, as an index into its 2T entries; 2T for none.
    """

    order_T: Tensor
    rank_N: Tensor
    diagonals: list[slice]
    before_T2: Tensor
    after_T2: Tensor


def skew(length_B: Tensor, ends_BL: Tensor) -> Layout:
    """Cut each row's sentences into lines of at most LONGEST_LINE words, and sort its words by line + word."""
    batch, length = ends_BL.shape
    column_L = torch.arange(length, device=ends_BL.device)
    inside_BL = column_L < length_B[:, None]
    sentence_BL = (column_L * _begins(ends_BL)).cummax(1).values  # where each token's sentence begins
    begins_BL = (column_L - sentence_BL) % LONGEST_LINE == 0
    line_BL = (column_L * begins_BL).cummax(1).values  # and where its line does
    word_BL = column_L - line_BL
    above_BL = line_BL.gather(1, (line_BL - 1).clamp(min=0)) + word_BL
    near_BL2 = torch.stack([(column_L - 1).expand_as(above_BL), above_BL], dim=2)
    has_near_BL2 = torch.stack([~begins_BL, (line_BL > 0) & (above_BL < line_BL)], dim=2)

    diagonal_BL = torch.where(inside_BL, begins_BL.cumsum(1) - 1 + word_BL, length)  # padding comes last
    sizes = [size for size in torch.bincount(diagonal_BL.flatten())[:length].tolist() if size]
    tokens = sum(sizes)
    order_T = diagonal_BL.flatten().argsort(stable=True)[:tokens]
    rank_T = torch.arange(tokens, device=order_T.device)
    rank_N1 = order_T.new_full((batch * length + 1,), tokens).scatter_(0, order_T, rank_T)

    first_B11 = torch.arange(batch, device=order_T.device)[:, None, None] * length
    near_BL2 = torch.where(has_near_BL2, near_BL2 + first_B11, batch * length)
    before_T2 = rank_N1[near_BL2.flatten(0, 1).index_select(0, order_T)]
    # Each token is at most once a left and at most once an upper neighbour: nothing is written twice, but in the last
    # row, which stands for missing neighbours and is cut off.
    after_12 = order_T.new_full((tokens + 1, 2), 2 * tokens)
    after_12.scatter_(0, before_T2, torch.arange(2 * tokens, device=order_T.device).view(-1, 2))
    diagonals = [slice(last - size, last) for size, last in zip(sizes, accumulate(sizes), strict=True)]
    return Layout(order_T, rank_N1[:-1], diagonals, before_T2, after_12[:-1])


class Lstm2d(nn.Module):
    """A multi-dimensional LSTM over sentences x words (Graves, Fernández & Schmidhuber 2007), without peepholes.

    Word w of sentence s reads its input x and, zero where there is none, the states and memories of its left and upper
    neighbours (s, w - 1) and (s - 1, w):

        i, f, f', o = sigmoid(W x + U [h_left, h_up] + b), g = tanh(likewise)
        c = i g + f c_left + f' c_up,  h = o tanh(c)
    """

    n_gates = 5  # in, forget left, forget up, out, new

    def __init__(
        self, input_width: int, width: int, *, weight_dropout: float = 0.0, state_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width, self.weight_dropout, self.state_dropout = width, weight_dropout, state_dropout
        bound = width**-0.5  # as in torch's own layers
        self.input_weight = nn.Parameter(torch.empty(5 * width, input_width).uniform_(-bound, bound))
        self.state_weight = nn.Parameter(torch.empty(5 * width, 2 * width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(5 * width).uniform_(-bound, bound))

    def forward(self, input_BLD: Tensor, length_B: Tensor, ends_BL: Tensor) -> tuple[Tensor, State]:
        """Return states_BLD, zero at padding, and the state of each row's last token.

        ends_BL says after which tokens a sentence ends. There is no start state: a grid continues from lines.
        """
        batch, length, _ = input_BLD.shape
        layout = skew(length_B, ends_BL)
        mask_TD = None
        if self.training and self.state_dropout:
            mask_BD = F.dropout(self.bias.new_ones(batch, self.width), self.state_dropout)
            mask_TD = mask_BD.index_select(0, layout.order_T // length)
        states_ND: Tensor = _Wavefront.apply(  # type: ignore[no-untyped-call]
            input_BLD.to(self.bias.dtype).flatten(0, 1),
            self.input_weight,
            F.dropout(self.state_weight, self.weight_dropout, self.training),
            self.bias,
            mask_TD,
            layout,
        )
        last_B = torch.arange(batch, device=length_B.device) * length + length_B - 1
        return states_ND.view(batch, length, -1), (states_ND.index_select(0, last_B),)


class _Wavefront(torch.autograd.Function):
    """All cells of a diagonal at once, of all rows; E is twice the width: left | up.

    What a diagonal needs is gathered, and its part of the weights' gradients added, while its gates are in the cache.
    Products are written into given tensors, which autocast leaves in full precision. by_x is the gradient by x.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input_ND: Tensor,
        input_weight_GD: Tensor,
        state_weight_GE: Tensor,
        bias_G: Tensor,
        mask_TD: Tensor | None,
        layout: Layout,
    ) -> Tensor:
        tokens, width = len(layout.order_T), state_weight_GE.shape[1] // 2
        gates_TG = input_ND.new_empty(tokens, 5 * width)
        states_1D, memory_1D = (_rows_and_zeros(bias_G, tokens, width) for _ in range(2))
        read_1D = states_1D if mask_TD is None else _rows_and_zeros(bias_G, tokens, width)
        for here in layout.diagonals:
            gates_KG, before_2K = gates_TG[here], layout.before_T2[here].flatten()
            torch.addmm(bias_G, input_ND.index_select(0, layout.order_T[here]), input_weight_GD.t(), out=gates_KG)
            gates_KG.addmm_(read_1D.index_select(0, before_2K).view(-1, 2 * width), state_weight_GE.t())
            gates_KG[:, : 4 * width].sigmoid_()
            gates_KG[:, 4 * width :].tanh_()
            in_KD, forget_KE, out_KD, new_KD = gates_KG.split_with_sizes([width, 2 * width, width, width], dim=1)
            kept_KE = memory_1D.index_select(0, before_2K).view(-1, 2 * width).mul_(forget_KE)
            memory_KD = torch.mul(in_KD, new_KD, out=memory_1D[here])
            memory_KD.add_(kept_KE[:, :width]).add_(kept_KE[:, width:])
            state_KD = torch.tanh(memory_KD, out=states_1D[here]).mul_(out_KD)
            if mask_TD is not None:
                torch.mul(state_KD, mask_TD[here], out=read_1D[here])
        ctx.layout = layout
        ctx.save_for_backward(input_ND, input_weight_GD, state_weight_GE, mask_TD, gates_TG, memory_1D, read_1D)
        return states_1D.index_select(0, layout.rank_N)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        input_ND, input_weight_GD, state_weight_GE, mask_TD, gates_TG, memory_1D, read_1D = ctx.saved_tensors
        layout, tokens, width = ctx.layout, len(gates_TG), state_weight_GE.shape[1] // 2
        by_input_1D = _rows_and_zeros(gates_TG, tokens, input_ND.shape[1])
        by_input_weight_GD, by_state_weight_GE = torch.zeros_like(input_weight_GD), torch.zeros_like(state_weight_GE)
        by_bias_G = gates_TG.new_zeros(5 * width)
        # What each token hands back to its two neighbours, who gather it: nothing is added up by index.
        to_states_1D, to_memory_1D = (_rows_and_zeros(gates_TG, 2 * tokens, width) for _ in range(2))
        to_states_TE, to_memory_T2D = to_states_1D[:-1].view(tokens, -1), to_memory_1D[:-1].view(tokens, 2, width)
        for here in reversed(layout.diagonals):
            order_K = layout.order_T[here]
            before_2K, after_2K = layout.before_T2[here].flatten(), layout.after_T2[here].flatten()
            gates_KG, squashed_KD = gates_TG[here], memory_1D[here].tanh()
            in_KD, forget_KE, out_KD, new_KD = gates_KG.split_with_sizes([width, 2 * width, width, width], dim=1)
            by_gates_KG = torch.empty_like(gates_KG)
            by_in_KD, by_forget_KE, by_out_KD, by_new_KD = by_gates_KG.split_with_sizes(
                [width, 2 * width, width, width], dim=1
            )

            by_state_KD = to_states_1D.index_select(0, after_2K).view(-1, 2, width).sum(1)
            if mask_TD is not None:
                by_state_KD.mul_(mask_TD[here])
            by_state_KD.add_(grads[0].index_select(0, order_K))
            torch.mul(by_state_KD, squashed_KD, out=by_out_KD)
            by_memory_KD = _aten.tanh_backward(by_state_KD.mul_(out_KD), squashed_KD)
            by_memory_KD.add_(to_memory_1D.index_select(0, after_2K).view(-1, 2, width).sum(1))
            torch.mul(by_memory_KD, new_KD, out=by_in_KD)
            torch.mul(by_memory_KD, in_KD, out=by_new_KD)
            both_K1D, forget_K2D = by_memory_KD[:, None], forget_KE.view(-1, 2, width)
            near_K2D = memory_1D.index_select(0, before_2K).view(-1, 2, width)
            torch.mul(near_K2D, both_K1D, out=by_forget_KE.view(-1, 2, width))
            torch.mul(forget_K2D, both_K1D, out=to_memory_T2D[here])
            by_sigmoids = by_gates_KG[:, : 4 * width]
            _aten.sigmoid_backward(by_sigmoids, gates_KG[:, : 4 * width], grad_input=by_sigmoids)
            _aten.tanh_backward(by_new_KD, new_KD, grad_input=by_new_KD)

            torch.mm(by_gates_KG, state_weight_GE, out=to_states_TE[here])
            torch.mm(by_gates_KG, input_weight_GD, out=by_input_1D[here])
            by_input_weight_GD.addmm_(by_gates_KG.t(), input_ND.index_select(0, order_K))
            by_state_weight_GE.addmm_(by_gates_KG.t(), read_1D.index_select(0, before_2K).view(-1, 2 * width))
            by_bias_G.add_(by_gates_KG.sum(0))
        by_input_ND = by_input_1D.index_select(0, layout.rank_N)
        return by_input_ND, by_input_weight_GD, by_state_weight_GE, by_bias_G, None, None


def _rows_and_zeros(like: Tensor, rows: int, width: int) -> Tensor:
    """Return an uninitialized array of `rows` rows, then one of zeros for missing neighbours and padding."""
    values_1D = like.new_empty(rows + 1, width)
    values_1D[-1] = 0
    return values_1D
