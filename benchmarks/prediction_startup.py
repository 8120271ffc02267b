"""Time of one prediction: the whole process (median of ten), and its imports.

    python benchmarks/prediction_startup.py [RUN]

The parts are each module's own time in `python -X importtime`, the least of ten; `work` is what is left of the median:
reading the model, opening the graph, the answer, and the interpreter's start and end. Modules that a prediction must
not import are looked for in the same list. `import torch` alone is given beside it.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter

_TIMES = 10
_FORBIDDEN = {"torch", "pydantic", "onnx", "yaml", "rich", "safetensors"}
_PARTS = ("typer", "numpy", "tokenizers", "onnxruntime", "sentiment_cli")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?")
    run = parser.parse_args().run
    command = ["-m", "sentiment_cli", "predict", "I just really loved the movie", *(["--run", run] if run else [])]
    whole, torch = (median_s([sys.executable, *one]) for one in (command, ["-c", "import torch"]))
    own_us = least_import_times([sys.executable, "-X", "importtime", *command])
    if found := sorted(_FORBIDDEN & own_us.keys()):
        raise SystemExit(f"a prediction imports {', '.join(found)}")
    parts = Counter[str]()
    for name, spent in own_us.items():
        package = name.partition(".")[0]
        parts[package if package in _PARTS else "the standard library"] += spent
    print(f"{'sentiment predict':<24} {whole * 1000:6.0f} ms, the median of {_TIMES}")
    for name, spent in parts.most_common():
        print(f"  {'import ' + name:<22} {spent / 1000:6.0f} ms")
    print(f"  {'work':<22} {whole * 1000 - sum(parts.values()) / 1000:6.0f} ms")
    print(f"{'import torch':<24} {torch * 1000:6.0f} ms")


def median_s(command: list[str]) -> float:
    """Return how long a command takes; the first time only warms the disk's cache."""
    spent = []
    for _ in range(_TIMES + 1):
        began = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:])


def least_import_times(command: list[str]) -> dict[str, int]:
    """Return the microseconds that each module takes by itself."""
    least: dict[str, int] = {}
    for _ in range(_TIMES):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"})
        for spent, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", done.stderr, re.MULTILINE):
            least[name] = min(int(spent), least.get(name, sys.maxsize))
    return least


if __name__ == "__main__":
    main()
