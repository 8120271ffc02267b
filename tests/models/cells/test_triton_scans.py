"""The Triton kernels of the scans, without a GPU: interpreted against the loops in PyTorch, and compiled for sm_90."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sentiment_cli.models.cells import fused
from sentiment_cli.models.layers.encoders import CELLS

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed (pip install -e '.[kernels]')", allow_module_level=True)
if torch.cuda.is_available():
    pytest.skip("on a GPU the kernels run as they are: pytest -m gpu", allow_module_level=True)
os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported, and for the whole process
from sentiment_cli.models.cells import triton_scans

CASES = [  # (cell, state dropout); widths, rows and lengths are below
    *((cell, share) for cell in ("rnn", "rnn-relu", "gru", "lstm", "lstm-1997") for share in (0.3,)),
    *((cell, share) for cell in ("rnn-output", "lstm-peephole", "orthogonal", "goru") for share in (0.0, 0.3)),
    ("sru", 0.0),
]
ROUNDED = ("rnn", "gru", "lstm", "lstm-peephole")  # orthogonal matrices stay in float32, and SRU has none
every_cell = pytest.mark.parametrize(("cell", "state_dropout"), CASES)
SHAPES = [(1, 1, 3), (17, 4, 16), (18, 3, 70)]  # rows, length, width: less and more than a block of each


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let scans on the CPU run as interpreted kernels; yields the names of those that ran."""
    ran: list[str] = []

    def operation(plain, written):
        ran.append(plain.__name__)
        return triton_scans.KERNELS[plain.__name__]

    monkeypatch.setattr(fused, "_operation", operation)
    monkeypatch.setattr(fused, "runs_in_one_kernel", lambda states: True)
    return ran


def read(layer: nn.Module, input_BLD: Tensor, has_start: bool) -> list[Tensor]:
    """Return states, last state, and the gradients of the input, the initial state and the weights."""
    torch.manual_seed(1)
    start = None
    if has_start:
        with torch.no_grad():
            start = tuple(torch.randn_like(one).requires_grad_() for one in layer.eval()(input_BLD)[1])
        layer.train()
    torch.manual_seed(2)  # of the mask of state dropout
    states_BLD, last = layer(input_BLD, start)
    loss = sum((one * torch.randn_like(one)).sum() for one in (states_BLD, *last))
    leaves = [input_BLD, *layer.parameters(), *(start or ())]
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [one.detach() for one in (states_BLD, *last, *grads) if one is not None]


def layer_of(cell: str, state_dropout: float, width: int) -> nn.Module:
    torch.manual_seed(0)
    layer = CELLS[cell](6, width, state_dropout=state_dropout)
    for name, parameter in layer.named_parameters():
        if name == "bias" and cell in ("orthogonal", "goru"):  # which begins with zero, where modReLU is linear
            nn.init.uniform_(parameter, -0.3, 0.3)
    return layer


@every_cell
@pytest.mark.parametrize(("shape", "has_start"), list(zip(SHAPES, (False, True, True), strict=True)))
def test_a_kernel_gives_the_numbers_of_the_loop(cell, state_dropout, shape, has_start, request) -> None:
    rows, length, width = shape
    layer, input_BLD = layer_of(cell, state_dropout, width), torch.randn(rows, length, 6).requires_grad_()
    expected = read(layer, input_BLD, has_start)
    ran = request.getfixturevalue("kernels")
    found = read(layer, input_BLD, has_start)
    assert len(set(ran)) == (1 if cell == "sru" else 2)
    for own, other in zip(found, expected, strict=True):
        scale = max(1.0, float(other.abs().max()))
        torch.testing.assert_close(own, other, atol=1e-5 * scale, rtol=0)


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let autocast be on, and the interpreter multiply bf16, whose bits it otherwise multiplies as whole numbers."""
    from triton.runtime import interpreter

    multiply = interpreter.InterpreterBuilder.create_dot

    def widened(builder, a, b, *others):
        for one in (a, b):
            assert one.dtype == triton_scans.tl.bfloat16
        wide = [torch.from_numpy(one.data.view("int16")).view(torch.bfloat16).float().numpy() for one in (a, b)]
        handles = [interpreter.TensorHandle(data, triton_scans.tl.float32) for data in wide]
        return multiply(builder, *handles, *others)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", widened)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device == "cuda")
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device: torch.bfloat16)


@pytest.mark.parametrize(("cell", "state_dropout"), [case for case in CASES if case[0] in ROUNDED])
def test_under_autocast_only_the_products_are_rounded(cell, state_dropout, request) -> None:
    layer, input_BLD = layer_of(cell, state_dropout, 24), torch.randn(5, 6, 6).requires_grad_()
    expected = read(layer, input_BLD, has_start=False)
    request.getfixturevalue("kernels"), request.getfixturevalue("bf16")
    found = read(layer, input_BLD, has_start=False)
    for own, other in zip(found, expected, strict=True):
        assert own.dtype == torch.float32
        assert float((own - other).norm() / other.norm().clamp(min=1e-6)) < 0.02
    assert not torch.allclose(found[0], expected[0], atol=1e-6)


def test_a_row_does_not_depend_on_the_others(kernels) -> None:
    layer, input_BLD = layer_of("lstm-peephole", 0.0, 8).eval(), torch.randn(20, 5, 6)
    together_BLD, alone_BLD = layer(input_BLD)[0], layer(input_BLD[17:18])[0]
    torch.testing.assert_close(together_BLD[17:18], alone_BLD, atol=1e-6, rtol=0)


def test_every_operation_has_a_kernel_of_the_same_arguments() -> None:
    """The names and their order are the interface between the loops and the kernels."""
    import inspect

    from sentiment_cli.models.cells import elementwise, elman, gru, lstm, orthogonal

    found = 0
    for module in (elementwise, elman, gru, lstm, orthogonal):
        for name, plain in vars(module).items():
            if name.endswith("_steps") and plain.__module__ == module.__name__:
                kernel = inspect.signature(triton_scans.KERNELS[name])
                assert list(kernel.parameters) == list(inspect.signature(plain).parameters), name
                found += 1
    assert found == len(triton_scans.KERNELS) == 10


def test_every_kernel_compiles_for_a_gpu_and_fits_into_it() -> None:
    """In a process of its own, where nothing is interpreted: down to the machine code of an H100 or H200."""
    program = Path(__file__).parents[2] / "support" / "compiled_scans.py"
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == {"_elman", "_lstm", "_gru", "_goru", "_gradient", "_sru"}
    for name, _, registers, spilled, shared, barriers, cached in rows:
        assert int(registers) <= 255
        assert int(spilled) <= 64, f"{name} keeps {spilled} bytes of a thread outside its registers"
        assert int(shared) <= 100 * 1024
        assert int(barriers) == {"_sru": 0, "_gradient": 2}.get(name, 1)
        assert cached == "coherent", f"{name} would read states from a cache that does not see what it writes"
