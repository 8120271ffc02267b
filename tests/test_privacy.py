"""What the program says to others and leaves behind: nothing, but for what it was asked to write."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sentiment_cli

PACKAGE = Path(sentiment_cli.__file__).parent
ROOT = PACKAGE.parent
SMALL = "--set model.encoder.width=4 --set model.embedding.width=4 --set train.epochs=1 --set train.device=cpu"
COMMANDS = f"""--help
train sample {SMALL} --name a
train linear --set data.source=sample --name b
eval a
predict good
predict --file reviews.csv --out answers.csv
predict good --explain --trace --html why.html
predict --run a
export a --precision int8 --out a.onnx
export a --pack a.model
predict --run a.model good
report a
report a --markdown
eval b
compare a b
train sample {SMALL} --set seed=7 --name d
ensemble a d --name c
data info sample --plot lengths.png
data check sample
runs list
runs show a
models
doctor --seconds 0.1""".splitlines()
# Commands in one process, the lines of a pipe as standard input; Python's sockets lead nowhere.
DRIVER = """
import os, socket, sys

def refuse(self, address, *_):
    if self.family != socket.AF_UNIX:
        sys.exit(f"a connection to {address}")
socket.socket.connect = socket.socket.connect_ex = refuse
from sentiment_cli.cli import main
for line in open("commands").read().splitlines():
    sys.argv = ["sentiment", *line.split()]
    reader, writer = os.pipe()
    os.write(writer, b"a good film\\n" * 3)
    os.close(writer)
    os.dup2(reader, 0)
    try:
        main()
    except SystemExit as end:
        if end.code:
            sys.exit(f"{line}: {end.code}")
"""
CALLS = "connect,sendto,sendmsg,openat,open,creat,mkdir,mkdirat,symlink,symlinkat,link,linkat"
WRITES = re.compile(
    r'(?:open(?:at)?\((?:AT_FDCWD, )?"([^"]*)", [^)]*(?:O_WRONLY|O_RDWR|O_CREAT)'
    r'|(?:creat|mkdir|mkdirat|symlink|symlinkat|link|linkat)\(.*?"([^"]*)")[^)]*\) += \d'
)
MAY_WRITE = ("/dev/null", "/dev/tty", "/dev/shm/", "/proc/self/")


def clean_environment(home: Path) -> dict[str, str]:
    """The environment of a fresh account: nothing that turns anything off."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV") if name in os.environ}
    threads = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "1000"}
    return {**kept, **threads, "HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def test_t1_no_command_talks_to_anybody_or_writes_elsewhere(tmp_path: Path) -> None:
    """T1: onnxruntime wrote an identifier into the home directory and sent events to its publisher."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (work / "commands").write_text("\n".join(COMMANDS))
    (work / "reviews.csv").write_text("text\ngood\nbad\n")
    command = [sys.executable, "-c", DRIVER]
    traced = shutil.which("strace") is not None
    if traced:
        command = [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-o",
            str(tmp_path / "calls"),
            "-e",
            f"trace={CALLS}",
            *command,
        ]
    done = subprocess.run(command, cwd=work, env=clean_environment(home), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(home.rglob("*")) == []
    assert "onnxruntime" not in done.stderr
    if not traced:
        pytest.skip("strace is absent, so what C++ libraries connect to was not seen; the home directory stayed empty")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call for call in calls if "connect(" in call and "AF_UNIX" not in call] == []
    assert [call for call in calls if re.search(r"send(to|msg)\(.*sa_family=AF_INET", call)] == []
    written = {str(work / (match[1] or match[2])) for call in calls if (match := WRITES.search(call))}
    assert {path for path in written if not path.startswith((str(work), *MAY_WRITE))} == set()
    assert len(written) > 50  # what was asked for is among the calls that were seen


@pytest.mark.parametrize("module", ["sentiment_cli", "sentiment_cli.cli", "sentiment_cli.onnx.runtime"])
@pytest.mark.parametrize(("theirs", "expected"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_t1_every_import_turns_telemetry_off_unless_the_user_says_otherwise(
    module: str, theirs: dict[str, str], expected: str, tmp_path: Path
) -> None:
    code = f"import {module}, os, subprocess; subprocess.run(['sh', '-c', 'echo $ORT_DISABLE_TELEMETRY'], check=True)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(tmp_path) | theirs, capture_output=True, text=True
    )
    assert done.stdout == f"{expected}\n", done.stderr
    assert theirs or list(tmp_path.rglob("*")) == []


def imports_of(path: Path) -> list[str]:
    """The modules that a file imports, in their order, those inside of functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, str(node.module)))
    return [name for _, name in sorted(found)]


def test_libraries_that_write_or_talk_by_themselves_are_loaded_in_one_place() -> None:
    """Each of them needs a switch to be set before, which a second place would forget."""
    users: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for name in imports_of(path):
            users.setdefault(name.partition(".")[0], set()).add(path.name)
    assert users["onnxruntime"] == {"runtime.py"}
    assert users["matplotlib"] == {"svg.py", "data.py"}
    assert users["wandb"] == users["mlflow"] == {"tracking.py"}  # for `sentiment track`, which the user asks to talk
    assert users["fsspec"] == {"sources.py"}  # for URLs that the user names
    assert not users.keys() & {"huggingface_hub", "transformers", "datasets", "requests", "sentry_sdk"}


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_no_script_loads_onnxruntime_before_the_package(path: Path) -> None:
    names = imports_of(path)
    for i, name in enumerate(names):
        if name.partition(".")[0] == "onnxruntime":
            assert any(before.startswith("sentiment_cli") for before in names[:i])
