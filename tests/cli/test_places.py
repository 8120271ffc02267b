"""Robustness case F10 through the command line: places that are missing, closed, or not what they should be."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SENTIMENT = [sys.executable, "-m", "sentiment_cli"]


def a_file(root: Path) -> Path:
    (root / "file").write_bytes(b"")
    return root / "file"


def a_file_named_cache(root: Path) -> Path:
    (root / "data").mkdir()
    (root / "data" / "cache").write_bytes(b"")
    return root / "data"


def a_broken_link(root: Path) -> Path:
    (root / "link").symlink_to("gone/away")
    return root / "link"


def a_read_only_directory(root: Path) -> Path:
    if os.geteuid() == 0:  # whom no mode stops, but the kernel does
        return Path("/proc/sentiment")
    (root / "closed").mkdir(mode=0o555)
    return root / "closed"


@pytest.mark.parametrize(
    ("place", "hint"),
    [
        (a_file, "try: export SENTIMENT_DATA="),
        (a_file_named_cache, "try: export SENTIMENT_DATA="),
        (a_broken_link, "try: export SENTIMENT_DATA="),
        (a_read_only_directory, "try: "),
        (lambda root: a_file(root) / "below", "try: export SENTIMENT_DATA="),
        (lambda root: root / ("x" * 300), ""),
    ],
)
def test_f10_data_in_an_impossible_place(cli, tmp_path: Path, place: Callable[[Path], Path], hint: str) -> None:
    path = place(tmp_path)
    done = cli("prepare", "sample", SENTIMENT_DATA=str(path))
    is_too_long = len(path.name) > 255
    assert done.returncode == (2 if is_too_long else 4), done.stderr
    said = ("SENTIMENT_DATA is a path of",) if is_too_long else (f"cannot write {path}", f"{path}")
    assert any(f"error: {one}" in done.stderr for one in said)
    assert hint.replace("{}.parent", str(path.parent)).replace("{}", str(path)) in done.stderr
    assert "Traceback" not in done.stderr


def test_f10_a_directory_where_a_file_is_expected(cli, quick_run: Path, tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    done = cli("predict", "--run", str(quick_run), "--out", str(tmp_path / "answers"), "good")
    assert done.returncode == 2
    assert f"{tmp_path / 'answers'} is a directory, and a file is to be written there" in done.stderr
    assert f"try: sentiment predict --run {quick_run} --out {tmp_path / 'answers' / 'answers.txt'} good" in done.stderr


def test_f10_names_that_no_file_can_have(cli, tmp_path: Path) -> None:
    long = str(tmp_path / ("x" * 300))
    done = cli("prepare", SENTIMENT_IMDB=long)
    assert done.returncode == 2, done.stderr
    assert "error: SENTIMENT_IMDB is a path of" in done.stderr
    for command in (["recipes", "copy", "default", "--to", long], ["doctor", "--seconds", "0.1"]):
        done = cli(*command, SENTIMENT_IMDB=long)
        assert "Traceback" not in done.stderr


def test_nothing_is_downloaded_to_say_why_nothing_is_prepared(cli) -> None:
    done = cli("data", "cache", "why", "default", SENTIMENT_IMDB="")
    assert done.returncode == 2, done.stderr
    assert "aclImdb_v1.tar.gz is not there yet" in done.stderr
    assert "try: sentiment prepare" in done.stderr


def test_f10_a_file_where_a_cache_entry_is_expected(cli) -> None:
    entry = Path(cli("prepare", "sample").stdout.strip())
    assert entry.is_dir()
    entry.rename(entry.with_name("away"))
    entry.write_bytes(b"")
    done = cli("prepare", "sample")
    assert done.returncode == 4
    assert f"{entry} cannot be read: Not a directory" in done.stderr
    assert "try: export SENTIMENT_DATA=" in done.stderr


def test_f10_spaces_unicode_and_no_home(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key not in ("HOME", "SENTIMENT_DATA")}
    (tmp_path / "Übungs daten 'α'").mkdir()
    env["SENTIMENT_DATA"] = str(tmp_path / "Übungs daten 'α'" / "d")
    done = subprocess.run([*SENTIMENT, "prepare", "sample"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == tmp_path / "Übungs daten 'α'" / "d" / "cache"


@pytest.mark.parametrize(
    "command",
    [["prepare", "sample"], ["train", "sample"], ["config", "check", "sample"], ["recipes", "copy", "sample"]],
)
def test_f10_the_current_directory_is_gone(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "gone").mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(tmp_path / "gone"), *SENTIMENT, *command], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == ("error: the current directory has been deleted\n  try: cd\n")


@pytest.mark.parametrize("place", [".", "/", "", "loop"])
def test_f10_answers_to_what_is_no_file(cli, quick_run: Path, tmp_path: Path, monkeypatch, place: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    done = cli("predict", "--run", str(quick_run), "--out", place, "good")
    assert done.returncode == (4 if place == "loop" else 2), done.stderr
    assert ("error: cannot write loop" if place == "loop" else "is a directory") in done.stderr
    assert "try: sentiment predict --run" in done.stderr


def test_f10_a_place_for_runs_that_cannot_be_is_told_before_anything_is_prepared(cli, tmp_path: Path) -> None:
    done = cli("train", "sample", SENTIMENT_RUNS=str(a_file(tmp_path)), SENTIMENT_DATA=str(tmp_path / "data"))
    assert done.returncode == 4, done.stderr
    assert f"error: cannot write {tmp_path / 'file'}" in done.stderr
    assert not (tmp_path / "data").exists()


def test_f10_a_pipe_is_no_source(cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    done = cli("data", "info", "--set", f"data.source={tmp_path / 'rows.csv'}")
    assert done.returncode == 3, done.stderr
    assert "not a regular file, and it is read more than once" in done.stderr


def test_m06_what_to_type_next_can_be_pasted_where_a_path_has_a_space(cli, tmp_path: Path) -> None:
    run = tmp_path / "my runs" / "half"
    run.mkdir(parents=True)
    (run / "experiment.yaml").write_text("name: half\n")
    done = cli("predict", "--run", str(run), "good")
    assert done.returncode == 2
    assert f"try: sentiment train --resume '{run}'" in done.stderr


def test_f11_a_damaged_model_names_what_makes_it_anew(cli, quick_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "sample"
    shutil.copytree(quick_run, run)
    data = (run / "model" / "graph.onnx").read_bytes()
    (run / "model" / "graph.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = cli("predict", "--run", str(run), "good")
    assert done.returncode == 3
    assert done.stderr.count(str(run / "model" / "graph.onnx")) == 1
    assert f"try: sentiment reproduce {run}" in done.stderr


def test_processes_that_torchrun_did_not_start_are_refused(cli) -> None:
    done = cli("train", "sample", WORLD_SIZE="2")
    assert done.returncode == 2, done.stderr
    assert "WORLD_SIZE is '2' without what else torchrun sets: RANK, MASTER_ADDR, MASTER_PORT" in done.stderr


def test_a_seed_that_none_can_be_is_refused_before_the_first_is_trained(cli, tmp_path: Path) -> None:
    done = cli("train", "sample", "--seeds", "2", "--set", "seed=2147483647", SENTIMENT_RUNS=str(tmp_path / "runs"))
    assert done.returncode == 2, done.stderr
    assert "the largest is 2,147,483,647" in done.stderr
    assert not (tmp_path / "runs").exists()
