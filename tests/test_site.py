"""The site of `make docs`, the notebook, the tutorial and the picture of the terminal: complete, current, offline."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hints import refusal

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FROM_ABOVE = {"overview.md", "contributing.md", "changelog.md"}
QUICK = ["--set", "train.epochs=1", "--set", "model.encoder.width=8", "--set", "model.embedding.width=8"]


def _pages(nav: Any) -> set[str]:
    if isinstance(nav, str):
        return {nav}
    return set().union(*map(_pages, nav.values() if isinstance(nav, dict) else nav))


def test_every_page_is_in_the_navigation_once() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert _pages(config["nav"]) == {path.name for path in DOCS.glob("*.md")} | FROM_ABOVE
    assert config["theme"]["font"] is False
    assert config["strict"] is True


def test_links_of_a_page_lead_to_pages_pictures_and_the_notebook() -> None:
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_site_is_built_and_loads_nothing_from_the_network(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed: pip install 'sentiment-cli[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "site").iterdir()}
    assert {"index.html", "tutorial.html", "overview.html", "terminal.svg", "notebook.ipynb"} <= names
    for page in (tmp_path / "site").glob("*.html"):
        assert not re.findall(r"<(?:script|img|iframe)[^>]*src=\"?https?:", page.read_text("utf-8")), page.name
        assert not re.findall(r"<link[^>]*rel=\"?(?:stylesheet|preconnect)[^>]*https?:", page.read_text("utf-8")), page


def test_the_notebook_runs(monkeypatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((DOCS / "notebook.ipynb").read_text("utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in notebook["cells"])
    names: dict[str, Any] = {}
    for number, code in enumerate(cells):
        exec(compile(code.replace('"train.epochs": 8', '"train.epochs": 1'), f"cell {number}", "exec"), names)
    out, talk = capsys.readouterr()
    assert re.search(r"notebook \d\d\.\d\d% on validation", out)
    assert "on 1,000 test rows" in out
    assert "train.lrr is not a setting (did you mean train.lr?)" in out
    assert "epoch   step  train loss" in talk  # the progress that a notebook shows


def test_the_first_part_of_the_tutorial_can_be_typed_as_it_stands(typed, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    part = (DOCS / "tutorial.md").read_text("utf-8").partition("## Ten minutes")[2].partition("\n## ")[0]
    commands = [line for block in re.findall(r"^```\n(.*?)^```", part, re.M | re.S) for line in block.splitlines()]
    assert len(commands) == 10
    for command in commands:
        words = shlex.split(command)[1:]
        said = typed(*words, *(QUICK if words[0] == "train" else []))
        assert said.code == 0, (command, said.error)


def test_the_commands_of_the_tutorial_s_table_are_those_of_the_readme() -> None:
    """A figure that is measured anew in one place is not forgotten in the other."""
    rows = {}
    for name in ("README.md", "docs/tutorial.md"):
        text = (ROOT / name).read_text("utf-8")
        found = re.findall(r"^\|[^|]*\|\s*\**(\d\d\.\d\d)[^|]*\|[^|]*\|\s*`(sentiment [^`]+)`", text, re.M)
        rows[name] = {command: figure for figure, command in found}
        assert len(found) >= 7
    for command, figure in rows["docs/tutorial.md"].items():
        assert refusal(shlex.split(command)[1:]) is None
        assert rows["README.md"].get(command, figure) == figure, command


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("terminal_picture", ROOT / "benchmarks" / "terminal_picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["terminal_picture"] = module
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_of_commands_that_work_and_asks_for_nothing(picture: ModuleType) -> None:
    text = picture.PICTURE.read_text("utf-8")
    root = ElementTree.fromstring(text)
    shown = "".join(root.itertext())
    for command in picture.COMMANDS:
        assert refusal(list(command)) is None
        assert picture._typed(command) in shown
    assert "accuracy" in shown
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(script|image|foreignObject|use)|@import|url\(", text)
    assert not re.search(r"(?<![\w.~/-])/\w[\w.-]*/", shown)  # no absolute path


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("a\r\nb\r\n", ["a", "b", ""]),
        ("working 10 %\r\x1b[2Kdone\r\n", ["done", ""]),
        ("one\r\ntwo\r\n\x1b[1A\x1b[2Kthree\r\n", ["one", "three", ""]),
        ("\x1b[?25la\tb\x1b[?25h", ["a       b"]),
        ("\x1b[1;31mred\x1b[0m plain", ["red plain"]),
    ],
)
def test_a_screen_is_what_a_terminal_would_show(picture: ModuleType, output: str, expected: list[str]) -> None:
    assert ["".join(sign for sign, _ in row) for row in picture.screen(output)] == expected


@pytest.mark.parametrize(
    ("codes", "colour", "back"),
    [
        ([31], "#f2777a", None),
        ([38, 2, 1, 2, 255], "#0102ff", None),
        ([48, 5, 231], None, "#ffffff"),
        ([48, 5, 232], None, "#080808"),
    ],
)
def test_colours_are_those_of_the_sequences(picture: ModuleType, codes: list[int], colour, back) -> None:
    style = picture.restyled(picture.Style(), codes)
    assert style.colour == (colour or picture.Style().colour)
    assert style.back == back
    assert picture.restyled(style, [0]) == picture.Style()
