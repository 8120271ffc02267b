"""Commands where optional packages are not installed: what answers without them, and one sentence where it cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sentiment_cli import extras
from sentiment_cli.cli import whole_command
from sentiment_cli.runs.saved_model import open_artefact, pack_artefact

# Run every line's command in one process in which these packages cannot be imported.
_DRIVER = """
import contextlib, io, json, os, sys

for name in json.loads(sys.argv[1]):
    sys.modules[name] = None
from sentiment_cli import cli

cli.spare_pydantic = lambda: None  # it changes Typer for good
for words in json.loads(sys.stdin.read()):
    sys.argv = ["sentiment", *words]
    out, error = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException as raised:
            code = repr(raised)
    said = [stream.buffer.getvalue().decode() for stream in (out, error)]
    found = {"code": code, "out": said[0], "error": said[1], "files": sorted(os.listdir("."))}
    print(json.dumps(found), file=sys.__stdout__)
"""

# Each command of the program: with what, and whether it does its work without the packages of the extra `train`.
_WORKS = [
    ["--version"],
    ["predict", "--run", "packed", "a fine film"],
    ["predict", "--run", "quick", "a fine film"],
    ["predict", "--run", "packed", "--explain", "--trace", "a fine film"],
    ["predict", "--run", "quick", "--explain", "a fine film"],
    ["predict", "--run", "packed", "--file", "rows.csv"],
    ["eval", "packed", "--data", "rows.csv"],
    ["eval", "quick", "--data", "rows.csv"],
    ["eval", "quick", "--split", "valid"],
    ["eval", "packed", "--behaviour"],
    ["eval", "packed", "--pairs", "pairs.csv"],
    ["track", "quick", "--to", "tensorboard"],
    ["runs", "list"],
    ["runs", "show", "quick"],
    ["eval", "copy", "--split", "valid"],
    ["compare", "quick", "copy", "--split", "valid"],
    ["report", "quick", "--out", "report.html"],
    ["report", "quick", "--markdown", "--out", "card.md"],
    ["data", "info", "sample"],
    ["data", "check", "sample"],
    ["data", "cache", "list"],
    ["ensemble", "quick", "copy"],
    ["prepare", "sample"],
    ["init", "--data", "rows.csv", "my.yaml"],
    ["recipes", "list"],
    ["config", "show"],
    ["config", "check", "linear"],
    ["models"],
    ["doctor"],
    ["help", "train"],
]
_NEEDS = [
    ["train", "sample"],
    ["train", "rows.csv"],
    ["train", "sample", "--seeds", "2"],
    ["train", "sample", "--folds", "2"],
    ["train", "sample", "--nproc", "2", "--set", "train.slices=2"],
    ["train", "sample", "--profile"],
    ["train", "--resume", "quick"],
    ["tune", "sweep.yaml"],
    ["pretrain", "imdb-lm"],
    ["generate", "quick", "a film"],
    ["reproduce", "quick"],
    ["data", "suspects", "sample"],
    ["export", "quick"],
    ["export", "quick", "--page", "page.html"],
    ["models", "lstm"],
    ["predict", "--run", "quick", "--explain", "--method", "gradients", "a fine film"],
]


def run_without(packages: tuple[str, ...], commands: list[list[str]], folder: Path, runs: Path) -> list[dict[str, Any]]:
    """Run commands one after the other in `folder`; return of each its code, what it said, and the files there."""
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, json.dumps(packages)],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "SENTIMENT_RUNS": str(runs)},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def here(tmp_path: Path, quick_run: Path) -> Path:
    import shutil

    (tmp_path / "here").mkdir()
    for name in ("quick", "copy"):
        shutil.copytree(quick_run, tmp_path / "runs" / name)
    pack_artefact(open_artefact(quick_run), tmp_path / "here" / "packed")
    (tmp_path / "here" / "sweep.yaml").write_text(
        "tune: sample\nsearch: {train.lr: [0.001, 0.01]}\nmethod: grid\nprune: none\n"
    )
    (tmp_path / "here" / "rows.csv").write_text("text,label\n" + "a fine film,pos\na dull film,neg\n" * 30)
    (tmp_path / "here" / "pairs.csv").write_text(
        "original,contrast,original_label,contrast_label\na fine film,a dull film,pos,neg\n"
    )
    return tmp_path / "here"


def test_what_answers_works_without_the_packages_of_training(here: Path) -> None:
    found = run_without(extras.PACKAGES["train"], _WORKS, here, here.parent / "runs")
    failed = [(words, one) for words, one in zip(_WORKS, found, strict=True) if one["code"] != 0]
    assert not failed


def test_what_trains_names_the_package_and_the_command_before_it_does_anything(here: Path) -> None:
    before = sorted(path.name for path in here.iterdir())
    found = run_without(extras.PACKAGES["train"], _NEEDS, here, here.parent / "runs")
    for words, one in zip(_NEEDS, found, strict=True):
        assert one["code"] == 4, (words, one)
        assert " needs torch, onnx and safetensors, which are not installed" in one["error"], (words, one)
        assert one["error"].endswith("  try: pip install 'sentiment-cli[train]'\n"), (words, one)
        assert (one["out"], one["files"]) == ("", before), (words, one)
    assert sorted(path.name for path in (here.parent / "runs").iterdir()) == ["copy", "quick"]


def test_every_command_is_in_one_of_the_tables() -> None:

    commands = whole_command().commands
    tried = {words[0] for words in _WORKS + _NEEDS}
    assert {name for name, command in commands.items() if not command.hidden} - tried == {"serve"}  # which never ends


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ("pipx_metadata.json", "pipx inject sentiment-cli torch onnx safetensors"),
        ("uv-receipt.toml", "uv pip install --python '{prefix}' torch onnx safetensors"),
        ("pyvenv.cfg", "pip install 'sentiment-cli[train]'"),
    ],
)
def test_the_command_installs_where_the_program_is(mark: str, expected: str, tmp_path: Path, monkeypatch) -> None:
    prefix = tmp_path / "an environment"
    prefix.mkdir()
    (prefix / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(prefix))
    assert extras.command("train") == expected.format(prefix=prefix)
