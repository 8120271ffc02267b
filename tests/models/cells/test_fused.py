"""Where the kernels of the scans run, and what is said where they do not."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest
import torch

from sentiment_cli.models.cells import fused

KERNELS = "sentiment_cli.models.cells.triton_scans"


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch find a GPU whose memory is the CPU's, and Triton."""
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *sizes, device=None: zeros(*sizes))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


def missing() -> str | None:
    return fused.why_no_kernels.__wrapped__()


def test_a_machine_without_triton_has_no_kernels(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert missing() == "Triton is not installed"


def test_an_old_gpu_has_no_kernels(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert missing() == "the kernels need a GPU of compute capability 8.0"


def test_a_kernel_that_does_not_compile_is_no_kernel(monkeypatch) -> None:
    def elman_steps(*given: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify it")

    monkeypatch.setitem(sys.modules, KERNELS, SimpleNamespace(KERNELS={"elman_steps": elman_steps}))
    monkeypatch.setattr("sentiment_cli.models.cells.triton_scans", sys.modules[KERNELS], raising=False)
    assert missing() == "Triton cannot compile a kernel: RuntimeError: Failed to find C compiler."


def test_kernels_run_where_the_first_one_has(monkeypatch) -> None:
    ran = []
    kernels = SimpleNamespace(KERNELS={"elman_steps": lambda *given: ran.append(given[-1].shape)})
    monkeypatch.setitem(sys.modules, KERNELS, kernels)
    monkeypatch.setattr("sentiment_cli.models.cells.triton_scans", kernels, raising=False)
    assert missing() is None
    assert ran == [(2, 1, 16)]


def test_a_cpu_is_not_asked_for_kernels(monkeypatch) -> None:
    monkeypatch.setattr(fused, "why_no_kernels", lambda: pytest.fail("asked"))
    assert not fused.runs_in_one_kernel(torch.ones(1, 2, 3))
