"""Disks that misbehave: what the system refuses is a sentence and exit 4, permissions are as they will be accepted."""

import errno
import fcntl
import io
import os
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment_cli import console
from sentiment_cli.config.paths import data_dir, runs_dir
from sentiment_cli.data.corpus import cache
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.errors import MachineError
from sentiment_cli.runs.run_lock import owned
from sentiment_cli.storage import locks, refusals, store

NUMBERS = [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOSPC, errno.EACCES]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    rows = [f"{'good fine' if i % 2 else 'bad poor'} film number {i},{'pos' if i % 2 else 'neg'}" for i in range(40)]
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


@pytest.fixture
def umask() -> Callable[[int], None]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o027, 0o077])
def test_a13_what_is_made_has_the_permissions_that_are_accepted(
    reviews, experiment, umask, tmp_path: Path, mask: int
) -> None:
    """A13: with umask 000 the program refused the cache that it had just made."""
    umask(mask)
    settings = experiment(f"data.source={reviews}")
    first = prepare(settings)
    assert prepare(settings).directory == first.directory
    run = store.claim_directory(runs_dir() / "below", "run")
    store.append_line(run / "metrics.jsonl", "{}")
    store.write_file(run / "new" / "scores.json", b"{}")
    with store.new_directory(run / "model") as draft:
        draft.write("a.json", b"{}")
    store.open_directory(run / "model")
    for root in (data_dir(), runs_dir()):
        for path in (root, *root.rglob("*")):
            wanted = (0o755 if path.is_dir() else 0o644) & ~mask
            assert stat.S_IMODE(path.stat().st_mode) == wanted, path


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("operation", "args"),
    [
        ("scandir", ["runs", "list"]),
        ("scandir", ["data", "cache", "list"]),
        ("scandir", ["data", "cache", "remove", "--all"]),
        ("scandir", ["runs", "show", "r"]),
        ("open", ["runs", "list"]),
        ("open", ["runs", "show", "r"]),
        ("open", ["predict", "good", "--run", "r"]),
        ("open", ["config", "show", "EXPERIMENT"]),
        ("open", ["train", "EXPERIMENT"]),
        ("stat", ["runs", "show", "r"]),
        ("mkdir", ["train", "EXPERIMENT"]),
        ("mkdir", ["prepare", "EXPERIMENT"]),
    ],
)
def test_a19_what_the_system_refuses_is_a_sentence(
    typed, tmp_path: Path, monkeypatch, reviews, number: int, operation: str, args: list[str]
) -> None:
    """A19: reads of the disk outside the module `store` ended in a traceback."""
    (runs_dir() / "r" / "model").mkdir(parents=True)
    experiment = tmp_path / "data" / "e.yaml"
    experiment.parent.mkdir()
    for path in (experiment, runs_dir() / "r" / "experiment.yaml"):
        path.write_text(f"name: x\ndata: {{source: {reviews}}}\nmodel: {{kind: linear}}\n")
    (runs_dir() / "r" / "summary.json").write_text("{}")
    (data_dir() / "cache" / "texts-0123456789abcdef").mkdir(parents=True)
    roots = (str(data_dir()), str(runs_dir()))

    def refusing(original: Callable[..., object]) -> Callable[..., object]:
        def run(path: object = ".", *args: object, **more: object) -> object:
            if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(roots):
                raise OSError(number, os.strerror(number), os.fspath(path))
            return original(path, *args, **more)

        return run

    with monkeypatch.context() as patch:
        for module, name in ((os, operation), *(((io, "open"),) if operation == "open" else ())):
            patch.setattr(module, name, refusing(getattr(module, name)))
        said = typed(*(str(experiment) if word == "EXPERIMENT" else word for word in args))
    assert said.code in (0, 2, 3, 4)
    if said.code:
        assert said.error
        assert "Traceback" not in said.error


@pytest.mark.parametrize("number", [*NUMBERS, errno.ENODEV, errno.EROFS, None])
@pytest.mark.parametrize("name", ["/mnt/x y/file", b"/mnt/\xff", None])
def test_a19_an_error_that_nothing_expected_is_exit_4_with_its_path(typed, monkeypatch, number, name) -> None:
    def fail(*_: object) -> None:
        raise OSError(*([] if number is None else [number, os.strerror(number)]), *([name] if number and name else []))

    monkeypatch.setattr("sentiment_cli.cli.runs.all_runs", fail)
    said = typed("runs", "list")
    assert said.code == 4
    assert said.error
    if number and isinstance(name, str):
        assert said.error.startswith(name)
        assert os.strerror(number) in said.error


def test_a_refusal_is_a_machine_error() -> None:
    assert isinstance(refusals.refusal(OSError(errno.EIO, "Input/output error", "/x")), MachineError)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a19_without_locks_a_run_is_trained_all_the_same(tmp_path: Path, monkeypatch, number: int) -> None:
    said: list[str] = []

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(console, "say", lambda text, **options: said.append(text))
    run = store.claim_directory(tmp_path, "run")
    with owned(run) as record:
        assert record.pid == os.getpid()
    assert len(said) == 1
    assert said[0].startswith(f"{run} cannot be locked (")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of filelock, as for a user
        assert locks.is_usable(run)
        with locks.unused(run, tmp_path / ".lock") as is_unused:
            assert is_unused


def test_another_refusal_of_a_lock_is_no_reason_to_go_on(tmp_path: Path, monkeypatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"), locks.held(tmp_path, print):
        pass


def beside_a_reader(reviews: Path, experiment, work: Callable[[], None]) -> None:
    """Do some work while another process has prepared data open."""
    settings = experiment(f"data.source={reviews}")
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            prepare(settings)
            os.write(ready[1], b"x")
            os.read(done[0], 1)
        finally:
            os._exit(0)
    assert os.read(ready[0], 1) == b"x"
    try:
        work()
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)
        for end in (*ready, *done):
            os.close(end)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of os.fork from Python 3.12 on
def test_a19_data_in_use_by_another_process_are_not_removed(typed, reviews, experiment, monkeypatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    names: list[str] = []

    def work() -> None:
        names.extend(entry.path.name for entry in cache.entries())
        for args in (["--all"], names):
            said = typed("data", "cache", "remove", *args)
            assert (said.code, said.out) == (0, "")
        assert [entry.path.name for entry in cache.entries()] == names

    beside_a_reader(reviews, experiment, work)
    assert len(names) == 2
    said = typed("data", "cache", "remove", "--all")
    assert said.code == 0
    assert len(said.out.splitlines()) == 2
    assert cache.entries() == []
    assert list((data_dir() / "cache").iterdir()) == []


def test_a19_data_that_are_being_made_are_not_removed(typed, reviews, experiment) -> None:
    import filelock  # not at module level: it takes its time

    prepare(experiment(f"data.source={reviews}"))
    entry = cache.entries()[0]
    with filelock.FileLock(entry.path.with_name(f".{entry.path.name}.lock")):
        assert not cache.remove(entry)
    assert entry.path.is_dir()
    assert cache.remove(entry)
    assert not entry.path.exists()
    assert cache.remove(entry)  # which another process may have done


def test_a19_removing_beside_a_reader_many_times(reviews) -> None:
    """A few real processes: none ends in a traceback, whatever the other does."""
    start = [sys.executable, "-m", "sentiment_cli"]
    commands = [
        ["data", "cache", "remove", "--all"],
        ["data", "cache", "list"],
        ["prepare", "sample", "--set", f"data.source={reviews}"],
    ]
    for _ in range(3):
        pipe = subprocess.PIPE
        processes = [subprocess.Popen([*start, *args], stdout=pipe, stderr=pipe, text=True) for args in commands]
        for process in processes:
            _, said = process.communicate()
            assert process.returncode == 0, said
            assert "Traceback" not in said
