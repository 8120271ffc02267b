"""What it costs to score a file by several processes and in parts, beside one process, and whether the bytes are equal.

    python benchmarks/scaling.py RUN [--rows 100000] [--format csv] [--workers 2]

Prints processor seconds of the command and all its children, the wall time, and the largest memory of one process. The
rows are pieces of the bundled sample's reviews, of 10 to 60 words; one in a thousand cannot be read.
"""

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sentiment_cli.data.sources import sample

BAD = 1009  # one row in as many


def write_rows(path: Path, n: int) -> None:
    """Write the rows, the same ones at each call."""
    words = [word for _, review in sample.generate_reviews() for word in review.text.split()][:20_000]
    rng = random.Random(5)
    rows = []
    for i in range(n):
        start = rng.randrange(len(words) - 60)
        text = " ".join(words[start : start + rng.randrange(10, 60)])
        rows.append((i, f'=1 "{text}"' if i % 101 == 0 else text.replace(" ", "\n", i % 97 == 0), i % BAD == 7))
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        table = {"id": [i for i, _, _ in rows], "text": [None if bad else text for _, text, bad in rows]}
        parquet.write_table(pyarrow.table(table), path, row_group_size=30_000)
        return
    with path.open("w", newline="") as file:
        if path.suffix == ".csv":
            csv.writer(file).writerows([("id", "text"), *((i, *[text] * (1 + bad)) for i, text, bad in rows)])
        else:
            file.writelines(json.dumps({"id": i, "text": None if bad else text}) + "\n" for i, text, bad in rows)


def measured(words: list[str]) -> tuple[float, float]:
    """Run the command; return its processor seconds, with those of its children, and its wall time."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "sentiment_cli", "predict", *words], check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--format", choices=["csv", "jsonl", "parquet"], default="csv")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    run = Path(asked.run).absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        source = Path(f"rows.{asked.format}")
        write_rows(source, asked.rows)
        workers = ["--workers", str(asked.workers)]
        ways = {
            "one": [],
            "workers": workers,
            "parts": ["--parts", "parts", *workers],
            "merge": ["--parts", "parts", "--merge"],
        }
        found: dict[str, tuple[bytes, float]] = {}
        for name, options in ways.items():
            out = Path(f"{name}.{asked.format}")
            given = [str(run), "--on-error", "skip", "--out", str(out), *options]
            cpu, wall = measured(["--file", str(source), "--run", *given])
            found[name] = out.read_bytes() + Path(f"{out}.rejects.jsonl").read_bytes(), cpu
            same = "same bytes" if found[name][0] == found["one"][0] else "OTHER BYTES"
            ratio = cpu / found["one"][1]
            rate = f"{asked.rows / cpu:8,.0f} rows/CPU s"
            print(f"{name:8} {cpu:7.1f} CPU s  {ratio:5.2f} of one  {rate}  {wall:7.1f} s  {same}")


if __name__ == "__main__":
    main()
