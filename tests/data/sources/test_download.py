"""Robustness cases F01, F23, F24, F25, M12 and M14: the download against a real server that does what they say."""

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentiment_cli.data.sources import download, pace
from sentiment_cli.data.sources import mirror as mirror_module
from sentiment_cli.data.sources.download import download_imdb
from sentiment_cli.data.sources.mirror import Mirror
from sentiment_cli.errors import DataError, MachineError, UsageError
from sentiment_cli.storage import failpoints

DATA = b"\x1f\x8b" + random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
TAG = '"one"'

Answer = Callable[[BaseHTTPRequestHandler], None]


def send(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, object], body: bytes) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, str(value))
    handler.end_headers()
    handler.wfile.write(body)


def start_of(handler: BaseHTTPRequestHandler) -> int:
    """Where the asked range begins; a range of an older version of the file is no range."""
    if handler.headers.get("If-Range", TAG) != TAG:
        return 0
    return int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))


def answer(
    status: int | None = None,
    start: int | None = None,
    n_sent: int | None = None,
    shift: int = 0,
    body: bytes = DATA,
    end: Callable[[BaseHTTPRequestHandler], object] = lambda handler: None,
    **headers: object,
) -> Answer:
    """Answer as a good server would, but for what is given; a header that is None is left out."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        begin = (start_of(handler) if start is None else start) + shift
        if begin >= len(body) > 0 and status is None:
            return send(handler, 416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": 0}, b"")
        code = status or (206 if begin else 200)
        said: dict[str, object] = {"ETag": TAG, "Content-Length": len(body) - begin}
        if code == 206:
            said["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        said = {name: value for name, value in said.items() if value is not None}
        sent = body[begin:]
        send(handler, code, said, sent if n_sent is None else sent[:n_sent])
        return end(handler)

    return respond


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def dribble(handler: BaseHTTPRequestHandler) -> None:
    for i in range(60):
        handler.wfile.write(DATA[50_000 + i : 50_001 + i])
        time.sleep(0.02)


def endless(handler: BaseHTTPRequestHandler) -> None:
    while True:
        handler.wfile.write(bytes(65_536))


GOOD = answer()


class Server:
    """A server here in the publisher's place: the answers of `script` one after the other, then good ones."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.asked: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(dict(self.headers.items()))
                with contextlib.suppress(ConnectionError):  # the other side has heard enough
                    (server.script.pop(0) if server.script else GOOD)(self)

            def log_message(self, *args: object) -> None:
                pass

            def finish(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().finish()

        self.running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.running.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.running.server_port}/a.tar.gz"

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for headers in self.asked]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setattr(mirror_module, "SCHEMES", ("http",))  # which plays the part of https
    monkeypatch.setattr(download, "URL", running.url)
    monkeypatch.setattr(download, "SIZE", len(DATA))
    monkeypatch.setattr(download, "SHA256", SHA256)
    monkeypatch.setattr(download, "_CHUNK", 40_000)
    yield running
    running.running.shutdown()
    running.running.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which take no time here."""
    waited: list[float] = []
    monkeypatch.setattr(download, "_sleep", waited.append)
    return waited


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "a.tar.gz"


def names(target: Path) -> set[str]:
    return {path.name.removeprefix("a.tar.gz") for path in target.parent.iterdir()}


def test_the_published_file_arrives_whole_and_its_citation_is_printed(server, target: Path, capsys) -> None:
    assert download_imdb(target) == target
    assert target.read_bytes() == DATA
    assert names(target) == {""}
    assert "Andrew L. Maas" in capsys.readouterr().err
    assert server.asked[0]["Accept-Encoding"] == "identity"


def test_f01_killed_anywhere_it_goes_on_from_what_came(server, target: Path, forked, places_of) -> None:
    places = places_of(lambda: download_imdb(target))
    assert {"lock", "mkdir", "create", "append", "write", "flush", "rename", "flush_directory", "remove"} <= {
        place.partition(":")[0] for place in places
    }
    n_killed = n_resumed = 0
    for place in places:
        shutil.rmtree(target.parent)
        server.asked.clear()
        code = forked(lambda: download_imdb(target), f"{place}:kill")
        assert code == -signal.SIGKILL or place.startswith("write:")  # how many writes there are is up to the network
        n_killed += code < 0
        assert not target.exists() or target.read_bytes() == DATA
        assert forked(lambda: download_imdb(target)) == 0
        assert target.read_bytes() == DATA
        assert names(target) == {""}, place
        n_resumed += any(server.ranges)
        assert len(server.asked) <= 2
    assert n_killed >= len(places) - 4
    assert n_resumed >= 4


@pytest.mark.parametrize("n_sent", [0, 1, 150_000, len(DATA) - 1])
@pytest.mark.parametrize("end", [lambda handler: None, reset])
def test_f23_a_connection_that_drops_is_resumed(server, target: Path, waits, n_sent: int, end) -> None:
    server.script = [answer(n_sent=n_sent, end=end)]
    download_imdb(target)
    assert target.read_bytes() == DATA
    if end is not reset:  # which takes bytes in flight with it
        assert server.ranges == [None, f"bytes={n_sent}-" if n_sent else None]
        assert server.asked[1].get("If-Range") == (TAG if n_sent else None)
    assert len(waits) == 1
    assert names(target) == {""}


def test_f23_a_server_that_almost_stops_does_not_hold_us(server, target: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(download, "_WINDOW_S", 0.2)
    monkeypatch.setattr(download, "_LEAST_BYTES", 60_000)
    server.script = [answer(n_sent=50_000, end=dribble)]
    download_imdb(target)
    assert target.read_bytes() == DATA
    assert "bytes came in 0 s" in capsys.readouterr().err
    assert server.ranges[1]


def test_f23_a_server_that_says_nothing_does_not_hold_us(server, target: Path, monkeypatch) -> None:
    monkeypatch.setattr(download, "_TIMEOUT_S", 0.1)
    server.script = [lambda handler: time.sleep(0.3), answer(n_sent=1000, end=lambda handler: time.sleep(0.3))]
    download_imdb(target)
    assert target.read_bytes() == DATA
    assert server.ranges == [None, None, "bytes=1000-"]


def without_end(piece: bytes, before: bytes = b"") -> Answer:
    """Send some bytes, then a piece again and again, as fast as they go."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(before)
        while True:
            handler.wfile.write(piece)

    return respond


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by a second with each look at it, in the place of the real one."""
    now = [0.0]

    def look() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(pace, "_clock", look)
    return now


@pytest.mark.parametrize(
    "script",
    [
        without_end(b"X", b"HTTP/1.1 200 OK\r\nX-"),
        without_end(b"a", b"HTTP/1.1 2"),
        without_end(b"HTTP/1.1 100 Continue\r\n\r\n"),
        without_end(b"X-A: b\r\n", b"HTTP/1.1 100 Continue\r\n"),
        without_end(b"x" * 9_000, b"HTTP/1.1 302 Found\r\nLocation: /a.tar.gz\r\n\r\n"),
        without_end(b"0", CHUNKED),
        without_end(b"1;x=" + b"y" * 60_000 + b"\r\n\x1f\r\n", CHUNKED),
        without_end(b"X-Trailer: 1\r\n", CHUNKED + b"2\r\n\x1f\x8b\r\n0\r\n"),
    ],
    ids=[
        "a header", "a status", "100 Continue", "headers of a 100", "the body of a redirect", "a chunk's size",
        "a chunk's extensions", "trailers",
    ],
)  # fmt: skip
def test_a8_what_has_no_end_does_not_hold_us(server, target: Path, waits, ticking, script, monkeypatch) -> None:
    """A8: a server that keeps one waiting. Each try ends, and a good answer after it is taken."""
    monkeypatch.setattr(download, "_WINDOW_S", 30.0)
    server.script = [script, script]
    download_imdb(target)
    assert target.read_bytes() == DATA
    assert len(server.asked) == 3
    assert len(waits) == 2


class Slow:
    """A connection on which one byte comes in each read, a second after the one before."""

    def __init__(self, data: bytes) -> None:
        self.data, self.timeouts = io.BytesIO(data), list[float | None]()

    def makefile(self, mode: str) -> io.BufferedReader:
        slow = self

        class Raw(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def readinto(self, buffer) -> int:
                byte = slow.data.read(1)
                buffer[: len(byte)] = byte
                return len(byte)

        return io.BufferedReader(Raw())

    def gettimeout(self) -> float | None:
        return 30.0

    def settimeout(self, seconds: float | None) -> None:
        self.timeouts.append(seconds)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + b"X: y\r\n" * 90 + b"\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 90,
        b"HTTP/1.1 200" + b" " * 900,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 900,
    ],
    ids=["many headers", "many 100 Continue", "a status", "one header"],
)
def test_a8_headers_a_byte_a_second_have_a_deadline(ticking, head: bytes) -> None:
    connection = Slow(head)
    response = pace.PacedResponse(connection, method="GET")
    with pytest.raises(TimeoutError, match="does not come to the point within 60 s"):
        response.begin()
    assert ticking[0] < 70
    assert all(seconds is not None and 0 < seconds <= 30 for seconds in connection.timeouts)


@pytest.mark.parametrize(
    "body",
    [b"0" * 900, b"5;" + b"x" * 900, b"1\r\na\r\n0\r\n" + b"X: y\r\n" * 200],
    ids=["size", "extension", "trailers"],
)
def test_a8_a_body_a_byte_a_second_has_a_least_rate(ticking, body: bytes) -> None:
    response = pace.PacedResponse(Slow(CHUNKED + body), method="GET")
    response.pace.allow(900, 1 << 20)
    response.begin()
    with pytest.raises(TimeoutError, match="within 30 s"):
        while True:
            response.pace.allow(30, 1 << 20)
            response.read1(100)


@pytest.mark.parametrize(
    "location",
    [
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "http://[v1.x/",
        "http://:80/a",
    ],
)
def test_a8_a_redirect_to_what_is_no_url_is_refused_at_once(server, target: Path, location: str) -> None:
    server.script = [answer(status=302, Location=location)] * 9
    with pytest.raises(MachineError, match="HTTP 302 redirects to what is no URL"):
        download_imdb(target)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "validator",
    ['"a"\r\nX-Evil: 1', '"a\n"', "\r\n", "é", "\x00", '"' + "x" * 9_000 + '"', 'W/"weak"', 7, None, ["a"], {"a": 1}],
)
def test_a8_a_stored_validator_that_is_no_header_is_not_sent(server, target: Path, validator: object) -> None:
    leave_part(target, DATA[:100_000], server.url)
    note = target.with_name("a.tar.gz.part.json")
    note.write_text(json.dumps({**json.loads(note.read_text()), "validator": validator}))
    download_imdb(target)
    assert target.read_bytes() == DATA
    assert "If-Range" not in server.asked[0]
    assert "X-Evil" not in server.asked[0]
    assert server.ranges == ["bytes=100000-"]


@pytest.mark.parametrize("validator", [TAG, "Wed, 21 Oct 2015 07:28:00 GMT", '"a-b:c/d"'])
def test_a8_a_good_validator_is_kept(validator: str) -> None:
    assert mirror_module.checked_validator(validator) == validator


def test_f23_a_busy_server_is_asked_again_when_it_says(server, target: Path, waits) -> None:
    in_an_hour = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    server.script = [
        answer(status=500),
        answer(status=429, Retry_After=7),
        answer(status=503, Retry_After=in_an_hour),
        answer(status=503, Retry_After="soon"),
    ]
    download_imdb(target)
    assert target.read_bytes() == DATA
    assert 0.25 <= waits[0] <= 0.5
    assert waits[1:3] == [7.0, 120.0]
    assert 2 <= waits[3] <= 4


def test_f23_a_server_that_gives_a_little_each_time_is_asked_on(server, target: Path, waits, monkeypatch) -> None:
    monkeypatch.setattr(download, "_GAIN", 10_000)
    server.script = [answer(n_sent=20_000)] * 12
    download_imdb(target)
    assert target.read_bytes() == DATA
    assert len(waits) == 12


@pytest.mark.parametrize(
    ("script", "n_asked", "said"),
    [
        ([answer(status=404)] * 9, 1, "HTTP 404 Not Found"),
        ([answer(status=403)] * 9, 1, "HTTP 403 Forbidden"),
        ([answer(status=204)] * 9, 1, "HTTP 204"),
        ([answer(status=503)] * 9, 5, r"HTTP 503 Service Unavailable \(5 tries\)"),
        ([answer(n_sent=100)] * 9, 5, r"the server stopped after 500 of 300,002 bytes \(5 tries\); 500 bytes are kept"),
        ([answer(status=302, Location="file:///etc/passwd")] * 9, 1, "HTTP 302"),
        ([answer(status=302, Location="https://127.0.0.1/")] * 9, 1, "HTTP 302 redirects to what is not https"),
        ([answer(status=302, Location="ftp://127.0.0.1/")] * 9, 1, "HTTP 302 redirects to what is not https"),
        ([answer(status=302, Location="/a.tar.gz")] * 30, None, "infinite loop"),
    ],
)
def test_f23_f25_what_cannot_be_had_says_what_to_do(server, target: Path, script, n_asked, said: str) -> None:
    server.script = script
    with pytest.raises(MachineError, match=said) as caught:
        download_imdb(target)
    assert server.url in str(caught.value)
    for way in (f"place a copy of the archive at {target}", "SENTIMENT_IMDB", "sentiment prepare --mirror"):
        assert way in str(caught.value)
    assert caught.value.hint == f"curl -fIL {server.url}"
    assert len(server.asked) == n_asked if n_asked else len(server.asked) <= 12
    assert not target.exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.tar.gz", "http://name.invalid/a.tar.gz"])
def test_f23_without_a_connection_the_file_to_place_is_named(target: Path, monkeypatch, waits, url: str) -> None:
    monkeypatch.setattr(mirror_module, "SCHEMES", ("http",))
    monkeypatch.setattr(download, "URL", url)
    with pytest.raises(MachineError, match=f"{url} cannot be downloaded: .* \\(5 tries\\)") as caught:
        download_imdb(target)
    assert f"place a copy of the archive at {target}, or name one by SENTIMENT_IMDB" in str(caught.value)
    assert len(waits) == 4
    assert names(target) == set()


def leave_part(target: Path, part: bytes, url: str, validator: str | None = TAG, sha256: str = SHA256) -> None:
    target.parent.mkdir(exist_ok=True)
    target.with_name("a.tar.gz.part").write_bytes(part)
    note = {"url": url, "sha256": sha256, "validator": validator}
    target.with_name("a.tar.gz.part.json").write_text(json.dumps(note))


@pytest.mark.parametrize(
    ("part", "script", "n_asked"),
    [
        pytest.param(DATA[:1000], [], 1, id="206 at the right place"),
        pytest.param(DATA[:1000], [answer(status=200, start=0)], 1, id="200 with the whole file"),
        pytest.param(DATA[:1000], [answer(status=200)], 2, id="200 that is a slice"),
        pytest.param(DATA[:1000], [answer(shift=-500)], 1, id="206 from earlier on"),
        pytest.param(DATA[:1000], [answer(shift=500)], 2, id="206 from later on"),
        pytest.param(DATA[:1000], [answer(Content_Range=None)], 2, id="206 that does not say where"),
        pytest.param(DATA[:1000], [answer(Content_Range="pages 3-4/5")], 2, id="206 in other units"),
        pytest.param(DATA[:1000], [answer(Content_Range=f"bytes {'9' * 5000}-1/2")], 2, id="206 beyond any number"),
        pytest.param(DATA[:1000], [answer(ETag='"two"')], 2, id="206 of another version"),
        pytest.param(DATA, [], 0, id="all of it came before"),
        pytest.param(DATA[:1000], [answer(status=416)], 2, id="416 for no reason"),
        pytest.param(b"\x1f\x8b" + bytes(998), [], 2, id="part of another version, which If-Range does not tell"),
        pytest.param(b"\x1f\x8b" + bytes(len(DATA)), [], 1, id="part longer than the file"),
        pytest.param(b"", [answer(Content_Encoding="gzip")], 1, id="gzip said of what is none"),
        pytest.param(b"", [answer(Content_Length=None)], 1, id="no Content-Length"),
        pytest.param(b"", [answer(Content_Length=None, n_sent=99)], 2, id="no Content-Length and a drop"),
        pytest.param(b"", [answer(Content_Length=5000)], 2, id="Content-Length too small"),
        pytest.param(b"", [answer(Content_Length=10**9)], 1, id="Content-Length too large"),
        pytest.param(b"", [answer(Content_Length="many")], 1, id="Content-Length that is none"),
    ],
)
def test_f24_answers_that_mislead_a_resumed_download(server, target: Path, part, script, n_asked: int) -> None:
    leave_part(target, part, server.url)
    server.script = script
    download_imdb(target)
    assert target.read_bytes() == DATA
    assert len(server.asked) == n_asked
    assert names(target) - {".bad"} == {""}


def test_f24_a_changed_version_is_taken_from_its_start(server, target: Path) -> None:
    leave_part(target, b"old" * 100, server.url, validator='"zero"')
    download_imdb(target)
    assert [(headers["Range"], headers["If-Range"]) for headers in server.asked] == [("bytes=300-", '"zero"')]
    assert target.read_bytes() == DATA


def test_f24_a_weak_etag_does_not_tell_versions_but_a_date_does(server, target: Path) -> None:
    date = "Mon, 04 Jul 2011 08:00:00 GMT"
    server.script = [answer(n_sent=9, ETag='W/"one"', Last_Modified=date), answer(start=9)]
    download_imdb(target)
    assert server.asked[1]["If-Range"] == date
    assert target.read_bytes() == DATA


def test_f24_a_part_of_something_else_is_not_gone_on_with(server, target: Path) -> None:
    for note in ('{"sha256": "0"}', "[]", "{", '{"sha256": 1}'):
        leave_part(target, b"other", server.url)
        target.with_name("a.tar.gz.part.json").write_text(note)
        download_imdb(target)
        assert target.read_bytes() == DATA
        target.unlink()
    assert set(server.ranges) == {None}


@pytest.mark.parametrize(
    ("script", "said", "kept"),
    [
        ([answer(body=DATA[:-1] + b"x")], "sent other bytes than those of sha256", DATA[:-1] + b"x"),
        ([answer(Content_Length=None, end=endless)], "sent other bytes than", DATA + b"\0"),
        ([answer(body=b"\n<!DOCTYPE html><html>log in</html>")], "sent a web page and not the archive", None),
        ([answer(body=b"<HTML>", Content_Length=None)], "Perhaps this network asks for a login", b"<HTML>"),
    ],
)
def test_f25_something_else_is_set_aside(server, target: Path, script, said: str, kept: bytes | None) -> None:
    server.script = script
    with pytest.raises(DataError, match=said) as caught:
        download_imdb(target)
    assert caught.value.exit_code == 3
    assert str(target.with_name("a.tar.gz.bad")) in str(caught.value)
    assert names(target) == {".bad"}
    if kept is not None:
        assert target.with_name("a.tar.gz.bad").read_bytes() == kept
    download_imdb(target)
    assert target.read_bytes() == DATA


def test_f25_a_login_page_does_not_cost_what_came_before_it(server, target: Path) -> None:
    leave_part(target, DATA[:1000], server.url)
    server.script = [answer(status=200, start=0, body=b"<html>")]
    with pytest.raises(DataError, match="web page"):
        download_imdb(target)
    download_imdb(target)
    assert server.ranges == ["bytes=1000-"] * 2
    assert target.read_bytes() == DATA


def test_f25_it_is_downloaded_anew_once_at_most(server, target: Path) -> None:
    wrong = answer(body=DATA[:-1] + b"x")
    leave_part(target, DATA[:1000], server.url)
    server.script = [wrong] * 9
    with pytest.raises(DataError, match="other bytes"):
        download_imdb(target)
    assert server.ranges == ["bytes=1000-", None]


def test_f07_a_full_disk_keeps_what_came(server, target: Path) -> None:
    failpoints.arm("write:3:nospace")
    with pytest.raises(MachineError, match=r"a\.tar\.gz\.part: No space left on device; .* bytes are free") as caught:
        download_imdb(target)
    assert (caught.value.hint or "").startswith("df -h ")
    failpoints.arm(None)
    download_imdb(target)
    assert target.read_bytes() == DATA
    assert server.ranges[1]


def test_f12_a_bit_flipped_on_its_way_to_the_disk_is_no_data(server, target: Path) -> None:
    failpoints.arm("write:3:flip")
    with pytest.raises(DataError, match="other bytes"):
        download_imdb(target)
    assert not target.exists()


@pytest.mark.parametrize(("fail", "n_asked"), [(None, 1), ("lock:1:ioerror", 2)])
def test_f15_two_at_once(server, target: Path, forked, fail: str | None, n_asked: int) -> None:
    server.script = [answer(n_sent=50_000, Content_Length=None, end=lambda handler: slow_rest(handler))] * 2
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: forked(lambda: download_imdb(target), fail), range(2))) == [0, 0]
    assert target.read_bytes() == DATA
    assert len(server.asked) == n_asked
    assert names(target) == {""}


def slow_rest(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(0.3)
    handler.wfile.write(DATA[50_000:])


def test_f19_sigint_leaves_a_part_to_go_on_with(server, target: Path, forked) -> None:
    def interrupted() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        download_imdb(target)

    server.script = [answer(n_sent=100_000, end=lambda handler: time.sleep(0.6))]
    assert forked(interrupted) == 130
    assert names(target) == {".part", ".part.json"}
    download_imdb(target)
    assert server.ranges == [None, "bytes=100000-"]
    assert target.read_bytes() == DATA


def test_m14_a_mirror_gives_what_its_hash_says(server, target: Path, monkeypatch) -> None:
    monkeypatch.setattr(download, "SHA256", "0" * 64)  # so that the size is not known either
    mirror = Mirror(server.url, SHA256)
    server.script = [answer(n_sent=1000)]
    download_imdb(target, mirror)
    assert target.read_bytes() == DATA
    assert server.ranges == [None, "bytes=1000-"]
    assert download_imdb(target, mirror) == target
    assert len(server.asked) == 2
    with pytest.raises(DataError, match="is there, with other bytes than 1111"):
        download_imdb(target, Mirror(server.url, "1" * 64))


@pytest.mark.parametrize(
    ("part", "script", "n_asked"),
    [
        pytest.param(DATA, [], 1, id="416 at the complete length"),
        pytest.param(DATA[:1000], [answer(status=200)], 2, id="200 that is a slice"),
        pytest.param(DATA[:1000], [answer(Content_Range=f"bytes 1000-{len(DATA)}/*")], 1, id="206 of unknown length"),
        pytest.param(b"", [answer(Content_Length=None)], 1, id="no Content-Length"),
    ],
)
def test_f24_a_mirror_whose_size_is_not_known(server, target: Path, monkeypatch, part, script, n_asked: int) -> None:
    monkeypatch.setattr(download, "SHA256", "0" * 64)
    leave_part(target, part, server.url)
    server.script = script
    download_imdb(target, Mirror(server.url, SHA256))
    assert target.read_bytes() == DATA
    assert len(server.asked) == n_asked


def test_m12_user_and_password_are_sent_but_never_printed(server, target: Path, capsys) -> None:
    url = server.url.replace("http://", "http://me:hunter%402@") + "?token=s3cret"
    server.script = [
        answer(status=503),
        answer(status=302, Location="/elsewhere"),
        answer(n_sent=99),
        answer(status=404),
    ]
    with pytest.raises(MachineError) as caught:
        download_imdb(target, Mirror(url, SHA256))
    note = target.with_name("a.tar.gz.part.json").read_text()
    said = f"{caught.value} {caught.value.hint} {capsys.readouterr().err} {note}"
    for secret in ("hunter", "me:", "s3cret"):
        assert secret not in said
    assert [headers.get("Authorization") for headers in server.asked[:3]] == ["Basic bWU6aHVudGVyQDI="] * 2 + [None]


@pytest.mark.parametrize(
    "url",
    [
        "http://a/b",
        "ftp://a/b",
        "file:///etc/passwd",
        "a",
        "",
        "https://",
        "https://[",
        "https://u:p4ss@h:p0rt/",
        "https://a/\n",
    ],
)
def test_m14_only_https_urls_are_mirrors(url: str) -> None:
    with pytest.raises(UsageError, match=r"--mirror is not a URL that starts with https://$"):
        Mirror(url, SHA256)


@pytest.mark.parametrize(
    ("args", "env", "said"),
    [
        (["--mirror", "https://a/b"], {}, "--mirror needs --sha256"),
        (["--sha256", SHA256], {}, "--sha256 needs --mirror"),
        (["--mirror", "https://a/b", "--sha256", "abc"], {}, "--sha256 is 'abc', not 64 of 0-9 a-f"),
        (["--mirror", "http://u:p4ss@a/b", "--sha256", SHA256], {}, "--mirror is not a URL that starts with https://"),
        (["--mirror", "https://a/b", "--sha256", SHA256, "sample"], {}, "data.source is sample, which is not"),
        (["--mirror", "https://a/b", "--sha256", SHA256], {"SENTIMENT_IMDB": "x"}, "SENTIMENT_IMDB names a copy"),
    ],
)
def test_m14_on_the_command_line(cli, args: list[str], env: dict[str, str], said: str) -> None:
    done = cli("prepare", *args, **env)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "p4ss" not in done.stderr
    assert done.stdout == ""


TRAPS = st.one_of(
    st.builds(answer, n_sent=st.integers(0, len(DATA))),
    st.builds(answer, shift=st.integers(-5000, 5000).filter(bool), n_sent=st.none() | st.integers(0, 9999)),
    st.builds(answer, status=st.sampled_from([200, 206, 416, 429, 500, 503])),
    st.builds(answer, status=st.just(200), start=st.just(0)),
    st.builds(answer, ETag=st.sampled_from(['"two"', 'W/"one"', None])),
    st.builds(answer, Content_Length=st.sampled_from([None, 0, 5000, 10**9, "x"]), n_sent=st.none() | st.just(7777)),
    st.builds(answer, Content_Range=st.sampled_from(["bytes */5", "bytes 0-5/6", f"bytes 500-{len(DATA) - 1}/*", "x"])),
    st.builds(answer, body=st.sampled_from([b"", DATA[:-1], DATA + b"x", DATA[::-1], b"<html>"])),
    st.builds(answer, end=st.just(reset), n_sent=st.integers(0, len(DATA))),
    st.builds(answer, Content_Encoding=st.just("gzip")),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=st.lists(TRAPS, max_size=6),
    part=st.binary(max_size=40) | st.integers(0, len(DATA)).map(lambda n: DATA[:n]),
    is_size_known=st.booleans(),
)
def test_f24_no_server_whatever_gives_a_corrupt_file(server, target: Path, script, part, is_size_known: bool) -> None:
    shutil.rmtree(target.parent, ignore_errors=True)
    leave_part(target, part, server.url)
    server.script = script
    with pytest.MonkeyPatch.context() as patch:
        if not is_size_known:
            patch.setattr(download, "SHA256", "0" * 64)
        for _ in range(7):  # whatever a call makes of the answers, one after it finds a good server
            try:
                download_imdb(target, Mirror(server.url, SHA256))
                break
            except (MachineError, DataError):
                assert not target.exists()
    assert target.read_bytes() == DATA
    assert names(target) - {".bad"} == {""}
