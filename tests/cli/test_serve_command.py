"""`sentiment serve` before it serves: what it refuses, with which exit code, and what it does not import."""

import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def token(tmp_path: Path) -> Path:
    (tmp_path / "token.txt").write_text("a-token-of-24-characters\n")
    return tmp_path / "token.txt"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_other_machines_are_let_in_with_a_token_alone(cli: Any, host: str) -> None:
    done = cli("serve", "--host", host)
    assert done.returncode == 2
    assert "--token-file" in done.stderr
    hint = done.stderr.partition("try: ")[2].strip()
    assert subprocess.run(["sh", "-n", "-c", hint]).returncode == 0
    assert f"--host {host}" in hint


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, 3),
        ("", 2),
        ("short", 2),
        ("two words of a token here", 2),
        ("é" * 20, 2),
        ("x" * 5000, 2),
        ("a\nb" * 10, 2),
    ],
)
def test_tokens_that_are_none(cli: Any, tmp_path: Path, content: str | None, code: int) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    done = cli("serve", "--token-file", str(tmp_path / "token"))
    assert done.returncode == code
    assert "--token-file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "origin", ["example.org", "ftp://example.org", "https://", "https://example.org/path", "https://[x"]
)
def test_origins_that_are_none(cli: Any, origin: str) -> None:
    done = cli("serve", "--allow-origin", origin)
    assert done.returncode == 2
    assert "--allow-origin" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "args", [["--port", "70000"], ["--queue", "0"], ["--most-texts", "x"], ["nope"], ["--prot", "1"]]
)
def test_other_mistakes(cli: Any, args: list[str]) -> None:
    done = cli("serve", *args)
    assert done.returncode == 2
    assert "try: " in done.stderr


def test_a_port_that_is_taken_is_exit_4_with_a_command_that_works(cli: Any, quick_run: Path, token: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = cli("serve", str(quick_run), "--port", port)
        locked = cli("serve", str(quick_run), "--port", port, "--token-file", str(token))
    assert done.returncode == locked.returncode == 4
    assert shlex.split(done.stderr.partition("try: ")[2]) == ["sentiment", "serve", str(quick_run), "--port", "0"]
    words = shlex.split(locked.stderr.partition("try: ")[2])
    assert words == ["sentiment", "serve", str(quick_run), "--token-file", str(token), "--port", "0"]


def test_a_damaged_model_is_exit_3_before_anything_listens(cli: Any, quick_run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(quick_run, tmp_path / "bad")
    graph = tmp_path / "bad" / "model" / "graph.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    done = cli("serve", str(tmp_path / "bad"), "--port", "0")
    assert done.returncode == 3
    assert done.stdout == ""


def test_a_model_without_a_graph_is_refused(cli: Any, quick_run: Path, tmp_path: Path) -> None:
    import json
    import shutil

    from sentiment_cli.runs.saved_model import hashes_of, open_artefact
    from sentiment_cli.storage import store

    shutil.copytree(quick_run, tmp_path / "plain")
    artefact = open_artefact(tmp_path / "plain")
    files = {name: artefact.read(name) for name in artefact.files.entries if name not in ("model.json", "graph.onnx")}
    about = json.loads(artefact.read("model.json")) | {"graph": "none was made", "files": hashes_of(files)}
    shutil.rmtree(tmp_path / "plain" / "model")
    with store.new_directory(tmp_path / "plain" / "model") as draft:
        for name, data in {**files, "model.json": store.dump_json(about)}.items():
            draft.write(name, data)
    done = cli("serve", str(tmp_path / "plain"), "--port", "0")
    assert done.returncode == 2
    assert "no inference graph" in done.stderr
    assert "try: sentiment predict --run" in done.stderr


IMPORTS = """
import sys
sys.argv = ["sentiment", *sys.argv[1:]]
from sentiment_cli.cli import main
try:
    main()
except SystemExit:
    found = {"torch", "starlette", "uvicorn", "onnxruntime"} & sys.modules.keys()
    sys.exit(f"loaded {found}" if found else 0)
"""


@pytest.mark.parametrize(
    "args", [["serve", "--help"], ["serve", "--host", "0.0.0.0"], ["serve", "nope"], ["serve", "--port", "x"]]
)
def test_help_and_mistakes_load_no_server_and_no_torch(args: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS, *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("missing", [("uvicorn",), ("starlette",), ("uvicorn", "starlette")])
def test_without_the_extra_one_sentence_says_what_to_install(missing: tuple[str, ...]) -> None:
    blocked = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {missing!r} else find(name, *rest)
sys.argv = ["sentiment", "serve"]
from sentiment_cli.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert done.returncode == 4
    assert f"serving needs {' and '.join(missing)}" in done.stderr
    assert done.stderr.rstrip().endswith("-m pip install 'sentiment-cli[serve]'")
    assert "Traceback" not in done.stderr
