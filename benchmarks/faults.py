"""Random faults against the real command line: number of faults, silent wrong results and manual repairs.

Each case has a data folder of its own, in which another experiment's entries lie already. Faults are drawn and done
to it; then the same command is typed again, and must finish, leave every file byte for byte as an unbroken run does,
and leave nothing else. Most runs are forked from a process that has the modules loaded, one in ten starts from
scratch. A replayed case has the same faults, and its kills come after the same time, if not at the same instruction.

    python benchmarks/faults.py [--seconds 1200] [--seed 0] [--failures faults.jsonl]
    python benchmarks/faults.py --replay faults.jsonl
"""

import argparse
import contextlib
import csv
import gzip
import hashlib
import io
import itertools
import json
import multiprocessing
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # no process with threads is to be forked

from fault_case import ARCHIVE, FINDINGS, Case, Command, World, tree
from fault_kinds import KINDS

from sentiment_cli.config.paths import PACKAGE_DIR
from sentiment_cli.data.sources import mirror, sample

_SECONDS_BETWEEN_LINES = 15.0
_PIECE, _PAUSE_S = 4096, 0.002  # the server sends so slowly that a kill may meet the download
_FORK = multiprocessing.get_context("fork")
STOP = _FORK.Event()  # set, no worker begins another case
Result = dict[str, Any]  # what a line of the failures is: seed, case, kind, faults, found, done, stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--cases", type=int, help="end after this many cases, however long they take")
    parser.add_argument("--first", action="store_true", help="end at the first case that fails")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=Path, default=Path("faults.jsonl"), help="where failed cases are listed")
    parser.add_argument("--replay", type=Path, help="run the cases of such a list again, and print them as they go now")
    arguments = parser.parse_args()
    measured = f"{arguments.seconds:.0f} s, seed {arguments.seed}, {describe()}"  # before somebody edits a file
    mirror.SCHEMES = ("http",)  # which plays the part of https
    with tempfile.TemporaryDirectory() as root:
        world = build_world(Path(root))
        if arguments.replay:
            for line in arguments.replay.read_text().splitlines():
                failed = json.loads(line)
                print(json.dumps(run_case(world, failed["seed"], failed["case"])))
            return
        arguments.failures.unlink(missing_ok=True)
        totals: dict[str, Counter[str]] = {str(kind.__doc__): Counter() for kind in KINDS}
        for result in run_cases(world, arguments.seed, arguments.seconds, arguments.cases):
            totals[result["kind"]] += Counter(faults=result["faults"], **Counter(what for what, _ in result["found"]))
            if result["found"]:
                with arguments.failures.open("a") as handle:
                    handle.write(json.dumps(result) + "\n")
                if arguments.first:
                    STOP.set()
    print_table(totals)
    print(f"\n{measured}")
    sys.exit(any(counts[what] for counts in totals.values() for what in FINDINGS))


def run_cases(world: World, seed: int, seconds: float, most: int | None) -> Iterator[Result]:
    """Yield the results of random cases, made on all cores, until time or number is up; say now and then how many."""
    began = said = time.monotonic()
    n_workers = os.cpu_count() or 1
    results: SimpleQueue[Result | None] = _FORK.SimpleQueue()

    def work(first: int) -> None:
        try:
            for number in itertools.count(first, n_workers):
                if STOP.is_set() or time.monotonic() > began + seconds or (most is not None and number >= most):
                    break
                results.put(run_case(world, seed, number))
        finally:
            results.put(None)

    workers = [_FORK.Process(target=work, args=(first,)) for first in range(n_workers)]
    for worker in workers:
        worker.start()
    n_working, n_cases, n_faults, n_failed = n_workers, 0, 0, 0
    while n_working:
        result = results.get()
        if result is None:
            n_working -= 1
            continue
        yield result
        n_cases, n_faults, n_failed = n_cases + 1, n_faults + result["faults"], n_failed + bool(result["found"])
        if time.monotonic() > said + _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            print(f"{said - began:.0f} s: {n_faults:,} faults, {n_failed} of {n_cases:,} cases failed", file=sys.stderr)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0, "a worker died, and not of a case"


def run_case(world: World, seed: int, number: int) -> Result:
    """Do the faults that seed and number draw."""
    draw = random.Random(f"{seed} {number}")
    with tempfile.TemporaryDirectory(dir=world.inputs.parent) as home:
        case = Case(world, draw, Path(home))
        kind = draw.choice(KINDS)
        kind(case)
        stderr = (Path(home) / "stderr").read_text(errors="replace") if case.found else ""
    result = {"seed": seed, "case": number, "kind": kind.__doc__, "faults": case.n_faults, "found": case.found}
    return {**result, "done": case.done, "stderr": stderr}


def print_table(totals: dict[str, Counter[str]]) -> None:
    columns = ("faults", *FINDINGS)
    print(f"| kind of fault | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for kind, counts in totals.items():
        print(f"| {kind} | {' | '.join(f'{counts[column]:,}' for column in columns)} |")
    total = sum(totals.values(), Counter())
    n_faults, *found = [total[column] for column in columns]
    print(f"| all | {n_faults:,} | {' | '.join(map(str, found))} |")
    print(f"\n**{n_faults:,} / {found[0]} / {found[1]}** (faults / {FINDINGS[0]} / {FINDINGS[1]})")


def describe() -> str:
    """Say what is measured, and where."""
    asked = ["git", "-C", str(PACKAGE_DIR), "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(asked, capture_output=True, text=True).stdout.strip() or "unknown"
    about = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", about.read_text() if about.exists() else "") or [platform.machine()]
    versions = ", ".join(f"{name} {version(name)}" for name in ("sentiment-cli", "numpy", "tokenizers", "filelock"))
    return (
        f"commit {commit}, {os.cpu_count()} cores ({names[0]}), {platform.system()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def build_world(root: Path) -> World:
    """Write the files to read, start the server, and run every command once unbroken."""
    inputs = root / "inputs"
    inputs.mkdir()
    rows = [(review.text, review.label) for _, review in itertools.islice(sample.generate_reviews(), 0, 2000, 6)]
    for name, some in (("reviews.csv", rows[:300]), ("other.csv", rows[100:])):
        with (inputs / name).open("w", newline="") as handle:
            csv.writer(handle).writerows([("text", "label"), *some])
    sample.write_sample(root / "sample")
    archive = pack(root / "sample")
    (inputs / ARCHIVE).write_bytes(archive)
    own = ["--set", "data.source=reviews.csv", "--set", "vocabulary.min_count=1"]
    url = ["--mirror", serve(archive), "--sha256", hashlib.sha256(archive).hexdigest()]
    (root / "beside").mkdir()
    commands = {
        "beside": Command(["prepare", "--set", "data.source=other.csv"], "other.csv"),
        "csv": Command(["prepare", *own], "reviews.csv"),
        "csv info": Command(["data", "info", *own], "reviews.csv"),
        "sample": Command(["prepare", "sample"]),
        "archive": Command(["prepare"], ARCHIVE),
        "archive info": Command(["data", "info"], ARCHIVE),
        "download": Command(["prepare", *url]),
        "removal": Command(["data", "cache", "remove", "--all"]),
    }
    world = World(inputs, root / "beside", commands)
    for name, command in commands.items():
        with tempfile.TemporaryDirectory(dir=root) as home:
            case = Case(world, random.Random(0), Path(home))
            case.is_real = False
            case.take(name)
            passed = Path(home) / "passed"
            began = time.monotonic()
            assert case.run(command, f"list:{passed}") == 0, (Path(home) / "stderr").read_text()
            command.seconds = time.monotonic() - began
            command.places = Counter(passed.read_text().split())
            command.leaves = {place: digest for place, digest in tree(case.data).items() if place not in case.kept}
            if name == "beside":
                shutil.copytree(case.data, world.beside, dirs_exist_ok=True)
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "sentiment_cli", "config", "check", "sample"], check=True, capture_output=True
    )
    world.start_up_s = time.monotonic() - began
    return world


def pack(corpus: Path) -> bytes:
    """Return an archive of forty reviews of each kind."""
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w") as archive:
        for folder in sorted(path for path in corpus.glob("t*/*") if path.is_dir()):
            for file in [folder.parent / f"urls_{folder.name}.txt", *sorted(folder.iterdir())[:40]]:
                member = tarfile.TarInfo(f"aclImdb/{file.relative_to(corpus)}")
                member.size = file.stat().st_size
                archive.addfile(member, io.BytesIO(file.read_bytes()))
    return gzip.compress(unpacked.getvalue(), mtime=0)


def serve(body: bytes) -> str:
    """Serve an archive, slowly and from any byte on, from a process that ends with this one; return its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
            beyond = start >= len(body)
            self.send_response(416 if beyond else 206 if start else 200)
            self.send_header("ETag", '"one"')
            self.send_header("Content-Length", str(0 if beyond else len(body) - start))
            if start:
                span = "*" if beyond else f"{start}-{len(body) - 1}"
                self.send_header("Content-Range", f"bytes {span}/{len(body)}")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                for piece in range(start, len(body), _PIECE):
                    self.wfile.write(body[piece : piece + _PIECE])
                    time.sleep(_PAUSE_S)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/{ARCHIVE}"


if __name__ == "__main__":
    main()
