"""Recurrent encoders of padded rows that read each row as if it stood alone."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.models.cells import OutputRnn, Rnn
from sentiment_cli.models.gru import Gru
from sentiment_cli.models.lstm import Lstm, Lstm1997, PeepholeLstm

_CELLS: dict[str, Callable[..., nn.Module]] = {
    "rnn": Rnn,
    "rnn-relu": functools.partial(Rnn, nonlinearity="relu"),
    "rnn-output": OutputRnn,
    "lstm": Lstm,
    "lstm-1997": Lstm1997,
    "lstm-peephole": PeepholeLstm,
    "gru": Gru,
}


class Encoded(NamedTuple):
    """states_BLD: one vector per token; last_BD: the state after each direction's last token."""

    states_BLD: Tensor
    last_BD: Tensor


class RecurrentEncoder(nn.Module):
    """Layers of one kind of cell, one or both directions.

    The reverse direction reads each row from its own end: the row is reversed within its length, read forward, and
    its states reversed back, so padding is never read. No PackedSequence, which leaves the fast CPU path.
    """

    def __init__(self, settings: schema.Encoder, input_width: int) -> None:
        super().__init__()
        self.width = settings.width * (2 if settings.bidirectional else 1)
        self.dropout = settings.dropout
        widths = [input_width] + [self.width] * (settings.layers - 1)
        self.forward_layers = nn.ModuleList(_build_layer(settings, width) for width in widths)
        self.backward_layers = nn.ModuleList(
            _build_layer(settings, width) for width in widths if settings.bidirectional
        )

    def forward(self, input_BLD: Tensor, length_B: Tensor) -> Encoded:
        batch, length, _ = input_BLD.shape
        start_B = torch.arange(batch, device=length_B.device) * length
        last_B = start_B + length_B - 1  # where each row's last token is, in a flat B*L
        column_L = torch.arange(length, device=length_B.device)
        flip_BL = torch.where(column_L < length_B[:, None], length_B[:, None] - 1 - column_L, column_L)
        flip_T = (flip_BL + start_B[:, None]).flatten()
        states_BLD = input_BLD
        if torch.is_autocast_enabled(input_BLD.device.type):  # once, not again in every direction
            states_BLD = input_BLD.to(torch.get_autocast_dtype(input_BLD.device.type))
        for i, forward in enumerate(self.forward_layers):
            if i:
                states_BLD = drop_columns(states_BLD, self.dropout, self.training)
            outputs, lasts = [forward(states_BLD)[0]], []
            lasts.append(outputs[0].flatten(0, 1).index_select(0, last_B))
            if self.backward_layers:
                turned_BLD, _ = self.backward_layers[i](_permute_rows(states_BLD, flip_T))
                lasts.append(turned_BLD.flatten(0, 1).index_select(0, last_B))
                outputs.append(_permute_rows(turned_BLD, flip_T))
            states_BLD, last_BD = torch.cat(outputs, dim=2), torch.cat(lasts, dim=1)
        return Encoded(states_BLD, last_BD)


def _build_layer(settings: schema.Encoder, input_width: int) -> nn.Module:
    cell = _CELLS[settings.cell]
    return cell(
        input_width,
        settings.width,
        weight_dropout=settings.weight_dropout,
        state_dropout=settings.state_dropout,
    )


def drop_columns(values_BLD: Tensor, share: float, training: bool) -> Tensor:
    """Zero the same numbers at every step of a row (Gal & Ghahramani 2016), and scale the rest up.

    A mask per row costs L times less than one per token; drawing random numbers is slow on a CPU.
    """
    if not training or share == 0:
        return values_BLD
    batch, _, width = values_BLD.shape
    mask_B1D = torch.rand(batch, 1, width, device=values_BLD.device) >= share
    return values_BLD * (mask_B1D.to(values_BLD.dtype) / (1 - share))


class _PermuteRows(torch.autograd.Function):
    """index_select by a permutation that is its own inverse, so that the gradient is one too and no scatter."""

    @staticmethod
    def forward(ctx: Any, values_TD: Tensor, flip_T: Tensor) -> Tensor:
        ctx.save_for_backward(flip_T)
        return values_TD.index_select(0, flip_T)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (flip_T,) = ctx.saved_tensors
        return _permute(grads[0], flip_T), None


def _permute(values_TD: Tensor, flip_T: Tensor) -> Tensor:
    permuted: Tensor = _PermuteRows.apply(values_TD, flip_T)  # type: ignore[no-untyped-call]
    return permuted


def _permute_rows(values_BLD: Tensor, flip_T: Tensor) -> Tensor:
    return _permute(values_BLD.flatten(0, 1), flip_T).view_as(values_BLD)
