"""The kinds of faults: each function does some to a case; the first line of its docstring is a row of the table."""

import time
from collections.abc import Callable
from pathlib import Path

from fault_case import ARCHIVE, REPAIR, WRONG, Case, Command


def kill_prepare(case: Case) -> None:
    """kill -9 of `prepare`"""
    command = case.take("csv", "sample", "archive")
    case.kill(command)
    case.check(command)


def kill_all_splits(case: Case) -> None:
    """kill -9 of `data info`, which prepares all splits"""
    command = case.take("csv info", "archive info")
    case.kill(command)
    case.check(command)


def kill_download(case: Case) -> None:
    """kill -9 of a download"""
    command = case.take("download")
    case.kill(command)
    case.check(command)


def kill_removal(case: Case) -> None:
    """kill -9 of `data cache remove`"""
    command, everything = case.take("csv info", "archive info"), case.world.commands["removal"]
    entries = case.prepared(command)
    if case.draw.random() < 0.5:
        case.kill(Command([*everything.argv[:-1], *(entry.name for entry in entries)], None, everything.seconds))
        case.check(command)
    else:
        case.kill(everything)
        case.kept = {}
        case.known = {}
        case.check(everything)


def kill_in_a_row(case: Case) -> None:
    """kill -9, two to five in a row, in the recovery too"""
    command = case.take("csv", "sample", "archive info", "download")
    for _ in range(case.draw.randint(2, 5)):
        case.kill(command)
    case.check(command)


def kill_one_of_two(case: Case) -> None:
    """kill -9 of one of two processes at once"""
    survivor = case.take("csv info", "archive info", "download")
    victim = survivor if "--mirror" in survivor.argv or case.draw.random() < 0.5 else case.take("csv", "archive")
    if case.draw.random() < 0.5:
        running = case.start(survivor.argv)
        case.kill(victim)
    else:
        dying = case.start(victim.argv)
        running = case.start(survivor.argv)
        case.kill(victim, dying)
    code = case.wait(running)
    case.inspect("the other process", code, survivor.leaves)
    if code != 0:
        case.found.append((REPAIR, f"the other process: exit {code}"))
    case.check(victim, victim.leaves | survivor.leaves)
    case.check(survivor)


def fail_place(case: Case) -> None:
    """kill, full disk, error, short write or flipped bit in an operation on the disk"""
    command = case.take("csv", "sample", "archive info", "download")
    for i in range(case.draw.randint(1, 3)):
        site = case.draw.choice(sorted(command.places))
        actions = ["kill", "nospace", "ioerror", *(["short", "flip"] if site == "write" else [])]
        fail = f"{site}:{case.draw.randint(1, command.places[site])}:{case.draw.choice(actions)}"
        code = case.run(command, fail)
        # Only the first is sure to be reached; of a download not even that, its writes are up to the network.
        case.n_faults += code != 0 or (i == 0 and "--mirror" not in command.argv)
        case.inspect(fail, code, command.leaves)
    case.check(command)


def damage_entry(case: Case) -> None:
    """prepared data at rest: a bit flipped, cut off, deleted, swapped, a file too many"""
    command = case.take("csv info", "archive info")
    entries = case.prepared(command)
    for _ in range(case.draw.randint(1, 3)):
        if case.draw.random() < 0.1:
            _swap(case, *case.draw.sample(entries, 2))
        else:
            _damage(case, sorted(case.draw.choice(entries).iterdir()), may_add=True)
    case.check(command)


def damage_part(case: Case) -> None:
    """half a download at rest: a bit flipped, cut off, deleted, swapped"""
    command = case.take("download")
    case.run(command, f"write:{case.draw.randint(2, 9)}:kill")
    for _ in range(case.draw.randint(1, 2)):
        _damage(case, sorted((case.data / "raw").glob("*.part*")), may_add=False)
    case.check(command)


def damage_archive(case: Case) -> None:
    """the archive itself damaged: refused by its name, or its reviews are whole"""
    command = case.take("archive")
    _edit(case, case.home / ARCHIVE)
    code, made = case.afresh(command)
    packs = {name: digest for name, digest in command.leaves.items() if name.startswith("cache/imdb-")}
    if code == 0 and not packs.items() <= made.items():
        case.found.append((WRONG, "a damaged archive gives other reviews"))
    case.check(command, made, code, ARCHIVE if code else "")


def edit_between(case: Case) -> None:
    """the source edited, cut off or replaced between two runs"""
    command = case.take("csv", "archive")
    case.prepared(command)
    _edit(case, case.home / str(command.source))
    code, made = case.afresh(command)
    case.check(command, command.leaves | made, code)


def edit_while_read(case: Case) -> None:
    """the source edited, cut off or replaced while it is read"""
    command = case.take("csv", "archive")
    running = case.start(command.argv)
    time.sleep(case.moment(command))
    _edit(case, case.home / str(command.source))
    code = case.wait(running)
    expected, made = case.afresh(command)
    case.inspect("meanwhile", code, command.leaves, made)
    case.check(command, made, expected)


KINDS: tuple[Callable[[Case], None], ...] = (
    *(kill_prepare, kill_all_splits, kill_download, kill_removal, kill_in_a_row, kill_one_of_two, fail_place),
    *(damage_entry, damage_part, damage_archive, edit_between, edit_while_read),
)


def _damage(case: Case, files: list[Path], *, may_add: bool) -> None:
    """Do one random thing to one of an artefact's files, where there are any."""
    if not files:
        return
    path = case.draw.choice(files)
    data, others = path.read_bytes(), [file for file in files if file != path]
    kinds = ["delete", *(["add"] if may_add else []), *(["swap"] if others else []), *(["flip", "cut"] if data else [])]
    what = case.draw.choice(kinds)
    if what == "swap":
        _swap(case, path, case.draw.choice(others))
        return
    if what == "add":
        path.with_name("extra").write_bytes(data)
    elif what == "delete":
        path.unlink()
    else:
        path.write_bytes(_flipped(case, data) if what == "flip" else _cut(case, data))
    _did(case, f"{what} {path.relative_to(case.data)}")


def _edit(case: Case, path: Path) -> None:
    """Change a source as people, or disks, do."""
    data, what = path.read_bytes(), case.draw.choice(["flip", "cut", "append", "replace"])
    if what == "replace":
        new = path.with_name("new")
        first, *lines = data.splitlines(keepends=True)
        new.write_bytes(first + b"".join(reversed(lines)))
        new.replace(path)
    elif what == "append":
        with path.open("ab") as handle:
            handle.write(b'"It was dull, again.",neg\n')
    else:
        path.write_bytes(_flipped(case, data) if what == "flip" else _cut(case, data))
    _did(case, f"{what} {path.name}")


def _swap(case: Case, one: Path, other: Path) -> None:
    between = case.home / "between"
    one.rename(between)
    other.rename(one)
    between.rename(other)
    _did(case, f"swap {one.relative_to(case.data)} and {other.relative_to(case.data)}")


def _flipped(case: Case, data: bytes) -> bytes:
    bit = case.draw.randrange(8 * len(data))
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def _cut(case: Case, data: bytes) -> bytes:
    return data[: case.draw.randrange(len(data))]


def _did(case: Case, what: str) -> None:
    case.done.append(what)
    case.n_faults += 1
