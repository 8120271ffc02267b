import json
from pathlib import Path

import pytest

from sentiment_cli import store
from sentiment_cli.errors import MachineError, UsageError


def test_write_file_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    store.write_file(tmp_path / "new" / "a", b"one")
    store.write_file(tmp_path / "new" / "a", b"two")
    assert (tmp_path / "new" / "a").read_bytes() == b"two"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


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
