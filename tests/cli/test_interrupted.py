"""Ctrl-C at any moment of a command: exit 130 and no traceback."""

import signal
import subprocess
import sys

import pytest

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
