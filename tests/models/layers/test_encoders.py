"""Every setting of an encoder against its plain definition on each row alone."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.models.layers.encoders import Bag, RecurrentEncoder, Skip, cut_rows, drop_columns

SETTINGS = list(itertools.product(["lstm", "rnn"], [1, 2], [False, True]))
LENGTHS = torch.tensor([5, 1, 9, 3])


def encoder_of(cell: str, layers: int, bidirectional: bool) -> RecurrentEncoder:
    torch.manual_seed(0)
    settings = schema.Encoder(cell=cell, width=6, layers=layers, bidirectional=bidirectional, dropout=0.5)
    return RecurrentEncoder(settings, 4).eval()


def rows(length: int = 9) -> torch.Tensor:
    return torch.randn(len(LENGTHS), length, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("cell", "layers", "bidirectional"), SETTINGS)
def test_encoder_is_torchs_own_on_each_row_alone(cell: str, layers: int, bidirectional: bool) -> None:
    encoder, input_BLD = encoder_of(cell, layers, bidirectional), rows()
    reference = {"lstm": nn.LSTM, "rnn": nn.RNN}[cell](4, 6, layers, batch_first=True, bidirectional=bidirectional)
    for name, weight in reference.named_parameters():  # weight_ih_l0, weight_ih_l0_reverse
        kind, _, place = name.rpartition("_l")
        place, _, reverse = place.partition("_")
        own = (encoder.backward_layers if reverse else encoder.forward_layers)[int(place)]
        weight.data.copy_(getattr(own, f"{kind}_l0"))
    encoded = encoder(input_BLD, LENGTHS)
    for i, length in enumerate(LENGTHS):
        states, last = reference(input_BLD[i : i + 1, :length])
        final = last[0] if cell == "lstm" else last
        torch.testing.assert_close(encoded.states_BLD[i, :length], states[0], atol=1e-6, rtol=0)
        expected = final[-2:].flatten() if bidirectional else final[-1, 0]
        torch.testing.assert_close(encoded.last_BD[i], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("cell", "layers", "bidirectional"), SETTINGS)
def test_gradients_of_the_reversal_are_right(cell: str, layers: int, bidirectional: bool) -> None:
    encoder = encoder_of(cell, layers, bidirectional).double()
    input_BLD = rows(4).double()[:3].requires_grad_()
    length_B = torch.tensor([3, 1, 4])
    assert torch.autograd.gradcheck(lambda x: tuple(encoder(x, length_B)), input_BLD)


def read_plainly(encoder: RecurrentEncoder, settings: schema.Encoder, row_LD: Tensor) -> Tensor:
    """Return states_LD of one row: piece by piece, layer by layer."""
    pieces = []
    for x_LD in row_LD.split(settings.chop or len(row_LD)):
        for i in range(settings.layers):
            directions = [encoder.forward_layers[i](x_LD[None])[0][0]]
            if settings.bidirectional:
                directions.append(encoder.backward_layers[i](x_LD.flip(0)[None])[0][0].flip(0))
            if settings.direction_maps:
                maps = encoder.maps[len(directions) * i :]
                directions = [y_LD @ maps[j].weight.T + maps[j].bias for j, y_LD in enumerate(directions)]
            y_LD = torch.cat(directions, dim=1)
            if settings.skip != "none":
                skip = encoder.skips[i]
                carried_LD = x_LD if x_LD.shape == y_LD.shape else x_LD @ skip.carry.weight.T
                if settings.skip == "residual":
                    y_LD = carried_LD + y_LD
                else:
                    gate_LD = 1 / (1 + torch.exp(-(x_LD @ skip.gate.weight.T + skip.gate.bias)))
                    y_LD = gate_LD * y_LD + (1 - gate_LD) * carried_LD
            x_LD = y_LD
        pieces.append(x_LD)
    return torch.cat(pieces)


# All pairs of the four settings, in half of the combinations.
@pytest.mark.parametrize(
    ("bidirectional", "skip", "direction_maps", "chop"),
    [
        (bidirectional, skip, (i + j + bidirectional) % 2 == 1, chop)
        for i, chop in enumerate([None, 1, 2, 3, 5, 9, 40])
        for j, skip in enumerate(["none", "residual", "highway"])
        for bidirectional in (False, True)
    ],
)
def test_skips_maps_and_pieces_are_their_definitions(bidirectional, skip, direction_maps, chop) -> None:
    for layers, input_width in itertools.product([1, 3], [4, 3, 8]):
        torch.manual_seed(0)
        settings = schema.Encoder(
            width=4, layers=layers, bidirectional=bidirectional, skip=skip, direction_maps=direction_maps, chop=chop
        )
        encoder = RecurrentEncoder(settings, input_width).double()
        input_BLD = torch.randn(len(LENGTHS), 9, input_width).double()
        encoded = encoder(input_BLD, LENGTHS)
        for i, length in enumerate(LENGTHS):
            states_LD = read_plainly(encoder, settings, input_BLD[i, :length])
            torch.testing.assert_close(encoded.states_BLD[i, :length], states_LD, atol=1e-10, rtol=0)
            last_D = torch.cat([states_LD[-1, :4], states_LD[0, 4:]])
            torch.testing.assert_close(encoded.last_BD[i], last_D, atol=1e-10, rtol=0)


@pytest.mark.parametrize("skip", ["residual", "highway"])
def test_gradients_through_skips_maps_and_pieces_are_right(skip: str) -> None:
    torch.manual_seed(0)
    settings = schema.Encoder(width=2, layers=2, bidirectional=True, skip=skip, direction_maps=True, chop=2)
    encoder = RecurrentEncoder(settings, 3).double()
    input_BLD, length_B = torch.randn(3, 5, 3).double().requires_grad_(), torch.tensor([5, 1, 3])
    assert torch.autograd.gradcheck(lambda x: tuple(encoder(x, length_B)), input_BLD)


def test_a_new_highway_mostly_carries_its_input() -> None:
    torch.manual_seed(0)
    skip = Skip(4, 4, is_highway=True)
    assert skip.gate is not None
    assert (skip.gate.bias == -1).all()
    carried = skip(torch.zeros(1, 1, 4), torch.ones(1, 1, 4))
    torch.testing.assert_close(carried, torch.full((1, 1, 4), 1 / (1 + torch.e)))


def test_rows_are_cut_into_pieces_with_their_lengths() -> None:
    pieces_BLD, length_B = cut_rows(torch.arange(14.0).view(2, 7, 1), torch.tensor([7, 2]), 3)
    assert pieces_BLD[..., 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 0, 0], [7, 8, 9], [10, 11, 12], [13, 0, 0]]
    assert length_B.tolist() == [3, 3, 1, 2, 0, 0]


def test_a_bag_returns_what_it_gets() -> None:
    input_BLD = rows()
    states_BLD, last_BD = Bag(4)(input_BLD, LENGTHS)
    assert states_BLD is input_BLD
    assert torch.equal(last_BD, torch.stack([input_BLD[i, length - 1] for i, length in enumerate(LENGTHS)]))


def test_dropped_columns_stay_dropped_through_time_and_keep_the_mean() -> None:
    torch.manual_seed(0)
    values = drop_columns(torch.ones(500, 3, 8), 0.3, training=True)
    assert torch.equal(values[:, 0], values[:, 2])
    assert values.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert values.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop_columns(torch.ones(2, 3, 4), 0.3, training=False), torch.ones(2, 3, 4))
