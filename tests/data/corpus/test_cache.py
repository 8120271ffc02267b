"""Robustness cases F02, F06, F07, F09, F11 to F16 for prepared data: whatever happens to it, the next run is right."""

import itertools
import multiprocessing
import resource
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from sentiment_cli.config.paths import data_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus import cache, raw_texts
from sentiment_cli.data.corpus.packed import SPLITS
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.errors import DataError, MachineError, UsageError
from sentiment_cli.storage import failpoints, store

ROWS = [f"{'good fine' if i % 2 else 'bad poor'} film number {i},{'pos' if i % 2 else 'neg'}" for i in range(40)]
CSV = "\n".join(["text,label", *ROWS]) + "\n"
KEY = cache.Key("x", {"format": 1, "data": {"valid": {"seed": 0}, "deduplicate": False}})


@pytest.fixture(autouse=True)
def no_threads_before_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Turn to a data folder of this name; return its cache."""

    def turn(name: str) -> Path:
        monkeypatch.setenv("SENTIMENT_DATA", str(tmp_path / name))
        return data_dir() / "cache"

    return turn


@pytest.fixture
def experiment(own) -> Experiment:
    return own("x.csv", CSV)


def test_folders_and_locks_of_others_in_the_cache_are_left_alone(use, experiment) -> None:
    place = use("shared")
    (place / "my-embeddings").mkdir(parents=True)
    (place / "poetry.lock").touch()
    prepare(experiment)
    assert "my-embeddings" not in {entry.path.name for entry in cache.entries()}
    with pytest.raises(UsageError, match="there is no cache entry 'my-embeddings'"):
        cache.find_entry("my-embeddings")
    assert (place / "poetry.lock").exists()


@pytest.mark.parametrize("unlabelled", [False, True])
def test_f14_a_source_that_changes_between_two_looks_is_refused(use, own, monkeypatch, unlabelled: bool) -> None:
    place = use("changing")
    settings = own("y.csv", CSV.replace("number 3,pos", "number 3,"), "data.without_label=unlabelled")
    splits = (*SPLITS, "unsup") if unlabelled else SPLITS
    prepare(settings, splits)
    for pack in place.glob("unsup-*" if unlabelled else "y-*"):
        shutil.rmtree(pack)
    source, get_or_build = Path(settings.data.source), cache.get_or_build

    def change_first(key: cache.Key, *args, **kwargs):
        if key.name == ("unsup-y" if unlabelled else "y"):
            source.write_text(source.read_text().replace("film", "movie"))
        return get_or_build(key, *args, **kwargs)

    monkeypatch.setattr(cache, "get_or_build", change_first)
    with pytest.raises(DataError, match=r"y.csv was changed while it was read"):
        prepare(settings, splits)
    assert not list(place.glob("unsup-*" if unlabelled else "y-*"))


@pytest.fixture
def built(use, experiment) -> Iterator[dict[str, bytes]]:
    """Build the cache once, unbroken; return what is in it and turn to another one."""
    place = use("built")
    prepare(experiment)
    assert [path.name for path in place.iterdir() if path.name[0] == "."] == []
    use("data")
    return content(place)


def content(place: Path) -> dict[str, bytes]:
    """Return every file's bytes but for locks: a killed process's stays where nothing was left to build."""
    files = [file for file in sorted(place.rglob("*")) if file.is_file() and file.suffix != ".lock"]
    return {str(file.relative_to(place)): file.read_bytes() for file in files}


def entry_of(place: Path, name: str) -> Path:
    (found,) = place.glob(f"{name}-*")
    return found


def one_in(n: int, places: list[str]) -> list[str]:
    """Of what is done to each file alike take one in n, to one file this and to another that; of the rest, all."""
    turns = {"create": 0, "flush": 1, "write": 2, "read": 0}
    parts = [(place, *place.split(":")) for place in places]
    return [place for place, site, k in parts if site not in turns or int(k) % n == turns[site] % n]


# One operation in sixteen is tested by default; `make slow` tests all of them.
EVERY = pytest.mark.parametrize("n", [16, pytest.param(1, marks=pytest.mark.slow)])


# Killed


@EVERY
def test_f02_killed_at_any_operation_the_next_run_gives_the_same_bytes(n, use, experiment, built, forked, places_of):
    use("listed")
    places = places_of(lambda: prepare(experiment))
    sites = {place.partition(":")[0] for place in places}
    assert sites == {"mkdir", "create", "write", "flush", "flush_directory", "rename", "remove", "read", "lock"}
    n_reused = 0
    for number, place in enumerate(one_in(n, places)):
        found = use(f"killed-{number}")
        assert forked(lambda: prepare(experiment), f"{place}:kill") == -signal.SIGKILL, place
        whole = [path for path in found.glob("texts-*") if path.is_dir()]
        before = [(path, path.stat().st_ino) for path in whole]
        prepare(experiment)
        assert content(found) == built, place
        assert [(path, path.stat().st_ino) for path in whole] == before, place  # what was finished is reused
        n_reused += len(whole)
        shutil.rmtree(found)
    assert 0 < n_reused < len(places)


@pytest.mark.parametrize(("turn", "first"), [(0, "write:20"), (1, "rename:1"), (2, "write:45")])
def test_f06_killed_while_recovering_from_a_kill(turn, first, use, experiment, built, forked, places_of) -> None:
    use("listed")
    assert forked(lambda: prepare(experiment), f"{first}:kill") == -signal.SIGKILL
    places = places_of(lambda: prepare(experiment))
    for number, place in enumerate(places[17 * turn :: 51]):
        found = use(f"killed-{number}")
        assert forked(lambda: prepare(experiment), f"{first}:kill") == -signal.SIGKILL
        assert forked(lambda: prepare(experiment), f"{place}:kill") == -signal.SIGKILL
        prepare(experiment)
        assert content(found) == built, place


# Refused by the disk


@EVERY
def test_f07_any_operation_refused_by_the_disk(n, use, experiment, built, places_of, capsys) -> None:
    use("listed")
    actions = itertools.cycle(["nospace", "ioerror", "short"])
    n_refused = 0
    for number, place in enumerate(one_in(n, places_of(lambda: prepare(experiment)))):
        found, action = use(f"refused-{number}"), next(actions)
        failpoints.arm(f"{place}:{action}")
        error = refusal(partial(prepare, experiment))
        failpoints.arm(None)
        if error is None:  # what costs only work, or is done again
            assert place.startswith("remove") or "continuing without the lock" in capsys.readouterr().err
        else:
            n_refused += 1
            said = "Input/output error" if action == "ioerror" else "No space left on device"
            assert str(found) in str(error), place
            assert said in str(error), place
            assert action == "ioerror" or (error.hint or "").startswith("df -h "), place
            assert not list(found.glob(".*.tmp")), place
        prepare(experiment)
        assert content(found) == built, place
        shutil.rmtree(found)

    assert n_refused > 200 / n


def refusal(work: Callable[[], object]) -> MachineError | None:
    try:
        work()
    except MachineError as error:
        return error
    return None


def test_f09_a_limit_of_the_kernel_on_file_sizes(use, experiment, built, forked) -> None:
    found = use("limited")

    def prepare_within_little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
        with pytest.raises(MachineError, match=r"cannot write .*/texts-labelled-x-.*: File too large") as caught:
            prepare(experiment)
        assert caught.value.hint == "ulimit -f unlimited"

    assert forked(prepare_within_little) == 0
    assert content(found) == {}
    prepare(experiment)
    assert content(found) == built


def test_f12_a_bit_flipped_on_its_way_to_the_disk(use, experiment, built, places_of) -> None:
    use("listed")
    writes = [place for place in places_of(lambda: prepare(experiment)) if place.startswith("write:")]
    for number, place in enumerate(writes[::5]):
        found = use(f"flipped-{number}")
        failpoints.arm(f"{place}:flip")
        with pytest.raises(MachineError, match=r"was written but cannot be read back: the disk is faulty"):
            prepare(experiment)
        failpoints.arm(None)
        prepare(experiment)
        assert content(found) == built


# Damaged


def one_of_each_kind(directory: Path) -> list[Path]:
    """Return the files of an entry, of those that stand for several splits the training rows' alone."""
    return [file for file in sorted(directory.iterdir()) if not file.name.startswith(("valid", "test"))]


def damages(data: bytes) -> Iterator[bytes]:
    """Yield the bytes cut off at 20 lengths and with each of 20 bits flipped."""
    for i in range(20):
        yield data[: len(data) * i // 20]
    for i in range(20):
        damaged = bytearray(data)
        damaged[len(data) * i // 20] ^= 1 << (i % 8)
        yield bytes(damaged)


@pytest.mark.parametrize("name", ["texts-labelled-x", "x"])
def test_f11_f12_no_truncated_or_flipped_file_is_opened(name: str, use, experiment, monkeypatch, capsys) -> None:
    directory = entry_of((prepare(experiment), use("data"))[1], name)
    monkeypatch.setattr(store, "remove_directory", lambda path: None)
    kinds, n_refused = one_of_each_kind(directory), 0
    for file in kinds:
        good = file.read_bytes()
        for damaged in damages(good):
            if damaged != good:
                file.write_bytes(damaged)
                assert cache.open_entry(directory.name) is None, (file, damaged)
                n_refused += 1
        file.write_bytes(good)
        assert cache.open_entry(directory.name) == directory
    assert n_refused >= 40 * len(kinds)
    assert capsys.readouterr().err.count("preparing it again") == n_refused


@pytest.mark.parametrize("name", ["texts-labelled-x", "x"])
def test_f11_f12_what_is_damaged_is_made_again_with_a_warning(name: str, use, experiment, built, capsys) -> None:
    prepare(experiment)
    found = use("data")
    for file in one_of_each_kind(entry_of(found, name)):
        for damage in (lambda data: data[: len(data) // 2], lambda data: data[:-1] + bytes([data[-1] ^ 64])):
            file.write_bytes(damage(file.read_bytes()))
            if name != "x":
                shutil.rmtree(entry_of(found, "x"))  # as long as it is whole, texts are not read
            capsys.readouterr()
            prepare(experiment)
            assert capsys.readouterr().err.count("preparing it again") == 1
            assert content(found) == built


def column(directory: Path, name: str) -> Path:
    """The file of a column, whatever its type."""
    (path,) = directory.glob(f"train-{name}_N.*")
    return path


def swap(one: Path, other: Path) -> None:
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)


def tampered() -> dict[str, Callable[[Path], object]]:
    return {
        "removed": lambda d: column(d, "label").unlink(),
        "added": lambda d: (d / "extra").write_bytes(b""),
        "renamed": lambda d: column(d, "label").rename(d / "train-labels.int64"),
        "swapped": lambda d: swap(column(d, "label"), column(d, "group")),
        "no manifest": lambda d: (d / "manifest.json").unlink(),
    }


@pytest.mark.parametrize("name", ["texts-labelled-x", "x"])
@pytest.mark.parametrize("how", tampered())
def test_f13_a_file_added_removed_swapped_or_renamed(name: str, how: str, use, experiment, built, capsys) -> None:
    prepare(experiment)
    found = use("data")
    tampered()[how](entry_of(found, name))
    if name != "x":
        shutil.rmtree(entry_of(found, "x"))
    prepare(experiment)
    assert "preparing it again" in capsys.readouterr().err
    assert content(found) == built


@pytest.mark.parametrize("name", ["texts-labelled-x", "x"])
@pytest.mark.parametrize("what", ["", "manifest.json", "key.json"])
def test_f13_f14_whole_entries_that_changed_places(name, what, use, own, experiment, built, tmp_path, capsys) -> None:
    found = use("data")
    prepare(experiment)
    (tmp_path / "other").mkdir()
    other = own("other/x.csv", CSV.replace("film", "book"))
    prepare(other)
    good = content(found)
    swap(*(path / what for path in sorted(found.glob(f"{name}-*"))))
    for one in (experiment, other, experiment):
        entries = prepare(one).vocabulary.entries
        assert ("film" in entries, "book" in entries) == (one is experiment, one is other)
    if name == "x" or what != "":
        assert "preparing it again" in capsys.readouterr().err
    assert {path: data for path, data in content(found).items() if path in built} == built
    for path in sorted(found.glob("x-*")):
        shutil.rmtree(path)
    prepare(experiment)
    prepare(other)
    assert content(found) == good


def test_f14_an_entry_of_another_format_is_no_hit(experiment, built, use, monkeypatch, capsys) -> None:
    prepare(experiment)
    own = raw_texts._FORMAT
    monkeypatch.setattr(raw_texts, "_FORMAT", 99)
    prepare(experiment)
    said = capsys.readouterr().err
    assert f"settings changed: format: {own} → 99" in said


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../precious", "{}/precious", "../precious-0123456789abcdef", 5, ["a"]]
)
def test_m13_what_is_no_entry_is_neither_opened_nor_removed(name, use, experiment, built, tmp_path: Path) -> None:
    """A model that somebody else made says where its data lies."""
    place = use("built")
    for precious in ("precious", "precious-0123456789abcdef"):
        (place.parent / precious).mkdir()
        (place.parent / precious / "letter").write_text("dear")
    before = content(tmp_path)
    with pytest.raises(store.IntegrityError, match="not a name of prepared data"):
        cache.open_entry(name.format(place.parent) if isinstance(name, str) else name)
    assert content(tmp_path) == before


def test_f14_a_link_in_the_caches_place_is_refused(use, experiment, built, tmp_path: Path) -> None:
    prepare(experiment)
    entry = entry_of(use("data"), "x")
    entry.rename(tmp_path / "aside")
    entry.symlink_to(tmp_path / "aside")
    with pytest.raises(DataError, match="is a symbolic link, which this program never makes") as caught:
        prepare(experiment)
    assert (caught.value.hint or "").startswith("export SENTIMENT_DATA=")


# At once


def at_once(*work: Callable[[], object]) -> list[int]:
    """Do all of it, each in a process of its own, at the same time; return their exit codes."""
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=each) for each in work]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, for a parent with threads
        for child in children:
            child.start()
    for child in children:
        child.join(60)
    return [child.exitcode for child in children]


def test_f15_two_processes_take_turns(use, experiment, built, tmp_path: Path, monkeypatch) -> None:
    found, write = use("data"), raw_texts._write
    log = tmp_path / "log"

    def slow_write(*args) -> None:
        with log.open("a") as handle:
            handle.write("written\n")
        time.sleep(0.2)
        write(*args)

    monkeypatch.setattr(raw_texts, "_write", slow_write)
    assert at_once(*[partial(prepare, experiment)] * 3) == [0, 0, 0]
    assert log.read_text() == "written\n"
    assert content(found) == built


def test_f15_without_a_working_lock_both_succeed(use, experiment, built, tmp_path: Path, monkeypatch) -> None:
    found, write = use("data"), raw_texts._write
    both = multiprocessing.get_context("fork").Barrier(2)

    def write_together(*args) -> None:
        both.wait(30)
        write(*args)

    monkeypatch.setattr(raw_texts, "_write", write_together)
    monkeypatch.setattr("filelock.FileLock.acquire", lambda self, timeout=None: None)
    assert at_once(*[partial(prepare, experiment)] * 2) == [0, 0]
    assert both.n_waiting == 0
    assert content(found) == built


def test_f16_a_killed_holder_and_stale_locks_cost_no_time(use, experiment, built, forked, capsys) -> None:
    found = use("data")
    assert forked(lambda: prepare(experiment), "create:5:kill") == -signal.SIGKILL
    assert list(found.glob(".*.lock"))
    prepare(experiment)
    assert content(found) == built
    shutil.rmtree(found)
    found.mkdir()
    for name in {path.partition("/")[0] for path in built}:
        (found / f".{name}.lock").write_text("another-host:1")
    prepare(experiment)
    assert content(found) == built
    assert "waiting for another process" not in capsys.readouterr().err
    shutil.rmtree(found)
    capsys.readouterr()
    failpoints.arm("lock:1:ioerror")
    prepare(experiment)
    assert "continuing without the lock" in capsys.readouterr().err


# Explained


def test_the_key_is_of_all_it_depends_on_and_nothing_else() -> None:
    same = cache.Key("x", {"data": {"deduplicate": False, "valid": {"seed": 0}}, "format": 1})
    assert same.directory_name == KEY.directory_name
    assert cache.Key("x", {**KEY.depends_on, "format": 2}).directory_name != KEY.directory_name


def test_what_differs_is_said_part_by_part(tmp_path: Path) -> None:
    there = cache.Entry(tmp_path, {"format": 1, "data": {"valid": {"seed": 7}, "deduplicate": True}, "gone": None})
    assert cache.differing(KEY, there) == [
        "data.deduplicate: true → false",
        "data.valid.seed: 7 → 0",
    ]
    long = cache.Key("x", {"data": {"label_map": ["a=b", "Positive=pos", "Negative=neg"]}})
    other = cache.Entry(tmp_path, {"data": {"label_map": ["a=b", "Positive=pos", "Negative=pos"]}})
    (said,) = cache.differing(long, other)
    assert "Negative=neg" in said
    assert "Negative=pos" in said


def test_the_nearest_entry_is_that_of_fewest_differences(use) -> None:
    found = use("data")
    for name, seed, format in (("x", 1, 1), ("x", 1, 2), ("y", 0, 2)):
        key = cache.Key(name, {"format": format, "data": {"valid": {"seed": seed}, "deduplicate": False}})
        with store.new_directory(found / key.directory_name) as draft:
            draft.write(cache.KEY_FILE, store.dump_json(key.depends_on))
    nearest = cache.nearest_entry(KEY)
    assert nearest is not None
    assert cache.differing(KEY, nearest) == ["data.valid.seed: 1 → 0"]
    assert cache.nearest_entry(cache.Key("z", {})) is None
