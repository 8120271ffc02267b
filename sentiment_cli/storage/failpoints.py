"""Named places where tests make the disk fail or the process die; no-ops unless SENTIMENT_FAIL or `arm` says so.

    SENTIMENT_FAIL=rename:2:kill sentiment prepare    dies at its second rename
    SENTIMENT_FAIL=list:FILE     sentiment prepare    appends the name of every place it passes to FILE

    SENTIMENT_FAIL=collective:9:term@1                sends SIGTERM to the process whose RANK is 1

Actions: kill (SIGKILL; in a write after half of its bytes), term and int (SIGTERM and SIGINT to the process itself),
nospace (ENOSPC), ioerror (EIO), short (half of the bytes, then ENOSPC) and flip (one bit of what is written differs,
silently). Where no bytes are written, short is nospace and flip is nothing. `@RANK` leaves other processes alone.
"""

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_ERRORS = {"nospace": errno.ENOSPC, "short": errno.ENOSPC, "ioerror": errno.EIO}
_SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
_ACTIONS = {"flip", *_SIGNALS, *_ERRORS}


@dataclass
class _Failure:
    """What goes wrong at the k-th visit of a place."""

    site: str
    k: int
    action: str
    visits: int = 0

    def is_due(self, site: str) -> bool:
        self.visits += site == self.site
        return site == self.site and self.visits == self.k

    def strike(self, path: Path | None) -> None:
        if self.action in _SIGNALS:
            os.kill(os.getpid(), _SIGNALS[self.action])
        elif self.action in _ERRORS:
            number = _ERRORS[self.action]
            raise OSError(number, os.strerror(number), path and str(path))


@dataclass(frozen=True)
class _List:
    """A file that lists every place visited."""

    file: Path
    action = "list"

    def is_due(self, site: str) -> bool:
        with self.file.open("a") as handle:
            handle.write(f"{site}\n")
        return False

    def strike(self, path: Path | None) -> None:
        raise AssertionError


def _parse(spec: str) -> _Failure | _List | None:
    spec, _, rank = spec.partition("@") if not spec.startswith("list:") else (spec, "", "")
    site, _, rest = spec.partition(":")
    if site == "list" and rest:
        return _List(Path(rest))
    k, _, action = rest.partition(":")
    if not site or not k.isdecimal() or int(k) < 1 or action not in _ACTIONS:
        raise ValueError(f"SENTIMENT_FAIL is {spec!r}, not SITE:K:ACTION with one of {sorted(_ACTIONS)}, nor list:FILE")
    return _Failure(site, int(k), action) if rank in ("", os.environ.get("RANK")) else None


_armed = _parse(os.environ["SENTIMENT_FAIL"]) if "SENTIMENT_FAIL" in os.environ else None


def arm(spec: str | None) -> None:
    """Do from now on what SENTIMENT_FAIL=`spec` would do, counting from here; None disarms."""
    global _armed
    _armed = None if spec is None else _parse(spec)


def reach(site: str, path: Path | None = None) -> None:
    """Pass the place `site` on the way to an operation on `path`."""
    if _armed is not None and _armed.is_due(site):
        _armed.strike(path)


def failing_write(write_some: Callable[[memoryview], int | None], data: memoryview, path: Path) -> None:
    """Write all of `data`; the place is called `write`."""
    if _armed is not None and _armed.is_due("write"):
        if _armed.action in ("kill", "short"):
            _write_all(write_some, data[: len(data) // 2])
        _armed.strike(path)
        if _armed.action == "flip" and data:
            damaged = bytearray(data)
            damaged[len(damaged) // 2] ^= 1
            data = memoryview(damaged)
    _write_all(write_some, data)


def _write_all(write_some: Callable[[memoryview], int | None], data: memoryview) -> None:
    while data:
        data = data[write_some(data) or 0 :]
