"""What serving costs beside asking the model in the same process: `sentiment serve` and the bare predictor, in turns.

    python benchmarks/serving.py RUN [--rounds 3] [--requests 400] [--out serving.json]

Each round asks for the same texts, one a request, by 1, 8 and 64 clients at once: the server, a server that reads one
text at a time (--most-texts 1), and the bare predictor for as many texts at once. They take turns, and the median of
the rounds counts. Processor time is that of the server's process alone. Other work on the machine slows all sides, so
that only the ratios are worth comparing. `benchmarks/serving_trials.py` has slow clients, bursts, reloads and stops.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentiment_cli.inference.predictor import Predictor, open_predictor
from sentiment_cli.runs.directory import find_run
from sentiment_cli.storage import store

_CLIENTS = (1, 8, 64)
_WORDS = (
    "the film was not as dull as its plot and I just really loved the acting though it went on for too long".split()
)
_HEAD = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_LENGTH = 230  # words, as a review has


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run directory or name, or a packed model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    path = find_run(asked.run, or_bundled=True)
    predictor = open_predictor(path)
    texts = [
        " ".join(_WORDS[(i + j * (i % 7 + 1)) % len(_WORDS)] for j in range(_LENGTH)) for i in range(asked.requests)
    ]
    with serving(path) as (process, port), serving(path, "--most-texts", "1") as (single, single_port):
        servers = ((process.pid, port), (single.pid, single_port))
        found = {str(n): measure(predictor, texts, servers, n, asked.rounds) for n in _CLIENTS}
    report = {
        "run": path.name,
        "requests": asked.requests,
        "rounds": asked.rounds,
        "cores": os.cpu_count(),
        "clients": found,
    }
    for n, one in found.items():
        print(
            f"{n:>3} clients: {one['cpu_ratio']:.2f} of the bare processor time, {one['wall_ratio']:.2f} of the time; "
            f"{one['served_cpu_ms']:.2f} ms of processor a request, {one['of_unbatched']:.2f} of it without batches; "
            f"p50 {one['p50_ms']:.1f} ms, bare {one['bare_p50_ms']:.1f} ms; RSS {one['rss_mb']:.0f} MB"
        )
    if asked.out is not None:
        store.write_file(asked.out, store.dump_json(report))


@contextlib.contextmanager
def serving(path: Path, *options: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Yield a server in a process of its own, and its port."""
    command = [sys.executable, "-m", "sentiment_cli", "serve", str(path), "--port", "0", "--no-page", "--queue", "128"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline().rsplit(":", 1)[1])
    finally:
        process.terminate()
        process.wait()


def measure(
    predictor: Predictor, texts: list[str], servers: tuple[tuple[int, int], ...], n_clients: int, rounds: int
) -> dict[str, float]:
    """Return medians over the rounds, in which the bare predictor and the servers take turns."""
    bare, asked = [], [list[tuple[float, float, float]]() for _ in servers]
    ask_bare(predictor, texts[: 2 * n_clients], n_clients)
    for _, port in servers:
        asyncio.run(ask_server(port, texts[: 2 * n_clients], n_clients))
    for _ in range(rounds):
        bare.append(ask_bare(predictor, texts, n_clients))
        for (pid, port), of_server in zip(servers, asked, strict=True):
            cpu, began = cpu_seconds(pid), time.perf_counter()
            waits = asyncio.run(ask_server(port, texts, n_clients))
            of_server.append((cpu_seconds(pid) - cpu, time.perf_counter() - began, statistics.median(waits)))
    bare_cpu, bare_wall, bare_wait = (statistics.median(column) for column in zip(*bare, strict=True))
    cpu, wall, wait = (statistics.median(column) for column in zip(*asked[0], strict=True))
    unbatched_cpu = statistics.median(spent for spent, _, _ in asked[1])
    n, (pid, _) = len(texts), servers[0]
    return {
        "unbatched_cpu_ms": 1000 * unbatched_cpu / n,
        "of_unbatched": cpu / unbatched_cpu,
        "bare_p50_ms": 1000 * bare_wait,
        "bare_cpu_ms": 1000 * bare_cpu / n,
        "served_cpu_ms": 1000 * cpu / n,
        "cpu_ratio": cpu / bare_cpu,
        "wall_ratio": wall / bare_wall,
        "p50_ms": 1000 * wait,
        "rss_mb": resident_bytes(pid) / 1e6,
    }


def ask_bare(predictor: Predictor, texts: list[str], at_once: int) -> tuple[float, float, float]:
    """Return processor and wall seconds of asking for so many texts at once, and the median of an answer's."""
    cpu, began, waits = time.process_time(), time.perf_counter(), []
    for start in range(0, len(texts), at_once):
        asked = time.perf_counter()
        predictor.predict(texts[start : start + at_once])
        waits.append(time.perf_counter() - asked)
    return time.process_time() - cpu, time.perf_counter() - began, statistics.median(waits)


async def ask_server(port: int, texts: list[str], n_clients: int) -> list[float]:
    """Ask for each text by itself, on one connection a client; return the seconds that each answer took."""
    waits: list[float] = []

    async def client(own: list[str]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for text in own:
            body = json.dumps({"text": text}).encode()
            head = f"{_HEAD}Content-Length: {len(body)}"
            began = time.perf_counter()
            writer.write(head.encode() + b"\r\n\r\n" + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            length = int(answer.lower().partition(b"content-length: ")[2].split()[0])
            await reader.readexactly(length)
            waits.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(client(texts[i::n_clients]) for i in range(n_clients)))
    return waits


def cpu_seconds(pid: int) -> float:
    fields: list[Any] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
