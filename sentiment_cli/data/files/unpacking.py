"""The bytes of a text file, unpacked: gzip, bzip2, xz, and zip archives of one file; by what they are, not by name."""

import bz2
import contextlib
import gzip
import lzma
import re
import shlex
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from sentiment_cli.data.files.file_kinds import not_text, refuse_foreign, show_command, table_suffix
from sentiment_cli.errors import DataError
from sentiment_cli.storage import store

START = 1 << 16
_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_OFFICE = {
    "xl/": "an Excel workbook",
    "word/": "a Word document",
    "ppt/": "a PowerPoint document",
    "content.xml": "an OpenDocument file",
}
_ABOUT = re.compile(r"(?:readme|license|licence|copying|changelog|citation)(?:\..*)?|.*\.(?:md|rst)")
_PATTERN = re.compile(r"^-|[*?\[\]\\]")  # in a member's name, which unzip would not take as it is


class Stamp(NamedTuple):
    """What tells one state of a file from another, so that what was found out of it can be kept."""

    path: str
    inode: int
    size: int
    changed_ns: int


def stamp_of(path: Path) -> Stamp:
    """Return a file's stamp. Raises OSError."""
    found = path.stat()
    return Stamp(str(path), found.st_ino, found.st_size, found.st_mtime_ns)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise DataError for what the disk or the compression has against reading `path`."""
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {reason}", show_command(path)) from error


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of text, unpacked where it is packed. Raises DataError for an archive of several files."""
    with path.open("rb") as handle:
        start = handle.read(8)
        handle.seek(0)
        opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
        if opener is bz2.open and start[4:8] not in (b"1AY&", b"\x17rE8"):
            opener = None  # a text that begins with these letters
        if opener is not None:
            with opener(path) as unpacked:
                yield unpacked
        elif start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            with (
                zipfile.ZipFile(handle) as archive,
                archive.open(name=_only_member(path, archive), mode="r") as member,
            ):
                yield member
        else:
            yield handle


def start_of(path: Path) -> bytes:
    """Return the first bytes of a file, unpacked. Raises DataError for those of no text."""
    with reading(path), open_bytes(path) as handle:
        start = handle.read(START)
    refuse_foreign(path, start)
    return start


def table_kind(path: Path) -> str | None:
    """Return which of SUFFIXES a name ends in, before .gz and the like, or that of the file in a zip archive."""
    kind = table_suffix(path.name)
    if kind is None and path.name.lower().endswith(".zip") and zipfile.is_zipfile(path):
        with reading(path), zipfile.ZipFile(path) as archive:
            kind = table_suffix(_only_member(path, archive).filename)
    return kind


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    names = archive.namelist()
    for prefix, what in _OFFICE.items():
        if any(name.startswith(prefix) for name in names) and ("[Content_Types].xml" in names or "mimetype" in names):
            raise not_text(path, what, ("libreoffice", "--convert-to", "csv"))
    members = [one for one in archive.infolist() if not one.is_dir() and not _is_hidden(one.filename)]
    tables = [one for one in members if table_suffix(one.filename)]
    if len(tables) == 1 and not tables[0].flag_bits & 1:
        members = tables  # beside a README
    if len(members) != 1:
        shown = ", ".join(repr(one.filename) for one in members[:5]) + (", …" if len(members) > 5 else "")
        raise DataError(
            f"{path} holds {len(members):,} files, and one is read: {shown or 'it is empty'}",
            _unzip(path, members) if members else None,
        )
    if members[0].flag_bits & 1:
        raise DataError(f"{path} is encrypted", _unzip(path, []))
    return members[0]


def _unzip(path: Path, members: list[zipfile.ZipInfo]) -> str:
    """Return the command that unpacks the only file beside a README, or all files, to where nothing is yet."""
    data = [one.filename for one in members if not _ABOUT.fullmatch(one.filename.rpartition("/")[2].lower())]
    if len(data) == 1 and not _PATTERN.search(data[0]):
        to = store.unused_path(Path(data[0].rpartition("/")[2]))
        return f"{shlex.join(['unzip', '-p', str(path), data[0]])} > {shlex.quote(str(to))}"
    return shlex.join(["unzip", str(path), "-d", str(store.unused_path(Path(path.stem)))])


def _is_hidden(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")
