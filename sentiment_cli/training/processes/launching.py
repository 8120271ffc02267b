"""The processes of one training: what the environment says of this one, and several started on this machine.

Nothing here loads torch. `launch` does what torchrun does for one machine, and differs from it where a training stops:
it never leaves its own loop, hands a signal on once, and sets its processes no time to save their step.
"""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from sentiment_cli import console
from sentiment_cli.config.schema import Experiment
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.storage import failpoints
from sentiment_cli.training.processes.signals import SIGNALS, handling, leave_with

LAUNCHER, LISTENING = "SENTIMENT_LAUNCHER", "SENTIMENT_LAUNCHER_SOCKET"
_TORCHRUN, _RESTARTS = "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"
_NUMBERS = {"WORLD_SIZE": 1, "RANK": 0, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "MASTER_PORT": 0, _RESTARTS: 0}
_NUMBERS |= {LAUNCHER: 1, LISTENING: 0}
_JOINING = ("RANK", "MASTER_ADDR", "MASTER_PORT")
_LAST_PORT = 65_535
_SECONDS_BETWEEN_LOOKS = 0.05
# After one process has ended, the others find it out themselves and say so; then they are asked, then made to.
_ASK_AFTER_S, _END_AFTER_S = 3.0, 30.0
_INTERRUPTED = {128 + number for number in SIGNALS}


def n_launched() -> int:
    """Return how many processes train together, this one among them; 1 without a launcher.

    Raises UsageError for an environment that no launcher sets.
    """
    for name, least in _NUMBERS.items():
        value = os.environ.get(name)
        if value is not None and (not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < least):
            raise UsageError(f"{name} is {value!r}, not a whole number of {least} or more", _without_launcher())
    size, rank = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0")))
    if size > 1 and (missing := [name for name in _JOINING if not os.environ.get(name)]):
        raise UsageError(
            f"WORLD_SIZE is '{size}' without what else torchrun sets: {', '.join(missing)}", _without_launcher()
        )
    if rank >= size:
        raise UsageError(f"RANK is {rank}, and of {size} processes the last has rank {size - 1}", _without_launcher())
    if int(os.environ.get("MASTER_PORT", "0")) > _LAST_PORT:
        raise UsageError(
            f"MASTER_PORT is {os.environ['MASTER_PORT']}, and the last port is {_LAST_PORT}", _without_launcher()
        )
    return size


def _without_launcher() -> str:
    names = [name for name in (*_NUMBERS, "MASTER_ADDR", _TORCHRUN) if name in os.environ]
    typed = sys.argv[1:] if Path(sys.argv[0]).name in ("sentiment", "__main__.py") else ["train"]
    return shlex.join(["env", *(part for name in names for part in ("-u", name)), "sentiment", *typed])


def check_shared(n_processes: int, experiment: Experiment, alone: str | None = None) -> None:
    """Raise UsageError where so many processes cannot train an experiment; `alone` is how one process does."""
    name, slices = experiment.name, experiment.train.slices
    if n_processes > 1 and experiment.model.kind == "linear":
        raise UsageError(
            f"{name}: model.kind is linear, which one process trains", alone or Change(without=["--nproc"])
        )
    if slices % n_processes:
        raise UsageError(
            f"{name}: {n_processes} processes do not divide train.slices, which is {slices}",
            alone or Change("--set", f"train.slices={n_processes}"),
        )


def n_restarts() -> int:
    """Return how often torchrun has started processes in place of others that died."""
    return int(os.environ.get(_RESTARTS, "0"))


def has_launcher() -> bool:
    """Say whether a process of ours or torchrun started this one, and waits for it."""
    return LAUNCHER in os.environ or _TORCHRUN in os.environ


def leave_with_launcher() -> None:
    """Have this process stop when what started it dies. Processes that were started by hand outlive their shell."""
    if n_launched() > 1 and has_launcher():
        leave_with(int(os.environ.get(LAUNCHER) or os.getppid()))


def launch(n_processes: int, arguments: Sequence[str]) -> int:
    """Run the command line in processes of its own on this machine; return the exit code of the first that failed.

    A first signal has them stop in good order, a second one ends them. They are in sessions of their own, so that
    Ctrl-C at a terminal reaches the launcher alone.
    """
    children: list[subprocess.Popen[bytes]] = []
    with _heard() as heard, socket.create_server(("127.0.0.1", 0), backlog=n_processes) as listening:
        socket_of_first = {LISTENING: str(listening.fileno())}
        shared = {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),  # as torchrun does
            "WORLD_SIZE": str(n_processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(listening.getsockname()[1]),
            LAUNCHER: str(os.getpid()),
        }
        for rank in range(n_processes):
            failpoints.reach("launch")
            if heard:
                break
            numbered = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            children.append(
                subprocess.Popen(
                    [sys.executable, "-m", "sentiment_cli", *arguments],
                    env={**os.environ, **shared, **numbered, **(socket_of_first if rank == 0 else {})},
                    stdin=subprocess.DEVNULL,
                    pass_fds=[listening.fileno()] if rank == 0 else [],
                    start_new_session=True,
                )
            )
        listening.close()  # the first process has it now: whoever connects after its death is refused
        first = _watch(children, heard)
    if heard and (len(children) < n_processes or first is not None):
        could_not_save = bool(children) and 0 < children[0].returncode < 128
        return children[0].returncode if could_not_save else 128 + heard[0]
    if first is None:
        return 0
    if children[first].returncode < 0:
        number = signal.Signals(-children[first].returncode).name
        console.report_error(f"process {first} of {n_processes} was ended by {number}", None)
    # The first process speaks for all, if it can: the others leave it what they have to say.
    return children[0].returncode if children[0].returncode > 0 else _exit_code(children[first].returncode)


def _watch(children: Sequence["subprocess.Popen[bytes]"], heard: Sequence[int]) -> int | None:
    """Wait for all processes, handing signals on; return the first that failed, None where none did."""
    first, ended_at, is_asked = None, 0.0, False
    while running := [child for child in children if child.poll() is None]:
        failpoints.reach("watch")
        failed = [rank for rank, child in enumerate(children) if child.returncode not in (None, 0)]
        if failed and first is None:
            first, ended_at = failed[0], time.monotonic()
        waited = time.monotonic() - ended_at if first is not None else 0.0
        is_told = first is not None and _exit_code(children[first].returncode) in _INTERRUPTED
        if len(heard) >= 2 or waited > _END_AFTER_S:
            _signal(running, signal.SIGKILL)
        elif not is_asked and (heard or is_told or waited > _ASK_AFTER_S):
            _signal(running, signal.SIGTERM)  # which a process that is only starting ends at, without a word
            is_asked = True
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    failed = [rank for rank, child in enumerate(children) if child.returncode]
    return first if first is not None else min(failed, default=None)


def _signal(children: Sequence["subprocess.Popen[bytes]"], number: signal.Signals) -> None:
    for child in children:
        child.send_signal(number)


def _exit_code(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


@contextlib.contextmanager
def _heard() -> Iterator[list[int]]:
    """Yield the signals heard inside this block, in their order; no handler raises."""
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    with handling(hear):
        yield heard
