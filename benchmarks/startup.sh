#!/usr/bin/env bash
# Whole-process time of what must be quick, the median of ten, beside importing torch.
#
#     bash benchmarks/startup.sh        (from the repository, after make install)
set -euo pipefail
cd "$(dirname "$0")/.."
bad=$(mktemp --suffix=.yaml)
trap 'rm -f "$bad"' EXIT
echo "nmae: x" > "$bad"
.venv/bin/python - "$bad" <<'PYTHON'
import statistics
import subprocess
import sys
import time

python = ".venv/bin/python"
for name, command in {
    "sentiment --help": [".venv/bin/sentiment", "--help"],
    "sentiment --version": [".venv/bin/sentiment", "--version"],
    "a config error": [".venv/bin/sentiment", "train", sys.argv[1]],
    "import torch": [python, "-c", "import torch"],
}.items():
    spent = []
    for _ in range(11):
        began = time.perf_counter()
        subprocess.run(command, capture_output=True)
        spent.append(time.perf_counter() - began)
    print(f"{name:<20} {statistics.median(spent[1:]):.3f} s")
PYTHON
