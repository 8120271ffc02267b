"""The IMDb archive, fetched once: resumed where a try ended, and used only when its sha256 is right.

Beside the archive lie, until it is whole, `.part` (what has come), `.part.json` (what it is a part of) and a hidden
`.lock`; what came whole and is something else is set aside as `.bad`.
"""

import contextlib
import hashlib
import http.client
import random
import re
import shlex
import ssl
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

from sentiment_cli import console
from sentiment_cli.config.paths import data_dir
from sentiment_cli.data.sources.mirror import Mirror, checked_validator, retry_after_s, validator_of
from sentiment_cli.data.sources.pace import PacedResponse
from sentiment_cli.errors import Change, DataError, InterruptedRun, MachineError
from sentiment_cli.storage import locks, store

URL = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
SIZE = 84_125_825
# From public checksum lists (TensorFlow Datasets among them).
SHA256 = "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"
CITATION = """\
The reviews are the Large Movie Review Dataset v1.0. If you publish results on it, its authors ask you to cite:
  Andrew L. Maas, Raymond E. Daly, Peter T. Pham, Dan Huang, Andrew Y. Ng, and Christopher Potts (2011).
  Learning Word Vectors for Sentiment Analysis. Proceedings of the 49th Annual Meeting of the Association for
  Computational Linguistics: Human Language Technologies, pages 142-150."""
_MOST_BYTES = 1 << 30  # of a mirror's archive, whose size nobody has said
_CHUNK = 1 << 18
_MOST_AROUND, _MOST_TIMES = 1 << 20, 16  # bytes of chunk sizes and trailers: a constant plus a multiple of the file's
_TRIES = 5
_GAIN = 1 << 20  # this much more than ever before, and the tries are counted anew
_TIMEOUT_S = 30.0
_WINDOW_S, _LEAST_BYTES = 30.0, 30_000  # slower than 1 kB/s is no download
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 120.0
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (?:(?P<start>\d{1,15})-\d+|\*)/(?:(?P<total>\d{1,15})|\*)")
_PAGE_BYTES = 1 << 16
_sleep = time.sleep


def archive_path() -> Path:
    """Return where the download goes, and where a file placed by hand is found."""
    return data_dir() / "raw" / "aclImdb_v1.tar.gz"


def download_imdb(target: Path, mirror: Mirror | None = None) -> Path:
    """Fetch the archive to `target`, one process at a time; it appears only when its sha256 is right.

    Raises MachineError where the network does not give it, DataError for other bytes (set aside), and InterruptedRun
    for Ctrl-C; the bytes so far are kept, and the next call continues the download.
    """
    mirror = mirror or Mirror(URL, SHA256)
    with locks.lock(target.with_name(f".{target.name}.lock"), console.say) as is_alone:
        if target.exists():  # another process was quicker, or a mirror is asked for what we have
            with store.open_named(target) as there:
                is_same = hashlib.file_digest(there, "sha256").hexdigest() == mirror.sha256
            if is_same:
                return target
            raise DataError(
                f"{target} is there, with other bytes than {mirror.sha256}",
                Change(without=["--mirror", "--sha256"], otherwise=shlex.join(["sha256sum", str(target)])),
            )
        size = f" ({SIZE / 1e6:.0f} MB)" if mirror.sha256 == SHA256 else ""
        console.say(f"downloading {mirror.shown}{size} to {target}")
        console.say(CITATION)
        for is_second in (False, True):
            with store.partial_file(target, is_alone) as part:
                transfer = _Transfer(mirror, part, target, is_alone)
                transfer.run()
                transfer.forget()  # before the name: a part that is whole needs no note
                if part.sha256() == mirror.sha256:
                    part.publish()
                    return target
                bad = part.quarantine()
            if is_second or not transfer.is_doubtful:
                break
            console.warn(f"what came in several tries is not one file ({bad}); downloading it once more in one")
    raise DataError(
        f"{mirror.shown} sent other bytes than those of sha256 {mirror.sha256}; they are set aside as {bad}. "
        f"{_by_hand(target)}",
        shlex.join(["sha256sum", str(bad)]),
    )


class _Interrupted(Exception):  # noqa: N818 - it may pass
    """A try failed in a way that another may not; `after_s` is how long the server asks to wait."""

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class _Transfer:
    """One file coming over as many requests as it takes."""

    def __init__(self, mirror: Mirror, part: store.Partial, target: Path, is_alone: bool) -> None:
        self._mirror, self._part, self._target, self._is_alone = mirror, part, target, is_alone
        self._size = SIZE if mirror.sha256 == SHA256 else None
        self._note = target.with_name(f"{target.name}.part.json")
        self._validator: str | None = None
        self._is_whole = False
        self._may_resume = True
        self.is_doubtful = False

    def run(self) -> None:
        """Fill the part until the server has no more to send."""
        self._recall()
        tries, most = 0, self._part.size
        try:
            with console.progress("download", self._size or SIZE) as self._shown:
                while not self._is_whole:
                    try:
                        self._try()
                    except _Interrupted as error:
                        tries = 1 if self._part.size >= most + _GAIN else tries + 1
                        most = max(most, self._part.size)
                        if tries == _TRIES:
                            raise self._failed(f"{error} ({tries} tries)") from error
                        backoff = _FIRST_WAIT_S * 2 ** (tries - 1) * random.uniform(0.5, 1.0)
                        wait = max(backoff, min(error.after_s, _LONGEST_WAIT_S))
                        console.say(f"download: {error}; try {tries + 1} of {_TRIES} in {wait:.1f} s")
                        _sleep(wait)
        except KeyboardInterrupt:
            if not self._is_alone:
                raise
            raise InterruptedRun(
                f"the download was interrupted; its first {self._part.size:,} bytes are kept. Run the command again to "
                "continue"
            ) from None

    def forget(self) -> None:
        if self._is_alone:
            store.remove_file(self._note)

    def _recall(self) -> None:
        """Take up a part of the same file; drop any other."""
        self.is_doubtful = self._part.size > 0
        with contextlib.suppress(store.IntegrityError):
            note = store.read_json(self._note) if self._is_alone else None
            if isinstance(note, dict) and note.get("sha256") == self._mirror.sha256:
                self._is_whole = self._part.size == self._size
                if note.get("url") == self._mirror.shown:
                    self._validator = checked_validator(note.get("validator"))
                return
        self._is_whole = self._part.size > 0 and self._part.sha256() == self._mirror.sha256
        if not self._is_whole:
            self._part.cut(0)
            self.is_doubtful = False

    def _try(self) -> None:
        offset = self._part.size if self._may_resume else 0
        if offset and self._size is not None and offset > self._size:
            offset = 0
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if offset and self._validator is not None:
            headers["If-Range"] = self._validator
        try:
            response = self._mirror.ask(headers, _TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, offset)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise self._failed(str(reason)) from error
            raise _Interrupted(str(reason) or type(error).__name__) from error
        else:
            with response:
                self._receive(response, offset)

    def _refused(self, error: urllib.error.HTTPError, offset: int) -> None:
        said = " ".join(f"HTTP {error.code} {error.reason}".split())
        if error.code == 416 and offset:
            has = _RANGE.fullmatch(error.headers.get("Content-Range", ""))
            if self._size is None and has and has["total"] == str(offset):
                self._is_whole = True
                return
            self._may_resume = False
            raise _Interrupted(said)
        if error.code in _PASSING:
            raise _Interrupted(said, retry_after_s(error.headers))
        raise self._failed(said)

    def _receive(self, response: PacedResponse, offset: int) -> None:
        """Add what is sent to the part. What the server says about it is believed only where that does no harm."""
        total, start = self._size, 0
        if response.status == 206:
            has = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            validator = validator_of(response.headers)
            is_same = self._validator is None or validator is None or validator == self._validator
            if not has or has["start"] is None or not is_same or int(has["start"]) > offset:
                self._may_resume = False
                raise _Interrupted("the server sends another part than was asked for")
            start = int(has["start"])
            self._part.cut(start)
            self.is_doubtful = True
            total = total or (int(has["total"]) if has["total"] else None)
        elif response.status == 200:
            total = total or response.length
            # A 200 to a range may be the file from its start, or the range under a wrong name; its length tells.
            self._may_resume = response.length is not None and response.length == total
        else:
            raise self._failed(f"HTTP {response.status}")
        is_first = response.status == 200
        # One byte more than there should be shows that it is not the file; what comes may have no end.
        for chunk in self._chunks(response, (self._size or _MOST_BYTES) + 1 - start):
            if is_first:
                self._check_no_page(chunk)
                self._part.cut(0)
                self.is_doubtful = offset > 0
                self._remember(validator_of(response.headers))
                is_first = False
            self._part.write(chunk)
            self._shown.update(self._part.size, f"{self._part.size / 1e6:.0f} MB")
        if total is not None and self._part.size < total:
            raise _Interrupted(f"the server stopped after {self._part.size:,} of {total:,} bytes")
        self._is_whole = True

    def _chunks(self, response: PacedResponse, most: int) -> Iterator[bytes]:
        """Yield at most `most` bytes as they arrive; raise _Interrupted where they come too slowly or not at all."""
        began, n_bytes, n_sent, before = time.monotonic(), 0, 0, response.pace.n_bytes
        while True:
            response.pace.allow(
                _WINDOW_S, _CHUNK + _MOST_AROUND + _MOST_TIMES * n_sent - (response.pace.n_bytes - before)
            )
            try:
                chunk = response.read1(min(_CHUNK, most))
            except (OSError, http.client.HTTPException) as error:
                raise _Interrupted(str(error) or type(error).__name__) from error
            if not chunk:
                return
            yield chunk
            most -= len(chunk)
            n_bytes += len(chunk)
            n_sent += len(chunk)
            if (passed_s := time.monotonic() - began) > _WINDOW_S:
                if n_bytes < _LEAST_BYTES:
                    raise _Interrupted(f"only {n_bytes:,} bytes came in {passed_s:.0f} s")
                began, n_bytes = time.monotonic(), 0

    def _check_no_page(self, start: bytes) -> None:
        """Refuse a web page, which networks with a login send in place of anything; the part stays as it was."""
        if not start.lstrip().startswith(b"<"):
            return
        bad = self._target.with_name(f"{self._target.name}.bad")
        store.write_file(bad, start[:_PAGE_BYTES])
        raise DataError(
            f"{self._mirror.shown} sent a web page and not the archive; it is set aside as {bad}. Perhaps this network "
            f"asks for a login. {_by_hand(self._target)}",
            shlex.join(["head", "-c", "500", str(bad)]),
        )

    def _remember(self, validator: str | None) -> None:
        self._validator = validator
        if self._is_alone:
            note = {"url": self._mirror.shown, "sha256": self._mirror.sha256, "validator": validator}
            store.write_file(self._note, store.dump_json(note))

    def _failed(self, reason: str) -> MachineError:
        kept = f"; {self._part.size:,} bytes are kept for the next try" if self._is_alone and self._part.size else ""
        message = f"{self._mirror.shown} cannot be downloaded: {reason}{kept}. {_by_hand(self._target)}"
        return MachineError(message, shlex.join(["curl", "-fIL", self._mirror.shown]))


def _by_hand(target: Path) -> str:
    return (
        f"To continue, run the command again, or place a copy of the archive at {target.absolute()}, or name one by "
        "SENTIMENT_IMDB, or another server by sentiment prepare --mirror and --sha256"
    )
