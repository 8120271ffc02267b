"""Compile the kernels of `triton_scans.py` for a GPU of compute capability 9.0, without one.

Prints for each: name, dtype of the weights, registers and bytes outside them of a thread, bytes of shared memory,
barriers between steps, and whether it reads through a cache that does not see what it writes.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

sys.path.insert(0, str(Path(__file__).parents[2]))
from sentiment_cli.models.cells import triton_scans

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
BLOCKS = {"ROWS": 16, "COLUMNS": 64, "DEPTH": 64}
OF_LSTM = ("more", "kept")
OF_OTHERS = ("to_memory", "carried", "by_memory")
VARIANTS: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [  # the constants of a kernel, and what it is not given
    *(("_elman", {"SQUASH": squash}, ("bias",)) for squash in ("tanh", "relu", "linear")),
    ("_elman", {"SQUASH": "modrelu"}, ("mask",)),
    ("_lstm", {"N_GATES": 4}, ()),
    ("_lstm", {"N_GATES": 3}, ("peephole",)),
    ("_gru", {}, ()),
    ("_goru", {}, ("mask",)),
    ("_gradient", {"CELL": "elman", "N_INNER": 1, "N_READ": 1}, ("more", "kept", *OF_OTHERS)),
    ("_gradient", {"CELL": "lstm", "N_INNER": 4, "N_READ": 4}, OF_LSTM),
    ("_gradient", {"CELL": "lstm", "N_INNER": 3, "N_READ": 3}, (*OF_LSTM, "carried")),
    ("_gradient", {"CELL": "gru", "N_INNER": 4, "N_READ": 3}, ("more", *OF_OTHERS)),
    ("_gradient", {"CELL": "goru", "N_INNER": 3, "N_READ": 3}, OF_OTHERS),
    ("_sru", {"PLACES": 128}, ()),
]


def compiled(name: str, dtype: str, constants: dict[str, Any], missing: tuple[str, ...]) -> str:
    kernel = getattr(triton_scans, name)
    fixed = {**constants, **({} if name == "_sru" else BLOCKS), **dict.fromkeys(missing)}
    signature = {
        one: "constexpr" if one in fixed
        else "i32" if one in ("length", "n_rows", "width")
        else dtype if one == "weight"
        else "*fp32"
        for one in kernel.arg_names
    }  # fmt: skip
    places = {one: (i,) for i, one in enumerate(kernel.arg_names)}
    aligned = [one for one, kind in signature.items() if kind.startswith("*") or one == "width"]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={places[one]: value for one, value in fixed.items()},
        attrs={places[one]: [["tt.divisibility", 16]] for one in aligned},
    )
    options = {"num_warps": 4 if name == "_sru" else triton_scans._WARPS}
    found = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(found.asm["cubin"])
        file.flush()
        usage = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    registers, spilled = (re.search(rf"{what}:(\d+)", usage)[1] for what in ("REG", "STACK"))  # type: ignore[index]
    reads = "incoherent" if re.search(r"ld\.global[.\w]*\.nc", found.asm["ptx"]) else "coherent"
    barriers = found.asm["ttgir"].count("ttg.barrier all")
    return f"{name} {dtype} {registers} {spilled} {found.metadata.shared} {barriers} {reads}"


if __name__ == "__main__":
    for name, constants, missing in VARIANTS:
        for dtype in ("*fp32",) if name == "_sru" else ("*bf16", "*fp32"):
            print(compiled(name, dtype, constants, missing), flush=True)
