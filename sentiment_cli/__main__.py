"""The command `sentiment`, also as `python -m sentiment_cli`: Ctrl-C ends it quietly at any moment."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

_INTERRUPTED = 128 + signal.SIGINT


def main() -> NoReturn:
    """Run the command line; a KeyboardInterrupt while modules load, or after the command, would print a traceback."""
    is_interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal is_interrupted
        is_interrupted = True
        raise KeyboardInterrupt

    handles = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell's background jobs ignore it
    if handles:
        signal.signal(signal.SIGINT, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the launcher of several processes starts them so
    from sentiment_cli.cli import main as run

    try:
        if handles:
            signal.signal(signal.SIGINT, interrupt)
        run()
    except BaseException as error:
        if is_interrupted and not isinstance(error, SystemExit):  # a module that was loading may raise what it likes
            sys.exit(_INTERRUPTED)
        raise
    finally:
        if handles:
            signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
