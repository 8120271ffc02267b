from collections.abc import Callable

import equations_orthogonal
import pytest
import torch
from torch import Tensor, nn

from sentiment_cli.models.cells import recurrence
from sentiment_cli.models.cells.orthogonal import GORU, Orthogonal, orthogonal_matrix
from sentiment_cli.models.cells.recurrence import State

REFERENCES: dict[type[nn.Module], Callable[..., tuple[Tensor, State]]] = {
    Orthogonal: equations_orthogonal.orthogonal,
    GORU: equations_orthogonal.goru,
}
CELLS = pytest.mark.parametrize("kind", REFERENCES)


def build(
    kind: type[nn.Module], input_width: int, width: int, batch: int, length: int
) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a layer in float64 with nonzero parameters, an input and an initial state, all with gradients."""
    torch.manual_seed(0)
    cell = kind(input_width, width).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter, std=0.7)  # modReLU cuts some states to 0 and lifts others
    start_BD = torch.randn(batch, width, dtype=torch.float64, requires_grad=True)
    return cell, torch.randn(batch, length, input_width, dtype=torch.float64, requires_grad=True), start_BD


def assert_same_with_gradients(readings: list[tuple[Tensor, State]], wanted: list[Tensor]) -> None:
    found = []
    for states_BLD, last in readings:
        weight_BLD = torch.randn(states_BLD.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        loss = (states_BLD * weight_BLD).sum() + 2 * last[0].square().sum()
        found.append([states_BLD, *last, *torch.autograd.grad(loss, wanted)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


@CELLS
@pytest.mark.parametrize("width", [2, 5, 6])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_it_is_its_equations_with_all_gradients(kind, width: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrence, "_IN_CACHE", 4 * 4 * width)  # blocks of four steps
    cell, input_BLD, start_BD = build(kind, 3, width, 4, length)
    zeros_BD, from_zero = torch.zeros_like(start_BD), cell(input_BLD)
    wanted = [input_BLD, *cell.parameters()]
    assert_same_with_gradients([REFERENCES[kind](cell, input_BLD, (zeros_BD,)), from_zero], wanted)
    readings = [REFERENCES[kind](cell, input_BLD, (start_BD,)), cell(input_BLD, (start_BD,))]
    assert_same_with_gradients(readings, [*wanted, start_BD])


@CELLS
def test_state_dropout_hides_the_same_numbers_of_the_state_at_every_step(kind, monkeypatch: pytest.MonkeyPatch) -> None:
    cell, input_BLD, start_BD = build(kind, 3, 6, 4, 9)
    cell.state_dropout = 0.5
    kept_BD = (torch.rand(4, 6) < 0.5).double()
    monkeypatch.setattr("torch.nn.functional.dropout", lambda values, share: values * kept_BD)
    readings = [REFERENCES[kind](cell, input_BLD, (start_BD,), kept_BD), cell(input_BLD, (start_BD,))]
    assert_same_with_gradients(readings, [input_BLD, *cell.parameters(), start_BD])
    cell.eval()
    torch.testing.assert_close(cell(input_BLD)[0], REFERENCES[kind](cell, input_BLD, (torch.zeros_like(start_BD),))[0])


@CELLS
def test_its_gradients_are_those_of_small_differences(kind) -> None:
    cell, input_BLD, start_BD = build(kind, 2, 3, 2, 4)
    names = [name for name, _ in cell.named_parameters()]

    def read(input_BLD: Tensor, start_BD: Tensor, *parameters: Tensor) -> Tensor:
        replaced = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(cell, replaced, (input_BLD, (start_BD,)))[0]

    assert torch.autograd.gradcheck(read, (input_BLD, start_BD, *cell.parameters()))


@CELLS
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_two_pieces_with_the_state_carried_are_one_long_read(kind, cut: int) -> None:
    cell, input_BLD, start_BD = build(kind, 3, 5, 4, 9)
    states_BLD, last = cell(input_BLD, (start_BD,))
    first_BLD, between = cell(input_BLD[:, :cut], (start_BD,))
    second_BLD, end = cell(input_BLD[:, cut:], between)
    torch.testing.assert_close(torch.cat([first_BLD, second_BLD], 1), states_BLD, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end, last, rtol=1e-12, atol=1e-12)


@CELLS
def test_a_row_does_not_depend_on_padding_or_other_rows(kind) -> None:
    cell, input_BLD, _ = build(kind, 3, 5, 4, 9)
    alone_BLD = cell(input_BLD[1:2, :6])[0]
    torch.testing.assert_close(cell(input_BLD)[0][1:2, :6], alone_BLD, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("width", [1, 2, 7, 128])
@pytest.mark.parametrize("scale", [1, 10])
def test_the_matrix_is_orthogonal(width: int, scale: int) -> None:
    torch.manual_seed(0)
    skew = Orthogonal(3, width).skew.detach()
    matrix_DD = orthogonal_matrix(scale * (skew + 0.02 * torch.randn_like(skew)), width)
    distance = (matrix_DD.double().t() @ matrix_DD.double() - torch.eye(width)).abs().max()
    assert distance < 1e-6


@CELLS
def test_training_learns_32_reviews_by_heart_and_keeps_the_matrix_orthogonal(kind) -> None:
    torch.set_deterministic_debug_mode("error")
    torch.manual_seed(0)
    ids_BL, label_B = torch.randint(50, (32, 20)), torch.arange(32) % 2
    embedding, cell, output = nn.Embedding(50, 32), kind(32, 32), nn.Linear(32, 2)
    parameters = [p for module in (embedding, cell, output) for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    before_DD = orthogonal_matrix(cell.skew.detach(), 32)
    for _ in range(50):
        logit_BC = output(cell(embedding(ids_BL))[0].mean(1))
        loss = nn.functional.cross_entropy(logit_BC, label_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (logit_BC.argmax(1) == label_B).all()
    matrix_DD = orthogonal_matrix(cell.skew.detach(), 32)
    assert (matrix_DD - before_DD).abs().max() > 0.1
    assert (matrix_DD.double().t() @ matrix_DD.double() - torch.eye(32)).abs().max() < 1e-6


def test_the_same_seed_gives_the_same_gradients_bit_for_bit() -> None:
    torch.set_deterministic_debug_mode("error")
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        cell = GORU(16, 128, state_dropout=0.2)
        cell(torch.randn(8, 30, 16))[0].square().mean().backward()
        found.append([parameter.grad for parameter in cell.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@CELLS
def test_two_thousand_steps_have_finite_gradients(kind) -> None:
    torch.manual_seed(0)
    cell, input_BLD = kind(8, 8), torch.randn(2, 2000, 8, requires_grad=True)
    states_BLD, _ = cell(input_BLD)
    states_BLD.square().mean().backward()
    assert all(values.grad.isfinite().all() for values in (input_BLD, *cell.parameters()))


def test_a_new_layer_keeps_its_state_and_gradient_over_a_thousand_steps() -> None:
    torch.manual_seed(0)
    cell, start_BD = Orthogonal(4, 16), torch.randn(3, 16, requires_grad=True)
    _, (last_BD,) = cell(torch.zeros(3, 1000, 4), (start_BD,))
    torch.testing.assert_close(last_BD.norm(dim=1), start_BD.norm(dim=1), rtol=1e-3, atol=0)
    (grad_BD,) = torch.autograd.grad(last_BD[:, 0].sum(), start_BD)
    torch.testing.assert_close(grad_BD.norm(dim=1), torch.ones(3), rtol=1e-3, atol=0)


@CELLS
def test_autocast_lowers_the_product_alone(kind) -> None:
    torch.manual_seed(0)
    cell, input_BLD = kind(16, 16), torch.randn(4, 30, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states_BLD, last = cell(input_BLD.bfloat16())
    assert states_BLD.dtype == last[0].dtype == torch.float32
    torch.testing.assert_close(states_BLD, cell(input_BLD)[0], rtol=0.1, atol=0.1)
    states_BLD.sum().backward()
    assert cell.skew.grad.isfinite().all()


@CELLS
def test_weight_dropout_would_break_the_matrix(kind) -> None:
    with pytest.raises(AssertionError, match="not orthogonal"):
        kind(3, 5, weight_dropout=0.5)
