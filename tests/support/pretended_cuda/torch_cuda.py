"""The functions of `torch.cuda` that this program calls, for the pretended device."""

import os
import types
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from pretended_cuda.cudnn import flatten_parameters, stand_in

N_GPUS = int(os.environ.get("PRETENDED_GPUS", "1"))
GENERATOR = torch.Generator()  # of every pretended device, beside that of the CPU


def replace() -> None:
    """Put the pretended device in the place of torch.cuda, of cuDNN's kernels, and of NCCL."""
    torch.ops.pretended.use_generator(GENERATOR)
    properties = types.SimpleNamespace(name="Pretended GPU", total_memory=2**34, multi_processor_count=132)
    for name, function in {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: N_GPUS,
        "current_device": lambda: torch._C._accelerator_getDeviceIndex(),
        "set_device": lambda device: torch._C._accelerator_setDeviceIndex(torch.device(device).index or 0),
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: properties.name,
        "get_device_properties": lambda device=None: properties,
        "is_bf16_supported": lambda *a, **k: True,
        "empty_cache": lambda: None,
        "synchronize": lambda device=None: None,
        "manual_seed_all": GENERATOR.manual_seed,
        "get_rng_state": lambda device="cuda": GENERATOR.get_state(),
        "set_rng_state": lambda state, device="cuda": GENERATOR.set_state(state),
        "is_current_stream_capturing": lambda: False,
    }.items():
        setattr(torch.cuda, name, function)
    torch.cuda.default_generators = (GENERATOR,) * N_GPUS
    torch.backends.cudnn.is_acceptable = lambda tensor: False  # of torch.nn's own layers
    torch.backends.cudnn.version = lambda: 92000
    torch.version.cuda = "13.0"
    torch.nn.RNNBase.flatten_parameters = flatten_parameters
    torch._C._set_only_lift_cpu_tensors(True)  # so that a mode sees torch.tensor(..., device="cuda") copy
    for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        setattr(torch, kind, stand_in(kind, getattr(torch, kind)))
    _replace_nccl()
    _replace_triton()


def _replace_triton() -> None:
    """Let the loop over the steps run in the place of its Triton kernel, as one operation."""
    from sentiment_cli.models.cells import fused

    fused.why_no_kernels = lambda: None
    fused.register_kernel = lambda library, name: None


def _replace_nccl() -> None:
    """Let gloo reduce what lies on the pretended device, in the memory that it shares with the CPU."""
    join = dist.init_process_group

    def init_process_group(backend: str, **options: Any) -> None:
        join("gloo" if backend == "nccl" else backend, **options)

    dist.init_process_group = init_process_group
    for name in ("all_reduce", "all_gather", "broadcast"):
        setattr(dist, name, _on_host(getattr(dist, name)))


def _on_host(collective: Callable[..., Any]) -> Callable[..., Any]:
    def on_host(given: Any) -> Any:
        if isinstance(given, list):
            return [on_host(one) for one in given]
        is_ours = isinstance(given, torch.Tensor) and given.is_cuda
        return torch.ops.pretended.renamed(given, torch.device("cpu")) if is_ours else given

    def call(*given: Any, **options: Any) -> Any:
        return collective(*map(on_host, given), **options)

    return call
