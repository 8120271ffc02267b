"""Which encoding a text file is in: UTF-8, UTF-16 with its mark, Windows-1252 where the bytes allow no other."""

import codecs
import contextlib
import functools
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sentiment_cli.data.files.file_kinds import has_bom, refuse_foreign
from sentiment_cli.data.files.unpacking import START, Stamp, open_bytes, reading, stamp_of
from sentiment_cli.errors import DataError

_BLOCK = 1 << 20
_HIGH = re.compile(rb"[\x80-\xff]+")
_UNDEFINED = frozenset(b"\x81\x8d\x8f\x90\x9d")  # in Windows-1252
_ALONE = frozenset("àèéòóÀÈÉ".encode("cp1252"))  # letters that are words: à, è, é, ò, ó
_NORDIC_OR_TURKISH = frozenset(b"\xd0\xdd\xde\xf0\xfd\xfe")  # where Windows-1254 differs
_LETTERS = frozenset(range(0xC0, 0x100)) - {0xD7, 0xF7}
_MOST_DOUBTFUL = 0.05
# Where Windows-1252 has signs that no word has inside, and capitals that follow no small letter, older code pages of
# Macs and of DOS have the letters é, ê, ç and ü.
_NOT_INSIDE = frozenset(b"\x80\x82\x84\x86\x89\x8b\x95\x99\x9b")
_NOT_BEHIND = frozenset(b"\x83\x87\x88\x98")  # nor behind a letter
_CAPITALS = frozenset(b"\x8a\x8c\x8e\x9f")
_OLDER = ("mac_roman", "cp850")
_FEW_HIGH = 32  # so few bytes may be damage; more are another encoding


class Encoding(NamedTuple):
    """A codec to decode by, what to say of it, and what to warn of."""

    codec: str
    said: str
    warning: str | None = None


def find_encoding(path: Path, asked: str = "auto") -> Encoding:
    """Read a file and return its encoding. Raises DataError where the bytes leave it open."""
    with reading(path):
        return _find(stamp_of(path), asked)


@contextlib.contextmanager
def open_lines(path: Path, codec: str) -> Iterator[io.TextIOWrapper]:
    """Open a file whose lines end with LF or CRLF, or with CR where none does, as old programs for the Mac write."""
    with open_text(path, codec) as handle:
        start = handle.read(START)
    with open_text(path, codec, "\r" if "\r" in start and "\n" not in start else "\n") as handle:
        yield handle


@contextlib.contextmanager
def open_text(path: Path, codec: str, newline: str = "") -> Iterator[io.TextIOWrapper]:
    """Open a file as text, unpacked; what the codec cannot decode is U+FFFD. `newline` is as `open` has it."""
    with (
        reading(path),
        open_bytes(path) as raw,
        io.TextIOWrapper(raw, codec, "replace", newline=newline) as handle,
    ):
        yield handle


def decode(data: bytes, asked: str = "auto") -> tuple[str, bool]:
    """Return a small file's text, and whether it was taken for Windows-1252."""
    if asked != "auto":
        return data.decode(_codec_of(asked), "replace"), False
    if has_bom(data):
        return data.decode("utf-16", "replace"), False
    try:
        return data.decode("utf-8"), False
    except UnicodeDecodeError:
        seen = _Western()
        seen.take(data)
        if seen.is_western:
            return data.decode("cp1252"), True
        return data.decode("utf-8", "replace"), False


def _codec_of(asked: str) -> str:
    name = codecs.lookup(asked).name
    return "utf-8-sig" if name == "utf-8" else "cp1252" if name == "iso8859-1" else name


@functools.lru_cache(maxsize=64)
def _find(stamp: Stamp, asked: str) -> Encoding:
    path = Path(stamp.path)
    with open_bytes(path) as handle:
        start = handle.read(START)
        if asked != "auto":
            if "16" not in asked and "32" not in asked:
                refuse_foreign(path, start)
            return Encoding(_codec_of(asked), asked)
        refuse_foreign(path, start)
        if has_bom(start):
            is_wide = start[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
            return Encoding("utf-32" if is_wide else "utf-16", "UTF-32" if is_wide else "UTF-16")
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            block = start
            while block:
                decoder.decode(block)
                block = handle.read(_BLOCK)
            decoder.decode(b"", True)
            return Encoding("utf-8-sig", "UTF-8")
        except UnicodeDecodeError:
            pass
    seen = _Western()
    with open_bytes(path) as handle:
        while block := handle.read(_BLOCK):
            seen.take(block)
    if seen.is_western:
        return Encoding("cp1252", "Windows-1252 (latin-1)")
    if seen.n_high >= _FEW_HIGH and seen.n_utf8 * 2 < seen.n_runs:
        raise DataError(
            f"{path} is not UTF-8, and its bytes do not tell which encoding it is in, such as cp1251 (Cyrillic), "
            "cp1250 (Central Europe), gb18030 (Chinese), shift_jis (Japanese), mac_roman (old Macs) or cp850 (DOS)",
            f"--set data.encoding={seen.guess}",
        )
    return Encoding(
        "utf-8-sig",
        "UTF-8",
        f"{path.name} is not all UTF-8: bytes that are not are read as \ufffd "
        "(--set data.encoding=latin-1 reads them as letters)",
    )


class _Western:
    """Counts of the runs of bytes beyond ASCII, and of those that no Western text has."""

    def __init__(self) -> None:
        self.n_runs = self.n_high = self.n_utf8 = 0
        self._n_doubtful = self._n_long = self._n_turkish = 0
        self._n_small: Counter[str] = Counter()  # of each older code page the doubtful bytes that are small letters
        self._has_undefined = False

    def take(self, block: bytes) -> None:
        for found in _HIGH.finditer(block):
            run = found.group()
            self.n_runs += 1
            self.n_high += len(run)
            self._has_undefined |= not _UNDEFINED.isdisjoint(run)
            self._n_long += len(run) > 2
            self._n_turkish += not _NORDIC_OR_TURKISH.isdisjoint(run)
            if len(run) > 1:
                with contextlib.suppress(UnicodeDecodeError):
                    run.decode("utf-8")
                    self.n_utf8 += 1
            around = [block[found.start() - 1 : found.start()], block[found.end() : found.end() + 1]]
            is_older = _is_of_older_page(run, around)
            self._n_doubtful += is_older or _is_doubtful(run, [one.isalpha() for one in around])
            if is_older:
                self._n_small.update(codec for codec in _OLDER if run.decode(codec).islower())

    @property
    def is_western(self) -> bool:
        most = _MOST_DOUBTFUL * self.n_runs
        odd = max(self._n_doubtful, self._n_long, self._n_turkish, self.n_utf8)
        return self.n_runs > 0 and not self._has_undefined and odd <= most

    @property
    def guess(self) -> str:
        if self._n_small.total() > self._n_doubtful // 2:
            return max(_OLDER, key=self._n_small.__getitem__)
        return "cp1251" if self._n_long * 2 > self.n_runs else "cp1250"


def _is_of_older_page(run: bytes, around: list[bytes]) -> bool:
    """Say whether a run is a letter of an older code page, which Windows-1252 makes a sign or a capital in a word."""
    first, is_behind = run[0], around[0].isalpha()
    is_inside = len(run) == 1 and is_behind and around[1].isalpha()
    return (
        (first in _NOT_INSIDE and is_inside)
        or (first in _NOT_BEHIND and is_behind and len(run) <= 2)
        or (first in _CAPITALS and around[0].islower())
    )


def _is_doubtful(run: bytes, are_letters: list[bool]) -> bool:
    """Say whether a run is odd in Western text: a letter by itself, or a sign within a word."""
    letters = sum(byte in _LETTERS for byte in run)
    if letters == len(run) == 1:
        return not any(are_letters) and run[0] not in _ALONE
    if letters == 0:
        return len(run) == 1 and 0xA1 <= run[0] <= 0xBF and all(are_letters)
    return not any(are_letters)
