"""What the server refuses, and how: a status, a short body of JSON, nothing of the input. Cases S03, S05 and S10."""

import base64
import gzip
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from clients import Running, Start, is_closed, read_answer, request

JSON = {"content_type": "application/json"}
LINES = {"content_type": "application/x-ndjson"}
MARK = "zebra"  # in what is sent, and in no answer
TOKEN = "a-token-of-24-characters"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def assert_refused(answer: Any, status: int) -> None:
    assert answer.status == status
    assert answer.json.keys() == {"error"}
    assert len(answer.body) < 200
    assert MARK.encode() not in answer.body
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"zebra", 400),
        (b'{"text": "zebra"', 400),
        (b'"zebra"', 400),
        (b"[]", 400),
        (b"null", 400),
        (b"{}", 400),
        (b'{"text": null}', 400),
        (b'{"text": ["zebra"]}', 400),
        (b'{"text": "zebra", "texts": []}', 400),
        (b'{"text": "zebra", "zebra": 1}', 400),
        (b'{"text": "zebra", "text": "b"}', 400),
        (b'{"texts": []}', 400),
        (b'{"texts": "zebra"}', 400),
        (b'{"texts": {"0": "zebra"}}', 400),
        (json.dumps({"texts": ["zebra"] * 65}).encode(), 400),
        (b'{"text": NaN}', 400),
        (b'{"text": -Infinity}', 400),
        (b'{"text": ' + b"1" * 5000 + b"}", 400),
        (b'{"text": "\xff zebra"}', 400),
        ('{"text": "zebra"}'.encode("utf-16"), 400),
        (b'\xef\xbb\xbf{"text": "zebra"}', 400),
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
        (json.dumps({f"zebra{i}": i for i in range(40_000)}).encode(), 400),
        (json.dumps({"text": "x" * 100_001}).encode(), 413),
        (json.dumps({"text": "é" * 50_001}, ensure_ascii=False).encode(), 413),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, bytes) else "",
)
def test_s05_bodies_that_are_no_request(everyone: Running, body: bytes, status: int) -> None:
    assert_refused(everyone.ask("POST", "/predict", body, content_length=str(len(body)), **JSON), status)


@pytest.mark.parametrize(
    ("text", "read"),
    [("\\ud800", "\ufffd"), ("a \\udfff b", "a \ufffd b"), ("\\ud83d\\ude00", "\U0001f600"), ("\\u0000", "\x00")],
)
def test_s05_half_a_surrogate_pair_is_answered_as_a_replacement_character(
    everyone: Running, predictor: Any, text: str, read: str
) -> None:
    answer = everyone.ask("POST", "/predict", f'{{"text": "{text}"}}'.encode(), **JSON)
    assert answer.status == 200
    assert answer.json["probability"] == pytest.approx(predictor.predict([read])[0].probability, abs=1e-6)


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=latin-1",
        "application/jsonp",
        "text/json",
    ],
)
def test_s05_other_content_types(everyone: Running, kind: str) -> None:
    assert_refused(everyone.ask("POST", "/predict", b'{"text": "a"}', content_type=kind), 415)


@pytest.mark.parametrize("kind", ["application/json;charset=UTF-8", 'Application/JSON; charset="utf-8"'])
def test_utf_8_may_be_named(everyone: Running, kind: str) -> None:
    assert everyone.ask("POST", "/predict", b'{"text": "a"}', content_type=kind).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("PUT", "/predict", 405),
        ("DELETE", "/model", 405),
        ("ZEBRA", "/", 405),
        ("OPTIONS", "/predict", 405),
        ("GET", "/zebra", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/%2e%2e/zebra", 404),
        ("GET", "//health", 404),
        ("GET", "/health/", 404),
        ("GET", "/" + "zebra" * 2000, 414),
        ("GET", "/?" + "zebra" * 2000, 414),
        ("POST", "/predict?explain=zebra", 400),
        ("POST", "/predict?zebra=true", 400),
        ("POST", "/predict?explain=true&trace=1", 400),
        ("POST", "/predict?" + "&".join(["explain=true"] * 50), 400),
    ],
    ids=lambda value: str(value)[:30],
)
def test_s05_methods_paths_and_queries(everyone: Running, method: str, path: str, status: int) -> None:
    headers = JSON if method == "POST" else {}
    assert_refused(everyone.ask(method, path, b'{"text": "a"}' if method == "POST" else b"", **headers), status)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({f"x{i}": "zebra" for i in range(5000)}, 431),
        ({"x": "zebra" * 4000}, 431),
        ({"cookie": "zebra" * 3000, "x": "zebra" * 1000}, 431),
    ],
    ids=["many", "long", "two"],
)
def test_s05_headers_of_more_than_16_kb_in_one_packet(everyone: Running, headers: dict[str, str], status: int) -> None:
    answer = everyone.ask("GET", "/health", **headers)
    assert answer.status in (status, 400)  # h11 has a limit of its own for what comes in several packets
    assert answer.json.keys() == {"error"}


@pytest.mark.parametrize(
    "data",
    [
        b"zebra\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: zebra\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nzebra\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nzebra",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\nzebra",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzebra\r\n",
    ],
    ids=["garbage", "tls", "no-host", "two-hosts", "header", "two-lengths", "negative", "both", "chunk"],
)
def test_s05_what_is_no_http_is_answered_with_400_and_no_more(everyone: Running, data: bytes) -> None:
    with everyone.connect() as client:
        client.sendall(data)
        assert_refused(read_answer(client), 400)


@pytest.mark.parametrize("version", ["0.9", "2.0", "9.9"])
def test_s05_other_versions_of_http(everyone: Running, version: str) -> None:
    with everyone.connect() as client:
        client.sendall(f"GET / HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        assert_refused(read_answer(client), 505)


@pytest.mark.parametrize("path", ["/predict", "/"])
def test_s03_a_body_over_the_cap_is_refused_before_it_is_sent(everyone: Running, path: str) -> None:
    kind = "application/json" if path == "/predict" else "application/x-www-form-urlencoded"
    with everyone.connect() as client:
        client.sendall(request("POST", path, content_type=kind, content_length="10000000"))
        answer = read_answer(client)
        assert answer.status == 413
        # A client that sends all the same sees the answer, and can go on.
        for _ in range(100):
            client.sendall(b"x" * 100_000)
        client.sendall(request("GET", "/health"))
        assert read_answer(client).status == 200


def test_s03_a_chunked_body_over_the_cap_is_refused_while_it_comes(everyone: Running) -> None:
    with everyone.connect() as client:
        client.sendall(request("POST", "/predict", transfer_encoding="chunked", **JSON))
        before = resident_bytes()
        for _ in range(120):
            client.sendall(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
        assert_refused(read_answer(client), 413)
        assert resident_bytes() - before < 5_000_000
        client.sendall(b"0\r\n\r\n" + request("GET", "/health"))
        assert read_answer(client).status == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity"])
@pytest.mark.parametrize("path", ["/predict", "/"])
def test_s03_nothing_is_decompressed(everyone: Running, path: str, coding: str) -> None:
    bomb = gzip.compress(b'{"text": "' + b"x" * 50_000_000 + b'"}', 9)
    before = resident_bytes()
    assert_refused(everyone.ask("POST", path, bomb, content_encoding=coding, **JSON), 415)
    assert resident_bytes() - before < 5_000_000


def test_s03_a_line_that_does_not_end_is_cut_off(everyone: Running) -> None:
    with everyone.connect() as client:
        client.sendall(request("POST", "/predict", transfer_encoding="chunked", **LINES))
        for _ in range(12):
            client.sendall(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
        assert_refused(read_answer(client), 413)


def test_the_queue_is_full_before_a_body_is_read(start: Start, served: Any) -> None:
    from dataclasses import replace
    from threading import Event

    go = Event()

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(served.predictor, name)

        def predict(self, texts: Any, **how: Any) -> Any:
            assert go.wait(60)
            return served.predictor.predict(texts, **how)

    running = start(replace(served, predictor=Slow()), queue=2)
    body = b'{"text": "a film"}'
    clients = [running.connect() for _ in range(3)]
    try:
        clients[0].sendall(request("POST", "/predict", body, **JSON))
        wait_until(lambda: len(running.server.metrics.gauges) > 0 and running.metrics.batch.n == 1)
        for client in clients[1:]:
            client.sendall(request("POST", "/predict", body, **JSON))
        wait_until(lambda: running.metrics.gauges["waiting"][1]() == 2)
        assert running.ask("GET", "/ready").status == 503
        assert running.ask("GET", "/health").status == 200
        for headers in (JSON, LINES):
            with running.connect() as client:  # whose body never comes
                client.sendall(request("POST", "/predict", content_length="900", **headers))
                answer = read_answer(client)
                assert_refused(answer, 503)
                assert answer.headers["retry-after"] == "1"
        go.set()
        assert [read_answer(client).status for client in clients] == [200, 200, 200]
    finally:
        go.set()
        for client in clients:
            client.close()


def wait_until(holds: Any) -> None:
    for _ in range(6000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came about")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "LOCALHOST", "127.0.0.1:1", "[::1]:80", "texts.example.org"]
)
def test_s10_known_names(start: Start, host: str) -> None:
    assert start(allowed_hosts=frozenset({"texts.example.org"})).ask("GET", "/model", host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:8000", "127.0.0.1.nip.io", "a@localhost", "[::2]"]
)
@pytest.mark.parametrize("path", ["/", "/predict", "/model", "/health"])
def test_s10_foreign_names_are_misdirected(everyone: Running, host: str, path: str) -> None:
    assert_refused(everyone.ask("GET", path, host=host), 421)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil", "http://localhost:9", "file://", "http://[x"]
)
@pytest.mark.parametrize("path", ["/predict", "/"])
def test_s10_foreign_origins_are_forbidden(everyone: Running, origin: str, path: str) -> None:
    answer = everyone.ask("POST", path, b'{"text": "a"}', origin=origin, **JSON)
    assert_refused(answer, 403)
    assert "access-control-allow-origin" not in answer.headers


def test_s10_its_own_pages_and_allowed_ones_may_ask(start: Start) -> None:
    running = start(allowed_origins=frozenset({"https://app.example.org"}))
    own = running.ask(
        "POST", "/predict", b'{"text": "a"}', origin="http://localhost:8000", host="localhost:8000", **JSON
    )
    assert own.status == 200
    allowed = {"origin": "https://app.example.org"}
    locked = start(allowed_origins=frozenset({"https://app.example.org"}), token=TOKEN)
    assert locked.ask("OPTIONS", "/predict", **allowed).status == 204  # browsers send no token with it
    refused = locked.ask("POST", "/predict", b'{"text": "a"}', **allowed, **JSON)
    assert_refused(refused, 401)
    assert refused.headers["access-control-allow-origin"] == allowed["origin"]
    before = running.ask("OPTIONS", "/predict", access_control_request_method="POST", **allowed)
    assert before.status == 204
    answer = running.ask("POST", "/predict", b'{"text": "a"}', **allowed, **JSON)
    assert answer.status == 200
    assert (
        answer.headers["access-control-allow-origin"]
        == before.headers["access-control-allow-origin"]
        == allowed["origin"]
    )
    assert_refused(running.ask("OPTIONS", "/predict", origin="https://other.example.org"), 403)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


@pytest.mark.parametrize(
    "sent",
    ["", "Bearer", "Bearer x", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", basic("x"), "Basic ~", "Bearer é"],
)
@pytest.mark.parametrize("path", ["/", "/model", "/metrics", "/predict"])
def test_without_the_token_nothing_is_told(start: Start, sent: str, path: str) -> None:
    running = start(token=TOKEN)
    answer = running.ask("GET", path, authorization=sent)
    assert_refused(answer, 401)
    assert answer.headers["www-authenticate"].split()[0] == ("Basic" if path == "/" else "Bearer")
    assert running.ask("GET", "/health").status == running.ask("GET", "/ready").status == 200


@pytest.mark.parametrize("sent", [f"Bearer {TOKEN}", f"bearer {TOKEN}", basic(TOKEN)])
def test_with_the_token_all_is_told(start: Start, sent: str) -> None:
    running = start(token=TOKEN)
    assert running.ask("POST", "/predict", b'{"text": "a"}', authorization=sent, **JSON).status == 200


def test_a_fault_of_ours_is_500_with_nothing_of_the_text(
    start: Start, served: Any, capfd: Any, monkeypatch: Any
) -> None:
    running = start()

    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("zebra")

    monkeypatch.setattr("sentiment_cli.serving.predicting.read_request", fail)
    assert_refused(running.predict({"text": "zebra"}), 500)
    said = capfd.readouterr()
    assert "a request failed: ValueError at" in said.err
    assert MARK not in said.err + said.out


def test_closing_tells_the_client(everyone: Running) -> None:
    with everyone.connect() as client:
        client.sendall(request("GET", "/health", connection="close"))
        assert read_answer(client).headers["connection"] == "close"
        client.shutdown(socket.SHUT_WR)
        assert is_closed(client)
