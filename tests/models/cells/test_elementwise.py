from collections.abc import Callable

import equations_scans
import pytest
import torch
from torch import Tensor, nn

from sentiment_cli.models.cells import elementwise, recurrence
from sentiment_cli.models.cells.elementwise import QRNN, SRU, MinGRU
from sentiment_cli.models.cells.recurrence import State

REFERENCES: dict[type[nn.Module], Callable[..., tuple[Tensor, State]]] = {
    MinGRU: equations_scans.mingru,
    SRU: equations_scans.sru,
    QRNN: equations_scans.qrnn,
}
CELLS = pytest.mark.parametrize("kind", REFERENCES)


def build(
    kind: type[nn.Module], input_width: int, width: int, batch: int, length: int
) -> tuple[nn.Module, Tensor, State]:
    """Return a layer in float64 with nonzero parameters, an input and an initial state, all with gradients."""
    torch.manual_seed(0)
    cell = kind(input_width, width).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter, std=0.7)
    widths = {MinGRU: [width], SRU: [width, width], QRNN: [width, width, input_width]}[kind]
    start = tuple(torch.randn(batch, n, dtype=torch.float64, requires_grad=True) for n in widths)
    return cell, torch.randn(batch, length, input_width, dtype=torch.float64, requires_grad=True), start


def values_and_gradients(reading: tuple[Tensor, State], wanted: list[Tensor]) -> list[Tensor]:
    states_BLD, last = reading
    weight_BLD = torch.randn(states_BLD.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loss = (states_BLD * weight_BLD).sum() + sum(((i + 2) * part.square()).sum() for i, part in enumerate(last))
    return [states_BLD, *last, *torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)]


@CELLS
@pytest.mark.parametrize("input_width", [3, 5])
@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("as_tree", [False, True])
@pytest.mark.parametrize("steps_in_cache", [1, 4, 100])
def test_it_is_its_equations_with_all_gradients(
    kind, input_width: int, length: int, as_tree: bool, steps_in_cache: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrence, "_IN_CACHE", steps_in_cache * 4 * 5)
    if as_tree:  # what a GPU does
        monkeypatch.setattr(elementwise, "_is_sequential", lambda values: False)
    cell, input_BLD, start = build(kind, input_width, 5, 4, length)
    reference, wanted = REFERENCES[kind], [input_BLD, *cell.parameters(), *start]
    for expected, found in (
        (reference(cell, input_BLD, start), cell(input_BLD, start)),
        (reference(cell, input_BLD, tuple(map(torch.zeros_like, start))), cell(input_BLD)),
    ):
        for one, other in zip(values_and_gradients(expected, wanted), values_and_gradients(found, wanted), strict=True):
            torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


@CELLS
def test_its_gradients_are_those_of_small_differences(kind) -> None:
    cell, input_BLD, start = build(kind, 2, 3, 2, 4)

    def read(input_BLD: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        states_BLD, last = torch.func.functional_call(
            cell, dict(zip(names, rest, strict=False)), (input_BLD, rest[-len(start) :])
        )
        return (states_BLD, *last)

    names = [name for name, _ in cell.named_parameters()]
    assert torch.autograd.gradcheck(read, (input_BLD, *cell.parameters(), *start))


@CELLS
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_two_pieces_with_the_state_carried_are_one_long_read(kind, cut: int) -> None:
    cell, input_BLD, start = build(kind, 3, 5, 4, 9)
    states_BLD, last = cell(input_BLD, start)
    first_BLD, between = cell(input_BLD[:, :cut], start)
    second_BLD, end = cell(input_BLD[:, cut:], between)
    torch.testing.assert_close(torch.cat([first_BLD, second_BLD], 1), states_BLD, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end, last, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last[0], states_BLD[:, -1])


@CELLS
def test_a_row_does_not_depend_on_padding_or_other_rows(kind) -> None:
    cell, input_BLD, _ = build(kind, 3, 5, 4, 9)
    alone_BLD = cell(input_BLD[1:2, :6])[0]
    torch.testing.assert_close(cell(input_BLD)[0][1:2, :6], alone_BLD, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 64, 100])
def test_the_tree_is_a_loop_over_time(length: int) -> None:
    torch.manual_seed(0)
    keep_LBD, inflow_LBD, state_BD = torch.rand(length, 2, 3), torch.randn(length, 2, 3), torch.randn(2, 3)
    found_LBD = elementwise._scan_as_tree(keep_LBD, inflow_LBD, state_BD)
    for t in range(length):
        state_BD = keep_LBD[t] * state_BD + inflow_LBD[t]
        torch.testing.assert_close(found_LBD[t], state_BD)


@CELLS
def test_it_overfits_32_reviews(kind) -> None:
    torch.set_deterministic_debug_mode("error")
    torch.manual_seed(0)
    ids_BL, label_B = torch.randint(50, (32, 20)), torch.arange(32) % 2
    embedding, cell, output = nn.Embedding(50, 16), kind(16, 16), nn.Linear(16, 2)
    parameters = [p for module in (embedding, cell, output) for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    for _ in range(60):
        logit_BC = output(cell(embedding(ids_BL))[0].mean(1))
        loss = nn.functional.cross_entropy(logit_BC, label_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (logit_BC.argmax(1) == label_B).all()


@CELLS
def test_two_thousand_steps_have_finite_gradients(kind) -> None:
    torch.manual_seed(0)
    cell, input_BLD = kind(8, 8), (3 * torch.randn(2, 2000, 8)).requires_grad_()
    states_BLD, _ = cell(input_BLD)
    states_BLD.square().sum().backward()
    assert all(values.grad.isfinite().all() for values in (input_BLD, *cell.parameters()))


@CELLS
def test_autocast_lowers_the_product_alone(kind) -> None:
    torch.manual_seed(0)
    cell, input_BLD = kind(16, 16), torch.randn(4, 30, 16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states_BLD, last = cell(input_BLD.bfloat16())
        again_BLD, _ = cell(input_BLD.bfloat16(), last)
    assert states_BLD.dtype == again_BLD.dtype == torch.float32
    torch.testing.assert_close(states_BLD, cell(input_BLD)[0], rtol=0.05, atol=0.05)
    states_BLD.sum().backward()
    assert cell.input_weight.grad.isfinite().all()


@CELLS
@pytest.mark.parametrize("name", ["weight_dropout", "state_dropout"])
def test_there_is_no_recurrent_matrix_to_drop_from(kind, name: str) -> None:
    with pytest.raises(AssertionError, match="no matrix"):
        kind(3, 5, **{name: 0.5})


@pytest.mark.gpu
@CELLS
def test_a_gpu_gives_the_same_result(kind) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    cell, input_BLD, start = build(kind, 3, 5, 4, 77)
    states_BLD, _ = cell(input_BLD, start)
    grad_BLD = torch.autograd.grad(states_BLD.square().sum(), input_BLD)[0]
    cell, turned_BLD = cell.cuda(), input_BLD.detach().cuda().requires_grad_()
    found_BLD, _ = cell(turned_BLD, tuple(part.cuda() for part in start))
    torch.testing.assert_close(found_BLD.cpu(), states_BLD)
    torch.testing.assert_close(torch.autograd.grad(found_BLD.square().sum(), turned_BLD)[0].cpu(), grad_BLD)
