"""A server in a thread of this process on a free port, spoken to over raw sockets."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from sentiment_cli.serving.model import Served
from sentiment_cli.serving.server import Server
from sentiment_cli.serving.settings import Settings

Start = Callable[..., "Running"]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Running:
    """A server that runs until `stop`."""

    def __init__(self, settings: Settings, served: Served) -> None:
        self.server, self.code = Server(settings, served), None
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._listens.wait(60)

    @property
    def metrics(self) -> Any:
        return self.server.metrics

    @property
    def connections(self) -> Any:
        return self.server.connections

    def call(self, work: Callable[[], object]) -> None:
        self.server._loop.call_soon_threadsafe(work)

    def stop(self) -> int | None:
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop ended in between
                self.call(self.server.stop)
            self._thread.join(60)
        assert not self._thread.is_alive()
        return self.code

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=60)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Send one request on a connection of its own."""
        with self.connect() as client:
            client.sendall(request(method, path, body, **headers))
            return read_answer(client)

    def predict(self, value: Any, query: str = "") -> Answer:
        return self.ask("POST", f"/predict{query}", json.dumps(value).encode(), content_type="application/json")

    def _run(self) -> None:
        self.code = asyncio.run(self.server.run(lambda server: self._listens.set()))


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of a request; a header that is given as "" is left out."""
    fields = {"host": "localhost", **({"content_length": str(len(body))} if body else {}), **headers}
    lines = [
        f"{method} {path} HTTP/1.1",
        *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def read_answer(client: socket.socket) -> Answer:
    """Read one answer, of a known length or in chunks. ConnectionError where it does not come whole."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(client)
    head, body = data.split(b"\r\n\r\n", 1)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        while not body.endswith(b"0\r\n\r\n"):
            body += _more(client)
        body = _joined(body)
    else:
        while len(body) < int(headers.get("content-length", 0)):
            body += _more(client)
    return Answer(int(first.split()[1]), headers, body)


def is_closed(client: socket.socket) -> bool:
    """Say whether the server closes the connection, after whatever it may send."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def _more(client: socket.socket) -> bytes:
    block = client.recv(65536)
    if not block:
        raise ConnectionError("the server closed the connection")
    return block


def _joined(chunks: bytes) -> bytes:
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        body, chunks = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body
