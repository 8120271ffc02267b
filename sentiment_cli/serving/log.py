"""A line of JSON per request, on standard output, without anything that a client wrote.

A thread of its own prints, so that a reader who is slow or gone holds no request up; what it does not take is counted.
"""

import json
import queue
import threading
from collections.abc import Callable
from typing import Any

from sentiment_cli import console
from sentiment_cli.errors import MachineError

_MOST_WAITING = 10_000


class Log:
    """Prints events in their order; without `is_on`, none."""

    def __init__(self, is_on: bool, on_loss: Callable[[], object] = lambda: None) -> None:
        self._is_on, self._on_loss = is_on, on_loss
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._print, name="log", daemon=True)
        if is_on:
            self._thread.start()

    def event(self, name: str, **fields: Any) -> None:
        if self._is_on:
            try:
                self._events.put_nowait({"event": name, **fields})
            except queue.Full:
                self._on_loss()

    def close(self, wait_s: float = 1.0) -> None:
        """Print what waits, if somebody takes it within a second."""
        if self._is_on:
            self._is_on = False
            try:
                self._events.put(None, timeout=wait_s)
            except queue.Full:
                return
            self._thread.join(wait_s)

    def _print(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                console.result(json.dumps(event))
            except (MachineError, SystemExit) as error:  # the reader has gone, which is no reason to stop serving
                self._is_on = False
                console.warn(f"requests are no longer logged: {error or 'nobody reads standard output'}")
                return
