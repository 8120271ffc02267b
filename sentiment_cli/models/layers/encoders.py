"""Encoders of padded batches, whose result for a row does not depend on the other rows or on padding."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.models.cells.elementwise import QRNN, SRU, MinGRU
from sentiment_cli.models.cells.elman import OutputRnn, Rnn
from sentiment_cli.models.cells.gru import Gru
from sentiment_cli.models.cells.lstm import Lstm, Lstm1997, PeepholeLstm
from sentiment_cli.models.cells.lstm_2d import Lstm2d, reversed_ends
from sentiment_cli.models.cells.lstm_grid import LstmGrid
from sentiment_cli.models.cells.orthogonal import GORU, Orthogonal

CELLS: dict[str, Callable[..., nn.Module]] = {
    "rnn": Rnn,
    "rnn-relu": functools.partial(Rnn, nonlinearity="relu"),
    "rnn-output": OutputRnn,
    "lstm": Lstm,
    "lstm-1997": Lstm1997,
    "lstm-peephole": PeepholeLstm,
    "gru": Gru,
    "orthogonal": Orthogonal,
    "goru": GORU,
    "mingru": MinGRU,
    "sru": SRU,
    "qrnn": QRNN,
    "lstm-2d": Lstm2d,
    "lstm-grid": LstmGrid,
}


class Encoded(NamedTuple):
    """states_BLD: one vector per token; last_BD: the state after each direction's last token."""

    states_BLD: Tensor
    last_BD: Tensor


class Bag(nn.Module):
    """No encoder: the embeddings are the states (Joulin et al. 2017)."""

    needs_ends = False

    def __init__(self, input_width: int) -> None:
        super().__init__()
        self.width = input_width

    def forward(self, input_BLD: Tensor, length_B: Tensor) -> Encoded:
        return Encoded(input_BLD, last_of(input_BLD, length_B))


Read = Callable[..., Tensor]  # (layer, input_BLD, further inputs of the layer) -> states_BLD


def _read(layer: nn.Module, input_BLD: Tensor, *told: Tensor) -> Tensor:
    states_BLD: Tensor = layer(input_BLD, *told)[0]
    return states_BLD


class RecurrentEncoder(nn.Module):
    """Layers of one kind of cell, one or both directions.

    The reverse direction reads each row from its own end: the row is reversed within its length, read forward, and
    its states reversed back, so padding is never read. No PackedSequence, which leaves the fast CPU path.

    `chop` cuts rows into pieces that are read as separate rows, through all layers (Johnson & Zhang 2016). The cell
    `lstm-2d` needs the ends of sentences as an input; a `lstm-grid` of several layers is one layer here, with the depth
    inside.
    """

    def __init__(self, settings: schema.Encoder, input_width: int) -> None:
        super().__init__()
        self.needs_ends = settings.cell == "lstm-2d"
        self.width = settings.width * (2 if settings.bidirectional else 1)
        self.dropout = settings.dropout
        n_layers = 1 if settings.cell == "lstm-grid" else settings.layers
        widths = [input_width] + [self.width] * (n_layers - 1)
        self.forward_layers = nn.ModuleList(build_layer(settings, width) for width in widths)
        self.backward_layers = nn.ModuleList(build_layer(settings, width) for width in widths if settings.bidirectional)
        self.chop = settings.chop
        n_maps = (len(self.forward_layers) + len(self.backward_layers)) * settings.direction_maps
        self.maps = nn.ModuleList(nn.Linear(settings.width, settings.width) for _ in range(n_maps))
        skip_widths = widths if settings.skip != "none" else []
        self.skips = nn.ModuleList(Skip(width, self.width, settings.skip == "highway") for width in skip_widths)

    def forward(self, input_BLD: Tensor, length_B: Tensor, ends_BL: Tensor | None = None) -> Encoded:
        batch, length, _ = input_BLD.shape
        if self.chop is None:
            states_BLD = self.read_rows(input_BLD, length_B, ends_BL)
        else:
            pieces_BLD = self.read_rows(*cut_rows(input_BLD, length_B, min(self.chop, length)))
            states_BLD = pieces_BLD.reshape(batch, -1, self.width)[:, :length]
        return Encoded(states_BLD, self._last(states_BLD, length_B))

    def read_rows(
        self, input_BLD: Tensor, length_B: Tensor, ends_BL: Tensor | None = None, read: Read = _read
    ) -> Tensor:
        """Return the states_BLD of the last layer; `read` is called for each layer, of two directions forward first."""
        states_BLD = lower_layer(input_BLD)  # once, not for each direction
        flip_T = flipped_places(length_B, states_BLD.shape[1])
        told: tuple[Tensor, ...] = () if ends_BL is None else (length_B, ends_BL)
        told_turned = () if ends_BL is None else (length_B, reversed_ends(ends_BL, flip_T))
        for i, forward in enumerate(self.forward_layers):
            carried_BLD = states_BLD
            if i:
                states_BLD = drop_columns(states_BLD, self.dropout, self.training)
            outputs = [read(forward, states_BLD, *told)]
            if self.backward_layers:
                turned_BLD = _permute_rows(states_BLD, flip_T)
                outputs.append(_permute_rows(read(self.backward_layers[i], turned_BLD, *told_turned), flip_T))
            if self.maps:
                maps = self.maps[i * len(outputs) : (i + 1) * len(outputs)]
                outputs = [linear(output_BLD) for linear, output_BLD in zip(maps, outputs, strict=True)]
            states_BLD = torch.cat(outputs, dim=2)
            if self.skips:
                states_BLD = self.skips[i](carried_BLD, states_BLD)
        return states_BLD

    def _last(self, states_BLD: Tensor, length_B: Tensor) -> Tensor:
        """Return last_BD: the forward state after the row's last token, the backward state after its first."""
        if not self.backward_layers:
            return last_of(states_BLD, length_B)
        batch, length, _ = states_BLD.shape
        first_B = torch.arange(batch, device=length_B.device) * length
        place_T = torch.cat([first_B + length_B - 1, first_B])  # one scatter in the gradient, not two
        ends_2BD = states_BLD.flatten(0, 1).index_select(0, place_T).view(2, batch, -1)
        forward_BD, backward_BD = ends_2BD.chunk(2, dim=2)
        return torch.cat([forward_BD[0], backward_BD[1]], dim=1)


def build_layer(settings: schema.Encoder, input_width: int) -> nn.Module:
    """Build one layer of one direction (of a grid LSTM all layers)."""
    cell = CELLS[settings.cell]
    if settings.cell == "lstm-grid":
        cell = functools.partial(cell, depth=settings.layers)
    dropouts = {"weight_dropout": settings.weight_dropout, "state_dropout": settings.state_dropout}
    return cell(input_width, settings.width, **dropouts)


class Skip(nn.Module):
    """A skip connection: residual, x + H(x) (He et al. 2016), or highway (Srivastava et al. 2015).

    A highway is T(x) H(x) + (1 - T(x)) x with T(x) = sigmoid(W x + b) and b initialized to -1, which mostly carries x.
    An input of another width, as in the first layer, passes through a linear map.
    """

    def __init__(self, input_width: int, width: int, is_highway: bool) -> None:
        super().__init__()
        self.carry = nn.Identity() if input_width == width else nn.Linear(input_width, width, bias=False)
        self.gate = nn.Linear(input_width, width) if is_highway else None
        if self.gate is not None:
            nn.init.constant_(self.gate.bias, -1.0)

    def forward(self, input_BLD: Tensor, output_BLD: Tensor) -> Tensor:
        carried_BLD: Tensor = self.carry(input_BLD)
        if self.gate is None:
            return carried_BLD + output_BLD
        gate_BLD: Tensor = self.gate(input_BLD).sigmoid()
        return carried_BLD + gate_BLD * (output_BLD - carried_BLD)


def lower_layer(values: Tensor) -> Tensor:
    """Return the values in autocast's dtype, where autocast is on."""
    device = values.device.type
    return values.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else values


def last_of(values_BLD: Tensor, length_B: Tensor) -> Tensor:
    """Return the value at each row's last token, from values_BLD."""
    batch, length, _ = values_BLD.shape
    last_B = torch.arange(batch, device=length_B.device) * length + length_B - 1
    return values_BLD.flatten(0, 1).index_select(0, last_B)


def cut_rows(input_BLD: Tensor, length_B: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cut rows into pieces of `size` tokens; return the pieces as rows, in order, and their lengths.

    A row's last piece may be shorter; further pieces have length 0.
    """
    length = input_BLD.shape[1]
    padded_BLD = F.pad(input_BLD, (0, 0, 0, -length % size))
    start_N = torch.arange(0, length, size, device=length_B.device)
    return padded_BLD.reshape(-1, size, input_BLD.shape[2]), (length_B[:, None] - start_N).clamp(0, size).flatten()


def flipped_places(length_B: Tensor, length: int) -> Tensor:
    """Return flip_T, the permutation of the flat B*L positions that reverses each row within its length."""
    column_L = torch.arange(length, device=length_B.device)
    flip_BL = torch.where(column_L < length_B[:, None], length_B[:, None] - 1 - column_L, column_L)
    return (flip_BL + torch.arange(len(length_B), device=length_B.device)[:, None] * length).flatten()


def drop_columns(values_BLD: Tensor, share: float, training: bool) -> Tensor:
    """Apply dropout with the same mask at every step of a row (variational dropout, Gal & Ghahramani 2016).

    A mask per row costs L times less than one per token; drawing random numbers is slow on a CPU.
    """
    if not training or share == 0:
        return values_BLD
    batch, _, width = values_BLD.shape
    mask_B1D = torch.rand(batch, 1, width, device=values_BLD.device) >= share
    return values_BLD * (mask_B1D.to(values_BLD.dtype) / (1 - share))


class _PermuteRows(torch.autograd.Function):
    """index_select by a permutation that is its own inverse, so that its gradient is also an index_select."""

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
