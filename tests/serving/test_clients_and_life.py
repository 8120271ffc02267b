"""Slow clients, clients that go, overload, reloads and stopping. Cases S02, S04, S07, S08 and S09."""

import contextlib
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clients import Running, Start, is_closed, read_answer, request

from sentiment_cli.errors import DataError, SentimentError
from sentiment_cli.serving.log import Log
from sentiment_cli.serving.model import Holder, Served, check_canary, open_served

JSON = {"content_type": "application/json"}
BODY = b'{"text": "I just really loved the movie"}'
QUICK = {"receive_s": 0.5, "send_s": 0.5}


def wait_until(holds: Any) -> None:
    for _ in range(6000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came about")


class Gated:
    """A predictor that waits for `go` and counts the texts it reads."""

    def __init__(self, predictor: Any) -> None:
        self._predictor, self.go, self.read = predictor, threading.Event(), list[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def predict(self, texts: Any, **how: Any) -> Any:
        assert self.go.wait(60)
        self.read += texts
        return self._predictor.predict(texts, **how)


SLOW = {  # what is sent at once, and then a byte at a time
    "silence": (b"", b""),
    "header": (b"GET / HTTP/1.1\r\nHost: localhost\r\nx: ", b"zebra" * 1000),
    "blank lines": (b"", b"\r\n" * 1000),
    "body": (request("POST", "/predict", content_length="5000", **JSON), b"zebra" * 1000),
    "chunks": (request("POST", "/predict", transfer_encoding="chunked", **JSON), b"1\r\nz\r\n" * 1000),
    "line": (
        request("POST", "/predict", transfer_encoding="chunked", content_type="application/x-ndjson"),
        b"1\r\nz\r\n" * 999,
    ),
    "lying length": (request("POST", "/predict", content_length="50", **JSON) + BODY, b""),
    "next request": (request("GET", "/health") + b"GET / HT", b"TP/1.1"),
}


@pytest.mark.parametrize("kind", SLOW)
def test_s04_slow_clients_are_closed_and_a_good_one_is_served(start: Start, kind: str) -> None:
    running = start(**QUICK)
    first, rest = SLOW[kind]
    slow = [running.connect() for _ in range(6)]
    for client in slow:
        client.sendall(first)

    def trickle(client: socket.socket) -> bool:
        with contextlib.suppress(ConnectionError):
            for byte in rest:
                client.sendall(bytes([byte]))
                time.sleep(0.05)
        return is_closed(client)

    with ThreadPoolExecutor(6) as pool:
        closed = [pool.submit(trickle, client) for client in slow]
        while not all(one.done() for one in closed):
            assert running.predict({"text": "a film"}).status == 200
            time.sleep(0.02)
        assert all(one.result() for one in closed)
    for client in slow:
        client.close()
    wait_until(lambda: running.metrics.gauges["connections"][1]() == 0)
    assert sum(running.metrics.closed.values()) + running.metrics.refused["malformed"] == 6


def test_s04_a_client_that_does_not_read_is_closed(start: Start) -> None:
    running = start(**QUICK)
    with running.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with contextlib.suppress(ConnectionError, TimeoutError):
            client.settimeout(20)
            for _ in range(4000):
                client.sendall(request("GET", "/") * 20)
        wait_until(lambda: running.metrics.closed["slow-reader"] == 1)
    assert running.predict({"text": "a film"}).status == 200


def test_s04_a_client_that_reads_slowly_but_on_has_its_answer(start: Start) -> None:
    running = start(send_s=1.0)
    texts = ["word " * 60] * 40
    with running.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(request("POST", "/predict?trace=true", json.dumps({"texts": texts}).encode(), **JSON))
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(1024)
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        n_bytes = len(body)
        while n_bytes < length:
            block = client.recv(4096)
            assert block, "closed before its end"
            n_bytes += len(block)
            time.sleep(0.02)
    assert not running.metrics.closed


def test_s04_pauses_between_requests_and_between_lines_are_allowed(start: Start) -> None:
    running = start(**QUICK)
    with running.connect() as client:
        for _ in range(3):
            client.sendall(request("GET", "/health"))
            assert read_answer(client).status == 200
            time.sleep(0.6)
    line = BODY + b"\n"
    with running.connect() as client:
        client.sendall(request("POST", "/predict", transfer_encoding="chunked", content_type="application/x-ndjson"))
        for _ in range(4):
            client.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            time.sleep(0.25)
        client.sendall(b"0\r\n\r\n")
        assert read_answer(client).body.count(b"\n") == 4
    assert not running.metrics.closed


def test_s04_of_too_many_connections_the_longest_idle_one_goes(start: Start) -> None:
    running = start(connections=5)
    kept = [running.connect() for _ in range(5)]
    for client in kept:
        client.sendall(request("GET", "/health"))
        assert read_answer(client).status == 200
    kept[0].sendall(request("GET", "/health"))  # so that the second is the oldest
    assert read_answer(kept[0]).status == 200
    assert running.predict({"text": "a film"}).status == 200
    assert is_closed(kept[1])
    for client in (kept[0], *kept[2:]):
        client.sendall(request("GET", "/health"))
        assert read_answer(client).status == 200
        client.close()
    kept[1].close()
    assert running.metrics.closed["too-many"] == 1


def test_s02_overload_is_200_or_503_and_over_when_it_is_over(start: Start) -> None:
    running = start(queue=8)

    def client(number: int) -> int:
        return running.predict({"text": f"film {number}"}).status

    with ThreadPoolExecutor(64) as pool:
        codes = Counter(pool.map(client, range(500)))
    assert codes.keys() <= {200, 503}
    assert codes[200] >= 1
    assert sum(codes.values()) == 500
    assert running.predict({"text": "a film"}).status == 200
    assert running.metrics.gauges["waiting"][1]() == 0


def test_s07_the_work_of_clients_that_went_is_dropped(start: Start, served: Served) -> None:
    gated = Gated(served.predictor)
    running = start(replace(served, predictor=gated), queue=64)
    first = running.connect()
    first.sendall(request("POST", "/predict", BODY, **JSON))
    wait_until(lambda: running.metrics.batch.n == 1)
    gone = [running.connect() for _ in range(60)]
    for client in gone:
        client.sendall(request("POST", "/predict", b'{"text": "nobody waits"}', **JSON))
    wait_until(lambda: running.metrics.gauges["waiting"][1]() == 60)
    for client in gone:
        client.close()
    wait_until(lambda: running.metrics.gauges["waiting"][1]() == 0)
    gated.go.set()
    assert read_answer(first).status == 200
    first.close()
    assert running.predict({"text": "a film"}).status == 200
    assert gated.read == ["I just really loved the movie", "a film"]
    assert running.metrics.counts["dropped"] == 60
    assert running.metrics.requests["/predict", 499] == 60


@pytest.mark.parametrize("n", [1_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_memory_is_flat_over_many_requests(start: Start, n: int) -> None:
    running = start()
    message = request("POST", "/predict", BODY, **JSON)

    def ask(times: int) -> None:
        with running.connect() as client:
            for _ in range(times):
                client.sendall(message)
                assert read_answer(client).status == 200

    ask(200)
    gc.collect()
    objects = len(gc.get_objects())  # first: in a large process the list of them takes some 10 MB, which it keeps
    before = resident_bytes()
    ask(n)
    gc.collect()
    assert resident_bytes() - before < 8_000_000
    assert len(gc.get_objects()) - objects < 1_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def copied(quick_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(quick_run, tmp_path / "model")
    return tmp_path / "model"


def damage(name: str, at: int = 100) -> Any:
    def flip(run: Path) -> None:
        data = bytearray((run / "model" / name).read_bytes())
        data[at] ^= 1
        (run / "model" / name).write_bytes(data)

    return flip


def empty(run: Path) -> None:
    (run / "model" / "graph.onnx").write_bytes(b"")


def remove(run: Path) -> None:
    shutil.rmtree(run / "model")


@pytest.mark.parametrize(
    "harm",
    [
        damage("graph.onnx"),
        damage("tokenizer.json"),
        damage("vocabulary.json"),
        damage("manifest.json", 5),
        empty,
        remove,
    ],
    ids=["graph", "tokenizer", "vocabulary", "manifest", "empty", "gone"],
)
def test_s09_a_damaged_model_is_not_taken_and_the_old_one_serves_on(
    start: Start, copied: Path, harm: Any, capfd: Any
) -> None:
    running = start(open_served(copied))
    before = running.predict({"text": "a film"}, "?explain=true&trace=true").json
    harm(copied)
    assert running.predict({"text": "a film"}, "?explain=true&trace=true").json == before
    running.call(running.server.reload)
    wait_until(lambda: running.metrics.reloads["refused"] == 1)
    assert running.predict({"text": "a film"}, "?explain=true&trace=true").json == before
    assert running.metrics.reloads["done"] == 0
    assert "was not reloaded" in capfd.readouterr().err


def test_s09_another_model_of_the_same_labels_is_taken(start: Start, copied: Path, three_labels: Path) -> None:
    running = start(open_served(copied))
    old = running.ask("GET", "/model").json["model"]
    assert running.predict({"text": "good"}).json["probabilities"].keys() == {"neg", "pos"}
    calibrate(copied, 9.0)
    running.call(running.server.reload)
    wait_until(lambda: running.metrics.reloads["done"] == 1)
    card = running.ask("GET", "/model").json
    assert card["model"] != old
    assert card["temperature"] == 9.0
    shutil.rmtree(copied / "model")
    shutil.copytree(three_labels / "model", copied / "model")
    running.call(running.server.reload)
    wait_until(lambda: running.metrics.reloads["refused"] == 1)
    assert running.ask("GET", "/model").json == card


def calibrate(run: Path, temperature: float) -> None:
    """Write the model again with another temperature."""
    from sentiment_cli.runs.saved_model import hashes_of, open_artefact
    from sentiment_cli.storage import store

    artefact = open_artefact(run)
    files = {name: artefact.read(name) for name in artefact.files.entries if name != "model.json"}
    calibration = {"temperature": temperature, "ece_before": 0, "ece_after": 0, "loss_before": 0, "loss_after": 0}
    files["calibration.json"] = store.dump_json(calibration)
    about = json.loads(artefact.read("model.json")) | {"files": hashes_of(files)}
    shutil.rmtree(run / "model")
    with store.new_directory(run / "model") as draft:
        for name, data in {**files, "model.json": store.dump_json(about)}.items():
            draft.write(name, data)


def test_s09_reloading_under_load_fails_no_request(start: Start, copied: Path) -> None:
    running = start(open_served(copied))
    is_over = threading.Event()

    def client() -> Counter[int]:
        codes: Counter[int] = Counter()
        with running.connect() as connection:
            while not is_over.is_set():
                connection.sendall(request("POST", "/predict", BODY, **JSON))
                codes[read_answer(connection).status] += 1
        return codes

    with ThreadPoolExecutor(8) as pool:
        counted = [pool.submit(client) for _ in range(8)]
        for number in range(1, 6):
            running.call(running.server.reload)
            wait_until(lambda n=number: running.metrics.reloads["done"] == n)
        is_over.set()
        codes = sum((one.result() for one in counted), Counter())
    assert codes.keys() == {200}


@pytest.mark.parametrize("answers", ["nan", "label", "batch"])
def test_s09_canary_texts_find_a_model_that_does_not_answer(served: Served, answers: str) -> None:
    class Wrong:
        def __getattr__(self, name: str) -> Any:
            return getattr(served.predictor, name)

        def predict(self, texts: Any, **how: Any) -> Any:
            found = served.predictor.predict(texts, **how)
            if answers == "label":
                return [one._replace(label="zebra") for one in found]
            if answers == "nan":
                return [one._replace(probabilities={"neg": float("nan"), "pos": 0.5}) for one in found]
            return [one._replace(probabilities={"neg": 1 - len(texts) / 100, "pos": len(texts) / 100}) for one in found]

    with pytest.raises(DataError, match="canary"):
        check_canary(replace(served, predictor=Wrong()))


def test_a_failure_of_any_kind_leaves_the_model_before(served: Served, monkeypatch: Any) -> None:
    for error in (OSError("gone"), MemoryError(), KeyError("x")):

        def fail(path: Path, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr("sentiment_cli.serving.model.open_served", fail)
        holder = Holder(served)
        with pytest.raises(SentimentError):
            holder.reload()
        assert holder.served is served


def test_s08_stopping_finishes_what_is_there(start: Start, served: Served) -> None:
    gated = Gated(served.predictor)
    running = start(replace(served, predictor=gated))
    clients = [running.connect() for _ in range(20)]
    clients[0].sendall(request("POST", "/predict", BODY, **JSON))
    wait_until(lambda: running.metrics.batch.n == 1)
    for client in clients[1:]:
        client.sendall(request("POST", "/predict", BODY, **JSON))
    half = running.connect()
    message = request("POST", "/predict", BODY, **JSON)
    half.sendall(message[:-5])
    idle = running.connect()
    idle.sendall(request("GET", "/health"))
    assert read_answer(idle).status == 200
    wait_until(lambda: running.metrics.gauges["waiting"][1]() == 19)
    running.call(running.server.stop)
    wait_until(lambda: refuses(running))
    idle.sendall(request("GET", "/ready"))
    answer = read_answer(idle)
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    half.sendall(message[-5:])
    gated.go.set()
    for client in (*clients, half):
        answer = read_answer(client)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert is_closed(client)
        client.close()
    idle.close()
    assert running.stop() == 0


def refuses(running: Running) -> bool:
    try:
        running.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_s08_what_does_not_end_is_cut_off_after_the_time_for_it(start: Start, served: Served) -> None:
    gated = Gated(served.predictor)
    running = start(replace(served, predictor=gated), drain_s=0.3)
    with running.connect() as client:
        client.sendall(request("POST", "/predict", BODY, **JSON))
        wait_until(lambda: running.metrics.batch.n == 1)
        running.call(running.server.stop)
        assert is_closed(client)
    gated.go.set()
    assert running.stop() == 0


@pytest.fixture
def spawned(quick_run: Path) -> Any:
    """Start the command, and return its process, its address and the lines it prints."""
    started: list[subprocess.Popen[str]] = []

    def begin(*args: str) -> tuple["subprocess.Popen[str]", tuple[str, int]]:
        command = [sys.executable, "-m", "sentiment_cli", "serve", str(quick_run), "--port", "0", *args]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        url = json.loads(line)["url"] if line.startswith("{") else line
        host, _, port = url.removeprefix("http://").rpartition(":")
        return process, (host, int(port))

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_s08_sigterm_under_load_loses_nothing_and_exits_143(spawned: Any) -> None:
    process, address = spawned("--json")
    codes: Counter[str] = Counter()
    is_told = threading.Event()

    def client() -> None:
        while True:
            was_told = is_told.is_set()
            try:
                connection = socket.create_connection(address, timeout=60)
            except OSError:
                codes["refused"] += 1
                return
            with connection:
                try:
                    connection.sendall(request("POST", "/predict", BODY, **JSON))
                    codes[str(read_answer(connection).status)] += 1
                except ConnectionError:
                    # One that only the system had accepted; had it come before the signal, it were lost.
                    codes["refused" if was_told or is_told.is_set() else "lost"] += 1
                    return

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: codes["200"] > 50)
    is_told.set()
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert codes.keys() == {"200", "refused"}
    assert codes["refused"] == 8
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events].count("request") == codes["200"]
    assert events[-1] == {"event": "stopped"}
    assert "loved" not in out + err
    assert events[0].keys() == {"event", "method", "path", "status", "ms"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_s08_a_second_signal_ends_it_at_once(spawned: Any, number: int) -> None:
    process, address = spawned()
    with socket.create_connection(address) as client:
        client.sendall(request("POST", "/predict", BODY, **JSON)[:-3])  # which is waited for
        with socket.create_connection(address) as other:
            other.sendall(request("GET", "/health"))
            assert read_answer(other).status == 200
        process.send_signal(number)
        wait_until(lambda: not accepts(address))
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 128 + number


def accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except OSError:
        return False
    return True


def test_s09_sighup_loads_the_model_anew(spawned: Any) -> None:
    process, address = spawned("--json")
    process.send_signal(signal.SIGHUP)
    event = json.loads(process.stdout.readline())
    assert (event["event"], event["done"]) == ("reload", True)
    with socket.create_connection(address) as client:
        client.sendall(request("POST", "/predict", BODY, **JSON))
        assert read_answer(client).status == 200


def test_torch_is_not_loaded_whatever_is_asked(spawned: Any) -> None:
    process, address = spawned()
    with socket.create_connection(address) as client:
        client.sendall(request("POST", "/predict?explain=true&trace=true", BODY, **JSON))
        assert read_answer(client).status == 200
    maps = Path(f"/proc/{process.pid}/maps")
    if not maps.exists():
        pytest.skip("there is no /proc here")
    assert "libtorch" not in maps.read_text()


def test_a_reader_of_the_log_who_goes_stops_no_answer(spawned: Any) -> None:
    process, address = spawned("--json")
    process.stdout.close()
    with socket.create_connection(address) as client:
        for _ in range(20):
            client.sendall(request("POST", "/predict", BODY, **JSON))
            assert read_answer(client).status == 200


def test_log_lines_that_nobody_takes_are_counted(monkeypatch: Any) -> None:
    lost, go = [], threading.Event()
    monkeypatch.setattr("sentiment_cli.serving.log._MOST_WAITING", 3)
    monkeypatch.setattr("sentiment_cli.console.result", lambda line: go.wait(60))
    log = Log(True, lambda: lost.append(1))
    for _ in range(10):
        log.event("request")
    assert len(lost) >= 5
    go.set()
    log.close()
