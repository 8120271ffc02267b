"""Ctrl-C at any moment of a command: exit 130 and no traceback."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sentiment_cli.training.processes import launching

# The command as it is installed, that gets SIGINT where a module is first asked for.
PROGRAM = """
import builtins, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins without it
at, original = sys.argv.pop(1), builtins.__import__
def imported(name, *args, **kwargs):
    if name == at:
        builtins.__import__ = original
        os.kill(os.getpid(), signal.SIGINT)
    return original(name, *args, **kwargs)
builtins.__import__ = imported
from sentiment_cli.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("at", "args"),
    [
        ("typer", ["--version"]),
        ("sentiment_cli.cli.parameters", ["--version"]),
        ("sentiment_cli.config.loader", ["config", "check", "sample"]),
        ("yaml", ["train", "sample"]),
        ("sentiment_cli.workflows.train", ["train", "sample"]),
        ("sentiment_cli.runs.directory", ["predict", "good"]),
    ],
)
def test_an_interrupt_while_modules_load_is_quiet(at: str, args: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, at, *args], capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert done.stdout == ""
    assert done.stderr.strip() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_interrupt_while_python_itself_starts_in_a_process_of_the_launcher_is_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """D05: a service manager sends SIGINT to the launcher and to processes that have not reached `main` yet."""
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **options: Any) -> None:
            super().__init__(command, **options, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            started.append(self)
            while not self._has_handler():
                time.sleep(0.0005)
            self.send_signal(signal.SIGINT)

        def _has_handler(self) -> bool:
            """Return whether Python has installed its own handler, or its process has ended."""
            status = Path(f"/proc/{self.pid}/status").read_text()
            caught = re.search(r"SigCgt:\s*(\w+)", status)
            return "Z (zombie)" in status or (caught is not None and bool(int(caught[1], 16) >> 1 & 1))

    monkeypatch.setattr(launching.subprocess, "Popen", Interrupted)
    assert launching.launch(2, ["--version"]) == 128 + signal.SIGINT
    assert [child.communicate() for child in started] == [(b"", b"")] * 2
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
