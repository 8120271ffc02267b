"""What it costs to score a file by several processes, in parts, on Ray and on Spark, and whether the bytes are equal.

    python benchmarks/scaling.py RUN… [--rows 100000] [--formats csv] [--ways one,workers,parts,merge] [--log FILE]

Prints processor seconds and the largest proportional memory (PSS) of the command and all its children, sampled in
/proc, since children of Ray and of Java are reaped by others. `--log` keeps the figures, one line of JSON each, and
`one` of an earlier time is what later ways are compared with. The rows are pieces of the bundled sample's reviews, and
of 2,000 of IMDb's where SENTIMENT_IMDB names it, of 10 to 60 words (`--words`); one in a thousand cannot be read.
Spark scores Parquet, and its rows are compared by the hash of their sorted list.
"""

import argparse
import csv
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from sentiment_cli.data.sources import sample

BAD = 1009  # one row in as many
FORMATS = ("csv", "jsonl", "parquet")
_ROW_GROUP = 16 * 2048  # a multiple of the chunks, whose borders the last bits of a linear model's sums depend on
_TICKS = os.sysconf("SC_CLK_TCK")
_SPARK = Path(__file__).parents[1] / "tests" / "engines" / "score_on_spark.py"


def words_of_reviews() -> list[str]:
    texts = [review.text for _, review in sample.generate_reviews()]
    if os.environ.get("SENTIMENT_IMDB"):
        with tarfile.open(os.environ["SENTIMENT_IMDB"], "r|*") as archive:
            named = (one for one in archive if re.search(r"(neg|pos)/\d+_\d+\.txt$", one.name))
            for one in itertools.islice(named, 2000):
                file = archive.extractfile(one)
                assert file is not None
                texts.append(file.read().decode())
    return [word for text in texts for word in text.split()]


def write_rows(path: Path, n: int, shortest: int, longest: int) -> None:
    """Write the rows, the same ones at each call."""
    words = words_of_reviews()
    rng = random.Random(5)
    rows = []
    for i in range(n):
        start = rng.randrange(len(words) - longest)
        text = " ".join(words[start : start + rng.randrange(shortest, longest)])
        rows.append((i, f'=1 "{text}"' if i % 101 == 0 else text.replace(" ", "\n", i % 97 == 0), i % BAD == 7))
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        table = {"id": [i for i, _, _ in rows], "text": [None if bad else text for _, text, bad in rows]}
        parquet.write_table(pyarrow.table(table), path, row_group_size=_ROW_GROUP)
        return
    with path.open("w", newline="") as file:
        if path.suffix == ".csv":
            csv.writer(file).writerows([("id", "text"), *((i, *[text] * (1 + bad)) for i, text, bad in rows)])
        else:
            file.writelines(json.dumps({"id": i, "text": None if bad else text}) + "\n" for i, text, bad in rows)


class Watch:
    """Processor seconds and memory of a process and all that descend from it, by looking at them while they live."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._seconds: dict[tuple[int, str], float] = {}
        self.most_pss_mb = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look_often)
        self._thread.start()

    def end(self) -> float:
        self._is_over.set()
        self._thread.join()
        return sum(self._seconds.values())

    def _look_often(self) -> None:
        looks = 0
        while not self._is_over.wait(0.25):
            self._look(with_memory=looks % 4 == 0)
            looks += 1

    def _look(self, *, with_memory: bool) -> None:
        stats: dict[int, list[str]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                stats[int(path.parent.name)] = path.read_text().rpartition(") ")[2].split()
            except OSError:
                continue
        tree, found = [self._pid], set[int]()
        while tree:
            pid = tree.pop()
            found.add(pid)
            tree += [child for child, stat in stats.items() if int(stat[1]) == pid and child not in found]
        pss = 0
        for pid in found & stats.keys():
            stat = stats[pid]
            self._seconds[pid, stat[19]] = (int(stat[11]) + int(stat[12])) / _TICKS
            if with_memory:
                try:
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                except OSError:
                    continue
                pss += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        self.most_pss_mb = max(self.most_pss_mb, pss / 1024)


def measured(words: list[str]) -> dict[str, float]:
    """Run a command; return its processor seconds and memory, with those of its children, and its wall time."""
    began = time.perf_counter()
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    watch = Watch(process.pid)
    code = process.wait()
    cpu = watch.end()
    if code:
        raise SystemExit(f"{' '.join(words)}: exit code {code}")
    return {"cpu_s": cpu, "pss_mb": watch.most_pss_mb, "wall_s": time.perf_counter() - began}


def sorted_hash(place: Path) -> str:
    """Return the hash of the sorted rows that have answers, of a Parquet file or a folder of them."""
    from pyarrow import dataset

    digest = hashlib.sha256()
    for line in sorted(json.dumps(row) for row in dataset.dataset(place).to_table().to_pylist() if row["label"]):
        digest.update(line.encode())
    return digest.hexdigest()


def measure(way: str, run: str, source: Path, workers: int) -> dict[str, Any]:
    parts = ["--parts", "parts"]
    options = {
        "one": [],
        "workers": ["--workers", str(workers)],
        "parts": [*parts, "--workers", str(workers)],
        "merge": [*parts, "--merge"],
        "ray": ["--parts", "parts-ray", "--on", "ray"],
    }
    if way == "spark":
        found = measured([sys.executable, str(_SPARK), str(source), "spark", run])
        return {**found, "sorted": sorted_hash(Path("spark"))}
    out = Path(f"{way}{source.suffix}")
    given = ["--file", str(source), "--run", run, "--on-error", "skip", "--out", str(out), *options[way]]
    found = measured([sys.executable, "-m", "sentiment_cli", "predict", *given])
    digest = hashlib.sha256(out.read_bytes() + Path(f"{out}.rejects.jsonl").read_bytes()).hexdigest()
    return {**found, "sha256": digest, "sorted": sorted_hash(out) if source.suffix == ".parquet" else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--words", default="10-60")
    parser.add_argument("--formats", default="csv")
    parser.add_argument("--ways", default="one,workers,parts,merge")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", type=Path)
    asked = parser.parse_args()
    log = None if asked.log is None else asked.log.absolute()
    known = [json.loads(line) for line in log.read_text().splitlines()] if log is not None and log.exists() else []
    runs = [str(Path(run).absolute()) for run in asked.runs]
    shortest, longest = map(int, asked.words.split("-"))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for form in asked.formats.split(","):
            source = Path(f"rows.{form}")
            write_rows(source, asked.rows, shortest, longest)
            for run in runs:
                key = {"model": Path(run).name, "format": form, "rows": asked.rows, "words": asked.words}
                for way in asked.ways.split(","):
                    known.append(
                        {**key, "way": way, "load": os.getloadavg()[0], **measure(way, run, source, asked.workers)}
                    )
                    if log is not None:
                        with log.open("a") as file:
                            file.write(json.dumps(known[-1]) + "\n")
                    print(said(known[-1], known), flush=True)
                for place in ("parts", "parts-ray", "spark"):
                    shutil.rmtree(place, ignore_errors=True)


def said(row: dict[str, Any], known: list[dict[str, Any]]) -> str:
    """Return a line about one way, beside one process on the same rows."""
    key = ("model", "format", "rows", "words")
    ones = [one for one in known if one["way"] == "one" and all(one[name] == row[name] for name in key)]
    same, ratio = "", ""
    if ones:
        by = "sorted" if row["way"] == "spark" else "sha256"
        same = f"same {'rows' if by == 'sorted' else 'bytes'}" if row[by] == ones[-1][by] else "OTHER ANSWERS"
        ratio = f"{row['cpu_s'] / ones[-1]['cpu_s']:5.2f} of one"
    named = f"{row['model']:10} {row['format']:8} {row['way']:8}"
    rate = f"{row['rows'] / row['cpu_s']:8,.0f} rows/CPU s"
    return f"{named} {row['cpu_s']:7.1f} CPU s {ratio} {rate} {row['pss_mb']:6,.0f} MB {row['wall_s']:7.1f} s  {same}"


if __name__ == "__main__":
    main()
