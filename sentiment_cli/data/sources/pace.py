"""A limit on how long a server may take, and how much it may send, before what was asked for comes.

A timeout of the socket begins anew with each byte: a header a minute, chunk sizes a digit a second, `100 Continue`
without end or trailers without end would hold a download for ever. `Pace.allow` sets the limits of the next stage.
"""

import http.client
import io
import socket
import time
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEADERS_S = 60.0  # for the status and all headers of an answer, the body of a redirect among them
_MOST_HEADERS = 1 << 20  # bytes of them
_clock: Callable[[], float] = time.monotonic


class Pace(io.RawIOBase):
    """The bytes of a connection, up to a moment and a count; TimeoutError beyond either."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw, self._connection, self._timeout = raw, connection, connection.gettimeout()
        self.n_bytes = 0  # that have come
        self.allow(HEADERS_S, _MOST_HEADERS)

    def allow(self, seconds: float, n_bytes: int) -> None:
        """Let this many bytes come, within this time from now."""
        self._until, self._seconds, self._left = _clock() + seconds, seconds, n_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        left_s = self._until - _clock()
        if left_s <= 0:
            raise TimeoutError(f"the server does not come to the point within {self._seconds:g} s")
        if self._left <= 0:
            raise TimeoutError("the server sends no end of headers")
        self._connection.settimeout(left_s if self._timeout is None else min(left_s, self._timeout))
        n_bytes = self._raw.readinto(buffer)
        self.n_bytes += n_bytes or 0
        self._left -= n_bytes or 0
        return n_bytes

    def close(self) -> None:
        self._raw.close()
        super().close()


class PacedResponse(http.client.HTTPResponse):
    """An answer whose headers have a deadline, and whose body has those that `pace` is given."""

    def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.pace = Pace(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self.pace)


class _Connection(http.client.HTTPConnection):
    response_class = PacedResponse


class _SecureConnection(http.client.HTTPSConnection):
    response_class = PacedResponse


class PacedHTTP(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class PacedHTTPS(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)
