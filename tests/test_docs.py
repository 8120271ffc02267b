"""Every command in the README and the docs is run here, or, where it is slow or needs the network, parsed."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from hints import refusal

from sentiment_cli.config.loader import load_experiment

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[str]:
    found = []
    for page in PAGES:
        text = page.read_text("utf-8").partition("<!-- modules -->")[0]  # docstrings, which quote pieces of commands
        for block in re.findall(r"^```\n(.*?)^```", text, re.M | re.S):
            found += [
                line.split(" #")[0].strip() for line in block.splitlines() if line.startswith(("sentiment", "make"))
            ]
        found += [code for code in re.findall(r"`(sentiment [^`]+)`", text) if "|" not in code]
    return sorted(set(found))


def of_each_kind(found: list[str]) -> list[str]:
    """Leave out what a command with the same options beside it shows already; only values differ."""
    kinds = {}
    for command in found:
        words = command.split()
        named = words[: 3 if words[1] in ("config", "data", "recipes", "runs", "train", "prepare") else 2]
        kinds[*named, *sorted(set(re.findall(r" (--[a-z-]+)", command)))] = command
    return sorted(kinds.values())


def test_there_are_commands() -> None:
    assert {"make demo", "make test", "sentiment train", "sentiment eval"} <= set(commands())


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("make")])
def test_make_targets_exist(command: str) -> None:
    target = shlex.split(command)[1]
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text("utf-8"), re.M)


@pytest.mark.parametrize("command", of_each_kind([one for one in commands() if one.startswith("sentiment")]))
def test_documented_commands_work(command: str, cli, tmp_path: Path, monkeypatch, quick_run: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SENTIMENT_RUNS", str(quick_run.parent))
    for name in ("my-lstm.yaml", "my-classifier.yaml", "mine.yaml", "FILE"):
        if "copy" not in command:  # which makes one
            (tmp_path / name).write_text("name: my-lstm\n")
    for name, labels in (("my.csv", ("bad", "good")), ("new.csv", ("Negative", "Positive"))):
        rows = [f"sentence {number} of it,{labels[number % 2]}\n" for number in range(100)]
        (tmp_path / name).write_text("text,label\n" + "".join(rows))
    words = shlex.split(command.partition(">")[0])[1:]
    if words == ["--install-completion"]:  # would change this person's shell
        assert words[0] in cli("--help").stdout
        return
    if words[:2] == ["data", "cache"]:
        cli("prepare", "sample")
    if "--mirror" in words:  # of a server that there is not
        assert {"--mirror", "--sha256"} <= set(re.findall(r"--\w+", cli("prepare", "--help").stdout))
        return
    if words[:2] == ["data", "suspects"]:  # five trainings: test_suspects_command.py runs it
        assert {word for word in words if word.startswith("--")} <= set(
            re.findall(r"--\w+", cli("data", "suspects", "--help").stdout)
        )
        return
    if words[0] == "serve":  # until it is stopped: tests/serving runs it
        options = {word for word in words if word.startswith("--")}
        assert options <= set(re.findall(r"--[\w-]+", cli("serve", "--help").stdout))
        return
    if words[0] == "generate":  # of runs that there are not: test_pretrain_command.py runs it
        options = {word for word in words if word.startswith("--")}
        assert options <= set(re.findall(r"--[\w-]+", cli("generate", "--help").stdout))
        return
    if words[:2] == ["runs", "remove"]:  # of a run that others read: test_manners.py removes one
        assert refusal(words) is None
        return
    if words[0] == "train" and ("auto" in words or any(word.endswith(".csv") for word in words)):
        assert refusal(words) is None  # test_auto.py trains on a file
        return
    if (
        words[0] in ("train", "prepare", "pretrain") and "sample" not in words
    ):  # minutes on IMDb: parsed, and the experiment loaded
        settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        config = next((word for i, word in enumerate(words[1:], 1) if word[0] != "-" and words[i - 1][0] != "-"), None)
        settings = [setting for setting in settings if "KEY=VALUE" not in setting]
        if config is not None and config.endswith(".csv"):  # trains several models: the source is checked here
            config, settings = None, [*settings, f"data.source={config}"]
        assert load_experiment(config, settings)
        assert cli(words[0], "--help").returncode == 0
        return
    if words[0] == "train":  # `make demo` trains the sample in full
        words += ["--set", "train.max_steps=4", "--set", "model.encoder.width=8"]
    if words[0] == "eval":
        words[1:] = [quick_run.name, *words[1 if words[1:2] == [] or words[1].startswith("-") else 2 :]]
        if "--pairs" in words:
            header = "original,contrast,original_label,contrast_label\n"
            (tmp_path / "contrasts.csv").write_text(f"{header}good,bad,pos,neg\n")
    if words[0] in ("compare", "report", "ensemble"):
        runs = [word for word in words[1:] if word[0] not in "-…"]
        cli("eval", quick_run.name)
        for name in runs:
            shutil.copytree(quick_run, tmp_path / "runs" / name)
        words = [word for word in words if word != "…"]
        monkeypatch.setenv("SENTIMENT_RUNS", str(tmp_path / "runs"))
    if words[0] in ("reproduce", "export"):
        words[1] = quick_run.name
    if words[0] == "init":
        (tmp_path / "my.yaml").unlink(missing_ok=True)
    if "--run" in words:
        words[words.index("--run") + 1] = quick_run.name
    if "--merge" in words:
        cli(*(word for word in words if word != "--merge"))  # the parts that it merges
    if words[0] == "doctor":
        words += ["--seconds", "0.5"]
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout or {"--out", "--shard"} & set(words)
