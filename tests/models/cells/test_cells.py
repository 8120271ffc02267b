"""Every standard cell against its equations, torch's own layer, its neighbours and padding."""

import itertools

import equations
import pytest
import torch
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.models.layers.encoders import CELLS, RecurrentEncoder

EQUATIONS = {
    "rnn": equations.rnn,
    "rnn-relu": equations.rnn_relu,
    "rnn-output": equations.rnn_output,
    "lstm": equations.lstm,
    "lstm-1997": equations.lstm_1997,
    "lstm-peephole": equations.lstm_peephole,
    "gru": equations.gru,
}
TORCHS = {
    "rnn": nn.RNN,
    "rnn-relu": lambda *widths, **options: nn.RNN(*widths, nonlinearity="relu", **options),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
TENSORS = {"rnn-output": 2, "lstm": 2, "lstm-1997": 2, "lstm-peephole": 2}  # of the state, where it is not one
DROPOUTS = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.25, 0.5)]
every_cell = pytest.mark.parametrize("cell", EQUATIONS)


def fixed_dropout(values: Tensor, share: float, training: bool = True) -> Tensor:
    """Apply the same dropout mask to tensors of the same shape."""
    if not training or share == 0:
        return values
    kept = torch.rand(values.shape, generator=torch.Generator().manual_seed(3)) >= share
    return values * kept.to(values.device) / (1 - share)


def layer_of(cell: str, input_width: int, width: int, **dropouts: float) -> nn.Module:
    torch.manual_seed(0)
    return CELLS[cell](input_width, width, **dropouts).double()


def start_of(cell: str, width: int) -> tuple[Tensor, ...]:
    return tuple(torch.randn(3, width).double().requires_grad_() for _ in range(TENSORS.get(cell, 1)))


@every_cell
@pytest.mark.parametrize("has_start", [False, True])
@pytest.mark.parametrize("dropouts", DROPOUTS)
@pytest.mark.parametrize("length", [1, 6])
def test_values_and_gradients_are_those_of_the_equations(cell, has_start, dropouts, length, monkeypatch) -> None:
    monkeypatch.setattr("torch.nn.functional.dropout", fixed_dropout)
    weight_dropout, state_dropout = dropouts
    layer = layer_of(cell, 4, 5, weight_dropout=weight_dropout, state_dropout=state_dropout)
    input_BLD, start = torch.randn(3, length, 4).double().requires_grad_(), start_of(cell, 5)
    leaves = [input_BLD, *layer.parameters(), *(start if has_start else ())]
    weights = {
        name: fixed_dropout(weight, weight_dropout) if name in ("state_weight", "weight_hh_l0") else weight
        for name, weight in layer.named_parameters()
    }
    first = start if has_start else tuple(map(torch.zeros_like, start))
    mask_BD = fixed_dropout(torch.ones(3, 5).double(), state_dropout)
    found = []
    for states_BLD, last in (
        layer(input_BLD, start if has_start else None),
        EQUATIONS[cell](weights, input_BLD, first, mask_BD),
    ):
        torch.manual_seed(1)
        loss = sum((tensor * torch.randn(tensor.shape).double()).sum() for tensor in (states_BLD, *last))
        found.append([states_BLD, *last, *torch.autograd.grad(loss, leaves, allow_unused=True)])
    for own, expected in zip(*found, strict=True):
        torch.testing.assert_close(own, expected, atol=1e-10, rtol=0)
    if length > 1 and has_start:
        assert all(grad is None or grad.abs().max() > 1e-6 for grad in found[0])


@every_cell
@pytest.mark.parametrize("state_dropout", [0.0, 0.5])
def test_gradients_are_those_of_small_differences(cell: str, state_dropout: float, monkeypatch) -> None:
    monkeypatch.setattr("torch.nn.functional.dropout", fixed_dropout)
    layer = layer_of(cell, 2, 3, state_dropout=state_dropout)
    names = [name for name, _ in layer.named_parameters()]

    def outputs(input_BLD: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        weights, start = dict(zip(names, others, strict=False)), others[len(names) :]
        states_BLD, last = torch.func.functional_call(layer, weights, (input_BLD, start))
        return states_BLD, *last

    input_BLD = torch.randn(3, 4, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(outputs, (input_BLD, *layer.parameters(), *start_of(cell, 3)))


@pytest.mark.parametrize("cell", TORCHS)
@pytest.mark.parametrize("has_start", [False, True])
def test_it_is_torchs_layer_with_its_gradients(cell: str, has_start: bool) -> None:
    own = layer_of(cell, 4, 5)
    theirs = TORCHS[cell](4, 5, batch_first=True).double()
    theirs.load_state_dict(own.state_dict())
    input_BLD, start = torch.randn(3, 7, 4).double().requires_grad_(), start_of(cell, 5)
    start_1BD = tuple(tensor_BD[None] for tensor_BD in start)
    states_BLD, last = own(input_BLD, start if has_start else None)
    expected_BLD, last_1BD = theirs(input_BLD, None if not has_start else start_1BD if cell == "lstm" else start_1BD[0])
    torch.testing.assert_close(states_BLD, expected_BLD, atol=1e-10, rtol=0)
    torch.testing.assert_close(last, tuple(t[0] for t in (last_1BD if cell == "lstm" else (last_1BD,))))
    weight_BLD = torch.randn_like(states_BLD)
    one = torch.autograd.grad((states_BLD * weight_BLD).sum(), [input_BLD, *own.parameters()])
    other = torch.autograd.grad((expected_BLD * weight_BLD).sum(), [input_BLD, *theirs.parameters()])
    torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


@every_cell
def test_reading_a_row_in_two_pieces_equals_reading_it_at_once(cell: str) -> None:
    layer, input_BLD = layer_of(cell, 4, 5), torch.randn(3, 9, 4).double()
    states_BLD, last = layer(input_BLD)
    first_BLD, between = layer(input_BLD[:, :4])
    second_BLD, end = layer(input_BLD[:, 4:], between)
    torch.testing.assert_close(torch.cat([first_BLD, second_BLD], 1), states_BLD)
    torch.testing.assert_close(end, last)
    assert torch.equal(last[0], states_BLD[:, -1])


@every_cell
def test_its_weights_are_stacked_as_declared(cell: str) -> None:
    layer = layer_of(cell, 4, 5)
    for name, weight in layer.named_parameters():
        assert name == "peephole" or len(weight) == layer.n_gates * layer.width == layer.n_gates * 5


@every_cell
def test_in_bf16_it_is_the_same_within_its_precision(cell: str) -> None:
    layer, input_BLD = layer_of(cell, 16, 16).float(), torch.randn(3, 9, 16)
    states_BLD, _ = layer(input_BLD)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lower_BLD, lower_last = layer(input_BLD.bfloat16())
    expected = torch.bfloat16 if cell == "lstm" else torch.float32  # the one on a bf16 kernel
    assert lower_BLD.dtype == lower_last[0].dtype == expected
    torch.testing.assert_close(lower_BLD.float(), states_BLD, atol=0.03, rtol=0.03)
    lower_BLD.float().square().sum().backward()
    assert all(weight.grad.dtype == torch.float32 for weight in layer.parameters())


@every_cell
def test_dropouts_act_in_training_only(cell: str) -> None:
    layer, input_BLD = layer_of(cell, 4, 16, weight_dropout=0.5, state_dropout=0.5), torch.randn(3, 9, 4).double()
    one, other = (layer(input_BLD)[0] for _ in range(2))
    assert not torch.allclose(one, other)
    layer.eval()
    torch.testing.assert_close(layer(input_BLD)[0], layer_of(cell, 4, 16)(input_BLD)[0])


@every_cell
def test_the_same_seed_gives_the_same_bits(cell: str) -> None:
    layer = layer_of(cell, 32, 64, weight_dropout=0.1, state_dropout=0.1).float()
    input_BLD, found = torch.randn(32, 40, 32), []
    for _ in range(2):
        torch.manual_seed(2)
        states_BLD, _ = layer(input_BLD)
        found.append([states_BLD, *torch.autograd.grad(states_BLD.square().sum(), list(layer.parameters()))])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@every_cell
@pytest.mark.parametrize(("layers", "bidirectional"), list(itertools.product([1, 2], [False, True])))
def test_neighbours_and_padding_change_nothing(cell: str, layers: int, bidirectional: bool) -> None:
    """Invariant 11."""
    torch.manual_seed(0)
    settings = schema.Encoder(cell=cell, width=6, layers=layers, bidirectional=bidirectional)
    encoder, input_BLD, length_B = RecurrentEncoder(settings, 4), torch.randn(4, 9, 4), torch.tensor([5, 1, 9, 3])
    together = encoder(input_BLD, length_B)
    wider = encoder(nn.functional.pad(input_BLD, (0, 0, 0, 13), value=7.0), length_B)
    torch.testing.assert_close(wider.last_BD, together.last_BD, atol=1e-5, rtol=0)
    for i, length in enumerate(length_B):
        alone = encoder(input_BLD[i : i + 1, :length], length[None])
        torch.testing.assert_close(alone.last_BD[0], together.last_BD[i], atol=1e-5, rtol=0)
        for padded in (together, wider):
            torch.testing.assert_close(padded.states_BLD[i, :length], alone.states_BLD[0], atol=1e-5, rtol=0)


@every_cell
def test_it_overfits_32_random_reviews(cell: str) -> None:
    torch.manual_seed(0)
    settings = schema.Model(
        embedding=schema.Embedding(width=16), encoder=schema.Encoder(cell=cell, width=16), pooling="last"
    )
    model = Classifier(settings, 50, 1, 2, pad_is_input=False)
    length_B = torch.randint(4, 13, (32,))
    ids_BL = torch.randint(2, 50, (32, 12)) * (torch.arange(12) < length_B[:, None])
    label_B = torch.arange(32) % 2
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(model(ids_BL, length_B), label_B.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(model(ids_BL, length_B) > 0, label_B == 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("state_dropout", [0.0, 0.3])
@pytest.mark.parametrize("cell", [*EQUATIONS, "orthogonal", "goru", "lstm-grid"])
def test_a_gpu_gives_the_numbers_and_gradients_of_the_cpu(cell: str, state_dropout: float, monkeypatch) -> None:
    """Wider than a block of the kernels, more rows than a program takes, and neither a multiple."""
    monkeypatch.setattr("torch.nn.functional.dropout", fixed_dropout)
    torch.manual_seed(0)
    layer, input_BLD = CELLS[cell](6, 70, state_dropout=state_dropout), torch.randn(18, 9, 6)
    grad_BLD, found = torch.randn(18, 9, 70), {}
    for device in ("cpu", "cuda"):
        own, x_BLD = layer.to(device), input_BLD.clone().to(device).requires_grad_()
        states_BLD = own(x_BLD)[0]
        leaves = [x_BLD, *own.parameters()]
        grads = torch.autograd.grad(states_BLD, leaves, grad_BLD.to(device), allow_unused=True)
        found[device] = [one.detach().cpu() for one in (states_BLD, *grads) if one is not None]
    for one, other in zip(found["cuda"], found["cpu"], strict=True):
        assert float((one - other).norm()) <= 5e-4 * max(1.0, float(other.norm()))
