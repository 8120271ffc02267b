"""The device and the precision that a model runs in, torch's settings, and out-of-memory errors."""

import contextlib
import ctypes
import os
import platform
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from sentiment_cli import console
from sentiment_cli.errors import Change, MachineError, UsageError
from sentiment_cli.layout import counted


def select_device(name: str) -> torch.device:
    """Return the device that `train.device` names; auto takes CUDA, otherwise the CPU.

    MPS must be named: no training was ever run on it.

    Raises UsageError for a device that this machine or this build of torch does not have.
    """
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    available = ["cpu", *(["mps"] if torch.backends.mps.is_available() else [])]
    available += ["cuda", *(f"cuda:{i}" for i in range(n_cuda))] if n_cuda else []
    if name == "auto":
        if not n_cuda and nvidia_driver():
            built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
            console.warn(f"an NVIDIA GPU is here, but torch {torch.__version__} (built for {built}) cannot use it")
        name = "cuda" if n_cuda else "cpu"
    elif name not in available:
        raise UsageError(
            f"train.device is {name}, which torch {torch.__version__} does not find here; "
            f"it finds {', '.join(available)}",
            Change("--set", "train.device=auto"),
        )
    return torch.device(name)


def nvidia_driver() -> bool:
    """Return whether an NVIDIA driver is loaded, even if torch cannot use it."""
    return Path("/proc/driver/nvidia/version").exists()


def runs_bf16(device: torch.device, precision: str) -> bool:
    """Return whether to train with bf16 autocast: as set, or with auto where the hardware multiplies bf16 natively.

    An LSTM of width 128 trains 1.7 times as fast with it on a CPU with AVX-512 bf16.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def check_precision(device: torch.device, precision: str) -> None:
    """Raise UsageError for fp16 on a device other than CUDA."""
    if precision == "fp16" and device.type != "cuda":
        raise UsageError(
            f"train.precision is fp16, which needs a CUDA device, and this is {device.type}",
            Change("--set", "train.precision=auto"),
        )


def precision_name(device: torch.device, precision: str) -> str:
    """Return the precision that train.precision selects on a device: fp32, bf16 or fp16."""
    return "fp16" if precision == "fp16" else "bf16" if runs_bf16(device, precision) else "fp32"


def set_up(device: torch.device, n_threads: int | None, *, deterministic: bool = False) -> None:
    """Configure torch: full float32 precision, and on a CPU determinism and memory that is reused from step to step.

    `deterministic` selects deterministic algorithms on CUDA, too.

    glibc returns every large block to the system when it is freed, so a training step spends its time in page faults:
    without the two settings below a bidirectional LSTM of width 128 reads 90k tokens/s instead of 145k.
    """
    torch.backends.cudnn.allow_tf32 = False  # with TF32, float32 scores on a GPU are only accurate to three digits
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    if device.type == "cpu" or deterministic:
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # otherwise cuBLAS and cuDNN's LSTM may differ between runs
        # This says what use_deterministic_algorithms says, without 3 s of imports.
        torch.set_deterministic_debug_mode("error")
        # Filling fresh memory costs a write of every output and only shows up bugs.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type != "cpu":
        return
    # oneDNN keeps a prepared LSTM with its buffers for each shape of batch, and hardly a shape comes twice: the run of
    # default.yaml grew to 5.8 GB with that cache. The variable is read when the first LSTM runs.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")
    if platform.libc_ver()[0] == "glibc":
        mmap_max, trim_threshold = -4, -1  # malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


# What a RuntimeError says that is one: of the CPU, of CUDA outside torch's own allocator, of its libraries, of Metal.
_REFUSALS = ("can't allocate memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED", "MPS backend out of memory")


class OutOfMemory(MachineError):  # noqa: N818 - MemoryError and OutOfMemoryError have owners
    """The device or the machine is out of memory."""


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turn the out-of-memory errors of the device and the machine into OutOfMemory."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _out_of_memory(error) from error
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _REFUSALS):
            raise
        raise _out_of_memory(error) from error


def _out_of_memory(error: BaseException) -> OutOfMemory:
    reason = str(error).partition("\n")[0]
    return OutOfMemory(
        f"there is not enough memory: {reason or type(error).__name__}. A smaller train.batch_tokens or "
        "model.encoder.width needs less",
        "sentiment doctor",
    )


def cudnn_version() -> int:
    """Return the version of cuDNN as it says it itself, such as 91300; 0 without it."""
    return torch.backends.cudnn.version() or 0  # type: ignore[no-untyped-call]


def gpu_facts(device: torch.device) -> dict[str, str]:
    """Return the model of a GPU and the versions of cuDNN and CUDA; nothing for other devices."""
    if device.type != "cuda":
        return {}
    version = cudnn_version()
    thousand = 10_000 if version >= 90_000 else 1000  # 8.9.7 is 8907, and 9.20.0 is 92000
    cudnn = f"{version // thousand}.{version % thousand // 100}.{version % 100}"
    return {"gpu": torch.cuda.get_device_name(device), "cudnn": cudnn, "cuda": torch.version.cuda or "none"}


def free_cache(device: torch.device) -> None:
    """Return memory that torch keeps for itself to the GPU.

    What a failed step has allocated is free only after its error has been handled: until then its frames hold it.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()


def describe(device: torch.device) -> str:
    """Return the name of the device for the log: `cpu, 2 threads` or `cuda, NVIDIA H200`."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return f"cpu, {counted(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else str(device)


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that were in use until now: of the GPU where one trains, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
