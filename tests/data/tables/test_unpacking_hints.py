"""Files that another program unpacks or converts: the suggested command writes where nothing is."""

import shlex
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from sentiment_cli.data.files import file_kinds
from sentiment_cli.data.files.file_kinds import missing_file, not_text
from sentiment_cli.data.files.unpacking import start_of
from sentiment_cli.errors import DataError

OWN = "text,label\nmine,pos\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "own files"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("members", "there", "hint"),
    [
        (["train.csv", "test.csv"], ["train.csv", "test.csv"], "unzip two.zip -d two"),
        (["train.csv", "test.csv"], ["train.csv", "two/x.csv"], "unzip two.zip -d two-2"),
        (["README.md", "train.csv", "test.csv"], [], "unzip two.zip -d two"),
        (["README.md", "reviews.txt"], [], "unzip -p two.zip reviews.txt > reviews.txt"),
        (["readme.txt", "a/b c.txt"], ["b c.txt"], "unzip -p two.zip 'a/b c.txt' > 'b c-2.txt'"),
        (["README", "a[1].txt"], [], "unzip two.zip -d two"),
        (["pos/1.txt", "pos/2.txt", "neg/1.txt"], ["two/x.csv", "two-2/x.csv"], "unzip two.zip -d two-3"),
        (["README.md", "LICENSE"], [], "unzip two.zip -d two"),
    ],
)
def test_an_archive_of_several_files_is_unpacked_beside_what_is_there(members, there, hint: str) -> None:
    for name in there:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(OWN)
    with zipfile.ZipFile("two.zip", "w") as archive:
        for name in members:
            archive.writestr(name, f"of {name}")
    with pytest.raises(DataError, match=f"holds {len(members)} files, and one is read") as caught:
        start_of(Path("two.zip"))
    assert caught.value.hint == hint
    if shutil.which("unzip"):
        subprocess.run(hint, shell=True, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        assert all(Path(name).read_text() == OWN for name in there)
        assert Path(shlex.split(hint)[-1]).exists()


@pytest.mark.parametrize(
    ("name", "tool", "there", "hint"),
    [
        ("x.xlsx", ("libreoffice", "--convert-to", "csv"), [], "libreoffice --convert-to csv x.xlsx"),
        (
            "x.xlsx",
            ("libreoffice", "--convert-to", "csv"),
            ["x.csv", "x"],
            "libreoffice --convert-to csv x.xlsx --outdir x-2",
        ),
        ("x.pdf", ("pdftotext",), [], "pdftotext x.pdf"),
        ("x.pdf", ("pdftotext",), ["x.txt"], "pdftotext x.pdf x-2.txt"),
    ],
)
def test_a_converted_file_does_not_overwrite_another_one(monkeypatch, name, tool, there, hint: str) -> None:
    monkeypatch.setattr(file_kinds.shutil, "which", lambda name: f"/usr/bin/{name}")
    for one in there:
        Path(one).write_text(OWN)
    assert not_text(Path(name), "a document", tool).hint == hint


def test_a_download_does_not_overwrite_a_file() -> None:
    address = "https://example.org/r.csv?x=1"
    assert missing_file(Path(address), "--file").hint == f"curl -LO {shlex.quote(address)}"
    Path("r.csv").write_text(OWN)
    assert missing_file(Path(address), "--file").hint == f"curl -Lo r-2.csv {shlex.quote(address)}"
