"""The files of a finished model, in a directory or packed in one file: read one at a time, and hashed when read.

An ensemble's are ensemble.json and those of its parts, the i-th one's with `i.` before their names.

The packed form is a zip of stored members, the manifest first. Every byte of it that is no member's follows from the
manifest and the members' check sums; a file that has another is refused, so no two readers of zips can differ on it.
"""

import contextlib
import hashlib
import io
import os
import re
import shlex
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sentiment_cli.errors import Change, DataError, UsageError
from sentiment_cli.runs.files import EXPERIMENT
from sentiment_cli.storage import store

NAMES = ("model.json", "calibration.json", "tokenizer.json", "vocabulary.json", "graph.onnx", "weights.safetensors")
ENSEMBLE = "ensemble.json"


_PART = re.compile(r"([1-9][0-9]{0,2}\.)(.+)", re.DOTALL)
_LARGEST_MANIFEST = 1 << 16
_LARGEST_PACKED = (1 << 32) - (1 << 20)  # beyond, a zip has other headers
_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s4H2IH")
_CRC_AT = 16  # in an entry of the central directory
_VERSION, _FLAGS, _STORED, _TIME, _DATE = 20, 0, 0, 0, 0x21  # 1980-01-01, the first day that a zip knows
_UNIX, _MODE = 3 << 8, 0o644 << 16  # for who unpacks it all the same


@dataclass(frozen=True)
class ModelFiles:
    """The files of the model at `path` by its manifest, and their offsets in a packed file."""

    path: Path
    entries: dict[str, Any]
    _packed: "dict[str, _Packed] | None" = None
    prefix: str = ""

    def parts(self) -> "list[ModelFiles]":
        """Return the files of each part of an ensemble."""
        return [ModelFiles(self.path, own, self._packed, prefix) for prefix, own in _parts(self.entries).items()]

    @property
    def sha256(self) -> str:
        """The identity of a model: the hash of its manifest."""
        return hashlib.sha256(store.dump_manifest(self.entries)).hexdigest()

    def read(self, name: str) -> bytes:
        """Read a member; raise IntegrityError where size or hash are not the manifest's."""
        size, place = self.entries[name]["size"], self.place(name)
        if self._packed is None:
            data = store.read_file(place, size + 1)
        else:
            member = self._packed[place.name]
            header = _local(member)
            with _opened(self.path) as handle:
                handle.seek(member.start)
                if handle.read(len(header)) != header:
                    raise _damaged(self.path, f"the header of {place.name} is not its own")
                data = handle.read(size)
        found = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        if found != self.entries[name]:
            said = f"{place} is damaged: its size or checksum is not the one in the manifest"
            raise store.IntegrityError(said, _how_to_make_anew(self.path))
        return data

    def place(self, name: str) -> Path:
        """Return the name of a file in messages."""
        return self.path / f"{self.prefix}{name}"


def open_model_files(path: Path) -> ModelFiles:
    """Open a directory, or one packed file. Raises IntegrityError for damage, and for files that no model has."""
    try:
        if path.is_dir():
            store.open_directory(path, lambda name: False)
            return ModelFiles(path, _check_files(store.read_manifest(path), path))
        return _open_packed(path)
    except store.IntegrityError as error:
        error.hint = error.hint or _how_to_make_anew(path)
        raise


def _how_to_make_anew(path: Path) -> str:
    if (path / ENSEMBLE).exists():
        return "sentiment runs list"
    is_run = (path.parent / EXPERIMENT).exists()
    return f"sentiment reproduce {shlex.quote(str(path.parent))}" if is_run else "sentiment runs list"


def check_free(path: Path, is_ours: Callable[[Path], bool], hint: str) -> None:
    """Raise UsageError where something is in the place of a file that is to be written.

    A file that this program wrote may be the very one that is to be written: that is seen when it is.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory; --pack needs the name of a file", hint)
    if store.is_there(path) and not is_ours(path):
        raise UsageError(f"{path} exists already and is not overwritten", hint)


def is_packed(path: Path) -> bool:
    """Return whether a file is a packed model."""
    try:
        open_model_files(path)
    except DataError:
        return False
    return True


def _elsewhere(path: Path) -> Change:
    return Change("--pack", str(store.free_path(path)))


def pack(files: Mapping[str, bytes], path: Path) -> int:
    """Write files as one packed file, in the order of NAMES, an ensemble's own before its parts'; return its size."""
    order = [*NAMES, ENSEMBLE, *(f"{i}.{name}" for i in range(1, len(files) + 1) for name in NAMES)]
    named = {name: files[name] for name in order if name in files}
    assert named.keys() == files.keys()
    entries = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in named.items()}
    named = {store.MANIFEST: store.dump_manifest(entries), **named}
    if sum(map(len, named.values())) > _LARGEST_PACKED:
        raise DataError(f"{path} would hold more than a zip can, 4 GiB")
    if store.is_there(path):
        if not path.is_dir() and open_model_files(path).entries == entries:  # of a command that was killed after it
            return path.stat().st_size
        raise UsageError(f"{path} is there already, with another model, and is not overwritten", _elsewhere(path))
    members = _lay_out({name: len(data) for name, data in named.items()}, list(map(zlib.crc32, named.values())))
    with store.replacing(path) as output:
        for member in members:
            output.write(_local(member))
            output.write(named[member.name])
        output.write(_directory(members))
        return output.size


class _Packed(NamedTuple):
    """A member of a packed file; `start` is where its header does."""

    name: str
    size: int
    crc: int
    start: int

    @property
    def end(self) -> int:
        return self.start + _LOCAL.size + len(self.name) + self.size


def _check_files(files: dict[str, Any], path: Path) -> dict[str, Any]:
    """Raise IntegrityError for a manifest with unknown or missing files."""
    parts = _parts(files) if ENSEMBLE in files else {"": files}
    known = {f"{prefix}{name}" for prefix in parts for name in NAMES}
    if unknown := files.keys() - known - ({ENSEMBLE, "calibration.json"} if "" not in parts else set()):
        raise store.IntegrityError(f"{path} holds {sorted(unknown)}, which no model has")
    for prefix, part in parts.items() or {"1.": dict[str, Any]()}.items():
        missing = {"model.json", "tokenizer.json", "vocabulary.json"} - part.keys()
        if missing := missing or ({"graph.onnx", "weights.safetensors"} if not _answers(part) else set()):
            lacking = " and ".join(f"{prefix}{name}" for name in sorted(missing))
            raise store.IntegrityError(f"{path} is no whole model: it lacks {lacking}")
    for name, entry in files.items():
        is_entry = isinstance(entry, dict) and entry.keys() == {"size", "sha256"}
        if not is_entry or type(entry["size"]) is not int or not 0 <= entry["size"] < 1 << 40:
            raise store.IntegrityError(f"{path}: the manifest gives {name} no size: {entry!r:.80}")
    return files


def _parts(files: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the files of each member by its prefix: `1.`, `2.` and so on, without gaps."""
    found: dict[str, dict[str, Any]] = {}
    for name, entry in files.items():
        if match := _PART.fullmatch(name):
            found.setdefault(match[1], {})[match[2]] = entry
    return {prefix: found.get(prefix, {}) for prefix in (f"{i}." for i in range(1, len(found) + 1))}


def _answers(files: dict[str, Any]) -> bool:
    return "graph.onnx" in files or "weights.safetensors" in files


def _open_packed(path: Path) -> ModelFiles:
    """Open a packed file, after comparing its headers with those that `pack` writes."""
    with _opened(path) as handle:
        n_bytes = os.fstat(handle.fileno()).st_size
        first = handle.read(_LOCAL.size + len(store.MANIFEST))
        *_, crc, _, size, _, _ = _LOCAL.unpack(first[: _LOCAL.size].ljust(_LOCAL.size, b"\0"))
        if first != _local(_Packed(store.MANIFEST, size, crc, 0)) or size > _LARGEST_MANIFEST:
            raise _damaged(path, "it does not begin with a manifest that is stored as it is")
        files = _check_files(store.parse_manifest(handle.read(size), path / store.MANIFEST), path)
        sizes = {store.MANIFEST: size, **{name: entry["size"] for name, entry in files.items()}}
        start = sum(_LOCAL.size + len(name) + size for name, size in sizes.items())
        length = sum(_CENTRAL.size + len(name) for name in sizes) + _END.size
        if start + length != n_bytes:
            raise _damaged(path, f"it has {n_bytes:,} bytes, and by its manifest {start + length:,}")
        handle.seek(start)
        directory = handle.read(length)
    members = _lay_out(sizes, list(_crcs(directory, list(sizes))))
    if directory != _directory(members) or crc != members[0].crc:
        raise _damaged(path, "its headers are not those of its manifest")
    return ModelFiles(path, files, {member.name: member for member in members})


def _lay_out(sizes: Mapping[str, int], crcs: list[int]) -> list[_Packed]:
    members: list[_Packed] = []
    for (name, size), crc in zip(sizes.items(), crcs, strict=True):
        members.append(_Packed(name, size, crc, members[-1].end if members else 0))
    return members


def _local(member: _Packed) -> bytes:
    """Return the header in front of a member."""
    name, size = member.name.encode(), member.size
    about = (_VERSION, _FLAGS, _STORED, _TIME, _DATE, member.crc, size, size, len(name), 0)
    return _LOCAL.pack(b"PK\3\4", *about) + name


def _directory(members: list[_Packed]) -> bytes:
    """Return the central directory of the zip: names, sizes and offsets of the files."""
    entries = []
    for name, size, crc, start in members:
        about = (_UNIX | _VERSION, _VERSION, _FLAGS, _STORED, _TIME, _DATE, crc, size, size)
        entries.append(_CENTRAL.pack(b"PK\1\2", *about, len(name), 0, 0, 0, 0, _MODE, start) + name.encode())
    central = b"".join(entries)
    n, end = len(members), members[-1].end
    return central + _END.pack(b"PK\5\6", 0, 0, n, n, len(central), end, 0)


def _crcs(directory: bytes, names: list[str]) -> Iterator[int]:
    """Yield the check sums in a central directory of members of these names."""
    start = 0
    for name in names:
        yield int.from_bytes(directory[start + _CRC_AT : start + _CRC_AT + 4], "little")
        start += _CENTRAL.size + len(name)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """Open a packed file, which its user names, by a link too if it has to be."""
    try:
        with store.open_named(path) as handle:
            if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                raise _damaged(path, "it is no file")
            yield handle
    except FileNotFoundError as error:
        raise _damaged(path, "it is not there") from error


def _damaged(path: Path, why: str) -> store.IntegrityError:
    return store.IntegrityError(f"{path} is damaged, or no packed model: {why}")
