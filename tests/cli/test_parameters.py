import re
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer import Argument, Option
from typer.testing import CliRunner

from sentiment_cli import cli
from sentiment_cli.cli.parameters import spare_pydantic


def test_invariant_12_a_prediction_imports_neither_torch_nor_anything_else_that_is_slow(three_labels: Path) -> None:
    program = (
        "import sys; from sentiment_cli.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "predict", "--run", three_labels / "model", "--workers", "1", "so good"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split("\t")[0]) == (0, "good")
    imported = set(done.stderr.splitlines()[-1].split())
    assert {"onnxruntime", "tokenizers"} <= imported
    assert not imported & {"torch", "pydantic", "onnx", "yaml", "rich", "safetensors"}
    commands = {f"sentiment_cli.cli.{name}" for panel in cli._COMMANDS.values() for name in panel}
    assert imported & commands == {"sentiment_cli.cli.predict"}, "other commands take time to load"
    tables = {"data.tables.readers", "inference.batch.inputs", "inference.batch.parts", "config.schema"}
    assert not imported & {f"sentiment_cli.{name}" for name in tables}, "a text needs no reader of files"


def test_each_command_runs_without_the_others_and_has_the_same_help(capsys) -> None:
    names = [name for panel in cli._COMMANDS.values() for name in panel]
    whole = cli.whole_command().commands
    assert {*names, "version", "help"} == whole.keys()
    for name in names:
        alone = cli._typed_command([name, "--help"]).commands
        assert alone.keys() == {name, "version", "help"}
        assert _help_of(alone[name]) == _help_of(whole[name])
    for words in (["--version"], ["trian"], ["help", "train"]):
        assert cli._typed_command(words) is cli.whole_command()


def test_the_list_of_commands_is_that_of_all_and_loads_none(capsys) -> None:
    code = "import sys, sentiment_cli.cli as cli; cli._list_of_commands(); print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split())
    assert "sentiment_cli.cli" in loaded
    assert not loaded & {f"sentiment_cli.cli.{name}" for panel in cli._COMMANDS.values() for name in panel}
    for words in ([], ["-h"], ["--help"]):
        assert _help_of(cli._typed_command(words)) == _help_of(cli.whole_command())


def _help_of(command: Any) -> str:
    return command.get_help(
        command.make_context("sentiment", [], resilient_parsing=True, help_option_names=["-h", "--help"])
    )


class Colour(StrEnum):
    red = "red"
    blue = "blue"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", (None, None, Colour.red, 7, None, False)),
        ("a b --name x", (["a", "b"], "x", Colour.red, 7, None, False)),
        ("--colour blue --number 9 --path a/b --on", (None, None, Colour.blue, 9, Path("a/b"), True)),
        ("--number 007", (None, None, Colour.red, 7, None, False)),
        ("--number -3", (None, None, Colour.red, -3, None, False)),
        ("--number 99", "99 is not in the range|less than or equal to 10"),
        ("--number x", "Invalid value"),
        ("--colour green", "Invalid value"),
    ],
)
def test_what_is_to_be_a_number_a_path_or_a_choice_still_becomes_one(words: str, expected: Any, monkeypatch) -> None:
    if hasattr(typer.core, "_TyperParameter"):
        monkeypatch.setattr(
            typer.core._TyperParameter, "get_runtime_param", typer.core._TyperParameter.get_runtime_param
        )
    spare_pydantic()
    found: list[Any] = []
    app = typer.Typer()

    @app.command()
    def command(
        texts: Annotated[list[str] | None, Argument()] = None,
        name: Annotated[str | None, Option()] = None,
        colour: Annotated[Colour, Option()] = Colour.red,
        number: Annotated[int, Option(max=10)] = 7,
        path: Annotated[Path | None, Option()] = None,
        on: Annotated[bool, Option("--on")] = False,
    ) -> None:
        found.append((texts, name, colour, number, path, on))

    done = CliRunner().invoke(app, words.split())
    if isinstance(expected, str):
        assert done.exit_code == 2
        assert re.search(expected, done.output)
    else:
        assert (done.exit_code, found) == (0, [expected]), done.output
