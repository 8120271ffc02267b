"""A case of `faults.py`: run commands in a folder, kill or fail them, and check what they leave."""

import hashlib
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sentiment_cli import cli
from sentiment_cli.storage import failpoints

WRONG, REPAIR, TRACEBACK = FINDINGS = ("silent wrong results", "manual repairs", "tracebacks")
ARCHIVE = "aclImdb_v1.tar.gz"
Tree = dict[str, str]  # the files below a folder, and their sha256

_REAL_SHARE = 0.1
_PATIENCE_S = 120.0
_OVER_HTTP = (
    "from sentiment_cli.data.sources import mirror; mirror.SCHEMES = ('http',); "
    "from sentiment_cli import cli; cli.main()"
)


@dataclass
class Command:
    """A command line, the file it reads, an unbroken run's time, visits of failpoints, and what it leaves."""

    argv: list[str]
    source: str | None = None
    seconds: float = 0.0
    places: Counter[str] = field(default_factory=Counter)
    leaves: Tree = field(default_factory=dict)


@dataclass
class World:
    """What all cases share: the files to read, another experiment's entries to lie beside, and the commands."""

    inputs: Path
    beside: Path
    commands: dict[str, Command]
    start_up_s: float = 0.0


class Case:
    """A folder, what was done in it, and what was found wrong.

    `kept` are the files that lay there before and must stay; `known` are those, and all that may come beside.
    """

    def __init__(self, world: World, draw: random.Random, home: Path) -> None:
        self.world, self.draw, self.home, self.data = world, draw, home, home / "data"
        self.is_real = draw.random() < _REAL_SHARE
        self.n_faults = 0
        self.done: list[str] = []
        self.found: list[tuple[str, str]] = []
        shutil.copytree(world.beside, self.data)
        self.kept = tree(self.data)
        self.known = dict(self.kept)

    def take(self, *names: str) -> Command:
        """Draw one of the commands, and lay what it reads beside it."""
        command = self.world.commands[self.draw.choice(names)]
        self.done.append(f"sentiment {' '.join(command.argv)}{' (from scratch)' if self.is_real else ''}")
        if command.source is not None:
            shutil.copy(self.world.inputs / command.source, self.home)
        self.known |= command.leaves
        return command

    def moment(self, command: Command) -> float:
        """Draw a moment of the command's run."""
        return (self.world.start_up_s if self.is_real else 0.0) + self.draw.uniform(0, command.seconds)

    def start(self, argv: list[str], fail: str | None = None, data: Path | None = None) -> int:
        """Start the command line in a process; return its id."""
        sys.stdout.flush()
        if process := os.fork():
            return process
        code = 1
        try:
            os.chdir(self.home)
            os.environ |= {"SENTIMENT_DATA": str(data or self.data)} | ({"SENTIMENT_FAIL": fail} if fail else {})
            os.environ.pop("SENTIMENT_IMDB", None)
            if "--mirror" not in argv:
                os.environ["SENTIMENT_IMDB"] = ARCHIVE
            for name, number in (("stdout", 1), ("stderr", 2)):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
            if self.is_real:
                program = ["-c", _OVER_HTTP] if "--mirror" in argv else ["-m", "sentiment_cli"]
                os.execv(sys.executable, [sys.executable, *program, *argv])
            failpoints.arm(fail)
            sys.argv = ["sentiment", *argv]
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def wait(self, process: int, kill_after_s: float | None = None) -> int:
        """Wait for a process, or kill it when its time is over; return its exit code, or minus the signal."""
        until = time.monotonic() + (_PATIENCE_S if kill_after_s is None else kill_after_s)
        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            left_s = until - time.monotonic()
            if left_s <= 0:
                os.kill(process, signal.SIGKILL)
                if kill_after_s is None:
                    self.found.append((REPAIR, f"still running after {_PATIENCE_S:.0f} s"))
                return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            time.sleep(min(0.002, left_s))

    def run(self, command: Command, fail: str | None = None) -> int:
        return self.wait(self.start(command.argv, fail))

    def kill(self, command: Command, process: int | None = None) -> None:
        """Run a command, unless it is under way as `process`, and kill it at a random moment."""
        after_s = self.moment(command)
        code = self.wait(process or self.start(command.argv), after_s)
        self.n_faults += code == -signal.SIGKILL
        self.inspect(f"kill -9 after {after_s * 1000:.0f} ms", code, command.leaves)

    def inspect(self, what: str, code: int, *right: Tree) -> None:
        """Look at a process that a fault has met: an error must be one of ours, and where it says 0 all is `right`."""
        self.done.append(f"{what}: exit {code}")
        if code not in (0, 3, 4, -signal.SIGKILL):
            self.found.append((TRACEBACK, f"exit {code}"))
        if code == 0:
            there = tree(self.data)
            differ = self._differing(there)
            if differ or not any(leaves.keys() <= there.keys() for leaves in right):
                self.found.append((WRONG, f"exit 0 of a faulted process, and these differ or are not there: {differ}"))

    def check(self, command: Command, leaves: Tree | None = None, expected: int = 0, named: str = "") -> None:
        """Type the command again: it must end as expected, and leave what an unbroken run does and nothing more."""
        said = self.home / "stderr"
        n_said = said.stat().st_size if said.exists() else 0
        code = self.run(command)
        self.done.append(f"again: exit {code}")
        if code != expected:
            self.found.append((TRACEBACK if code not in (0, 2, 3, 4) else REPAIR, f"exit {code}, not {expected}"))
        elif named not in said.read_bytes()[n_said:].decode():
            self.found.append((REPAIR, f"{named} is not named"))
        there, wanted = tree(self.data), self.kept | (command.leaves if leaves is None else leaves)
        differ = sorted({*self._differing(there), *(wanted.keys() - there.keys())})
        if differ and code == expected:
            self.found.append((WRONG, f"these differ or are not there: {differ}"))
        # What came whole over the network and is not the file is set aside for a person to look at, by design.
        if strange := sorted(name for name in there.keys() - self.known.keys() if not name.endswith(".bad")):
            self.found.append((REPAIR, f"remain: {strange}"))

    def prepared(self, command: Command) -> list[Path]:
        """Run a command unbroken; return the entries that it made."""
        assert self.run(command) == 0
        return sorted({self.data / name.rpartition("/")[0] for name in command.leaves if name.startswith("cache/")})

    def afresh(self, command: Command) -> tuple[int, Tree]:
        """Return exit code and files of a run on the source as it is now, in an empty folder."""
        code = self.wait(self.start(command.argv, data=self.home / "afresh"))
        if code not in (0, 3):
            self.found.append((TRACEBACK, f"exit {code} in an empty folder"))
        made = tree(self.home / "afresh")
        self.known |= made
        return code, made

    def _differing(self, there: Tree) -> list[str]:
        return sorted(name for name, digest in there.items() if self.known.get(name, digest) != digest)


def tree(folder: Path) -> Tree:
    """Hash every file below a folder; a hidden folder is a draft, and stands there as one even when it is empty."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name.startswith("."):
            found[str(path.relative_to(folder))] = ""
    return found
