"""Signals that stop a training: the first after the current step, the second at once.

A training command handles signals from its first line on, in one of three ways:

leaving_at_once()   before there is anything to save: the process exits at once, silently
watch_signals()     while it trains: a Stop records the signal, and the loop reads it once per step
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
_PATIENCE_S = 30.0  # to save the current step after the launcher has died


class StopNow(BaseException):
    """Stop at once. A BaseException, so that no `except Exception` on the way swallows it."""


class Stop:
    """The signals received so far: `number` is that of the first, 0 before it.

    Only the handler and the agreement of all processes set it, and nothing resets it: a signal that comes while the
    processes agree is not lost. With `is_launched` a second signal is ignored here, since the launcher kills its
    processes at a second one: a terminal or a service manager may send one signal to both, and the launcher passes its
    own on.
    """

    def __init__(self, *, is_launched: bool = False) -> None:
        self.number = 0
        self.twice = False
        self._is_launched = is_launched
        self._is_interruptible = False

    def check(self) -> None:
        """Raise StopNow after a signal."""
        if self.number:
            raise StopNow

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise StopNow at the first signal inside this block, which must be safe to interrupt anywhere."""
        self._is_interruptible = True
        try:
            self.check()
            yield
        finally:
            self._is_interruptible = False

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """Let the system end this process at a signal inside this block, in which there is nothing to save.

        Blocks that wait for other processes in C++ need it: a Python handler would run only after the wait.
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
    """Record SIGINT, SIGTERM and SIGHUP in the Stop that is yielded."""
    stop = Stop(is_launched=is_launched)
    with handling(stop.take):
        yield stop


@contextlib.contextmanager
def handling(handler: "signal._HANDLER") -> Iterator[None]:
    """Install a handler for SIGINT, SIGTERM and SIGHUP inside the block; under `nohup` SIGHUP stays ignored."""
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
    """Exit silently at a signal inside the block, with the exit code of an interrupted command."""
    with handling(lambda number, frame: os._exit(128 + number)):
        yield


def leave_with(parent: int) -> None:
    """Send this process SIGTERM as soon as its launcher `parent` has died; exit if it does not stop in time."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_PATIENCE_S)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
