"""RUN/log.txt: all that a training said, with the time of each line, whether it was printed or not."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from sentiment_cli import console
from sentiment_cli.errors import SentimentError
from sentiment_cli.runs.files import LOG
from sentiment_cli.storage import store


class RunLog:
    """What was said so far, kept until `begin` names the run; then each line is appended as it is said."""

    def __init__(self) -> None:
        self._run: Path | None = None
        self._waiting: list[str] = []

    def begin(self, run: Path) -> None:
        """Write to this run's log from now on, what was said before first."""
        self._run, lines = run, "".join(self._waiting)
        self._waiting.clear()
        if lines:
            store.append_text(run / LOG, lines)

    def add(self, text: str) -> None:
        """Add a message, which may have several lines."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        lines = "".join(f"{stamp}  {line}\n" for line in text.splitlines())
        if self._run is None:
            self._waiting.append(lines)
        else:
            store.append_text(self._run / LOG, lines)


@contextlib.contextmanager
def logged() -> Iterator[RunLog]:
    """Keep what is said in the block, and the error that ends it."""
    log = RunLog()
    with console.heard_by(log.add):
        try:
            yield log
        except SentimentError as error:
            with contextlib.suppress(SentimentError):  # a disk that is full is the error already
                log.add(console.sanitize(f"error: {error}"))
            raise
