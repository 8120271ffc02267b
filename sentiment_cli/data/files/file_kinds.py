"""What a file is: by its name, by its first bytes, and where none is, by the nearest name."""

import difflib
import os
import re
import shlex
import shutil
from pathlib import Path

from sentiment_cli.errors import DataError
from sentiment_cli.storage import store

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow")
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
_BINARY = {".parquet", ".arrow"}
_SYNONYMS = {".tab": ".tsv"}

# First bytes, what they are of, and what turns such a file into text, where that is installed.
_FOREIGN: tuple[tuple[bytes, str, tuple[str, ...]], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word document", ("libreoffice", "--convert-to", "csv")),
    (b"%PDF", "a PDF document", ("pdftotext",)),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", ("7z", "e")),
    (b"Rar!\x1a\x07", "a RAR archive", ("unrar", "e")),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", ("zstd", "-dk")),
    (b"\x04\x22\x4d\x18", "compressed by LZ4", ("lz4", "-dk")),
    (b"\x1f\x9d", "compressed by compress", ("uncompress", "-k")),
    (b"PAR1", "a Parquet file", ()),
    (b"ARROW1", "an Arrow file", ()),
    (b"Obj\x01", "an Avro file", ()),
    (b"ORC", "an ORC file", ()),
    (b"SQLite format 3\x00", "an SQLite database", ()),
    (b"\x89HDF", "an HDF5 file", ()),
    (b"\x93NUMPY", "a NumPy array", ()),
    (b"\x80\x02", "a pickle", ()),
    (b"\x80\x03", "a pickle", ()),
    (b"\x80\x04", "a pickle", ()),
    (b"\x80\x05", "a pickle", ()),
    (b"\x89PNG", "a picture", ()),
    (b"\xff\xd8\xff", "a picture", ()),
    (b"GIF8", "a picture", ()),
    (b"\x7fELF", "a program", ()),
    (b"{\\rtf", "an RTF document", ("libreoffice", "--convert-to", "txt")),
)
_PACKED = (
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"BZh", "compressed by bzip2"),
    (b"\xfd7zXZ\x00", "compressed by xz"),
)
_HELP = "sentiment predict --help"
_UTF_16, _UTF_32 = (b"\xff\xfe", b"\xfe\xff"), (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")
_CONTROLS = bytes({*range(0x01, 0x09), *range(0x0E, 0x20)} - {0x1B})
_ENOUGH = 512  # bytes to tell a program from a few odd texts
_MOST_NULS = 0.1  # one in a text is a character like others; every second byte is UTF-16


def table_suffix(name: str) -> str | None:
    """Return which of SUFFIXES a name ends in, before what says how it is compressed; None for no table."""
    name = name.lower()
    for packed in COMPRESSED:
        name = name.removesuffix(packed)
    suffix = Path(name).suffix
    suffix = _SYNONYMS.get(suffix, suffix)
    return suffix if suffix in SUFFIXES else None


def show_command(path: Path) -> str:
    """Return the command that shows what a file or folder holds: its first lines, if it is a plain table or text."""
    if os.path.isdir(path):  # noqa: PTH112 - Path's raises for odd names
        return shlex.join(["ls", str(path)])
    is_plain = path.suffix.lower() in {*SUFFIXES, *_SYNONYMS, ".txt", ""} - _BINARY
    return shlex.join(["head", "-n", "5", str(path)] if is_plain else ["ls", "-l", str(path)])


def has_bom(start: bytes) -> bool:
    """Say whether the bytes begin as UTF-16 or UTF-32 does."""
    return start.startswith((*_UTF_16, *_UTF_32))


def refuse_foreign(path: Path, start: bytes) -> None:
    """Raise DataError for a file whose first bytes, unpacked, are those of no text."""
    for magic, what, tool in _FOREIGN:
        if start.startswith(magic) and not (magic == b"ORC" and start[3:4] > b" "):
            raise not_text(path, what, tool)
    for magic, what in _PACKED:  # once more packed, within what was unpacked
        if start.startswith(magic) and (magic != b"BZh" or start[4:8] == b"1AY&"):
            raise not_text(path, f"{what} within another")
    if has_bom(start):
        return
    n_nuls = start.count(0)
    if b"\0\0" in start or n_nuls > max(1, _MOST_NULS * len(start)):
        halves = [start[place::2].count(0) for place in (0, 1)]
        if b"\0\0" not in start and 0 in halves:
            order = "be" if halves[0] else "le"
            raise DataError(
                f"{path} looks like UTF-16 text without a byte order mark", f"--set data.encoding=utf-16-{order}"
            )
        raise not_text(path, "a binary file, with NUL bytes in it")
    n_controls = len(start) - len(start.translate(None, _CONTROLS))
    if len(start) >= _ENOUGH and n_controls > _MOST_NULS * len(start):
        raise not_text(path, "a binary file, with control characters in it")


def refuse_stream(name: str, start: bytes) -> None:
    """Raise DataError for first bytes of standard input that are not UTF-8 text, line by line."""
    for magic, what in _PACKED:
        if start.startswith(magic) and (magic != b"BZh" or start[4:8] == b"1AY&"):
            raise DataError(f"{name} is {what}, not text; compressed files are read with --file", _HELP)
    if has_bom(start):
        raise DataError(f"{name} is UTF-16 or UTF-32 text, which is read with --file; a pipe takes UTF-8", _HELP)
    refuse_foreign(Path(name), start)


def not_text(path: Path, what: str, tool: tuple[str, ...] = ()) -> DataError:
    """Return the error for a file that is of no kind that is read."""
    known = ", ".join(SUFFIXES)
    hint = shlex.join([*tool, str(path), *_result_of(path, tool)]) if tool and shutil.which(tool[0]) else None
    return DataError(f"{path} is {what}; text, {known} are read, also compressed by gzip, bzip2, xz or zip", hint)


def _download(address: str) -> str:
    name = re.split(r"[?#]", address)[0].rstrip("/").rpartition("/")[2]
    if not store.is_there(Path(name)):
        return shlex.join(["curl", "-LO", address])
    return shlex.join(["curl", "-Lo", str(store.free_path(Path(name))), address])


def _result_of(path: Path, tool: tuple[str, ...]) -> list[str]:
    """Return what has a tool that overwrites files write its own to where nothing is."""
    if tool[0] == "libreoffice":
        written = Path(f"{path.stem}.{tool[-1]}")
        return ["--outdir", str(store.unused_path(Path(path.stem)))] if store.is_there(written) else []
    if tool[0] == "pdftotext":
        written = path.with_suffix(".txt")
        return [str(store.free_path(written))] if store.is_there(written) else []
    return []


def missing_file(path: Path, option: str, what: str = "there is no such file or folder") -> DataError:
    """Return the error for a path that is not there; its hint names the nearest one that is, or lists the folder."""
    text = str(path)
    if re.match(r"(https?|ftp|s3|gs|hf):/", text) or re.search(r"/(https?|ftp):/", text):
        address = re.sub(r"^.*?(https?|ftp):/+", r"\1://", text)
        return DataError(
            f"{option} is {address}: a web address; files are read from this machine",
            _download(address) if address.startswith(("http", "ftp")) else None,
        )
    folder = path.parent
    beside = os.listdir(folder) if os.access(folder, os.R_OK | os.X_OK) else []  # noqa: PTH208
    beside = [name for name in beside if not name.startswith(".")]
    near = difflib.get_close_matches(path.name, beside, n=1)
    if not near:
        folded = {name.casefold(): name for name in beside}
        near = [folded[key] for key in difflib.get_close_matches(path.name.casefold(), folded, n=1)]
    if not near:
        near = [name for name in beside if name.casefold().startswith(f"{path.name.casefold()}.")][:1]
    said = f"{option} is {path}: {what}"
    if near:
        named = shlex.quote(str(folder / near[0]))
        return DataError(said, f"{option} {named}" if option.startswith("--") else f"--set {option}={named}")
    there = folder
    while not os.path.isdir(there) and there != there.parent:  # noqa: PTH112 - Path's raises for odd names
        there = there.parent
    return DataError(said, f"ls {shlex.quote(str(there))}")
