"""A server's life: it listens once the model has answered, reloads on SIGHUP, and on SIGTERM finishes what it has."""

import asyncio
import contextlib
import errno
import os
import shlex
import signal
import socket
from collections.abc import Callable

from uvicorn.config import Config

from sentiment_cli import console
from sentiment_cli.errors import MachineError, SentimentError, UsageError
from sentiment_cli.serving.app import App, info_of
from sentiment_cli.serving.batcher import Batcher
from sentiment_cli.serving.guard import Connections
from sentiment_cli.serving.log import Log
from sentiment_cli.serving.metrics import Metrics
from sentiment_cli.serving.model import Holder, Served
from sentiment_cli.serving.settings import Settings

_BACKLOG = 1024
_LAST_ACCEPT_S = 0.05
_LAST_REQUEST_S = 0.25  # for requests that were on their way over a connection that was kept
_POLL_S = 0.01


class Server:
    """One model on one address.

    server = Server(settings, open_served(path))
    server.url                                       the address, before anything listens to it
    code = asyncio.run(server.run())                 until a signal, or `server.stop(0)` from the loop
    """

    def __init__(self, settings: Settings, served: Served) -> None:
        self._settings = settings
        self._socket = bind(settings)
        self.port: int = self._socket.getsockname()[1]
        self.holder, self.metrics = Holder(served), Metrics()
        self.connections = Connections(settings, self.metrics)
        self.log = Log(settings.logs_requests, self._log_line_lost)
        self._stopped_by: int | None = None
        self._reloading: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        host = self._settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def run(self, on_listening: Callable[["Server"], object] = lambda server: None) -> int:
        """Serve until stopped; return the exit code."""
        settings, loop = self._settings, asyncio.get_running_loop()
        self._loop, self._stop = loop, asyncio.Event()
        batcher = Batcher(lambda: self.holder.served, most_waiting=settings.queue, most_texts=settings.most_texts)
        batcher.on_batch = self.metrics.batch.observe
        app = App(settings, self.holder, batcher, self.metrics, self.log)
        connections = self.connections
        self._set_gauges(batcher, connections)
        config = Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]
            h11_max_incomplete_event_size=settings.header_bytes,
        )
        config.load()
        loop.set_exception_handler(self._report)
        listener = await loop.create_server(connections.protocol(config), sock=self._socket, backlog=_BACKLOG)
        watch = loop.create_task(connections.watch())
        try:
            self._handle_signals()
            on_listening(self)
            await self._stop.wait()
            await self._drain(app, connections, batcher, listener)
        finally:
            watch.cancel()
            listener.close()
            for connection in connections.all:
                connection.transport.abort()
            batcher.close()
            self.log.event("stopped")
            self.log.close()
        return 128 + self._stopped_by if self._stopped_by else 0

    def stop(self, signal_number: int = 0) -> None:
        """Begin to stop; the second time, end the process."""
        if self._stop.is_set() and signal_number:
            os._exit(128 + signal_number)
        self._stopped_by = signal_number
        self._stop.set()

    def reload(self) -> None:
        """Load the model again while the present one answers, unless a reload is under way."""
        if self._reloading is None or self._reloading.done():
            self._reloading = self._loop.create_task(self._reload())

    async def _reload(self) -> None:
        try:
            after = await asyncio.to_thread(self.holder.reload)
        except SentimentError as error:
            self.metrics.reloads["refused"] += 1
            console.warn(f"the model was not reloaded, and the one before goes on: {error}")
            self.log.event("reload", done=False)
        else:
            self.metrics.reloads["done"] += 1
            console.say(f"reloaded {after.path}, sha256 {after.sha256}")
            self.log.event("reload", done=True, model=after.sha256)

    async def _drain(
        self, app: App, connections: Connections, batcher: Batcher, listener: asyncio.AbstractServer
    ) -> None:
        """Take no new connections, and finish what is there, within `drain_s`."""
        app.is_draining = True
        connections.state.default_headers.append((b"connection", b"close"))  # for requests that have begun, too
        # Those that wait to be accepted have connected already.
        with contextlib.suppress(OSError):
            self._socket.listen(0)
        await asyncio.sleep(_LAST_ACCEPT_S)
        listener.close()
        began = self._loop.time()
        while (waited := self._loop.time() - began) < self._settings.drain_s:
            if not connections.all:
                break
            if not connections.n_busy and batcher.is_idle and waited >= _LAST_REQUEST_S:
                break
            await asyncio.sleep(_POLL_S)
        for connection in connections.all:
            connection.shutdown()
        await asyncio.sleep(0)

    def _handle_signals(self) -> None:
        """Handle signals where this is the main thread; elsewhere, as in tests, there are none."""
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self.stop, number)
            self._loop.add_signal_handler(signal.SIGHUP, self.reload)

    def _set_gauges(self, batcher: Batcher, connections: Connections) -> None:
        self.metrics.gauges["waiting"] = ("Jobs that wait for the model.", lambda: batcher.n_waiting)
        self.metrics.gauges["connections"] = ("Open connections.", lambda: len(connections.all))
        self.metrics.model = info_of(self.holder)

    def _log_line_lost(self) -> None:
        self.metrics.counts["log_lines_lost"] += 1

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Count what went wrong outside a request; what the loop would print could hold bytes of a client."""
        self.metrics.counts["faults"] += 1
        error = context.get("exception")
        if error is not None and not isinstance(error, ConnectionError):
            console.warn(f"a connection failed: {type(error).__name__}")


def bind(settings: Settings) -> socket.socket:
    """Bind the address, so that one that is taken is known at once. Raises MachineError for it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Named, the protocol has asyncio turn Nagle's algorithm off; without, each kept connection waits 40 ms an answer.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((settings.host, settings.port))
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        where = f"{settings.host} port {settings.port}"
        if isinstance(error, socket.gaierror):
            raise UsageError(f"--host {settings.host} is no address of this machine", "sentiment serve") from error
        if error.errno == errno.EADDRINUSE:
            raise MachineError(f"{where} is taken by another process", _on_port(settings, 0)) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise MachineError(f"{where} may not be used without privileges", _on_port(settings, 8000)) from error
        raise MachineError(f"{where} cannot be used: {error.strerror}", _on_port(settings, settings.port)) from error
    return bound


def _on_port(settings: Settings, port: int) -> str:
    return shlex.join([*settings.words, "--port", str(port)])
