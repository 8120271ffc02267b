"""Signals that ask a training to end: once in good order, twice at once.

From its first line a training command handles signals, in one of three ways:

leaving_at_once()   before there is anything to save: the process ends where it is, quietly
watch_signals()     while it trains: a signal is kept in a Stop, and the loop reads it once a step
Stop.ending()       while it waits in C++ for other processes, where no Python handler runs: the system ends it
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from sentiment_cli import console

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SECONDS_BETWEEN_LOOKS = 0.5
_PATIENCE_S = 30.0  # that a training has to save its step after its launcher has died


class StopNow(BaseException):
    """Leave what is being done; no `except Exception` on the way may swallow it."""


class Stop:
    """What was asked for so far: `number` is the first signal's, 0 before it.

    Only the handler and an agreement of all processes set it, and nothing sets it back: a signal that comes while the
    processes agree is not lost. With `is_launched` there is a launcher that hears of a second wish itself and ends this
    process: a terminal or a service manager may send one signal both to the launcher, which hands it on, and here.
    """

    def __init__(self, *, is_launched: bool = False) -> None:
        self.number = 0
        self.twice = False
        self._is_launched = is_launched
        self._is_interruptible = False

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

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """Have the system end this process at a signal inside this block, in which it holds nothing that is not saved.

        Blocks that wait for other processes in C++ need it: a handler of ours would run when the wait is over.
        """
        with handling(signal.SIG_DFL):
            self.check()
            yield

    def take(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        is_first = self.number == 0
        self.number = self.number or number
        self.twice = self.twice or not (is_first or self._is_launched)
        if self.twice or (is_first and self._is_interruptible):
            raise StopNow
        if is_first:
            with contextlib.suppress(RuntimeError):  # the signal may come while stderr is being written
                console.say("saving after this step; press Ctrl-C again to stop without saving")


@contextlib.contextmanager
def watch_signals(*, is_launched: bool = False) -> Iterator[Stop]:
    """Turn SIGINT, SIGTERM and SIGHUP into wishes of the Stop that is yielded."""
    stop = Stop(is_launched=is_launched)
    with handling(stop.take):
        yield stop


@contextlib.contextmanager
def handling(handler: "signal._HANDLER") -> Iterator[None]:
    """Give SIGINT, SIGTERM and SIGHUP this handler inside the block; `nohup` keeps its meaning."""
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    if previous[signal.SIGHUP] == signal.SIG_IGN:
        del previous[signal.SIGHUP]
    for number in previous:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, former in previous.items():
            signal.signal(number, former)


@contextlib.contextmanager
def leaving_at_once() -> Iterator[None]:
    """End this process quietly at a signal inside the block, with the exit code of an interrupted command."""
    with handling(lambda number, frame: os._exit(128 + number)):
        yield


def leave_with(parent: int) -> None:
    """Ask this process to stop as soon as `parent`, which started it, has died; end it if it does not."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_PATIENCE_S)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
