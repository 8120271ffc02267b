"""The main screens word for word at 60, 80 and 120 columns, and no line wider than the terminal.

After a change that is meant: `SENTIMENT_GOLDEN=write pytest tests/cli/test_golden_screens.py`, then read the diff.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment_cli import console
from sentiment_cli.cli.closing import say_done
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.evaluation.export_quality import Export, GraphQuality, print_exports
from sentiment_cli.layout import cell_width
from sentiment_cli.training.history import table_header, table_line

GOLDEN = Path(__file__).parent / "golden"
WIDTHS = (60, 80, 120)
TEXT = "The film was good, and the long second half of it was a pleasure that bored nobody in the room at all."
ROW = {"step": 104, "train_loss": 0.6931, "valid_loss": 0.61, "valid_accuracy": 0.7312, "tokens_per_second": 20_318.0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two linear runs on a small table, both scored: all their figures are counts of rows."""
    from sentiment_cli.config.loader import load_experiment
    from sentiment_cli.evaluation.evaluate import evaluate
    from sentiment_cli.workflows.train import fit

    root = tmp_path_factory.mktemp("screens")
    rows = [f"{'lovely bright' if i % 2 else 'awful dull'} film number {i % 150}" for i in range(200)]
    labels = ["good" if i % 2 ^ (i % 17 == 0) else "bad" for i in range(200)]
    lines = [f"{text},{label}\n" for text, label in zip(rows, labels, strict=True)]
    (root / "films.csv").write_text("text,label\n" + "".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_DATA", str(root / "data"))
        patch.setenv("SENTIMENT_RUNS", str(root / "runs"))
        for name, longest in (("words", 1), ("word-pairs", 2)):
            settings = [f"data.source={root / 'films.csv'}", f"model.linear.ngrams={longest}"]
            evaluate(fit(load_experiment("linear", settings), name).directory, "test", "sentiment eval")
    return root


def graph(n_bytes: int, accuracy: float, same: float) -> GraphQuality:
    return GraphQuality(
        n_bytes, 0.0082, 0.00014, 14_049.0, 1e-6, 204, accuracy, (accuracy - 0.05, accuracy + 0.04), same, 2.5e-7
    )


def _train_ended(typed: Callable[..., object], root: Path) -> None:
    from sentiment_cli.config.loader import load_experiment

    experiment = load_experiment("sample")
    console.say("data: prepared before, in data/cache/sample-49df791dbf7d6b2d")
    console.say("run: runs/words on cpu, 2 threads, bf16, 89,025 parameters, 1,796 train and 204 valid rows")
    console.say(table_header(experiment, console.talk_width()))
    for epoch in (1, 2):
        row = {**ROW, "epoch": epoch, "seconds": 4.1 * epoch, "best": epoch == 2}
        console.say(table_line(row, experiment, console.talk_width()))
    say_done(runs_dir() / "words", 988.0, "epoch 2 of 7", None)


def _export(typed: Callable[..., object], root: Path) -> None:
    print_exports(
        {
            "fp32": Export(graph(1_358_361, 0.8873, 1.0), (), Path("words-fp32.onnx"), None),
            "int8": Export(graph(408_586, 0.8725, 0.985), ("LSTM",), Path("words-int8.onnx"), None),
        }
    )


SCREENS: dict[str, Callable[[Callable[..., object], Path], object]] = {
    "help": lambda typed, root: typed("--help"),
    "train-ended": _train_ended,
    "eval": lambda typed, root: typed("eval", "words"),
    "compare": lambda typed, root: typed("compare", "words", "word-pairs"),
    "export": _export,
    "recipes-list": lambda typed, root: typed("recipes", "list"),
    "runs-list": lambda typed, root: typed("runs", "list"),
    "data-check": lambda typed, root: typed("data", "check", "linear", "--data", str(root / "films.csv")),
    "predict-explain-trace": lambda typed, root: typed("predict", "--run", "three/model", "--explain", "--trace", TEXT),
}


@pytest.fixture
def lines(root: Path, three_labels: Path, monkeypatch, capsys) -> Callable[..., list[str]]:
    """Return what a screen shows on a terminal of some columns, with what differs between machines masked."""
    shutil.copytree(root / "runs", runs_dir())
    monkeypatch.chdir(three_labels.parent)

    def shown(name: str, width: int) -> list[str]:
        from sentiment_cli import cli

        def typed(*args: str) -> None:
            monkeypatch.setattr(sys, "argv", ["sentiment", *args])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            assert not ended.value.code

        monkeypatch.setattr(cli, "spare_pydantic", lambda: None)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(console, "terminal_width", lambda: width)
        monkeypatch.setattr(console, "talk_width", lambda: width)
        monkeypatch.setattr(console, "has_colour", lambda: name == "predict-explain-trace")
        capsys.readouterr()
        SCREENS[name](typed, root)
        out, err = capsys.readouterr()
        text = re.sub(r"\x1b\[[\d;]*m", "", err + out if name == "train-ended" else out)
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "2026-11-30 09:30", text)
        return text.splitlines()

    return shown


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_is_as_it_was_and_fits_the_terminal(name: str, width: int, lines) -> None:
    found = lines(name, width)
    longest = max(found, key=cell_width)
    assert cell_width(longest) <= width, longest
    path = GOLDEN / f"{name}-{width}.txt"
    if os.environ.get("SENTIMENT_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(found) + "\n", "utf-8")
    assert found == path.read_text("utf-8").splitlines()


@pytest.mark.parametrize("name", SCREENS)
def test_no_word_is_broken_at_any_width(name: str, lines) -> None:
    """What a narrow terminal shows are words of the widest: some may be left out, and none is new."""
    words = set(" ".join(lines(name, 500)).split())
    narrow = set(" ".join(lines(name, 60)).split())
    assert narrow - words <= {"3"}  # the times that the test rows were opened
