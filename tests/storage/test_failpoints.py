"""Robustness cases F04, F06, F07 and F09: every operation of the store killed, refused, cut short and falsified."""

import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from sentiment_cli.errors import MachineError
from sentiment_cli.storage import disk, failpoints, store

OLD, NEW = b"old" * 100, b"new" * 1000


@dataclass(frozen=True)
class Case:
    """Something the store does under a root, and a look at what is there: 'old', 'new' or an assertion that fails."""

    prepare: Callable[[Path], object]
    act: Callable[[Path], object]
    state: Callable[[Path], str]


def make_directory(root: Path) -> None:
    with store.new_directory(root / "d") as draft:
        with draft.create("a") as output:
            output.writelines([NEW, NEW])
        draft.write("b", OLD)


def directory_state(root: Path) -> str:
    if not (root / "d").exists():
        return "old"
    directory = store.open_directory(root / "d")
    assert {file.name: file.read_bytes() for file in directory.iterdir() if file.name != "manifest.json"} == {
        "a": NEW + NEW,
        "b": OLD,
    }
    return "new"


def publish_partial(root: Path) -> None:
    if (root / "f").exists():
        return
    with store.partial_file(root / "f") as part:
        part.cut(min(part.size, 100))
        part.write(NEW[part.size :])
        part.publish()


CASES = {
    "write_file": Case(
        lambda root: store.write_file(root / "f", OLD),
        lambda root: store.write_file(root / "f", NEW),
        lambda root: {OLD: "old", NEW: "new"}[(root / "f").read_bytes()],
    ),
    "new_directory": Case(lambda root: root.mkdir(), make_directory, directory_state),
    "remove_directory": Case(
        make_directory,
        lambda root: (root / "d").exists() and store.remove_directory(root / "d"),
        lambda root: {"new": "old", "old": "new"}[directory_state(root)],
    ),
    "append_line": Case(
        lambda root: store.write_file(root / "f", b"one\n"),
        lambda root: "two" in (root / "f").read_text().split("\n") or store.append_line(root / "f", "two"),
        # Half a line has no newline: readers skip it, and the next append removes it.
        lambda root: {b"one": "old", b"one\ntwo": "new"}[(root / "f").read_bytes().rpartition(b"\n")[0]],
    ),
    "partial_file": Case(
        lambda root: root.mkdir(),
        publish_partial,
        lambda root: {NEW: "new"}[(root / "f").read_bytes()] if (root / "f").exists() else "old",
    ),
}


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


@pytest.mark.parametrize("name", CASES)
def test_f04_killed_at_any_operation_leaves_the_old_or_the_new(name: str, tmp_path: Path, forked, places_of) -> None:
    case, root = CASES[name], tmp_path / "clean"
    case.prepare(root)
    places = places_of(partial(case.act, root))
    clean = names(root)
    assert len(places) >= 2
    seen = set()
    for place in places:
        root = tmp_path / place
        case.prepare(root)
        assert forked(partial(case.act, root), f"{place}:kill") == -signal.SIGKILL
        seen.add(case.state(root))
        assert forked(partial(case.act, root)) == 0
        assert case.state(root) == "new", place
        store.write_file(root / "next", b"")  # sweeps, where the second try had nothing left to do
        assert names(root) == clean | {"next"}, place
    assert "old" in seen


@pytest.mark.parametrize("name", ["write_file", "new_directory"])
def test_f06_killed_while_recovering_from_a_kill(name: str, tmp_path: Path, forked, places_of) -> None:
    case = CASES[name]
    for first in ("write:1", "rename:1"):
        root = tmp_path / "clean"
        case.prepare(root)
        forked(partial(case.act, root), f"{first}:kill")
        places = places_of(partial(case.act, root))
        assert "remove:1" in places  # of what the first left behind
        store.remove_directory(root)
        for second in places:
            root = tmp_path / f"{first} {second}"
            case.prepare(root)
            assert forked(partial(case.act, root), f"{first}:kill") == -signal.SIGKILL
            assert forked(partial(case.act, root), f"{second}:kill") == -signal.SIGKILL
            assert case.state(root) in ("old", "new")
            assert forked(partial(case.act, root)) == 0
            assert case.state(root) == "new"
            assert not [name for name in names(root) if name.endswith(".tmp")]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("nospace", r"No space left on device; .*[\d,]+ bytes are free$"),
        ("short", r"No space left on device; .*[\d,]+ bytes are free$"),
        ("ioerror", "Input/output error$"),
    ],
)
def test_f07_any_operation_refused_by_the_disk(name: str, action: str, said: str, tmp_path: Path, places_of) -> None:
    case, root = CASES[name], tmp_path / "clean"
    case.prepare(root)
    for place in places_of(partial(case.act, root)):
        root = tmp_path / place
        case.prepare(root)
        failpoints.arm(f"{place}:{action}")
        with pytest.raises(MachineError, match=rf"(?s)cannot write {root}/.*{said}") as caught:
            case.act(root)
        if action != "ioerror":
            assert (caught.value.hint or "").startswith("df -h ")
        failpoints.arm(None)
        assert case.state(root) in ("old", "new")
        if name != "remove_directory":  # where the draft is what could not be removed
            assert not [name for name in names(root) if name.endswith(".tmp")], place
        case.act(root)
        assert case.state(root) == "new"


def test_f07_a_full_disk_says_how_much_was_wanted(tmp_path: Path) -> None:
    failpoints.arm("write:2:nospace")
    with pytest.raises(MachineError, match=rf"cannot write {tmp_path}/d/a: No space .*; 6,000 bytes of it were to be"):
        make_directory(tmp_path / ".")


def test_f09_a_limit_of_the_kernel_on_file_sizes(tmp_path: Path, forked) -> None:
    store.write_file(tmp_path / "f", OLD)
    store.write_file(tmp_path / "log", b"one\n")

    def write_much() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))
        for act in (
            lambda: store.write_file(tmp_path / "f", bytes(100_000)),
            lambda: store.append_line(tmp_path / "log", "x" * 100_000),
        ):
            with pytest.raises(MachineError, match=r"cannot write .*: File too large") as caught:
                act()
            assert caught.value.hint == "ulimit -f unlimited"

    assert forked(write_much) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"f": OLD, "log": b"one\n"}


def test_f12_a_bit_flipped_on_its_way_to_the_disk_is_found_when_read(tmp_path: Path, places_of) -> None:
    writes = [place for place in places_of(lambda: make_directory(tmp_path / "clean")) if place.startswith("write:")]
    assert len(writes) == 4
    for place in writes:
        failpoints.arm(f"{place}:flip")
        make_directory(tmp_path / place)
        with pytest.raises(store.IntegrityError, match=f"{tmp_path / place}/d/.* (is damaged|cannot be read)"):
            store.open_directory(tmp_path / place / "d")


class LossyDisk:
    """What is left when the power goes: file bytes reach the disk by flush, names by flush_directory, or by chance."""

    def __init__(self) -> None:
        self.bytes: dict[int, bytes] = {}
        self.flushed: dict[int, bytes] = {}
        self.names: dict[Path, int] = {}
        self.safe_names: set[Path] = set()  # as their directory was flushed with them, wherever it has moved since
        self.last_names: dict[Path, int] = {}  # as they were when the root was flushed
        self.states: list[tuple[set[Path], dict[Path, bytes]]] = []

    def create(self, path: Path) -> None:
        self.names[path] = len(self.bytes)
        self.bytes[self.names[path]] = self.flushed[self.names[path]] = b""

    def write(self, path: Path, data: bytes) -> None:
        self.bytes[self.names[path]] += data

    def flush(self, path: Path) -> None:
        self.flushed[self.names[path]] = self.bytes[self.names[path]]

    def rename(self, path: Path, target: Path) -> None:
        for name in [name for name in self.names if path in (name, *name.parents)]:
            moved = target / name.relative_to(path)
            self.names[moved] = self.names.pop(name)
            if name in self.safe_names and name != path:
                self.safe_names.add(moved)

    def flush_directory(self, path: Path) -> None:
        self.safe_names |= {name for name in self.names if name.parent == path}
        if path not in {name.parent for name in self.names if name.parent.name.endswith(".tmp")}:
            self.last_names = dict(self.names)

    def crash(self, root: Path) -> None:
        """Add what may be found now: names as they are, or but for unsafe ones below, or as last flushed."""
        by_chance = {name: node for name, node in self.names.items() if name in self.safe_names or name.parent == root}
        for found, directories in (
            (self.names, {name.parent for name in self.names}),
            (by_chance, {name.parent for name in self.names}),
            (self.last_names, {name.parent for name in self.last_names}),
        ):
            for content in (self.bytes, self.flushed):
                self.states.append((directories, {name: content[node] for name, node in found.items()}))


@pytest.mark.parametrize(
    "case",
    [
        CASES["write_file"],
        Case(lambda root: root.mkdir(), make_directory, directory_state),
    ],
)
def test_f04_power_lost_at_any_operation_leaves_the_old_or_the_new(case: Case, tmp_path: Path, monkeypatch) -> None:
    lossy, root = LossyDisk(), tmp_path / "real"

    def follow(operation: str, note: Callable[..., None]) -> None:
        original = getattr(disk, operation)

        def both(*args):
            lossy.crash(root)
            note(*args)
            return original(*args)

        monkeypatch.setattr(disk, operation, both)

    def write(write_some, data: memoryview, path: Path) -> None:
        lossy.crash(root)
        lossy.write(Path(write_some.__self__.name), bytes(data))
        write_some(data)

    def flush(handle, path: Path) -> None:
        lossy.flush(Path(handle.name))

    follow("create", lossy.create)
    follow("flush", flush)
    follow("rename", lossy.rename)
    follow("flush_directory", lossy.flush_directory)
    monkeypatch.setattr(failpoints, "failing_write", write)
    case.prepare(root)
    n_before = len(lossy.states)
    case.act(root)
    lossy.crash(root)
    seen = set()
    for i, (directories, files) in enumerate(lossy.states[n_before:]):
        replayed = tmp_path / str(i)
        for directory in (root, *directories):
            (replayed / directory.relative_to(root)).mkdir(parents=True, exist_ok=True)
        for path, data in files.items():
            (replayed / path.relative_to(root)).write_bytes(data)
        seen.add(case.state(replayed))
    assert seen == {"old", "new"}
    assert case.state(tmp_path / str(i)) == "new"  # what was reported done stays done
