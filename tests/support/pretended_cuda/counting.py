"""Counts of what a real GPU would be asked: kernel launches, and places where the host waits for the device."""

import collections
import sys
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations without a kernel: they allocate, or look at a tensor without its numbers. Views are known to torch.
_WITHOUT_KERNEL = frozenset(
    "empty empty_strided empty_like new_empty new_empty_strided detach lift_fresh _unsafe_view is_pinned resize_ set_ "
    "_indices _values _coalesced_ is_coalesced _nnz sparse_dim dense_dim _sparse_coo_tensor_with_dims_and_tensors "
    "_local_scalar_dense is_same_size device renamed".split()
)
# Operations whose result, or the size of it, the host reads.
_READ = frozenset(
    "_local_scalar_dense nonzero masked_select _unique2 unique_dim unique_consecutive bincount equal is_nonzero "
    "_coalesce _to_sparse linalg_matrix_exp".split()
)
_INDEXED = frozenset("index index_put index_put_ _index_put_impl_".split())


class Counting(TorchDispatchMode):
    """Counts launches by operation, and waits by what waits and the line of this package that asked for it.

    One operation is one launch: several of torch's take more, so the number is a lower bound. A fused kernel of
    cuDNN's is counted in `cudnn`, not here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches: collections.Counter[str] = collections.Counter()
        self.waits: collections.Counter[str] = collections.Counter()

    @property
    def n_launches(self) -> int:
        return self.launches.total()

    @property
    def n_waits(self) -> int:
        return self.waits.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        kinds = {tensor.device.type for tensor in (*given, *made)}
        if "cuda" not in kinds:
            return result
        if name in ("copy_", "_to_copy"):
            source, target = (args[1], args[0]) if name == "copy_" else (args[0], result)
            if source.device.type != target.device.type:
                self.waits[f"copy to {target.device.type} at {_line()}"] += 1
        elif name in _READ or (name == "repeat_interleave" and func._overloadname == "Tensor"):
            self.waits[f"{name} at {_line()}"] += 1
        elif name in _INDEXED and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        ):
            self.waits[f"mask at {_line()}"] += 1
        if name not in _WITHOUT_KERNEL and not func.is_view:
            self.launches[name] += 1
        return result


def _line() -> str:
    """Return the line of the package that an operation comes from, as module.py:N; autograd calls from none."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        path = frame.f_code.co_filename
        if "/sentiment_cli/" in path:
            return f"{path.rpartition('/sentiment_cli/')[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return "autograd"
