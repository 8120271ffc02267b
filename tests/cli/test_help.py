"""Help: whole sentences at 80 columns, groups, values by names that people write, examples, completion."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hints import refusal

import sentiment_cli
from sentiment_cli.cli import build_app, whole_command
from sentiment_cli.cli.topics import TOPICS, topic_lines
from sentiment_cli.config.nearest import setting_keys
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.recipes import recipe_names

MAIN_HELP = """\
Usage: sentiment [OPTIONS] COMMAND [ARGS]...

  Train your own text classifiers, score them and use them.

  Examples:
    sentiment train sample
    sentiment eval
    sentiment predict "I just really loved the movie"

Start here:
  train      Train a model on your data, or an LSTM on the IMDb reviews.
  predict    Classify sentences, files or standard input.
  eval       Score a run on the test reviews or on your own labelled file.

Understand:
  compare    Test whether runs differ in accuracy.
  report     Write an HTML report or a model card.
  runs       List, inspect and delete trained runs.

Data and experiments:
  prepare    Download and tokenize the data without training.
  init       Write a commented experiment file to start from.
  tune       Search the settings of an experiment on validation.
  models     List model types, or count a model's parameters.
  data       Inspect, check and cache training data.
  recipes    List, print and copy the built-in experiments.
  config     Show, check and compare experiments.

Share:
  serve      Answer over HTTP with a trained model, and show a page.
  export     Export a model as ONNX or as one portable file.
  ensemble   Combine several runs into one model.
  reproduce  Retrain a run and check that the result is identical.
  track      Give a run's figures to MLflow, W&B or TensorBoard.

Unlabelled text:
  pretrain   Train a language model or word vectors on unlabelled text.
  generate   Write text with a pretrained language model.

Help:
  doctor     Check this machine: versions, GPU, memory, training speed.
  help       Explain a command or a topic, or list them all.

Options:
  -V, --version              Print the version and exit.
  -q, --quiet                Say nothing but warnings and errors.
  -v, --verbose              Say more: versions, fingerprints.
  --color auto|always|never  When to use colours; without it, auto.
  --install-completion       Install completion for the current shell.
  --show-completion          Show completion for the current shell, to copy it
                             or customize the installation.
  -h, --help                 Show this message and exit.
"""


def _all(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, one in getattr(command, "commands", {}).items():
        if not one.hidden:
            yield from _all(one, (*path, name))


COMMANDS = dict(_all(whole_command()))


def test_the_commands_come_in_groups_and_no_sentence_is_cut(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert typed("--help").out == MAIN_HELP


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "sentiment")
@pytest.mark.parametrize("columns", [80, 120])
def test_help_shows_whole_sentences_within_the_terminal(typed, path, columns: int, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    said = typed(*path, "-h")
    assert said.code == 0
    assert all(len(line) <= 80 for line in said.out.splitlines()), max(said.out.splitlines(), key=len)
    assert "..." not in said.out.replace("[ARGS]...", "").replace("RUN...", "").replace("TEXT...", "").replace(
        "CONFIG...", ""
    ).replace("NAME...", "").replace("TOPIC...", "")
    for mark in ("<", "{", "range", "list[", "x>=", "[required]"):
        assert mark not in said.out, mark
    for name, command in getattr(COMMANDS[path], "commands", {}).items():
        if not command.hidden:
            (first,) = [line for line in said.out.splitlines() if line.startswith(f"  {name} ")]
            assert first.endswith(".")
            assert command.help.startswith(first.removeprefix(f"  {name}").strip())
    if not hasattr(COMMANDS[path], "commands"):
        assert f"    sentiment {' '.join(path)}" in said.out


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "sentiment")
def test_every_command_can_be_quiet_verbose_and_coloured(typed, path) -> None:
    out = typed(*path, "-h").out
    for option in ("-q, --quiet", "-v, --verbose", "--color auto|always|never"):
        assert option in out


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_fits_the_terminal(name: str, width: int) -> None:
    lines = list(topic_lines(TOPICS[name], width))
    assert lines[0].startswith(TOPICS[name].what[:40])
    assert all(len(line) <= width for line in lines), max(lines, key=len)


@pytest.mark.parametrize("words", [["exit-codes"], ["exit", "codes"], ["Exit_Codes"], ["exit codes"]])
def test_a_topic_is_found_however_it_is_written(typed, words: list[str]) -> None:
    said = typed("help", *words)
    assert said.code == 0
    assert "  5            training diverged" in said.out


def test_the_topics_are_listed_with_the_commands(typed) -> None:
    out = typed("help").out
    assert all(f"\n  {name} " in out for name in TOPICS)
    missing = typed("help", "exit-code")
    assert (missing.code, missing.hint) == (2, "sentiment help exit-codes")
    assert "there is no command or topic 'exit-code'. Did you mean 'exit-codes'?" in missing.error


def test_topics_name_what_there_is(typed) -> None:
    text = " ".join("\n".join("\n".join(topic_lines(topic, 200)) for topic in TOPICS.values()).split())
    for command in re.findall(r"`(sentiment [^`]+)`", text):
        assert refusal(shlex.split(command)[1:]) is None, command
    for key in re.findall(r"\b(?:data|train|model)\.\w+\b", text):
        assert key in setting_keys()
    for variable in re.findall(r"SENTIMENT_\w+", text):
        assert variable in (Path(sentiment_cli.__file__).parent / "config" / "paths.py").read_text()


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("train", "[OPTIONS] [CONFIG|FILE]"),
        ("predict", "[OPTIONS] [TEXT...]"),
        ("eval", "[OPTIONS] [RUN]"),
        ("compare", "[OPTIONS] RUN..."),
        ("report", "[OPTIONS] [RUN...]"),
        ("config diff", "[OPTIONS] A B"),
        ("recipes copy", "[OPTIONS] NAME"),
        ("runs remove", "[OPTIONS] RUN..."),
    ],
)
def test_usage_names_arguments_as_people_do(typed, command: str, usage: str) -> None:
    first = typed(*command.split(), "--help").out.splitlines()[0]
    assert first == f"Usage: sentiment {command} {usage}"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("train", ["--nproc N", "--seeds N", "--set KEY=VALUE", "--resume RUN", "[2 or more]"]),
        ("predict", ["--format jsonl|csv|tsv|parquet|text", "--html FILE", "--safe-csv / --no-safe-csv"]),
        ("generate", ["--temperature X", "--top-p P", "[0 to 1]", "-n, --texts N"]),
        ("doctor", ["--seconds S", "[default: 10; 0.1 to 600]"]),
    ],
)
def test_options_name_their_values_as_people_do(typed, command: str, shown: list[str]) -> None:
    out = " ".join(typed(command, "--help").out.split())
    for one in shown:
        assert one in out


def _completed(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what bash would be offered for the last word of a line."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    monkeypatch.setenv("_SENTIMENT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    with pytest.raises(SystemExit):
        build_app()(prog_name="sentiment", standalone_mode=False)
    return capsys.readouterr().out.split()


@pytest.fixture
def two_runs() -> None:
    for name in ("mine", "mine-2"):
        (runs_dir() / name).mkdir(parents=True)
        (runs_dir() / name / "experiment.yaml").write_text("name: mine\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sentiment train sam", ["sample"]),
        ("sentiment config show tuto", ["tutorial-rnn"]),
        ("sentiment recipes show lstm-g", ["lstm-grid"]),
        ("sentiment train my", ["my.yaml"]),
        ("sentiment train --set train.l", [f"{key}=" for key in setting_keys() if key.startswith("train.l")]),
        ("sentiment prepare -s vocabulary.s", ["vocabulary.size="]),
        ("sentiment models --set text.lower", ["text.lowercase="]),
        ("sentiment eval mi", ["mine", "mine-2"]),
        ("sentiment predict --run mine-", ["mine-2"]),
        ("sentiment runs show mi", ["mine", "mine-2"]),
        ("sentiment train --resume mi", ["mine", "mine-2"]),
        ("sentiment compare mine mi", ["mine", "mine-2"]),
        ("sentiment report --run mine-", ["mine-2"]),
        ("sentiment eval --split v", ["valid"]),
        ("sentiment rec", ["recipes"]),
    ],
)
def test_the_shell_completes_recipes_runs_and_settings(
    line: str, expected: list[str], two_runs, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text("name: my\n")
    assert _completed(line, monkeypatch, capsys) == expected


def test_every_recipe_is_offered(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert _completed("sentiment recipes copy ", monkeypatch, capsys) == recipe_names()


def test_help_imports_nothing_slow() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "sentiment_cli", "eval", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"})
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert done.returncode == 0
    assert "sentiment_cli" in imported
    assert not imported & {"torch", "pydantic", "yaml", "rich", "numpy", "onnxruntime"}
