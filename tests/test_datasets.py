"""The benchmarks of data sets: what they train and score, and the page that is written from their results."""

import importlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import forking
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[ModuleType, ModuleType]:
    """Both scripts, which write their results and the page into a folder of the test."""
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    datasets, tiny_sets = (importlib.import_module(name) for name in ("datasets", "tiny_sets"))
    for name in ("datasets", "tiny_sets"):
        monkeypatch.delitem(sys.modules, name)
    for module in (datasets, tiny_sets):
        monkeypatch.setattr(module, "TINY", tmp_path / "tiny-sets.json")
    monkeypatch.setattr(datasets, "RESULTS", tmp_path / "datasets.json")
    monkeypatch.setattr(datasets, "PAGE", tmp_path / "datasets.md")
    return datasets, tiny_sets


def write_set(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    for split, n in (("train", 60), ("test", 20)):
        rows = [
            f"a {'lovely' if i % 3 else 'dreadful'} {split} number {i},{'good' if i % 3 else 'bad'}" for i in range(n)
        ]
        (folder / f"{name}-{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")


def test_sets_are_trained_scored_and_written_to_the_page(
    scripts: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets, tiny_sets = scripts
    write_set(tmp_path / "sets", "films")
    start = subprocess.run

    def start_or_fork(command: list[str], **settings: Any) -> Any:
        """Score in a fork, which need not import what is loaded; train, whose CPU seconds are read, as it is typed."""
        if "eval" not in command:
            return start(command, **settings)
        done = forking.run(command[command.index("eval") :], b"", settings["env"])
        assert done.returncode == 0, done.stderr
        return done

    monkeypatch.setattr(subprocess, "run", start_or_fork)
    monkeypatch.setattr(sys, "argv", ["datasets.py", str(tmp_path / "sets"), "--seeds", "0", "1"])
    datasets.main()
    found = json.loads((tmp_path / "datasets.json").read_text())["films"]
    assert (found["train"], found["test"], found["labels"]) == (60, 20, 2)
    ours = found["seeds"]["1"]
    assert set(found["seeds"]) == {"0", "1"}
    assert set(found["references"]) >= {datasets.WORDS, datasets.CHARACTERS}
    assert ours["accuracy"] > 0.9
    assert ours["kept"] in ours["tried"]
    assert all(one["test_accuracy"] > 0.9 for one in ours["tried"].values())
    assert 0 < ours["cpu_seconds"] < 600
    monkeypatch.setattr(
        sys, "argv", ["tiny_sets.py", str(tmp_path / "sets"), "--only", "films", "--rows", "40", "--draws", "2"]
    )
    tiny_sets.main()
    draws = json.loads((tmp_path / "tiny-sets.json").read_text())["films-40"]["draws"]
    assert len(draws) == 2
    page = (tmp_path / "datasets.md").read_text()
    assert f"| films | 60 / 20 | 2 | 2 | {100 * ours['accuracy']:.1f} (" in page
    assert "| films | 40 | 2 | " in page


def test_a_draw_has_each_labels_share_and_no_row_twice(scripts: tuple[ModuleType, ModuleType]) -> None:
    rows = [(f"text {i}", "rare" if i % 10 == 0 else "common") for i in range(500)]
    drawn = scripts[1].draw(rows, 50, 3)
    assert Counter(label for _, label in drawn) == {"common": 45, "rare": 5}
    assert len(set(drawn)) == 50
    assert drawn == scripts[1].draw(rows, 50, 3) != scripts[1].draw(rows, 50, 4)
    assert Counter(label for _, label in scripts[1].draw(rows, 4, 0))["rare"] == 1


def test_the_gain_is_over_the_reference_that_is_better_on_average(scripts: tuple[ModuleType, ModuleType]) -> None:
    datasets, _ = scripts
    of = [(0.8, 0.7, 0.5), (0.8, 0.6, 0.7), (0.6, 0.7, 0.65)]
    models = (datasets.OURS, datasets.WORDS, datasets.CHARACTERS)
    draws = [{model: {"accuracy": value} for model, value in zip(models, values, strict=True)} for values in of]
    gain, error = datasets.gain_of(draws)
    assert gain == pytest.approx((0.1 + 0.2 - 0.1) / 3)
    assert error == pytest.approx(0.15275 / 3**0.5, abs=1e-4)


def test_the_page_is_what_the_script_writes_from_the_results(scripts: tuple[ModuleType, ModuleType]) -> None:
    results = ROOT / "benchmarks" / "results"
    found: list[dict[str, Any]] = [
        json.loads((results / name).read_text()) for name in ("datasets.json", "tiny-sets.json")
    ]
    assert (ROOT / "docs" / "datasets.md").read_text() == scripts[0].page(*found)
