"""The steps of a scan as one operation: one Triton kernel on a GPU, the cell's own loop in Python elsewhere."""

import functools
import importlib.util
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
from torch import Tensor

from sentiment_cli import console

P = ParamSpec("P")
# One program multiplies by all recurrent weights at each step. An estimate, not measured on a GPU: four gates of width
# 512 are 2 MB in bf16, which a multiprocessor reads from the cache in 20 µs. Wider ones take longer than the loop.
WIDEST = 512
_library: list[torch.library.Library] = []  # which forgets its operations when it is collected


def in_one_kernel(*written: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a function that takes all steps of a scan, and writes to the arguments `written`, one operation on a GPU.

    On a GPU the operation launches the kernel of the same name in `triton_scans.py`. Elsewhere the function itself
    runs, which is the kernel's reference. The last argument is as wide as the state.
    """

    def decorate(plain: Callable[P, None]) -> Callable[P, None]:
        names = list(inspect.signature(plain).parameters)

        @functools.wraps(plain)
        def take(*args: P.args, **kwargs: P.kwargs) -> None:
            assert not kwargs, "kernels take their arguments by position"
            last = args[-1]
            assert isinstance(last, Tensor)
            if not runs_in_one_kernel(last):
                plain(*args, **kwargs)
                return
            given = (_contiguous(value, name in written) for name, value in zip(names, args, strict=True))
            _operation(plain, written)(*given)

        return take

    return decorate


def runs_in_one_kernel(states: Tensor) -> bool:
    """Return whether the scan of a layer with these states, or this recurrent matrix, is one kernel.

    Says once why it is not on a GPU, where one launch for each operation of each step takes longer than a CPU does.
    """
    if not states.is_cuda:
        return False
    reason = why_no_kernels()
    if reason is None and states.shape[-1] > WIDEST:
        reason = f"the kernels are for layers up to a width of {WIDEST}, and this one is {states.shape[-1]} wide"
    if reason is None and states.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        reason = f"the kernels are not for {states.dtype}"
    if reason is not None:
        _say_once(reason)
    return reason is None


def kernel_weight(weight_GD: Tensor) -> Tensor:
    """Return recurrent weights as the scan multiplies by them: in autocast's dtype in a kernel, else as they are."""
    if torch.is_autocast_enabled("cuda") and runs_in_one_kernel(weight_GD):
        return weight_GD.to(torch.get_autocast_dtype("cuda"))
    return weight_GD


@functools.cache
def why_no_kernels() -> str | None:
    """Return why no kernel runs here, None where they do: the smallest one is compiled and run."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if torch.cuda.get_device_capability() < (8, 0):
        return "the kernels need a GPU of compute capability 8.0"
    try:
        from sentiment_cli.models.cells import triton_scans

        all_21D = torch.zeros(2, 1, 16, device="cuda")
        triton_scans.KERNELS["elman_steps"](all_21D[1:], all_21D.new_zeros(16, 16), None, "tanh", all_21D)
    except Exception as error:  # of Triton, of the C compiler that it calls, and of the driver
        return f"Triton cannot compile a kernel: {type(error).__name__}: {error}".partition("\n")[0]
    return None


def register_kernel(library: torch.library.Library, name: str) -> None:
    """Give an operation its kernel for CUDA."""
    from sentiment_cli.models.cells import triton_scans

    library.impl(name, triton_scans.KERNELS[name], "CUDA")  # type: ignore[no-untyped-call]


@functools.cache
def _say_once(reason: str) -> None:
    console.warn(f"a recurrent layer takes its steps one by one, slowly on a GPU: {reason}")


@functools.cache
def _operation(plain: Callable[..., None], written: tuple[str, ...]) -> Callable[..., None]:
    name = plain.__name__
    if not _library:
        _library.append(torch.library.Library("sentiment", "FRAGMENT"))  # type: ignore[no-untyped-call]
    library = _library[0]
    library.define(name + torch.library.infer_schema(plain, mutates_args=written))  # type: ignore[no-untyped-call]
    library.impl(name, lambda *given: _take_plainly(plain, *given), "CPU")  # type: ignore[no-untyped-call]
    register_kernel(library, name)
    operation: Callable[..., None] = getattr(torch.ops.sentiment, name)
    return operation


def _take_plainly(plain: Callable[..., None], *given: Any) -> None:
    """Take the steps of the reference, with the weights that a kernel multiplies in lower precision."""
    plain(
        *(
            one.float() if isinstance(one, Tensor) and one.dtype in (torch.bfloat16, torch.float16) else one
            for one in given
        )
    )


def _contiguous(value: Any, is_written: bool) -> Any:
    if not isinstance(value, Tensor):
        return value
    assert value.is_contiguous() or not is_written
    return value.contiguous()
