"""Reviews kept on disk once: as they came, found again by their bytes, made anew when these change."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sentiment_cli.config.paths import data_dir
from sentiment_cli.data.corpus import raw_texts
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.corpus.raw_texts import key_of, prepare_texts
from sentiment_cli.data.sources.own_files import OwnFiles
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.errors import DataError

# Robustness case B08: what came in, and what is kept of it.
ODD_TEXTS = [
    (b"a \x00 b", "a \x00 b"),
    (rb"a \ud83c b", "a \ufffd b"),  # a lone surrogate, spelt in JSON
    (rb"\ud83c\udfac", "🎬"),
    (b"\xc0\xaf", "\ufffd\ufffd"),  # overlong
    (b"caf\xc3", "caf\ufffd"),  # cut off
    (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),  # a surrogate in UTF-8's clothes
    (b"\xef\xbb\xbfa", "\ufeffa"),
    (rb"a\r\nb\rc", "a\r\nb\rc"),
    ("a\u2028b\u2029c\x85d".encode(), "a\u2028b\u2029c\x85d"),
    ("a\u200bb\u00ad".encode(), "a\u200bb\u00ad"),
    ("e\u0301 \u00e9".encode(), "e\u0301 \u00e9"),
    ("👩\u200d👩\u200d👧".encode(), "👩\u200d👩\u200d👧"),
    ("\u202eשלום".encode(), "\u202eשלום"),
    ("電影很好".encode(), "電影很好"),
    (b"", ""),
]
DAMAGED = [number for number, (_, text) in enumerate(ODD_TEXTS) if "\ufffd" in text]


def test_b08_odd_texts_are_kept_and_damage_is_counted(own, capsys) -> None:
    lines = [
        b'{"label": %d, "text": "%s"}' % (i % 2, raw.replace(b"\0", b"\\u0000")) for i, (raw, _) in enumerate(ODD_TEXTS)
    ]
    kept = prepare_texts(find_source(own("x.jsonl", b"\n".join(lines)).data), "labelled")
    assert [text for chunk in kept.read("train") for text in chunk] == [text for _, text in ODD_TEXTS]
    assert f"{len(DAMAGED)} texts are not valid UTF-8" in capsys.readouterr().err
    assert len(DAMAGED) == 4


def test_texts_come_back_in_order_in_blocks_of_rows_and_bytes(own, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [f"{i} " + "é" * (i % 50 * 10) for i in range(2500)]
    content = "\n".join(json.dumps({"text": text, "label": i % 2}) for i, text in enumerate(expected))
    kept = prepare_texts(find_source(own("x.jsonl", content).data), "labelled")
    is_wanted_N = np.arange(2500) % 3 == 0
    for n_bytes, longest in ((4_000_000, 1024), (5000, 1024), (1, 1)):
        monkeypatch.setattr(raw_texts, "_BYTES_AT_ONCE", n_bytes)
        chunks = list(kept.read("train"))
        assert max(map(len, chunks)) <= longest
        assert max(len("".join(chunk).encode()) for chunk in chunks) <= max(n_bytes, 1100)
        assert [text for chunk in chunks for text in chunk] == expected
        assert [text for chunk in kept.read("train", is_wanted_N) for text in chunk] == expected[::3]
    assert list(kept.read("test")) == []


def test_the_same_rows_from_another_kind_of_file_make_one_pack(own, small_csv: str) -> None:
    rows = [line.split(",") for line in small_csv.splitlines()[1:]]
    lines = [json.dumps({"id": 7, "label": label, "text": text}) for text, label in rows]
    assert prepare(own("x.csv", small_csv)).key == prepare(own("x.jsonl", "\n".join(lines))).key
    changed = small_csv.replace("number 7,", "number seven,")
    assert prepare(own("x.csv", changed)).key != prepare(own("x.csv", small_csv)).key


def test_the_same_bytes_read_as_another_kind_are_another_entry(own) -> None:
    content = "text,x\tlabel\na,b\tc\n"
    keys = {key_of(find_source(own(name, content).data), "labelled").directory_name for name in ("x.csv", "x.tsv")}
    assert len(keys) == 2


def test_a_source_that_changes_while_it_is_read_is_refused(own, small_csv: str, tmp_path, monkeypatch) -> None:
    experiment = own("x.csv", small_csv)

    rows = OwnFiles.rows

    def edit_and_read(*args, **kwargs):
        yield from rows(*args, **kwargs)
        (tmp_path / "x.csv").write_text(small_csv + "one more,pos\n")

    monkeypatch.setattr(OwnFiles, "rows", edit_and_read)
    with pytest.raises(DataError, match=r"x\.csv was changed while it was read") as caught:
        prepare(experiment)
    assert caught.value.hint == f"ls -l {tmp_path / 'x.csv'}"
    assert not list((data_dir() / "cache").iterdir())


def test_b15_a_file_edited_between_prepare_and_train(own, small_csv: str, capsys) -> None:
    first = prepare(own("x.csv", small_csv))
    capsys.readouterr()
    edited = prepare(own("x.csv", small_csv + "one more,pos\n"), ("train", "valid"))
    said = capsys.readouterr().err
    assert 'settings changed: source: "' in said
    assert "settings changed: texts: " in said
    assert edited.key != first.key
    assert prepare(own("x.csv", small_csv), ("train",)).key == first.key
    assert "prepared before, in" in capsys.readouterr().err


def test_b15_an_edit_after_training_is_refused_by_the_runs_key(own, small_csv: str) -> None:
    first = prepare(own("x.csv", small_csv))
    shutil.rmtree(data_dir())
    with pytest.raises(DataError, match=f"other reviews than {first.key}"):
        prepare(own("x.csv", small_csv + "one more,pos\n"), ("test",), first.key)
    assert prepare(own("x.csv", small_csv), ("test",), first.key).key == first.key


def test_f26_neither_times_nor_places_matter(own, small_csv: str, tmp_path: Path, capsys, monkeypatch) -> None:
    experiment = own("x.csv", small_csv)
    first = prepare(experiment)
    shutil.copytree(data_dir(), tmp_path / "copied")  # with new times
    for path in [*data_dir().rglob("*"), tmp_path / "x.csv"]:
        os.utime(path, (0, 0))
    monkeypatch.setattr("time.time", lambda: 0.0)
    for folder in (data_dir(), tmp_path / "copied"):
        monkeypatch.setenv("SENTIMENT_DATA", str(folder))
        capsys.readouterr()
        assert prepare(experiment).key == first.key
        assert "prepared before, in" in capsys.readouterr().err
    shutil.move(tmp_path / "x.csv", tmp_path / "elsewhere")
    (tmp_path / "sub").mkdir()
    shutil.move(tmp_path / "elsewhere", tmp_path / "sub" / "x.csv")
    assert prepare(own("sub/x.csv", None)).key == first.key


def prepare_in_a_process(path: Path, n_rows: int) -> int:
    """Prepare so many rows and return the most memory it took, in bytes."""
    with path.open("w") as handle:
        handle.write("text,label\n")
        handle.writelines(f'"a film with {i % 5000} good and {i % 7} bad scenes, {i}",{i % 2}\n' for i in range(n_rows))
    command = [sys.executable, "-m", "sentiment_cli", "prepare", "sample", "--set", f"data.source={path}"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_b11_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    few, many = (prepare_in_a_process(tmp_path / f"{n}.csv", n) for n in (5_000, 50_000))
    assert many - few < 30_000_000
