"""The Python interface: its documented snippets run, it imports nothing slow, and it gives what the commands give."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sentiment_cli as sentiment
from sentiment_cli.errors import UsageError

ROOT = Path(__file__).parents[1]


def test_the_documented_snippets_run(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"sentence {n} I {'loved' if n % 2 else 'hated'} the movie,{'good' if n % 2 else 'bad'}" for n in range(80)]
    (tmp_path / "my.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    snippets = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/python.md").read_text(), re.M | re.S)
    assert len(snippets) > 3
    for code in snippets:  # later ones load runs of earlier ones
        exec(compile(code, "docs/python.md", "exec"), {})
        assert capsys.readouterr().out


def test_the_readme_shows_the_same_calls(three_labels: Path, tmp_path: Path, monkeypatch) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    exec(code.replace("imdb-lstm.model", str(three_labels / "model")), {})


@pytest.mark.parametrize(
    "statement", ["import sentiment_cli", "import sentiment_cli.api", "from sentiment_cli import load, train"]
)
def test_importing_loads_nothing_slow_and_sets_the_spin_count(statement: str) -> None:
    code = f"{statement}; import os, sys; print(os.environ['GOMP_SPINCOUNT'], *sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    count, *modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout.split()
    assert count == "1000"
    assert not {"torch", "numpy", "yaml", "pydantic", "onnxruntime", "typer"} & set(modules)


def test_a_spin_count_of_the_users_own_stays() -> None:
    code = "import sentiment_cli, os; print(os.environ['GOMP_SPINCOUNT'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "GOMP_SPINCOUNT": "7"}
    )
    assert done.stdout == "7\n"


def test_a_model_answers_as_the_command_does(typed, three_labels: Path) -> None:
    model = sentiment.load(three_labels / "model")
    assert model.labels == ("so-so", "good", "bad")
    answer, other = model.predict(["so good", "bad"])
    assert (answer.label, other.label) == ("good", "bad")
    assert typed("predict", "--run", str(three_labels / "model"), "so good").out.split()[0] == "good"
    assert [word.text for word in model.explain("so good").words] == ["so", "good"]


def test_one_text_instead_of_a_list_is_refused(three_labels: Path) -> None:
    with pytest.raises(TypeError, match=r"pass \[text\]"):
        sentiment.load(three_labels / "model").predict("so good")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sentiment.train("sample", set={"train.lrr": 1}), "train.lrr is not a setting"),
        (lambda: sentiment.train("smaple"), "there is no experiment 'smaple'"),
        (lambda: sentiment.load("nosuch"), "there is no run 'nosuch'"),
    ],
)
def test_mistakes_are_usage_errors(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_the_package_has_no_other_names() -> None:
    assert {"load", "score", "train", "Model", "Run"} <= set(dir(sentiment))
    with pytest.raises(AttributeError, match="has no attribute 'predict'"):
        _ = sentiment.predict
