"""Connections with deadlines: a client that sends slowly, reads slowly or says nothing is closed in time.

uvicorn itself has a limit only for the pause between two requests. One watch goes over all connections several times a
second, which costs a request nothing.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from sentiment_cli.serving.metrics import Metrics
from sentiment_cli.serving.settings import Settings

_LOOKS = 40  # in the shortest deadline
_PROGRESS = 16_384  # bytes that a client must read in the time it has
_SILENT = logging.Logger("sentiment.serving", logging.CRITICAL + 1)  # bytes of clients go to no log
_JSON = (b"content-type", b"application/json")
STREAMED = b"application/x-ndjson"


class Connections:
    """All connections of a server, and the rules they are held to."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.state = ServerState()

    @property
    def all(self) -> "list[GuardedProtocol]":
        return [one for one in self.state.connections if isinstance(one, GuardedProtocol)]

    @property
    def n_busy(self) -> int:
        """How many connections have a request that is not answered, or a part of one."""
        return sum(one.is_busy for one in self.all)

    def protocol(self, config: Config) -> "Callable[[], GuardedProtocol]":
        """Return what makes a protocol for a connection."""
        return lambda: GuardedProtocol(config, self)

    def make_room(self, newcomer: "GuardedProtocol") -> None:
        """Where there are too many connections, drop the one that has been idle for longest, or the newcomer."""
        connections = self.all
        if len(connections) <= self.settings.connections:
            return
        others = [one for one in connections if one is not newcomer and not one.is_waiting_for_us]
        oldest = min(others, key=lambda one: (one.is_busy, one.since), default=newcomer)
        oldest.drop("too-many")

    async def watch(self) -> None:
        """Close what is late, for ever."""
        loop = asyncio.get_running_loop()
        pause = min(self.settings.receive_s, self.settings.send_s) / _LOOKS
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            for connection in self.all:
                connection.look(now)


class GuardedProtocol(H11Protocol):
    """One connection, with the times since which it waits for its client."""

    def __init__(self, config: Config, connections: Connections) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(config, connections.state, {"connection": self}, loop)
        self._connections = connections
        self.logger = _SILENT
        self.access_log = False
        self.since = loop.time()  # of the connection, or of the last thing the client did that counts
        self._unread: tuple[float, int] | None = None  # the time since when the client has left this many bytes unread
        self._is_receiving = True  # a request, from its first byte, or from the connection on
        self._has_request = False
        self.on_gone: Callable[[], object] | None = None

    @property
    def is_waiting_for_us(self) -> bool:
        """Whether there is a whole request that is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    @property
    def is_busy(self) -> bool:
        """Whether there is a request, or a part of one, that is not answered yet."""
        return self._has_request or (self.cycle is not None and not self.cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connections.make_room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self.on_gone is not None:
            self.on_gone()

    def data_received(self, data: bytes) -> None:
        if not self._is_receiving:
            self._is_receiving, self.since = True, self.loop.time()
        self._has_request = True
        before = self.conn.their_state
        super().data_received(data)
        if self._is_stream and b"\n" in self.cycle.body:  # a line has come to its end
            self.since = self.loop.time()
        self._note_request(before)

    def resume_writing(self) -> None:
        self._unread = None
        super().resume_writing()

    def look(self, now: float) -> None:
        """Close the connection if its client is late."""
        settings, size = self._connections.settings, self.transport.get_write_buffer_size()
        if not (self.flow.write_paused or (size and (self.transport.is_closing() or not self.is_busy))):
            self._unread = None
        elif self._unread is None or size <= self._unread[1] - _PROGRESS:
            self._unread = now, size
        if self._unread is not None and now - self._unread[0] >= settings.send_s:
            self.drop("slow-reader")
        elif self._is_receiving:
            if self.flow.read_paused:  # it is we who do not read
                self.since = now
            elif now - self.since >= settings.receive_s:
                self.drop("slow-request" if self._has_request else "silent")

    def drop(self, reason: str) -> None:
        self._connections.metrics.closed[reason] += 1
        self.transport.abort()

    def shutdown(self) -> None:
        """Close the connection if it is idle, or after its answer."""
        if self.is_busy:
            if self.cycle is not None:
                self.cycle.keep_alive = False
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        self._has_request, self.since = False, self.loop.time()
        before = self.conn.their_state
        super().on_response_complete()
        self._note_request(before)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, where an answer can still be given, and close the connection."""
        self._connections.metrics.refused["malformed"] += 1
        self._has_request = False
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not (self.cycle and self.cycle.response_started):
            body = json.dumps({"error": "this is no valid HTTP request"}).encode()
            headers = [_JSON, (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
            try:
                events: list[Any] = [h11.Response(status_code=400, headers=headers, reason=b"Bad Request")]
                events += [h11.Data(data=body), h11.EndOfMessage()]
                self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
            except h11.LocalProtocolError:
                pass
        self.transport.close()

    @property
    def _is_stream(self) -> bool:
        is_open = self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete
        return is_open and any(name == b"content-type" and value.startswith(STREAMED) for name, value in self.headers)

    def _note_request(self, before: Any) -> None:
        """Note, when h11 may have gone on from the state `before`, whether the client owes the rest of a request."""
        state = self.conn.their_state
        if state is h11.IDLE and before is not h11.IDLE:  # one is over; the next may have come in part
            self._is_receiving = self._has_request = bool(self.conn.trailing_data[0])
        elif state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED):
            self._is_receiving = False
            self._has_request = self._has_request or not self.cycle.response_complete
