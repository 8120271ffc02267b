"""The launcher: read the environment that torchrun sets, or start several processes on this machine.

This module does not import torch. `launch` does what torchrun does on one machine, except when training stops: it
stays in its own loop, passes a signal on once, and sets no time limit for saving the step.
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
# After one process has ended, the others notice it themselves; then they get SIGTERM, and then SIGKILL.
_ASK_AFTER_S, _END_AFTER_S = 3.0, 30.0
_INTERRUPTED = {128 + number for number in SIGNALS}


def n_launched() -> int:
    """Return the number of processes that train together; 1 without a launcher.

    Raises UsageError for environment variables that no launcher sets like this.
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
    """Raise UsageError where `n_processes` cannot train an experiment; `alone` is the command for one process."""
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
    """Return how often torchrun has restarted the processes after one died."""
    return int(os.environ.get(_RESTARTS, "0"))


def has_launcher() -> bool:
    """Return whether our launcher or torchrun started this process and waits for it."""
    return LAUNCHER in os.environ or _TORCHRUN in os.environ


def leave_with_launcher() -> None:
    """Stop this process when its launcher dies. Processes that were started by hand outlive their shell."""
    if n_launched() > 1 and has_launcher():
        leave_with(int(os.environ.get(LAUNCHER) or os.getppid()))


def launch(n_processes: int, arguments: Sequence[str]) -> int:
    """Run the command line in `n_processes` processes; return the exit code of the first that failed, 0 for success.

    A first signal stops them after the current step, a second one kills them. Each has its own session, so that Ctrl-C
    at a terminal reaches the launcher only.
    """
    children: list[subprocess.Popen[bytes]] = []
    with _received() as received, socket.create_server(("127.0.0.1", 0), backlog=n_processes) as listening:
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
            if received:
                break
            numbered = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            with _interrupts_held():
                children.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "sentiment_cli", *arguments],
                        env={**os.environ, **shared, **numbered, **(socket_of_first if rank == 0 else {})},
                        stdin=subprocess.DEVNULL,
                        pass_fds=[listening.fileno()] if rank == 0 else [],
                        start_new_session=True,
                    )
                )
        listening.close()  # the first process has the socket now: connections after its death are refused
        first = _watch(children, received)
    if received and (len(children) < n_processes or first is not None):
        could_not_save = bool(children) and 0 < children[0].returncode < 128
        return children[0].returncode if could_not_save else 128 + received[0]
    if first is None:
        return 0
    if children[first].returncode < 0:
        number = signal.Signals(-children[first].returncode).name
        console.report_error(f"process {first} of {n_processes} was ended by {number}", None)
    # The first process reports for all, if it can: the others leave it their notes.
    return children[0].returncode if children[0].returncode > 0 else _exit_code(children[first].returncode)


def _watch(children: Sequence["subprocess.Popen[bytes]"], received: Sequence[int]) -> int | None:
    """Wait for all processes and pass signals on; return the rank of the first that failed, None where none did."""
    first, ended_at, is_asked = None, 0.0, False
    while running := [child for child in children if child.poll() is None]:
        failpoints.reach("watch")
        failed = [rank for rank, child in enumerate(children) if child.returncode not in (None, 0)]
        if failed and first is None:
            first, ended_at = failed[0], time.monotonic()
        waited = time.monotonic() - ended_at if first is not None else 0.0
        is_interrupted = first is not None and _exit_code(children[first].returncode) in _INTERRUPTED
        if len(received) >= 2 or waited > _END_AFTER_S:
            _signal(running, signal.SIGKILL)
        elif not is_asked and (received or is_interrupted or waited > _ASK_AFTER_S):
            _signal(running, signal.SIGTERM)  # a process that is still starting ends at once, silently
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
def _interrupts_held() -> Iterator[None]:
    """Block SIGINT for a process that is started inside: `main` unblocks it once its handler is installed.

    Python's own handler, installed before, would print a traceback and exit with 1.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _received() -> Iterator[list[int]]:
    """Yield the list of signals received inside this block, in order; no handler raises."""
    received: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        received.append(number)

    with handling(hear):
        yield received
