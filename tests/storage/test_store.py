import errno
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sentiment_cli.errors import DataError, MachineError, UsageError
from sentiment_cli.storage import disk, locks, store


def test_write_file_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    store.write_file(tmp_path / "new" / "a", b"one")
    store.write_file(tmp_path / "new" / "a", b"two")
    assert (tmp_path / "new" / "a").read_bytes() == b"two"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def test_a_file_and_then_its_folder_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda one: flushed.append(Path(f"/proc/self/fd/{one}").readlink()))
    store.write_file(tmp_path / "a", b"one")
    part, *then = flushed
    assert (part.parent, then) == (tmp_path, [tmp_path])
    flushed.clear()
    with store.new_directory(tmp_path / "d") as draft:
        draft.write("b", b"two")
    *files, inside, outside = flushed
    assert [path.name for path in files] == ["b", store.MANIFEST]
    assert (inside, outside) == (files[0].parent, tmp_path)


def test_replacing_keeps_the_old_file_when_the_writer_fails(tmp_path: Path) -> None:
    store.write_file(tmp_path / "a", b"old")
    with pytest.raises(KeyboardInterrupt), store.replacing(tmp_path / "a") as handle:
        handle.write(b"half")
        raise KeyboardInterrupt
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"), store.new_directory(tmp_path / "d") as draft:
        draft.write("a", b"1")
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []
    with store.new_directory(tmp_path / "d") as draft:
        draft.write("a", b"1")
        assert not (tmp_path / "d").exists()
    assert store.open_directory(tmp_path / "d") == tmp_path / "d"
    assert json.loads((tmp_path / "d" / "manifest.json").read_bytes())["files"]["a"]["size"] == 1


def test_the_first_of_two_equal_directories_stays(tmp_path: Path) -> None:
    with store.new_directory(tmp_path / "d") as outer:
        outer.write("a", b"outer")
        with store.new_directory(tmp_path / "d") as inner:
            inner.write("a", b"inner")
    assert (tmp_path / "d" / "a").read_bytes() == b"inner"
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: (d / "a").write_bytes(b"2"),
        lambda d: (d / "a").write_bytes(b""),
        lambda d: (d / "a").unlink(),
        lambda d: (d / "b").write_bytes(b"x"),
        lambda d: (d / "manifest.json").write_bytes(b"{"),
        lambda d: (d / "manifest.json").write_bytes(b"[]"),
        lambda d: (d / "manifest.json").unlink(),
    ],
)
def test_invariant_2_damage_is_refused(tmp_path: Path, damage) -> None:
    with store.new_directory(tmp_path / "d") as draft:
        draft.write("a", b"1")
    damage(tmp_path / "d")
    with pytest.raises(store.IntegrityError, match=str(tmp_path)):
        store.open_directory(tmp_path / "d")


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    names = [store.claim_directory(tmp_path, "r").name for _ in range(3)]
    assert names == ["r", "r-2", "r-3"]
    for name in ("../up", "a/b", "", ".hidden", "a" * 65, "a\n"):
        with pytest.raises(UsageError, match="is not a run name"):
            store.claim_directory(tmp_path, name)


def test_links_pipes_and_modes_stay_what_they_are(tmp_path: Path) -> None:
    store.write_file(tmp_path / "target", b"old")
    (tmp_path / "target").chmod(0o600)
    (tmp_path / "link").symlink_to("target")
    store.write_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o600
    store.write_file(Path("/dev/null"), b"gone")
    assert not Path("/dev/null").is_file()


def test_the_disk_refusing_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MachineError, match="cannot write"):
        store.write_file(tmp_path / "file" / "a", b"1")


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    with store.new_directory(tmp_path / "artefact") as draft:
        draft.write("a.json", store.dump_json({"words": ["one", "two"], "n": 2}))
        with draft.create("b.npy") as output:
            np.save(output, np.arange(20))
    return tmp_path / "artefact"


FILES = ["a.json", "b.npy", "manifest.json"]


@pytest.mark.parametrize("name", FILES)
def test_f11_a_file_cut_at_any_length_is_refused(artefact: Path, name: str) -> None:
    data = (artefact / name).read_bytes()
    for length in np.linspace(0, len(data) - 1, 20, dtype=int):
        (artefact / name).write_bytes(data[:length])
        with pytest.raises(store.IntegrityError, match=f"{artefact / name} (is damaged|cannot be read)"):
            store.open_directory(artefact)
    (artefact / name).write_bytes(data + b"\n")
    with pytest.raises(store.IntegrityError, match=f"{artefact / name} is damaged"):
        store.open_directory(artefact)


@pytest.mark.parametrize("name", FILES)
def test_f12_a_bit_flipped_anywhere_is_refused(artefact: Path, name: str) -> None:
    data = (artefact / name).read_bytes()
    draw = random.Random(0)
    for _ in range(60):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (artefact / name).write_bytes(damaged)
        with pytest.raises(store.IntegrityError, match=str(artefact)):
            store.open_directory(artefact)
    (artefact / name).write_bytes(data)
    assert store.open_directory(artefact) == artefact


def test_f12_a_manifest_is_checked_whole_even_where_only_some_files_are_read(artefact: Path) -> None:
    manifest = artefact / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"size": 288', b'"size": 289'))
    with pytest.raises(store.IntegrityError, match=r"manifest\.json is damaged"):
        store.open_directory(artefact, lambda name: name == "a.json")


@pytest.mark.parametrize("text", ['{"files": {"a": NaN}}', '{"files": {"\\ud800": 1}}', "[" * 100_000, "{}", "\xff"])
def test_m13_what_no_manifest_is(artefact: Path, text: str) -> None:
    (artefact / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(store.IntegrityError):
        store.open_directory(artefact)


def test_a_directory_that_another_process_has_removed_is_gone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for _ in range(2):
        store.remove_directory(tmp_path / "d")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["free", "empty", "below/others"])
def test_a_directory_is_moved_whole(tmp_path: Path, place: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    store.move_directory(tmp_path / "d", tmp_path / place)
    assert (tmp_path / place / "file").read_text() == "x"
    assert not (tmp_path / "d").exists()


def test_a_directory_is_not_moved_over_another(tmp_path: Path) -> None:
    for name in ("d", "full"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("x")
    with pytest.raises(MachineError):
        store.move_directory(tmp_path / "d", tmp_path / "full")
    assert (tmp_path / "d" / "d").exists()
    assert (tmp_path / "full" / "full").exists()


def test_a_line_that_another_process_wrote_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, look = tmp_path / "log", store._end_of_lines
    store.append_line(path, "one")

    def look_too_early(handle):
        found = look(handle)
        with path.open("a") as other:
            other.write("two\n")
        return found

    monkeypatch.setattr(store, "_end_of_lines", look_too_early)
    store.append_line(path, "three")
    assert path.read_text() == "one\ntwo\nthree\n"


def test_half_a_line_of_a_killed_process_goes(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"a": 1}\n{"a":')
    store.append_line(tmp_path / "log", '{"a": 2}')
    assert (tmp_path / "log").read_text() == '{"a": 1}\n{"a": 2}\n'


def test_drafts_of_the_dead_are_swept_and_those_of_the_living_kept(tmp_path: Path, forked) -> None:
    def leave_draft() -> None:
        store.write_file(tmp_path / "x", b"")

    assert forked(leave_draft, "flush:1:kill") < 0
    assert len(list(tmp_path.iterdir())) == 1  # the draft of a process that is dead
    with store.replacing(tmp_path / "living"):
        living = next(path for path in tmp_path.iterdir() if path.name.startswith(".living."))
        elsewhere = living.name.replace(disk._host(), "0123abcd")
        for name in (elsewhere, f"{elsewhere[:-8]}0000.tmp", "mine.tmp", ".mine.tmp"):
            (tmp_path / name).write_bytes(b"")
        two_days_ago = time.time() - 2 * 86_400
        os.utime(tmp_path / f"{elsewhere[:-8]}0000.tmp", (two_days_ago, two_days_ago))
        os.utime(living, (two_days_ago, two_days_ago))
        store.write_file(tmp_path / "other", b"")
        assert {path.name for path in tmp_path.iterdir()} == {living.name, elsewhere, "mine.tmp", ".mine.tmp", "other"}


def test_f15_two_processes_build_the_same(tmp_path: Path, forked) -> None:
    def build() -> None:
        with locks.lock(tmp_path / "d.lock", lambda said: None):
            if (tmp_path / "d").exists():
                return
            with store.new_directory(tmp_path / "d") as draft:
                store.append_line(tmp_path / "builds", str(os.getpid()))
                draft.write("a", b"1")
                time.sleep(0.2)

    for fail, n_builds in ((None, 1), ("lock:1:ioerror", 2)):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(lambda _, fail=fail: forked(build, fail), range(2))) == [0, 0]
        assert (store.open_directory(tmp_path / "d") / "a").read_bytes() == b"1"
        assert len((tmp_path / "builds").read_text().splitlines()) == n_builds
        assert sorted(path.name for path in tmp_path.iterdir()) == ["builds", "d"]
        store.remove_directory(tmp_path / "d")
        store.remove_file(tmp_path / "builds")


def test_f16_the_lock_of_a_killed_process_is_free(tmp_path: Path, forked) -> None:
    def die_with_it() -> None:
        with locks.lock(tmp_path / "l", lambda said: None):
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked(die_with_it) == -signal.SIGKILL
    assert (tmp_path / "l").exists()
    said: list[str] = []
    with locks.lock(tmp_path / "l", said.append):
        pass
    assert said == []  # of a wait
    assert list(tmp_path.iterdir()) == []


def test_f16_who_waits_is_told_for_what(tmp_path: Path) -> None:
    holder = "import sys, time, filelock\nheld = filelock.FileLock(sys.argv[1])\nheld.acquire()\nprint(flush=True)\n"
    holder += "time.sleep(1.3)"
    with subprocess.Popen([sys.executable, "-c", holder, str(tmp_path / "l")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        said: list[str] = []
        with locks.lock(tmp_path / "l", said.append):
            assert said == [f"waiting for another process, which holds {tmp_path / 'l'}"]


def test_f16_a_sweep_takes_what_the_killed_left_and_nothing_else(tmp_path: Path, forked) -> None:
    def die_at_work() -> None:
        with locks.lock(tmp_path / ".free.lock", lambda said: None), store.new_directory(tmp_path / "d"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked(die_at_work) == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    with store.new_directory(tmp_path / "e"), locks.lock(tmp_path / ".held.lock", lambda said: None):
        (tmp_path / "kept").touch()
        (tmp_path / ".free.lock").touch()
        assert forked(lambda: locks.sweep_locks(tmp_path)) == 0
        left = {path.name for path in tmp_path.iterdir()}
    assert {".held.lock", "kept"} < left
    assert [name[:3] for name in left - {".held.lock", "kept"}] == [".e."]
    locks.sweep_locks(tmp_path / "not there")


def test_f16_m07_a_lock_that_cannot_be_taken_is_gone_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("victim")
    for path in (tmp_path / "file" / "l", tmp_path / "link"):
        said: list[str] = []
        with locks.lock(path, said.append):
            assert said[0].startswith(f"continuing without the lock {path}, which cannot be taken: ")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_f16_where_locks_are_not_supported_it_goes_without(tmp_path: Path, monkeypatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as for a user; in tests every warning is an error
        with locks.lock(tmp_path / "l", said.append) as is_held:
            assert not is_held
    assert said[0].startswith(f"continuing without the lock {tmp_path / 'l'}, which cannot be taken: ")
    assert list(tmp_path.iterdir()) == []


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `path` another user's; who is not root becomes another user instead."""
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)


def plant_link(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.rename(path.with_name(".away"))
    path.symlink_to(".away")


def open_to_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0o777)


@pytest.mark.parametrize(
    ("plant", "place", "said", "fix"),
    [
        (plant_link, "", "artefact is a symbolic link", "ls -l "),
        (plant_link, "a.json", r"a\.json is a symbolic link", "ls -l "),
        (plant_link, "manifest.json", r"manifest\.json is a symbolic link", "ls -l "),
        (give_away, "", "belongs to another user", "ls -ld "),
        (give_away, "a.json", "belongs to another user", "ls -ld "),
        (give_away, "..", "belongs to another user", "ls -ld "),
        (open_to_all, "", "every user may write to", "ls -ld "),
        (open_to_all, "..", "every user may write to", "ls -ld "),
    ],
)
def test_m07_what_another_user_could_have_planted_is_refused(artefact, monkeypatch, plant, place, said, fix) -> None:
    target = (artefact / place).resolve()
    plant(target, monkeypatch)
    with pytest.raises(DataError, match=said) as caught:
        store.open_directory(artefact)
    assert not isinstance(caught.value, store.IntegrityError)  # so that no cache of somebody else's is removed
    assert caught.value.exit_code == 3
    assert (caught.value.hint or "").startswith(fix)


def test_m07_a_sticky_directory_and_a_link_to_another_disk_are_fine(artefact: Path) -> None:
    artefact.parent.chmod(0o1777)
    (artefact.parent / "data").symlink_to(artefact.parent)
    assert store.open_directory(artefact.parent / "data" / "artefact").name == "artefact"


@pytest.mark.parametrize("name", ["log", "f.part"])
def test_m07_a_link_is_not_followed_to_what_it_would_change(tmp_path: Path, name: str) -> None:
    (tmp_path / "victim").write_bytes(b"precious\n")
    (tmp_path / name).symlink_to("victim")
    with pytest.raises(MachineError, match="Too many levels of symbolic links") as caught:
        if name == "log":
            store.append_line(tmp_path / name, "x")
        else:
            with store.partial_file(tmp_path / "f"):
                pass
    assert caught.value.hint == f"ls -ld {tmp_path / name}"
    assert (tmp_path / "victim").read_bytes() == b"precious\n"


def test_m07_a_pipe_in_an_artefacts_place_does_not_hang(artefact: Path) -> None:
    (artefact / "a.json").unlink()
    os.mkfifo(artefact / "a.json")
    with pytest.raises(store.IntegrityError, match=r"a\.json is not a file"):
        store.open_directory(artefact)
    os.mkfifo(artefact.parent / "pipe")
    with pytest.raises(store.IntegrityError, match="pipe cannot be read"):
        store.read_json(artefact.parent / "pipe")
