"""--quiet, --verbose and --color: what is said, and in which colours; and the log that a run keeps of all of it."""

import json
import re
from pathlib import Path

import pytest

from sentiment_cli import console
from sentiment_cli.config.paths import runs_dir

TINY = ["--set", "train.epochs=1", "--set", "model.encoder.width=8", "--set", "model.embedding.width=8"]
TALK = ("training:", "stopped: 1 epoch is done", "run: ")


@pytest.fixture(autouse=True)
def manner():
    yield
    console.set_manner(volume=0, colour="auto")


@pytest.mark.parametrize(
    ("options", "is_said", "is_detailed"), [([], True, False), (["-q"], False, False), (["--verbose"], True, True)]
)
def test_a_training_says_less_or_more_and_its_log_has_all(
    typed, monkeypatch, capsys, options: list[str], is_said: bool, is_detailed: bool
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(console, "_say", lambda text, *label: shown.append(text))
    said = typed("train", "sample", *options, *TINY)
    assert (said.code, said.out) == (0, f"{runs_dir() / 'sample'}\n")
    printed, log = "\n".join(shown), (runs_dir() / "sample" / "log.txt").read_text("utf-8")
    for line in TALK:
        assert (line in printed) is is_said
        assert line in log
    assert ("fingerprint: " in printed) is is_detailed
    assert "fingerprint: " in log
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", line) for line in log.splitlines())


def test_a_resumed_run_appends_to_its_log_and_an_error_is_in_it(typed) -> None:
    typed("train", "sample", *TINY)
    log = runs_dir() / "sample" / "log.txt"
    first = log.read_text("utf-8")
    assert typed("train", "--resume", "sample").code == 0
    assert log.read_text("utf-8").startswith(first)
    assert "is finished; there is nothing left to train" in log.read_text("utf-8")
    refused = typed("train", "--resume", "sample", "--set", "train.lr=1")
    assert refused.code == 2
    assert f"error: {refused.error.splitlines()[0]}" in log.read_text("utf-8")


def test_quiet_keeps_warnings_errors_and_results(typed, capsys: pytest.CaptureFixture[str]) -> None:
    console.set_manner(volume=-1)
    console.say("talk")
    console.detail("detail")
    console.warn("look out")
    console.report_error("wrong", "sentiment train")
    console.result("answer")
    assert capsys.readouterr() == ("answer\n", "warning: look out\nerror: wrong\n  try: sentiment train\n")


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_options_go_before_the_command_and_after_it(typed, place: str) -> None:
    words = ["-q", "runs", "list"] if place == "before" else ["runs", "list", "-q"]
    assert typed(*words) == (0, "", "", "")
    typed("version")
    assert console.manner() == []  # the next command of the process speaks again


@pytest.mark.parametrize(
    ("when", "env", "is_coloured"),
    [("auto", {}, False), ("always", {}, True), ("always", {"NO_COLOR": "1"}, True), ("never", {}, False)],
)
def test_colours_are_used_when_they_are_wanted(typed, capsys, monkeypatch, when, env, is_coloured: bool) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    console.set_manner(colour=when)
    console.report_error("wrong", None)
    console.coloured_result([("good", "bold"), (" film", "")])
    out, err = capsys.readouterr()
    assert ("\x1b[" in out, "\x1b[" in err) == (is_coloured, is_coloured)
    assert re.sub(r"\x1b\[[\d;]*m", "", out + err) == "good film\nerror: wrong\n"


class _Terminal:
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("when", "env", "is_coloured"),
    [("auto", {}, True), ("auto", {"NO_COLOR": "1"}, False), ("auto", {"TERM": "dumb"}, False), ("never", {}, False)],
)
def test_a_terminal_gets_colours_unless_it_or_its_user_wants_none(monkeypatch, when, env, is_coloured: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in ({"TERM": "xterm"} | env).items():
        monkeypatch.setenv(name, value)
    console.set_manner(colour=when)
    monkeypatch.setattr("sys.stdout", _Terminal())
    assert console.has_colour() is is_coloured


@pytest.mark.parametrize("options", [[], ["--quiet"], ["--verbose", "--color", "never"]])
def test_another_process_gets_the_same_options(options: list[str]) -> None:
    console.set_manner(
        volume={"--quiet": -1, "--verbose": 1}.get(options[0] if options else "", 0),
        colour="never" if "never" in options else "auto",
    )
    assert console.manner() == options


def test_a_wrong_choice_of_colours_is_mended(typed) -> None:
    said = typed("runs", "list", "--color", "Always")
    assert (said.code, said.hint) == (2, "sentiment runs list --color always")


def test_what_is_said_reaches_the_log_without_control_characters() -> None:
    heard: list[str] = []
    with console.heard_by(heard.append):
        console.set_manner(volume=-1)
        console.say("a\x1b[2Jb")
        console.detail("c")
        console.warn("d")
    console.say("after")
    assert heard == ["a\\x1b[2Jb", "c", "warning: d"]


@pytest.mark.parametrize(
    ("model", "settings"), [("sample", TINY), ("linear", ["--data", "sample"])], ids=["network", "linear"]
)
def test_a_dry_run_estimates_and_makes_no_run(typed, model: str, settings: list[str]) -> None:
    said = typed("train", model, *settings, "--dry-run", "--json")
    found = json.loads(said.out)
    assert said.code == 0
    assert not runs_dir().exists()
    assert found["run"] == str(runs_dir() / model)
    assert found["rows"] == {"train": 1796, "valid": 204}
    assert Path(found["data"]).is_dir()
    assert 0 < found["seconds"] < 600
    assert found["memory_bytes"] > 50e6
    assert found["disk_after_bytes"] <= found["disk_bytes"]
    assert typed("train", model, *settings, "--name", model).code == 0
    run = runs_dir() / model
    weights = sum((run / "model" / name).stat().st_size for name in ("weights.safetensors", "graph.onnx"))
    assert found["disk_after_bytes"] == pytest.approx(weights, rel=0.5)
    if model == "sample":
        assert (found["n_steps"], found["n_epochs"]) == (12, 1)
    lines = typed("train", model, *settings, "--dry-run").out.splitlines()
    assert [line.split()[0] for line in lines][:3] == ["model", "run", "data"]
    assert f"{run}-2 would be made" in lines[1]


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["sample", "--seeds", "2"], "--dry-run is for one new run", "sentiment train sample --dry-run"),
        (["sample", "--profile"], "--dry-run is for one new run", "sentiment train sample --dry-run"),
        (["auto"], "--dry-run is for one model", "sentiment train auto --dry-run --model gru"),
    ],
)
def test_a_dry_run_is_of_one_new_run(typed, args: list[str], message: str, hint: str) -> None:
    said = typed("train", *args, "--dry-run")
    assert (said.code, said.hint) == (2, hint)
    assert message in said.error
