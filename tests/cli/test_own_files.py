"""Files that the commands write for a user: one that they did not write themselves stays as it is."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentiment_cli.cli.data import info
from sentiment_cli.cli.export import Choice, export
from sentiment_cli.cli.predict import predict
from sentiment_cli.cli.recipes import copy
from sentiment_cli.cli.report import report
from sentiment_cli.errors import UsageError
from sentiment_cli.evaluation.label_errors import check_out
from sentiment_cli.storage import store
from sentiment_cli.storage.sealed_pages import is_sealed, sealed

MINE = b"<!doctype html>\n<p>my own page, of years of work</p>\n"
QUICK = {"run": "quick", "text": ["good"], "explain": True}

COMMANDS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "report": ("page.html", lambda path: report(["quick"], out=path)),
    "model card": ("card.md", lambda path: report(["quick"], markdown=True, out=path)),
    "comparison": ("both.html", lambda path: report(["quick", "quick-2"], out=path)),
    "plot as PNG": ("plot.png", lambda path: info("sample", plot=path)),
    "plot as SVG": ("plot.svg", lambda path: info("sample", plot=path)),
    "plot as PDF": ("plot.pdf", lambda path: info("sample", plot=path)),
    "page of reasons": ("why.html", lambda path: predict(**QUICK, html=path)),
    "reasons": ("why.jsonl", lambda path: predict(**QUICK, out=path)),
    "reasons as lines": ("why.txt", lambda path: predict(**QUICK, out=path)),
}
NEVER_AGAIN: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "packed model": ("x.model", lambda path: export("quick", pack=path)),
    "graph": ("x.onnx", lambda path: export("quick", precision=[Choice.fp32], out=path)),
    "recipe": ("x.yaml", lambda path: copy("default", to=path)),
    "suspects": ("x.jsonl", check_out),
}


@pytest.fixture(autouse=True)
def runs(quick_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("quick", "quick-2"):
        shutil.copytree(quick_run, tmp_path / "runs" / name)


@pytest.mark.parametrize("what", [*COMMANDS, *NEVER_AGAIN])
def test_a14_a_file_of_a_users_is_not_replaced(what: str, tmp_path: Path) -> None:
    """A14: only files of our own making are overwritten."""
    name, command = (COMMANDS | NEVER_AGAIN)[what]
    (tmp_path / name).write_bytes(MINE)
    with pytest.raises(UsageError, match=rf"{name} (is|exists)"):
        command(tmp_path / name)
    assert (tmp_path / name).read_bytes() == MINE


@pytest.mark.parametrize("what", COMMANDS)
def test_a_file_that_the_command_wrote_is_replaced(what: str, tmp_path: Path) -> None:
    name, command = COMMANDS[what]
    command(tmp_path / name)
    first = (tmp_path / name).read_bytes()
    command(tmp_path / name)
    assert len((tmp_path / name).read_bytes()) == len(first)


@pytest.mark.parametrize("what", COMMANDS)
def test_a_directory_is_not_replaced(what: str, tmp_path: Path) -> None:
    name, command = COMMANDS[what]
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match="is a directory"):
        command(tmp_path / name)


@pytest.mark.parametrize("name", ["page.html", "card.md"])
def test_a_page_that_was_edited_is_not_replaced(name: str, tmp_path: Path) -> None:
    _, command = COMMANDS["report" if name == "page.html" else "model card"]
    command(tmp_path / name)
    edited = (tmp_path / name).read_bytes().replace(b"quick", b"my best model", 1)
    (tmp_path / name).write_bytes(edited)
    with pytest.raises(UsageError, match="not overwritten"):
        command(tmp_path / name)
    assert (tmp_path / name).read_bytes() == edited


def test_the_page_of_reasons_does_not_replace_the_input(tmp_path: Path) -> None:
    (tmp_path / "texts.html").write_text("good film\n")
    for options in ({"html": tmp_path / "texts.html"}, {"out": tmp_path / "texts.txt"}):
        shutil.copy(tmp_path / "texts.html", tmp_path / "texts.txt")
        (path,) = options.values()
        with pytest.raises(UsageError, match="is the file that is read"):
            predict(run="quick", file=str(path), explain=True, **options)
        assert path.read_text() == "good film\n"


def test_removing_a_file_removes_no_directory_and_no_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept.txt").write_text("kept")
    (tmp_path / "link").symlink_to("folder/kept.txt")
    for name in ("folder", "link", "missing"):
        store.remove_file(tmp_path / name)
    assert (tmp_path / "link").read_text() == "kept"
    store.remove_file(tmp_path / "folder" / "kept.txt", lambda path: False)
    assert (tmp_path / "link").read_text() == "kept"
    store.remove_file(tmp_path / "folder" / "kept.txt")
    assert not (tmp_path / "folder" / "kept.txt").exists()


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_a_seal_is_broken_by_any_change(form: Any, tmp_path: Path) -> None:
    path, data = tmp_path / "x", sealed(b"# what was written\n", form)
    for changed in (data, *(data[:i] + b"X" + data[i + 1 :] for i in range(len(data))), data + b"\n", b"X" + data):
        path.write_bytes(changed)
        assert is_sealed(path) == (changed == data)
