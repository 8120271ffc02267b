"""What a server bears: slow clients, bursts, many requests, reloads and a stop under load; a table, and a JSON report.

    python benchmarks/serving_trials.py RUN [--requests 100000] [--out trials.json]

Each trial has a server of its own. Memory is the resident memory of the server's process.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from serving import resident_bytes, serving

from sentiment_cli.runs.directory import find_run
from sentiment_cli.storage import store

_BODY = json.dumps({"text": "I just really loved the movie, though it went on for too long."}).encode()
_HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_REQUEST = _HEAD + b"Content-Length: %d\r\n\r\n" % len(_BODY) + _BODY
_DEADLINE_S = 10.0  # of the server, for a request
_SLOW, _AT_ONCE, _LOADING = 1_000, 500, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run directory or name, or a packed model")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    path = find_run(asked.run, or_bundled=True)
    report: dict[str, dict[str, Any]] = {}
    for trial in (slow_sockets, bursts, endurance, reloads, stop):
        options = ["--queue", "64"] if trial is bursts else []
        with serving(path, *options) as (process, port):
            found = report[trial.__name__] = asyncio.run(trial(process, port, asked.requests))
        print(f"{trial.__name__}: {', '.join(f'{name} {value}' for name, value in found.items())}", flush=True)
    if asked.out is not None:
        store.write_file(asked.out, store.dump_json({"run": path.name, "requests": asked.requests, **report}))


async def slow_sockets(process: Any, port: int, n_requests: int) -> dict[str, Any]:
    """Send a byte of a header a second on each socket, while a good client asks."""
    lived: list[float] = []

    async def slow() -> None:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            began = time.monotonic()
            writer.write(b"GET / HTTP/1.1\r\nx: ")
            while not await _is_closed(reader):
                writer.write(b"z")
            writer.close()
        lived.append(time.monotonic() - began)

    async with _asking(port, 1) as good:
        await asyncio.gather(*(slow() for _ in range(_SLOW)))
    late = sum(lasted > 1.5 * _DEADLINE_S for lasted in lived)
    waits = sorted(good.waits)
    return {
        "sockets": _SLOW,
        "closed": len(lived),
        "later_than_15_s": late,
        "longest_s": round(max(lived), 1),
        "good": dict(good.statuses),
        "good_p50_ms": round(1000 * waits[len(waits) // 2], 1),
        "good_slowest_ms": round(1000 * waits[-1], 1),
    }


async def bursts(process: Any, port: int, n_requests: int) -> dict[str, Any]:
    """Send many requests at once, twice, and look whether the server answers afterwards."""
    before, found, sizes = _megabytes(process), Counter[str](), []
    for _ in range(2):
        found.update(await asyncio.gather(*(_one(port) for _ in range(_AT_ONCE))))
        sizes.append(_megabytes(process))
    return {"statuses": dict(found), "after": await _one(port), "mb": [before, *sizes]}


async def endurance(process: Any, port: int, n_requests: int) -> dict[str, Any]:
    """Send many requests from 32 clients; the memory after each tenth of them."""
    sizes, statuses = [], Counter[str]()
    for _ in range(10):
        async with _asking(port, 32, n_requests // 10) as asking:
            await asking.done()
        statuses.update(asking.statuses)
        sizes.append(_megabytes(process))
    return {"statuses": dict(statuses), "mb": sizes}


async def reloads(process: Any, port: int, n_requests: int) -> dict[str, Any]:
    """Load the model anew ten times while eight clients ask."""
    async with _asking(port, 8) as asking:
        for _ in range(10):
            process.send_signal(signal.SIGHUP)
            await asyncio.sleep(1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    lines = (await reader.read()).decode().splitlines()
    writer.close()
    counted = [line for line in lines if line.startswith("sentiment_reload")]
    return {"statuses": dict(asking.statuses), "counted": counted}


async def stop(process: Any, port: int, n_requests: int) -> dict[str, Any]:
    """Send SIGTERM behind requests that have arrived; each of them is answered."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(_LOADING)]
    for _, writer in opened:
        writer.write(_REQUEST)
        await writer.drain()
    await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    statuses = Counter([await _status(reader) for reader, _ in opened])
    code = await asyncio.to_thread(process.wait)
    for _, writer in opened:
        writer.close()
    return {"statuses": dict(statuses), "exit": code, "seconds": round(time.monotonic() - began, 2)}


class _Asking:
    """Clients that ask one request after the other, until they are stopped, or so many requests."""

    def __init__(self, port: int, n_clients: int, n_requests: int | None) -> None:
        self.statuses, self.waits, self.is_over = Counter[str](), list[float](), False
        self._left = n_requests
        self._tasks = [asyncio.create_task(self._client(port)) for _ in range(n_clients)]

    async def done(self) -> None:
        await asyncio.gather(*self._tasks)

    async def _client(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not self.is_over and (self._left is None or self._left > 0):
            self._left = None if self._left is None else self._left - 1
            began = time.perf_counter()
            writer.write(_REQUEST)
            status = await _status(reader)
            self.statuses[status] += 1
            self.waits.append(time.perf_counter() - began)
            if not status.isdigit():  # the connection was closed
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()


@contextlib.asynccontextmanager
async def _asking(port: int, n_clients: int, n_requests: int | None = None) -> AsyncIterator[_Asking]:
    asking = _Asking(port, n_clients, n_requests)
    yield asking
    asking.is_over = True
    await asking.done()


async def _one(port: int) -> str:
    """Ask once on a connection of its own; return the status, or what went wrong."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_REQUEST)
        status = await _status(reader)
        writer.close()
    except OSError as error:
        return type(error).__name__
    return status


async def _status(reader: asyncio.StreamReader) -> str:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        return type(error).__name__
    return head.split()[1].decode()


async def _is_closed(reader: asyncio.StreamReader) -> bool:
    """Wait for a second; say whether the server has ended the connection."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            while await reader.read(1024):
                pass
            return True
    return False


def _megabytes(process: Any) -> int:
    return round(resident_bytes(process.pid) / 1e6)


if __name__ == "__main__":
    main()
