"""Files of the aclImdb layout, read out of a tar archive (gzip, xz or plain) or a folder; nothing is extracted.

Names are matched against one strict pattern and choose nothing but the place a review has in the corpus. Tar headers
are read here and not by `tarfile`, which spends five times as long on them (3.0 s against 0.6 s for the corpus, beside
2 s of unpacking xz) and loads whatever length an extended header declares. Those are passed over: they hold times,
owners, and names and sizes beyond any of this layout.
"""

import errno
import gzip
import io
import lzma
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from sentiment_cli.config.paths import how_to_get_imdb
from sentiment_cli.errors import DataError

# train/pos/123_10.txt, train/urls_pos.txt
MEMBER = re.compile(
    r"(?!test/(?:urls_)?unsup)(?P<split>train|test)/"
    r"(?:(?P<label>pos|neg|unsup)/(?P<number>0|[1-9]\d{0,5})_(?P<stars>\d{1,2})|urls_(?P<urls>pos|neg|unsup))\.txt",
    re.ASCII,
)
_ROOT = re.compile(r"(?:\./)?aclImdb/")

# The corpus: 100,000 reviews of up to 14 KB, lists of up to 2.5 MB, 215 MB in all and 6 times as large as its xz.
_MOST_MEMBERS = 110_000
_MOST_BYTES, _MOST_BYTES_OF_LIST = 2**16, 2**22
_MOST_UNPACKED = 10**9
_MOST_RATIO, _RATIO_COUNTS_FROM = 30, 2**26  # the bundled sample shrinks to a 36th: a small archive may

_BLOCK = 512
_END = bytes(_BLOCK)
_REGULAR, _WITHOUT_BODY, _EXTENDED = b"0\0", b"123456", b"xgLK"  # type flags: links, devices, folders; PAX and GNU
_PIECE = 2**20

Member = re.Match[str]


def read_members(path: Path, is_wanted: Callable[[Member], bool]) -> Iterator[tuple[Member, bytes]]:
    """Yield each wanted file's matched name and its bytes, in the order they come.

    Raises DataError where `path` is missing, unreadable, damaged, no archive or beyond the caps, where a wanted name
    is that of a link or anything else but a file, and where a review stands there twice.
    """
    seen = set()
    for member, data in (_folder_members if path.is_dir() else _archive_members)(path, is_wanted):
        review = member.group("split", "label", "number", "urls")
        if review in seen:
            raise DataError(
                f"{path} holds the same review twice, the second time as {member[0]!r}", how_to_get_imdb(path)
            )
        seen.add(review)
        yield member, data


def _archive_members(path: Path, is_wanted: Callable[[Member], bool]) -> Iterator[tuple[Member, bytes]]:
    try:
        packed = path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", how_to_get_imdb(path)) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", how_to_get_imdb(path)) from error
    with packed:
        unpacked = _Unpacked(path, packed)
        try:
            yield from _tar_members(unpacked, is_wanted)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise DataError(
                f"{path} is not a readable tar archive: {error} (at or after {unpacked.place()})", how_to_get_imdb(path)
            ) from error


class _Unpacked:
    """An archive's bytes, unpacked as they are asked for and not beyond the caps."""

    def __init__(self, path: Path, packed: io.BufferedReader) -> None:
        magic = packed.peek(6)
        opened = gzip.open if magic[:2] == b"\x1f\x8b" else lzma.open if magic[:6] == b"\xfd7zXZ\0" else None
        self._stream = io.BufferedReader(opened(packed), _PIECE) if opened else packed
        self._path, self._packed, self._n_read = path, packed, 0
        self.member = ""  # whose bytes they are; none yet

    def read(self, n: int) -> bytes:
        """Return the next n bytes; fewer, or none, at the end."""
        data = self._stream.read(n)
        self._n_read += len(data)
        if self._n_read > _MOST_UNPACKED:
            raise self.beyond(f"{_MOST_UNPACKED:,} bytes in all")
        if self._n_read > _RATIO_COUNTS_FROM and self._n_read > _MOST_RATIO * self._packed.tell():
            raise self.beyond(f"{_MOST_RATIO} times its packed bytes")
        return data

    def take(self, n: int) -> bytes:
        """Return the next n bytes. Raises EOFError where there are fewer."""
        data = self.read(n)
        if len(data) < n:
            raise EOFError("it is cut off")
        return data

    def skip(self, n: int) -> None:
        for start in range(0, n, _PIECE):
            self.take(min(_PIECE, n - start))

    def place(self) -> str:
        return f"member {self.member!r}" if self.member else "its start"

    def beyond(self, cap: str) -> DataError:
        return DataError(
            f"{self._path} is refused at {self.place()}: it holds more than {cap}", how_to_get_imdb(self._path)
        )


def _tar_members(unpacked: _Unpacked, is_wanted: Callable[[Member], bool]) -> Iterator[tuple[Member, bytes]]:
    """Read headers and bodies (POSIX.1-1988 and GNU) to the end mark, then on to the end, where the CRCs are."""
    n_members = 0
    while (header := unpacked.take(_BLOCK)) != _END:
        # The checksum adds up the bytes with itself blank. So does the low half of Adler-32 (plus 1, modulo 65521: RFC
        # 1950), in a thirteenth of the time of sum().
        blanked = header[:148] + b" " * 8 + header[156:]
        if zlib.adler32(blanked) & 0xFFFF != (_octal(header[148:156]) + 1) % 65521:
            raise ValueError("a tar header is damaged")
        size, kind = _octal(header[124:136]), header[156]
        padded = 0 if kind in _WITHOUT_BODY else size + -size % _BLOCK
        if kind in _EXTENDED:
            unpacked.skip(padded)
            continue
        unpacked.member = _name(header)
        n_members += 1
        if n_members > _MOST_MEMBERS:
            raise unpacked.beyond(f"{_MOST_MEMBERS:,} members")
        root = _ROOT.match(unpacked.member)
        member = MEMBER.fullmatch(unpacked.member, root.end()) if root else None
        if member is None or not is_wanted(member):
            unpacked.skip(padded)
            continue
        if kind not in _REGULAR:
            raise ValueError("a review is a link or device, not a file")
        if size > _most_bytes(member):
            raise unpacked.beyond(f"{_most_bytes(member):,} bytes in that member")
        yield member, unpacked.take(padded)[:size]
    while unpacked.read(_PIECE):
        pass


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    if header[345] and header[257:263] == b"ustar\0":  # the front of a long name; GNU tar keeps times there
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    return name.decode("latin-1")


def _octal(field: bytes) -> int:
    """Read a number of a tar header; int() alone would take signs and underscores."""
    digits = field.strip(b" \0") or b"0"
    if digits.strip(b"01234567"):
        raise ValueError(f"a tar header has {digits!r} in place of an octal number")
    return int(digits, 8)


def _most_bytes(member: Member) -> int:
    return _MOST_BYTES_OF_LIST if member["urls"] else _MOST_BYTES


def _folder_members(path: Path, is_wanted: Callable[[Member], bool]) -> Iterator[tuple[Member, bytes]]:
    root = path / "aclImdb" if (path / "aclImdb").is_dir() else path
    for folder in ("test/neg", "test/pos", "test", "train/neg", "train/pos", "train/unsup", "train"):
        try:
            with os.scandir(root / folder) as entries:
                names = sorted(entry.name for entry in entries)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f"{root / folder} cannot be read: {error.strerror}") from error
        for name in names:
            member = MEMBER.fullmatch(f"{folder}/{name}")
            if member and is_wanted(member):
                yield member, _read_file(f"{root}/{member[0]}", _most_bytes(member))


def _read_file(path: str, most: int) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a FIFO would wait for its writer
        try:
            status = os.fstat(handle)
            data = os.read(handle, most + 1) if stat.S_ISREG(status.st_mode) else b""
        finally:
            os.close(handle)
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise DataError(f"{path} cannot be read: {reason}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is not a file")
    if len(data) > most:
        raise DataError(f"{path} holds more than {most:,} bytes")
    if len(data) != status.st_size:
        raise DataError(f"{path} changed while it was read")
    return data
