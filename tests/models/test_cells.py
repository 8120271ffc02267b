import pytest
import torch
from torch import nn

from sentiment_cli.config import schema
from sentiment_cli.models.cells import read_elman, read_with_dropout
from sentiment_cli.models.encoders import RecurrentEncoder


@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN])
def test_without_dropout_it_is_the_layer_itself(kind: type[nn.RNNBase], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    cell, input_BLD = kind(3, 5, batch_first=True), torch.randn(2, 7, 3)
    expected = cell(input_BLD)[0]
    torch.testing.assert_close(read_with_dropout(cell, input_BLD, 0.0, 0.0), expected)
    monkeypatch.setattr("torch.nn.functional.dropout", lambda values, share: values)
    torch.testing.assert_close(read_with_dropout(cell, input_BLD, 0.0, 0.5), expected)


@pytest.mark.parametrize("length", [1, 2, 9])
def test_the_elman_scan_is_torchs_layer_with_its_gradients(length: int) -> None:
    torch.manual_seed(0)
    cell, input_BLD = nn.RNN(3, 5, batch_first=True).double(), torch.randn(4, length, 3).double().requires_grad_()
    weight_BLD = torch.randn(4, length, 5).double()
    found = []
    for states_BLD in (cell(input_BLD)[0], read_elman(cell, input_BLD)):
        gradients = torch.autograd.grad((states_BLD * weight_BLD).sum(), [input_BLD, *cell.parameters()])
        found.append([states_BLD, *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN])
@pytest.mark.parametrize("dropouts", [(0.5, 0.0), (0.0, 0.5)])
def test_only_the_recurrence_is_dropped_and_the_same_at_every_step(kind: type[nn.RNNBase], dropouts) -> None:
    torch.manual_seed(0)
    cell, input_BLD = kind(3, 64, batch_first=True), torch.randn(2, 7, 3)
    states_BLD = read_with_dropout(cell, input_BLD, *dropouts)
    whole_BLD = cell(input_BLD)[0]
    torch.testing.assert_close(states_BLD[:, 0], whole_BLD[:, 0])  # the first step reads no state
    assert not torch.allclose(states_BLD[:, 1], whole_BLD[:, 1])
    cell.weight_hh_l0.grad = None
    states_BLD.sum().backward()
    untouched = (cell.weight_hh_l0.grad == 0).float().mean()
    assert untouched == pytest.approx(0.5 if dropouts[0] else 0.25, abs=0.12)  # a column is out where both rows drop it


@pytest.mark.parametrize("name", ["weight_dropout", "state_dropout"])
def test_the_encoder_drops_in_training_alone(name: str) -> None:
    torch.manual_seed(0)
    encoder = RecurrentEncoder(schema.Encoder(width=8, bidirectional=True, **{name: 0.5}), 3)
    input_BLD, length_B = torch.randn(2, 7, 3), torch.tensor([7, 4])
    one, other = (encoder(input_BLD, length_B).states_BLD for _ in range(2))
    assert not torch.equal(one, other)
    encoder.eval()
    one, other = (encoder(input_BLD, length_B).states_BLD for _ in range(2))
    assert torch.equal(one, other)
