"""Signals that ask a training to end: once in good order, twice at once."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from sentiment_cli import console

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopNow(BaseException):
    """Leave what is being done; no `except Exception` on the way may swallow it."""


class Stop:
    """What was asked for so far: `number` is the first signal's, 0 before it."""

    number = 0
    twice = False
    _is_interruptible = False

    def check(self) -> None:
        """Raise StopNow if a signal came."""
        if self.number:
            raise StopNow

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Let even the first signal raise StopNow inside this block, which must leave nothing half done."""
        self._is_interruptible = True
        try:
            self.check()
            yield
        finally:
            self._is_interruptible = False

    def take(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.twice = self.number != 0
        self.number = self.number or number
        if self.twice or self._is_interruptible:
            raise StopNow
        with contextlib.suppress(RuntimeError):  # the signal may come while stderr is being written
            console.say("saving after this step; press Ctrl-C again to stop without saving")


@contextlib.contextmanager
def watch_signals() -> Iterator[Stop]:
    """Turn SIGINT, SIGTERM and SIGHUP into wishes of the Stop that is yielded; `nohup` keeps its meaning."""
    stop = Stop()
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        if number != signal.SIGHUP or previous[number] != signal.SIG_IGN:
            signal.signal(number, stop.take)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
