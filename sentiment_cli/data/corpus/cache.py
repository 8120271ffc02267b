"""The cache of prepared data: one directory per key, which holds everything that the data depends on."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sentiment_cli import console
from sentiment_cli.config.paths import data_dir
from sentiment_cli.errors import MachineError, UsageError
from sentiment_cli.storage import locks, store

KEY_FILE = "key.json"
_Opened = TypeVar("_Opened")
_NAME = re.compile(r"[A-Za-z0-9-]+-[0-9a-f]{16}")  # never a path outside the cache
_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")  # a few digits are enough


@dataclass(frozen=True)
class Key:
    """Everything an entry depends on, and a readable name: `imdb`, `texts-labelled-imdb`."""

    name: str
    depends_on: dict[str, Any]

    @property
    def directory_name(self) -> str:
        digest = hashlib.sha256(json.dumps(self.depends_on, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:16]}"


@dataclass(frozen=True)
class Entry:
    """An entry on disk; `depends_on` is empty where its key cannot be read."""

    path: Path
    depends_on: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.name.rpartition("-")[0]


def directory_of(name: str) -> Path:
    """Return the path of the entry of a key's `directory_name`. Raises IntegrityError for another form of name.

    A model from someone else also names its data, and a damaged entry is removed, so no other path may be named.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise store.IntegrityError(f"{name!r:.80} is not a name of prepared data")
    return data_dir() / "cache" / name


def open_entry(name: str, is_read: Callable[[str], bool] = lambda name: True) -> Path | None:
    """Return an entry's directory after checking the files to be read; None where there is no entry.

    A damaged or renamed entry is removed, with a warning.
    """
    directory = directory_of(name)
    if not store.is_there(directory) or not locks.is_usable(directory):
        return None
    try:
        store.open_directory(directory, is_read)
        read_entry_manifest(directory)
    except store.IntegrityError as error:
        console.warn(f"{error}; preparing it again")
        store.remove_directory(directory)
        return None
    return directory


def read_entry_manifest(directory: Path) -> dict[str, Any]:
    """Return an entry's manifest. Raises IntegrityError where the directory's name is not its key's."""
    files = store.read_manifest(directory)
    depends_on = store.read_json(directory / KEY_FILE)
    key = Key(directory.name.rpartition("-")[0], depends_on)
    written = hashlib.sha256(store.dump_json(depends_on)).hexdigest()
    if key.directory_name != directory.name or files.get(KEY_FILE, {}).get("sha256") != written:
        raise store.IntegrityError(f"{directory} was prepared from other settings than its name says")
    return files


def remove(entry: Entry) -> bool:
    """Remove an entry; return False, and keep it, where another process reads or builds it."""
    with locks.unused(entry.path, _lock_of(entry.path.name)) as is_unused:
        if is_unused:
            store.remove_directory(entry.path)
    return is_unused


def sweep_cache() -> None:
    """Remove the drafts and locks of killed processes beside the entries and the downloads."""
    for name in ("cache", "raw"):
        locks.sweep_locks(data_dir() / name)


def _unreadable(name: str) -> MachineError:
    """Return the error about a new entry that cannot be opened."""
    return MachineError(
        f"{directory_of(name)} was written but cannot be read back: the disk is faulty, or another program removed it",
        "sentiment doctor",
    )


def get_or_build(
    key: Key,
    open: Callable[[str], _Opened | None],
    write: Callable[[], None],
    on_hit: Callable[[_Opened], object] = lambda opened: None,
) -> _Opened:
    """Return the entry of a key as `open` returns it; where the cache lacks it, `write` builds it first.

    One process builds an entry, under a lock; processes that wait for the lock then find the entry. `open` takes the
    name of the entry's directory and returns None where the entry is missing or damaged. `on_hit` gets an entry that
    this call did not build. Raises MachineError where the new entry cannot be opened.
    """
    opened = open(key.directory_name)
    if opened is None:
        with locks.lock(_lock_of(key.directory_name), console.say):
            opened = open(key.directory_name)
            if opened is None:
                write()
                opened = open(key.directory_name)  # under the lock, so that no process removes the entry first
                if opened is None:
                    raise _unreadable(key.directory_name)
                return opened
    on_hit(opened)
    return opened


def _lock_of(name: str) -> Path:
    return directory_of(name).with_name(f".{name}.lock")


def say_miss(key: Key) -> None:
    """Report which settings differ from the nearest entry, where one of the same name exists."""
    nearest = nearest_entry(key)
    if nearest is not None:
        console.say(f"data: preparing again, since settings changed: {'; '.join(differing(key, nearest))}")


def nearest_entry(key: Key) -> Entry | None:
    """Return the entry of the same name that differs from the key in the fewest parts."""
    like = [e for e in entries() if e.name == key.name and e.depends_on and e.path.name != key.directory_name]
    return min(like, key=lambda entry: len(differing(key, entry)), default=None)


def differing(key: Key, entry: Entry) -> list[str]:
    """Return the parts in which an entry differs from a key, one line each."""
    wanted, there = _flat(key.depends_on), _flat(entry.depends_on)
    changed = [name for name in sorted(wanted.keys() | there.keys()) if wanted.get(name) != there.get(name)]
    return [f"{name}: {_shown(there.get(name))} → {_shown(wanted.get(name))}" for name in changed]


def entries() -> list[Entry]:
    """Return every entry, by name."""
    found = []
    for path in sorted((data_dir() / "cache").glob("*-*")):
        if path.is_dir() and _NAME.fullmatch(path.name):  # other folders are not the cache's
            try:
                depends_on = store.read_json(path / KEY_FILE)
            except store.IntegrityError:
                depends_on = {}
            found.append(Entry(path, depends_on if isinstance(depends_on, dict) else {}))
    return found


def find_entry(name: str) -> Entry:
    """Return an entry by its directory's name. Raises UsageError for an unknown name."""
    for entry in entries():
        if entry.path.name == name:
            return entry
    raise UsageError(f"there is no cache entry {name!r} in {data_dir() / 'cache'}", "sentiment data cache list")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _shown(value: Any) -> str:
    return _HASH.sub(r"\1…", json.dumps(value, ensure_ascii=False))
