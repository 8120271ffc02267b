"""The command line in processes that are forked from one that has loaded it: importing torch takes seconds."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from sentiment_cli import cli

context = multiprocessing.get_context("forkserver")
_COMMANDS = [name for panel in cli._COMMANDS.values() for name in panel]
_LOADED_LATE = ("filelock", "matplotlib.backends.backend_svg", "sentiment_cli.api", "sentiment_cli.workflows.train")
_LOADED_BY_COMMANDS = ("evaluation.evaluate", "inference.batch.predict_all", "inference.explain.html", "reports.html")
context.set_forkserver_preload(
    [
        *(f"sentiment_cli.cli.{name}" for name in _COMMANDS),
        *(f"sentiment_cli.{name}" for name in _LOADED_BY_COMMANDS),
        *_LOADED_LATE,
    ]
)


def _fsync(descriptor: int) -> None:
    """Wait for no disk: what a process wrote outlives its end without that, and failpoints see each flush before it."""
    os.fstat(descriptor)  # a closed one is an error, as ever


os.fsync = _fsync  # type: ignore[assignment]


def run(args: Sequence[str], stdin: bytes, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[bytes]":
    """Run `sentiment` with these arguments as subprocess.run would.

    Modules that the command line loads are there already, torch too: what depends on that needs a program of its own.
    """
    (reads_in, in_), (out, writes_out), (err, writes_err) = (context.Pipe(duplex=False) for _ in range(3))
    ends = (reads_in, writes_out, writes_err)
    process = context.Process(target=_run, args=(list(args), dict(environment), str(Path.cwd()), *ends))
    process.start()
    for end in ends:
        end.close()
    said: dict[Connection, bytes] = {}

    def read(end: Connection) -> None:
        with os.fdopen(os.dup(end.fileno()), "rb") as pipe:
            said[end] = pipe.read()

    threads = [threading.Thread(target=read, args=(end,)) for end in (out, err)]
    for thread in threads:
        thread.start()
    try:
        with os.fdopen(os.dup(in_.fileno()), "wb") as pipe:
            in_.close()
            pipe.write(stdin)
    except BrokenPipeError:  # it reads no further
        pass
    for thread in threads:
        thread.join()
    process.join()
    assert process.exitcode is not None
    return subprocess.CompletedProcess(list(args), process.exitcode, said[out], said[err])


def _run(
    args: list[str], environment: dict[str, str], here: str, stdin: Connection, stdout: Connection, stderr: Connection
) -> None:
    for number, end in enumerate((stdin, stdout, stderr)):
        os.dup2(end.fileno(), number)
        end.close()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup has ignored where the tests run under it
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(here)
    sys.argv = ["sentiment", *args]
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
    from sentiment_cli.__main__ import main
    from sentiment_cli.storage import failpoints

    failpoints.arm(os.environ.get("SENTIMENT_FAIL"))
    code: object = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    try:
        sys.stdout.flush()
    finally:
        os._exit(code if isinstance(code, int) else int(code is not None))
