"""A pretended CUDA device: `pytest -p pretended_cuda` loads it before torch, and tests then find `cuda:0`.

`device.cpp` says how. It is compiled once for each version of torch, into .cache/ of the repository. PRETENDED_GPUS is
the number of devices, 1 unless set.
"""

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).with_name("device.cpp")
CACHE = Path(__file__).resolve().parents[3] / ".cache" / "pretended_cuda"


def compiler() -> str | None:
    """Return the path of a C++ compiler, None without one."""
    return shutil.which(os.environ.get("CXX", "g++"))


def load() -> None:
    """Register the device. It must happen before torch is imported, which looks for CUDA once."""
    assert "torch" not in sys.modules, "the pretended device comes before torch"
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    torch_dir = Path(spec.origin).parent
    ctypes.CDLL(str(torch_dir / "lib" / "libtorch_cpu.so"), mode=ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(_compiled(torch_dir)), mode=ctypes.RTLD_GLOBAL)
    from pretended_cuda import torch_cuda

    torch_cuda.replace()


def _compiled(torch_dir: Path) -> Path:
    command = [compiler() or "g++", "-shared", "-fPIC", "-O1", "-std=c++20", f"-I{torch_dir / 'include'}"]
    version = (torch_dir / "version.py").read_text()
    key = hashlib.sha256((SOURCE.read_text() + version + repr(command) + sysconfig.get_platform()).encode()).hexdigest()
    library = CACHE / f"{key[:16]}.so"
    if not library.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        draft = library.with_suffix(f".{os.getpid()}")
        links = [f"-L{torch_dir / 'lib'}", "-lc10", "-ltorch_cpu", "-o", str(draft)]
        subprocess.run([*command, str(SOURCE), *links], check=True)
        draft.replace(library)
    return library
