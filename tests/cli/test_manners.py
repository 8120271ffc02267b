"""Robustness cases B16, B17, M10 and M12 through the command line: quiet and readable wherever it runs."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment_cli.config.paths import runs_dir
from sentiment_cli.storage import locks

SENTIMENT = [sys.executable, "-m", "sentiment_cli"]


@pytest.mark.parametrize("env", [{"COLUMNS": "20"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"LC_ALL": "C"}])
def test_b17_any_terminal_gets_readable_text(cli, env: dict[str, str]) -> None:
    done = cli("--help", **env)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    wrong = cli("train", "--set", "train.lrr=1", **env)
    assert wrong.returncode == 2
    assert "train.lrr is not a setting (did you mean train.lr?)" in wrong.stderr
    assert "\x1b" not in wrong.stderr


def test_b17_text_that_the_encoding_lacks_is_escaped() -> None:
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*SENTIMENT, "config", "check", "é.yaml"], capture_output=True, env=ascii_only)
    assert done.returncode == 2
    assert rb"\xe9.yaml: no such file" in done.stderr


def test_b17_closed_stderr_and_stdout(tmp_path: Path) -> None:
    quiet = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *SENTIMENT, "recipes", "list"], capture_output=True)
    assert quiet.returncode == 0
    assert b"default" in quiet.stdout
    wrong = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *SENTIMENT, "config", "check", "x"], capture_output=True)
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *SENTIMENT, "recipes", "list"], capture_output=True)
    assert closed.returncode == 4
    assert b"standard output is closed" in closed.stderr
    full = subprocess.run(["sh", "-c", '"$@" >/dev/full', "sh", *SENTIMENT, "recipes", "list"], capture_output=True)
    assert full.returncode == 4
    assert b"No space left" in full.stderr


def test_b17_closed_stdin() -> None:
    done = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *SENTIMENT, "predict"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no text" in done.stderr


def test_b17_a_reader_that_leaves_is_no_error() -> None:
    command = ["bash", "-c", 'set -o pipefail; "$@" | head -1', "sh", *SENTIMENT, "config", "show"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("name:")


def on_a_terminal(*args: str, **env: str) -> str:
    """Run the command with stderr on a pseudo-terminal; return what a person would have been sent."""
    leader, follower = pty.openpty()
    done = subprocess.Popen(
        [*SENTIMENT, *args], stdin=follower, stdout=subprocess.DEVNULL, stderr=follower, env={**os.environ, **env}
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            seen += (part := os.read(leader, 65536))
        except OSError:  # the other end is closed
            break
        if not part:
            break
    assert done.wait() == 0
    return seen.decode()


def test_a_terminal_gets_a_bar_and_a_dumb_one_plain_lines() -> None:
    settings = ("train", "sample", "--set", "train.max_steps=3", "--set", "model.encoder.width=8")
    assert "\x1b[" in on_a_terminal(*settings, TERM="xterm")
    assert "\x1b[" not in on_a_terminal(*settings, TERM="dumb")


def test_m10_names_and_values_are_shown_not_obeyed(cli, tmp_path: Path) -> None:
    (tmp_path / "\x1b[2J.yaml").write_text('name: "\\e]52;c;aGk=\\a"\n')
    done = cli("config", "check", str(tmp_path / "\x1b[2J.yaml"))
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert r"\x1b[2J.yaml:1:7: name is '\x1b]52;c;aGk=\x07'" in done.stderr


def test_unknown_things_suggest_the_nearest(cli) -> None:
    assert "Did you mean 'train', 'pretrain', 'track'?" in cli("trian").stderr
    assert "sentiment recipes show default" in cli("recipes", "show", "defualt").stderr
    (runs_dir() / "imdb-lstm").mkdir(parents=True)
    (runs_dir() / "imdb-lstm" / "experiment.yaml").write_text("name: imdb-lstm\n")
    assert "Did you mean 'imdb-lstm'?" in cli("eval", "imdb-lsmt").stderr


def test_a_text_that_starts_with_a_dash_gets_a_hint(cli) -> None:
    done = cli("predict", "-5 stars")
    assert done.returncode == 2
    assert "sentiment predict -- " in done.stderr


def test_version_and_completion(cli) -> None:
    assert re.fullmatch(r"sentiment \d+\.\d+\.\d+\n", cli("--version").stdout)
    shown = cli("", _SENTIMENT_COMPLETE="complete_bash", COMP_WORDS="sentiment tr", COMP_CWORD="1")
    assert "train" in shown.stdout


def test_config_commands(cli, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("extends: default\nname: mine\ntrain: {lr: 1e-4}\n")
    shown = cli("config", "show", str(tmp_path / "my.yaml"), "--set", "seed=3").stdout
    assert re.search(r"^seed: 3 +# --set seed=3$", shown, re.M)
    assert re.search(r"^  lr: 0\.0001 +# .*my\.yaml:3$", shown, re.M)
    assert re.search(r"^data:\n  source: imdb +# default$", shown, re.M)
    rows = cli("config", "show", "sample", "--json").stdout.splitlines()
    assert json.loads(rows[0])["value"] == "sample"
    assert cli("config", "check", "default", str(tmp_path / "my.yaml")).returncode == 0
    (tmp_path / "bad.yaml").write_text("nmae: x\n")
    both = cli("config", "check", str(tmp_path / "bad.yaml"), str(tmp_path / "nosuch"))
    assert both.returncode == 2
    assert "did you mean name?" in both.stderr
    assert "nosuch: no such file" in both.stderr
    differing = cli("config", "diff", "default", str(tmp_path / "my.yaml")).stdout
    assert "name: imdb-lstm -> mine\n" in differing
    assert "train.lr: " in differing
    (runs_dir() / "sample").mkdir(parents=True)
    (runs_dir() / "sample" / "experiment.yaml").write_text("extends: sample\nseed: 9\n")
    same = cli("config", "diff", "sample", "sample")  # the shipped one, and not the run of that name
    assert (same.returncode, same.stdout) == (0, "")
    assert cli("config", "diff", "sample", str(runs_dir() / "sample")).stdout == "seed: 0 -> 9\n"
    assert json.loads(cli("config", "schema").stdout)["properties"]["extends"]


def test_recipes_commands(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listed = json.loads(cli("recipes", "list", "--json").stdout)
    assert {"default", "sample", "tutorial-rnn"} <= {row["name"] for row in listed}
    assert all(row["what"] for row in listed)
    assert "name: imdb-lstm" in cli("recipes", "show", "default").stdout
    assert cli("recipes", "copy", "default").stdout == "default.yaml\n"
    assert cli("config", "diff", "default", "default.yaml").stdout == ""
    again = cli("recipes", "copy", "default")
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_runs_commands(cli) -> None:
    assert "there are no runs" in cli("runs", "list").stderr
    cli("train", "sample", "--set", "train.epochs=1", "--set", "model.encoder.width=8")
    cli("eval", "sample")
    (runs_dir() / "killed").mkdir()
    (runs_dir() / "killed" / "experiment.yaml").write_text("name: killed\n")
    listed = cli("runs", "list").stdout
    assert re.search(
        r"^sample +finished +sample +\d\d\.\d\d% +\d\d\.\d\d% +\d+\.\d MB +2\d{3}-\d\d-\d\d \d\d:\d\d$", listed, re.M
    )
    assert re.search(r"^killed +unfinished", listed, re.M)
    left = runs_dir() / "sample" / "checkpoints" / "step-00000009"  # as older versions left it
    left.mkdir(parents=True)
    (left / "tensors.safetensors").write_bytes(b"1" * 1_500_000)
    said = cli("runs", "list").stderr
    assert "1.5 MB are checkpoints of finished runs" in said
    assert said.endswith("sentiment runs remove --checkpoints sample\n")
    refused = cli("runs", "remove", "--checkpoints", "sample", "killed")
    assert (refused.returncode, left.exists()) == (2, True)
    assert "killed is unfinished, not finished" in refused.stderr
    freed = cli("runs", "remove", "--checkpoints", "sample")
    assert (freed.returncode, left.parent.exists()) == (0, False)
    assert "removed 1.5 MB of checkpoints from" in freed.stderr
    assert cli("runs", "list").stderr == ""
    shown = cli("runs", "show", "sample").stdout
    assert "test: accuracy" in shown
    assert "model/weights.safetensors" in shown
    kept = runs_dir() / "sample" / "evaluation" / "test.json"
    good = kept.read_text()
    kept.write_text(json.dumps({**json.loads(good), "accuracy_ci95": 0.5}))
    damaged = cli("runs", "show", "sample")
    assert damaged.returncode == 3
    assert f"error: {kept} is damaged" in damaged.stderr
    kept.write_text(good)
    asked = cli("runs", "remove", "killed")
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert (runs_dir() / "killed").exists()
    with locks.held(runs_dir() / "killed", print):  # as its training does
        held = cli("runs", "remove", "killed", "--yes")
    assert held.returncode == 2
    assert "killed is being trained and cannot be removed" in held.stderr
    assert (runs_dir() / "killed").exists()
    assert cli("runs", "remove", "killed", "--yes").returncode == 0
    assert not (runs_dir() / "killed").exists()
    assert cli("runs", "remove", "sample", "killed", "--yes").returncode == 2
    assert (runs_dir() / "sample").exists()  # nothing is removed when one of the names is wrong
    elsewhere = runs_dir().parent / "project"
    elsewhere.mkdir()
    (elsewhere / "experiment.yaml").write_text("name: x\n")
    outside = cli("runs", "remove", str(elsewhere), "--yes")
    assert (outside.returncode, elsewhere.exists()) == (2, True)
    assert "so it is not removed" in outside.stderr
    assert cli("runs", "remove", "sample", "sample", "--yes").returncode == 0


def test_m12_doctor_says_what_is_here_and_prints_no_secret(cli) -> None:
    done = cli("doctor", "--markdown", "--seconds", "0.5", SECRET_TOKEN="hunter2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| what | found |\n|---|---|\n")
    for row in ("torch", "cores", "GPU", "bf16", "data", "runs", "training"):
        assert f"| {row} | " in done.stdout
    assert "hunter2" not in done.stdout + done.stderr  # M12: the environment is not printed
