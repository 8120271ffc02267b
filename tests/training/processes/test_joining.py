"""Joining a process group: robustness cases A11 (environment), A17 (differing ranks) and A24 (orphans)."""

import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import train_together, write_reviews

from sentiment_cli.errors import UsageError
from sentiment_cli.training.processes.launching import n_launched

MET = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("joining")
    write_reviews(root)
    return root


@pytest.mark.parametrize(
    ("differing", "code", "said"),
    [
        ({"others": ("seed=5",)}, 2, "seed is 5, there 0"),
        ({"others": ("train.lr=0.5", "model.encoder.width=5")}, 2, "train.lr is 0.5"),
        ({"others": ("train.epochs=3",)}, 2, "train.epochs is 3, there 2"),
        ({"differs": "code"}, 2, "code is another version, there "),
    ],
)
def test_processes_of_other_settings_or_code_are_refused(root: Path, differing, code: int, said: str) -> None:
    """Robustness case A17."""
    (first, first_said), (second, second_said) = train_together(root, "differing", **differing)
    assert (first, second) == (code, code), first_said
    assert "error: process 1 of this training has other settings, code or libraries than process 0" in first_said
    assert said in first_said
    assert second_said == ""
    assert not (root / "runs").exists()


def test_processes_of_other_rows_are_refused(root: Path) -> None:
    """Robustness case A17."""
    (first, first_said), (second, second_said) = train_together(root, "differing", differs="rows")
    assert (first, second) == (3, 3), first_said
    assert "process 1 of this training has other data than process 0: data is other rows, there reviews-" in first_said
    assert second_said == ""
    assert not (root / "runs").exists()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is '2' without what else torchrun sets: RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "without what else torchrun sets: MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many', not a whole number of 1 or more"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        ({"WORLD_SIZE": "9" * 5000}, "not a whole number"),
        ({"RANK": "first"}, "RANK is 'first', not a whole number of 0 or more"),
        ({"RANK": "1"}, "RANK is 1, and of 1 processes the last has rank 0"),
        ({"RANK": "2", "WORLD_SIZE": "2", **MET}, "RANK is 2, and of 2 processes the last has rank 1"),
        ({"LOCAL_RANK": "²"}, "LOCAL_RANK is '²'"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK is '-1'"),
        ({"RANK": "1", "WORLD_SIZE": "2", **MET, "MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
        ({"RANK": "1", "WORLD_SIZE": "2", **MET, "MASTER_PORT": "99999"}, "MASTER_PORT is 99999, and the last port is"),
        ({"TORCHELASTIC_RESTART_COUNT": "x"}, "TORCHELASTIC_RESTART_COUNT is 'x'"),
    ],
)
def test_variables_that_no_launcher_sets_are_refused(environment, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Robustness case A11."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/sentiment", "train", "my file.yaml"])
    with pytest.raises(UsageError) as caught:
        n_launched()
    assert said in str(caught.value)
    words = shlex.split(str(caught.value.hint))
    assert words[0] == "env"
    assert words[-3:] == ["sentiment", "train", "my file.yaml"]
    for name in words[2:-3:2]:
        monkeypatch.delenv(name)
    assert n_launched() == 1  # as the hint has it


def test_it_is_refused_before_torch_is_loaded() -> None:
    """Robustness case A11."""
    program = "import sys; from sentiment_cli.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, "train", "sample"],
        env={**os.environ, "TORCHELASTIC_RESTART_COUNT": "x"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "False\n")


def test_a_process_whose_launcher_dies_before_they_meet_ends(root: Path, tmp_path: Path) -> None:
    """Robustness case A24."""
    visited = tmp_path / "visited"
    visited.write_text("")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {
            "SENTIMENT_DATA": str(root / "data"),
            "RANK": "1",
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(silent.getsockname()[1]),
            "SENTIMENT_FAIL": f"list:{visited}",
        }
        start = (
            "import os, subprocess, sys, time; os.environ['SENTIMENT_LAUNCHER'] = str(os.getpid())\n"
            "subprocess.Popen([sys.executable, '-m', 'sentiment_cli', *sys.argv[1:]])\ntime.sleep(10_000)"
        )
        launcher = subprocess.Popen(
            [sys.executable, "-c", start, "train", "sample", "--set", "train.slices=2", "--set", "train.device=cpu"],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while "join" not in visited.read_text():
            time.sleep(0.05)
            assert launcher.poll() is None
        launcher.kill()
        said, _ = launcher.communicate()  # up to the end of the process that waits
    assert "Traceback" not in said


@pytest.mark.parametrize("variable", ["SENTIMENT_DATA", "SENTIMENT_RUNS", "SENTIMENT_IMDB"])
@pytest.mark.parametrize("path", ["/tmp" + "/d" * 5000, "/tmp/" + "d" * 256])
def test_a_path_that_no_system_takes_is_refused(variable: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Robustness case A11."""
    from sentiment_cli.config import paths

    monkeypatch.setenv(variable, path)
    asked = {"SENTIMENT_DATA": paths.data_dir, "SENTIMENT_RUNS": paths.runs_dir, "SENTIMENT_IMDB": paths.local_imdb}
    with pytest.raises(UsageError, match=rf"{variable} is a path of [\d,]+ bytes whose longest name has") as caught:
        asked[variable]()
    assert caught.value.hint == f"unset {variable}"


@pytest.mark.parametrize("backend", ["nonsense", "module://nosuch", "tkagg"])
def test_charts_are_drawn_whatever_the_backend_is_called(backend: str) -> None:
    """Robustness case A11."""
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    program = "from sentiment_cli.evaluation.figures import check_matplotlib; check_matplotlib(); import matplotlib"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "MPLBACKEND": backend}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_archive_that_is_a_pipe_is_refused(experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Robustness case A11."""
    from sentiment_cli.data.sources.source import find_source
    from sentiment_cli.errors import DataError

    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("SENTIMENT_IMDB", str(tmp_path / "pipe"))
    with pytest.raises(DataError, match="neither a file nor a folder"):
        find_source(experiment("data.source=imdb").data)
