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

from sentiment_cli.cli.parameters import spare_pydantic


def test_invariant_12_a_prediction_imports_neither_torch_nor_anything_else_that_is_slow(three_labels: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "sentiment_cli", "predict", "--run", three_labels / "model"]
    done = subprocess.run([*command, "so good"], capture_output=True, text=True)
    imported = set(re.findall(r"\|\s+(\w+)[\w.]*$", done.stderr, re.MULTILINE))
    assert (done.returncode, done.stdout.split("\t")[0]) == (0, "good")
    assert {"onnxruntime", "tokenizers"} <= imported
    assert not imported & {"torch", "pydantic", "onnx", "yaml", "rich", "safetensors"}


class Colour(StrEnum):
    red = "red"
    blue = "blue"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", (None, None, Colour.red, 7, None, False)),
        ("a b --name x", (["a", "b"], "x", Colour.red, 7, None, False)),
        ("--colour blue --number 9 --path a/b --on", (None, None, Colour.blue, 9, Path("a/b"), True)),
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
