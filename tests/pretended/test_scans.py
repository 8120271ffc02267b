"""Scans on a GPU: the CPU's numbers, as many launches for a long row as for a short one, and no silent slow path."""

import pytest
import torch
from pretended_cuda.counting import Counting
from torch import Tensor, nn

from sentiment_cli import console
from sentiment_cli.models.cells import fused
from sentiment_cli.models.layers.encoders import CELLS

# Those that are read without cuDNN, or with it in another form than torch's own layers.
CASES = [
    *((cell, 0.3) for cell in ("rnn", "rnn-relu", "gru", "lstm")),
    *((c, share) for c in ("rnn-output", "lstm-1997", "lstm-peephole", "orthogonal", "goru") for share in (0.0, 0.3)),
    *(("lstm-grid", share) for share in (0.0, 0.3)),
    ("sru", 0.0),
]
every_cell = pytest.mark.parametrize(("cell", "state_dropout"), CASES)


def fixed_dropout(values: Tensor, share: float, training: bool = True) -> Tensor:
    """Apply the same dropout mask to tensors of the same shape, on every device."""
    if not training or share == 0:
        return values
    kept = torch.rand(values.shape, generator=torch.Generator().manual_seed(3)) >= share
    return values * (kept / (1 - share)).to(values.device)


def layer_of(cell: str, state_dropout: float) -> nn.Module:
    torch.manual_seed(0)
    return CELLS[cell](6, 5, state_dropout=state_dropout)


def read(layer: nn.Module, input_BLD: Tensor, start: tuple[Tensor, ...] | None, grads: list[Tensor]) -> list[Tensor]:
    """Return states, last state, and the gradients of the input, the initial state and the weights."""
    states_BLD, last = layer(input_BLD, start)
    leaves = [input_BLD, *layer.parameters(), *(start or ())]
    loss = sum((one.float() * grad).sum() for one, grad in zip((states_BLD, *last), grads, strict=True))
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [one.detach().cpu() for one in (states_BLD, *last, *found) if one is not None]


@every_cell
@pytest.mark.parametrize("has_start", [False, True])
def test_a_gpu_gives_the_numbers_and_gradients_of_the_cpu(cell, state_dropout, has_start, monkeypatch) -> None:
    monkeypatch.setattr("torch.nn.functional.dropout", fixed_dropout)
    layer, input_BLD = layer_of(cell, state_dropout), torch.randn(3, 7, 6)
    with torch.no_grad():
        shown = layer(input_BLD)
    grads = [torch.randn(one.shape) for one in (shown[0], *shown[1])]
    start = [torch.randn(one.shape) for one in shown[1]]
    found = {}
    for device in ("cpu", "cuda"):
        own = layer.to(device)
        given = [one.to(device).requires_grad_() for one in start]
        x_BLD = input_BLD.clone().to(device).requires_grad_()
        found[device] = read(own, x_BLD, tuple(given) if has_start else None, [one.to(device) for one in grads])
    for one, other in zip(found["cuda"], found["cpu"], strict=True):
        assert float((one - other).norm()) <= 1e-4 * max(1.0, float(other.norm()))


@every_cell
def test_a_longer_row_takes_no_more_launches(cell, state_dropout) -> None:
    """Forward and backward together; the gradient of SRU, a scan as a tree, takes six more for twice the length."""
    layer, counted = layer_of(cell, state_dropout).cuda(), {}
    for length in (8, 16, 128):
        input_BLD = torch.randn(3, length, 6, device="cuda").requires_grad_()
        layer.zero_grad()
        with torch.autocast("cuda", dtype=torch.bfloat16), Counting() as counts:
            layer(input_BLD)[0].float().sum().backward()
        counted[length] = counts.n_launches
        assert counts.n_waits == 0
    more = 6 if cell == "sru" else 0
    assert counted[16] - counted[8] == more
    assert counted[128] - counted[8] == 4 * more


def warnings_of(monkeypatch: pytest.MonkeyPatch, layer: nn.Module) -> list[str]:
    said: list[str] = []
    fused._say_once.cache_clear()
    monkeypatch.setattr(console, "warn", said.append)
    for _ in range(2):
        layer(torch.randn(2, 3, 6, device="cuda").requires_grad_())[0].sum().backward()
    fused._say_once.cache_clear()
    return said


def test_a_scan_without_a_kernel_says_so_once(monkeypatch) -> None:
    layer = layer_of("lstm-peephole", 0.0).cuda()
    assert warnings_of(monkeypatch, layer) == []
    monkeypatch.setattr(fused, "why_no_kernels", lambda: "Triton is not installed")
    (said,) = warnings_of(monkeypatch, layer)
    assert said == "a recurrent layer takes its steps one by one, slowly on a GPU: Triton is not installed"
    with Counting() as counted:
        layer(torch.randn(2, 10, 6, device="cuda"))
    assert counted.n_launches > 50


def test_a_layer_that_is_too_wide_for_a_kernel_says_so_once(monkeypatch) -> None:
    monkeypatch.setattr(fused, "WIDEST", 4)
    (said,) = warnings_of(monkeypatch, layer_of("goru", 0.0).cuda())
    assert said.endswith("the kernels are for layers up to a width of 4, and this one is 5 wide")


def test_a_kernel_does_not_take_a_state_from_the_cpu() -> None:
    layer = layer_of("lstm-peephole", 0.0).cuda()
    with pytest.raises(RuntimeError, match="same device"):
        layer(torch.randn(2, 3, 6, device="cuda"), (torch.zeros(2, 5), torch.zeros(2, 5)))
