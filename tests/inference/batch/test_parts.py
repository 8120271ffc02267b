"""Robustness case D07: a file that is scored in parts, killed, damaged and continued, has the bytes of one process."""

import json
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from test_predict_all import Counting

from sentiment_cli.data.tables.readers import Format, Rejects
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.inference.batch import chunks, inputs
from sentiment_cli.inference.batch import parts as parts_module
from sentiment_cli.inference.batch.chunks import BatchSource
from sentiment_cli.inference.batch.inputs import open_file
from sentiment_cli.inference.batch.parts import Parts, plan
from sentiment_cli.inference.batch.pool import answer_here
from sentiment_cli.inference.batch.predict_all import predict_all, write_answers
from sentiment_cli.inference.batch.sources import Files, known_of, open_sources
from sentiment_cli.storage import failpoints
from sentiment_cli.storage.holding import holding

N_ROWS, MODEL = 190, "a" * 64
FORMS = ("csv", "tsv", "jsonl", "parquet", "text")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Chunks of 8 rows and parts of 3 chunks, in a directory of their own."""
    monkeypatch.setattr(chunks, "ROWS_AT_ONCE", 8)
    monkeypatch.setattr(inputs, "ROWS_AT_ONCE", 8)
    monkeypatch.setattr(inputs, "CHUNKS_A_PART", 3)
    monkeypatch.chdir(tmp_path)


def write(kind: str, *, seed: int = 0, n: int = N_ROWS) -> Path:
    """Write a file of rows, some of them bad, with quotes, blank lines and texts of several lines."""
    rng = random.Random(seed)
    path = Path(f"rows.{kind}")
    texts = [" ".join(rng.choices(["good", "bad", "so", "=1", 'a "b"', "é"], k=rng.randrange(9))) for _ in range(n)]
    texts = [text.replace(" ", "\n" if kind != "txt" else " ", rng.randrange(2)) for text in texts]
    bad = {i for i in range(n) if i % 23 == 5}
    if kind == "csv":
        lines = [
            f"{i},only,too,many\n" if i in bad else '{},"{}"\n'.format(i, text.replace('"', '""'))
            for i, text in enumerate(texts)
        ]
        path.write_text("id,text\n" + "\n".join("".join(lines[i : i + 50]) for i in range(0, n, 50)))
    elif kind == "jsonl":
        rows = [{"id": i, "text": None if i in bad else text} for i, text in enumerate(texts)]
        path.write_text("".join(json.dumps(row) + "\n\n" * (row["id"] % 40 == 0) + "\n" for row in rows))
    elif kind == "json":
        path.write_text(json.dumps([{"id": i, "text": None if i in bad else text} for i, text in enumerate(texts)]))
    elif kind == "parquet":
        rows = {"id": list(range(n)), "text": [None if i in bad else text for i, text in enumerate(texts)]}
        parquet.write_table(pyarrow.table({**rows, "list": [[1]] * n}), path, row_group_size=50)
    else:
        path.write_text("".join(f"{text}\n" for text in texts))
    return path


def parts_of(source: BatchSource, directory: str = "parts", **how: Any) -> Parts:
    return Parts(Path(directory), source, how.pop("model", MODEL), ["options"], ("neg", "pos"), **how)


def score(source: BatchSource, form: str, out: str, parts: Parts | None, answering: Any = None) -> bytes:
    answering = answering or answer_here(Counting())  # type: ignore[arg-type]
    write_answers(Counting(), answering, source, form, Path(out), on_error="skip", is_safe=True, parts=parts)  # type: ignore
    return outputs(out)


def outputs(out: str) -> bytes:
    rejects = Path(f"{out}.rejects.jsonl")
    return Path(out).read_bytes() + (rejects.read_bytes() if rejects.exists() else b"")


def one_process(path: Path, form: str) -> bytes:
    predict_all(Counting(), open_file(path, None, "skip"), form, Path("one"), on_error="skip")  # type: ignore[arg-type]
    return outputs("one")


class Spy(Counting):
    """Counts the texts that are judged."""

    n = 0

    def judge(self, texts: Any, rows: Any) -> Any:
        self.n += len(texts)
        return super().judge(texts, rows)


@pytest.mark.parametrize(
    ("kind", "n"), [("csv", 3), ("csv", 16), ("jsonl", 3), ("json", 2), ("parquet", 3), ("txt", 3)]
)
def test_d07_shards_in_any_order_merge_to_the_bytes_of_one_process(kind: str, n: int) -> None:
    path = write(kind)
    options = (None, Format(), "skip")
    order = random.Random(n).sample(range(1, n + 1), n)
    n_parts = len(known_of(open_file(path, None, "skip")).ranges)
    scored = 0
    for k in order:
        looked: list[bool] = []

        def look(looked: list[bool] = looked) -> list[Any]:
            looked.append(True)
            return [known_of(open_file(path, None, "skip"))]

        known = plan(Path("parts"), [path], [1], options, look)
        assert bool(looked) == (k == order[0])  # the others read the plan
        source = open_sources(Files([path], [1]), None, "skip", Format(), known)
        spy = Spy()
        found = parts_of(source).score(answer_here(spy), k, n)  # type: ignore[arg-type]
        scored += spy.n
        assert found[1] == 0
    source = open_file(path, None, "skip")
    assert scored == sum(len(chunk.texts) for chunk in source.read(Rejects("skip", lambda *_: None)))
    merged = parts_of(source, is_complete=True)
    merged.check_complete()
    assert len(merged.missing()) == 0
    assert n_parts > 5
    for form in FORMS:  # the parts are the same for each
        assert score(source, form, "merged", merged, lambda asked: asked) == one_process(path, form)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_file_is_read_from_each_part_on_as_from_the_beginning(kind: str) -> None:
    source = open_file(write(kind), None, "skip")
    whole = list(source.read(Rejects("skip", lambda *_: None)))
    n = 0
    for one in known_of(source).ranges:
        assert source.read_from is not None
        rest = list(source.read_from(Rejects("skip", lambda *_: None), one))
        assert [chunk[:2] for chunk in rest] == [chunk[:2] for chunk in whole[n:]]
        n += one.n_chunks
    assert n == len(whole)


def test_f01_d07_killed_at_every_place_it_continues_to_the_same_bytes(forked, places_of) -> None:
    path = write("csv", n=40)
    source, expected = open_file(path, None, "skip"), one_process(path, "csv")

    def work() -> None:
        with holding(Path("parts"), print, None):
            score(source, "csv", "out", parts_of(source))

    places = places_of(work)
    assert {"write:1", "rename:4", "flush:7"} <= set(places)
    for place in places:
        for directory in ("parts", "out"):
            assert forked(lambda directory=directory: os.system(f"rm -rf {directory}")) == 0
        assert forked(work, f"{place}:kill") == -9, place
        before = [one for one in Path("parts").glob("part-*") if one.is_dir()]
        times = {one: one.stat().st_mtime_ns for one in before}
        work()
        assert outputs("out") == expected, place
        assert {one: one.stat().st_mtime_ns for one in before} == times, "what was finished stays"
        assert not list(Path().rglob("*.tmp")), place


def damage_of(name: str, part: Path) -> None:
    answers = part / "answers.jsonl"
    data = bytearray(answers.read_bytes())
    if name == "a flipped bit":
        data[len(data) // 2] ^= 1
        answers.write_bytes(data)
    elif name == "half a part":
        answers.write_bytes(data[: len(data) // 2])
    elif name == "a missing part":
        for file in part.iterdir():
            file.unlink()
        part.rmdir()
    elif name == "a missing manifest":
        (part / "manifest.json").unlink()


@pytest.mark.parametrize("what", ["a flipped bit", "half a part", "a missing part", "a missing manifest"])
def test_d07_a_damaged_part_alone_is_scored_again_and_merge_refuses_it(what: str, capsys) -> None:
    path = write("jsonl")
    source, expected = open_file(path, None, "skip"), one_process(path, "jsonl")
    score(source, "jsonl", "out", parts_of(source))
    part = sorted(Path("parts").glob("part-*"))[2]
    damage_of(what, part)
    with pytest.raises(DataError, match=rf"1 of \d parts is missing in parts: {part.name}"):
        parts_of(source, is_complete=True).check_complete()
    spy = Spy()
    assert score(source, "jsonl", "out", parts_of(source), answer_here(spy)) == expected  # type: ignore[arg-type]
    assert 0 < spy.n <= 24  # three chunks of eight rows
    assert ("is damaged" in capsys.readouterr().err) == (what != "a missing part")


def test_d07_answers_to_other_texts_are_never_used(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changed in its middle alone, with the same size and ends, has the same parts by name."""
    monkeypatch.setattr(parts_module, "_LOOKED_AT", 500)
    path = write("jsonl")
    before = path.read_bytes()
    source = open_file(path, None, "skip")
    score(source, "jsonl", "out", parts_of(source))
    changed = bytearray(before)
    at = changed.index(b"good", 3000)
    assert at < len(before) - 500
    changed[at : at + 4] = b"o k "
    path.write_bytes(changed)
    source, expected = open_file(path, None, "skip"), one_process(path, "jsonl")
    with pytest.raises(DataError, match="holds answers to other texts"):
        score(source, "jsonl", "merged", parts_of(source, is_complete=True), lambda asked: asked)
    spy = Spy()
    assert score(source, "jsonl", "out", parts_of(source), answer_here(spy)) == expected  # type: ignore[arg-type]
    assert 0 < spy.n <= 24
    assert "holds answers to other texts; its rows are scored again" in capsys.readouterr().err
    spy = Spy()
    score(source, "jsonl", "out", parts_of(source), answer_here(spy))  # type: ignore[arg-type]
    assert spy.n == 0


def test_d07_another_model_or_other_options_have_parts_of_their_own() -> None:
    source = open_file(write("csv"), None, "skip")
    score(source, "csv", "out", parts_of(source))
    assert parts_of(source).missing() == []
    for other in (parts_of(source, model="b" * 64), Parts(Path("parts"), source, MODEL, ["x"], ("neg", "pos"))):
        assert len(other.missing()) == len(other.ranges)


def test_d07_a_stale_plan_is_made_anew_and_a_damaged_one_too(capsys) -> None:
    path = write("csv")

    def look() -> list[Any]:
        return [known_of(open_file(path, None, "skip"))]

    first = plan(Path("parts"), [path], [1], [], look)
    assert plan(Path("parts"), [path], [1], [], lambda: pytest.fail("it is known")) == first
    assert plan(Path("parts"), [path], [2], [], look) == first  # touched
    path.write_bytes(path.read_bytes() + b"999,good\n")
    (longer,) = plan(Path("parts"), [path], [1], [], look)
    assert longer.n_rows == first[0].n_rows + 1
    for file in Path("parts").glob("plan-*"):
        file.write_bytes(file.read_bytes().replace(b"0,", b"8,", 1))
    assert plan(Path("parts"), [path], [1], [], look) == [longer]
    assert "is damaged; it is made anew" in capsys.readouterr().err


def test_f17_a_second_process_at_the_same_parts_is_refused_by_the_first_one_s_number(tmp_path: Path) -> None:
    ready, over = multiprocessing.Event(), multiprocessing.Event()
    child = os.fork()
    if child == 0:
        with holding(tmp_path / "parts", print, None):
            ready.set()
            over.wait(60)
        os._exit(0)
    assert ready.wait(60)
    with pytest.raises(UsageError, match=f"process {child} writes to"), holding(tmp_path / "parts", print, None):
        pass
    over.set()
    os.waitpid(child, 0)
    with holding(tmp_path / "parts", print, None):
        pass


def test_f07_a_disk_that_refuses_a_part_keeps_those_before(capsys) -> None:
    path = write("csv")
    source, expected = open_file(path, None, "skip"), one_process(path, "csv")
    failpoints.arm("rename:3:nospace")
    with pytest.raises(Exception, match="No space left"):
        score(source, "csv", "out", parts_of(source))
    failpoints.arm(None)
    assert len(list(Path("parts").glob("part-*"))) == 2
    assert score(source, "csv", "out", parts_of(source)) == expected


def test_a_part_ends_where_a_file_grows_while_it_is_read() -> None:
    path = write("txt")
    source = open_file(path, None, "skip")
    path.write_text(path.read_text() + "one more\n")
    with pytest.raises(DataError, match="was changed while it was read"):
        score(source, "text", "out", parts_of(source))


@pytest.fixture
def rows() -> Iterator[Callable[[str, str], None]]:
    def put(name: str, text: str) -> None:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)

    return put


def test_several_files_are_one_table_and_their_parts_end_with_each(rows) -> None:
    for name, first in (("logs/b.csv", 100), ("logs/a.csv", 0)):
        rows(name, "id,text\n" + "".join(f"{first + i},{'word ' * (i % 5)}x\n" for i in range(30)))
    rows("all.csv", Path("logs/a.csv").read_text() + Path("logs/b.csv").read_text().partition("\n")[2])
    paths = [Path("logs/a.csv"), Path("logs/b.csv")]
    source = open_sources(Files(paths, [1, 1]), None, "stop", Format())
    assert source.n_rows == 60
    expected = one_process(Path("all.csv"), "csv")
    assert score(source, "csv", "out", None) == expected
    ranges = known_of(source).ranges
    assert [(one.file, one.n_chunks) for one in ranges] == [(0, 3), (0, 1), (1, 3), (1, 1)]
    for k in (3, 1, 2):
        parts_of(source).score(answer_here(Counting()), k, 3)  # type: ignore[arg-type]
    assert score(source, "csv", "out", parts_of(source, is_complete=True), lambda asked: asked) == expected


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("id,text,more\n1,x,y\n", "has the columns id, text, and b.csv has id, text, more"),
        ("id,review\n1,x\n", "has texts in 'text', and b.csv in 'review'"),
    ],
)
def test_files_that_are_not_one_table_are_refused(rows, other: str, said: str) -> None:
    rows("a.csv", "id,text\n1,x\n")
    rows("b.csv", other)
    with pytest.raises(DataError, match=said):
        open_sources(Files([Path("a.csv"), Path("b.csv")], [1, 1]), None, "stop", Format())


def test_objects_of_several_files_may_leave_out_columns_and_share_their_kinds(rows) -> None:
    rows("a.jsonl", '{"text": "x", "n": 1}\n')
    rows("b.jsonl", '{"text": "y", "n": 0.5, "more": "z"}\n')
    source = open_sources(Files([Path("a.jsonl"), Path("b.jsonl")], [1, 1]), None, "stop", Format())
    assert source.columns == {"text": "text", "n": "number", "more": "text"}
