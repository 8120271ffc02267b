"""Two machines as network namespaces of this one, which only a virtual wire joins."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest


class Node(NamedTuple):
    """A machine: its address, its network interface, and what a command begins with to run there."""

    address: str
    interface: str
    prefix: tuple[str, ...]


HERE = Node("127.0.0.1", "lo", ())


@contextlib.contextmanager
def wired() -> Iterator[list[Node]]:
    """Yield two nodes, each with no other network than the wire; skip the test where that takes other rights.

    What still runs on them at the end is killed.
    """
    names = [f"sentiment-{os.getpid()}-{i}" for i in range(2)]
    ip = shutil.which("ip")
    if ip is None or subprocess.run([ip, "netns", "add", names[0]], capture_output=True).returncode:
        pytest.skip("network namespaces need root, and the program `ip`")
    try:
        subprocess.run([ip, "netns", "add", names[1]], check=True)
        ends = ["wire", "netns", names[0], "type", "veth", "peer", "name", "wire", "netns", names[1]]
        subprocess.run([ip, "link", "add", *ends], check=True)
        for i, name in enumerate(names):
            for words in (f"address add 10.77.0.{i + 1}/24 dev wire", "link set wire up", "link set lo up"):
                subprocess.run([ip, "-n", name, *words.split()], check=True)
        yield [Node(f"10.77.0.{i + 1}", "wire", (ip, "netns", "exec", name)) for i, name in enumerate(names)]
    finally:
        for name in names:
            living = subprocess.run([ip, "netns", "pids", name], capture_output=True, text=True).stdout.split()
            for pid in map(int, living):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            subprocess.run([ip, "netns", "delete", name], capture_output=True)
