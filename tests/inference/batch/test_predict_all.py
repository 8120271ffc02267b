"""Robustness cases B08 to B11 and M11: files of any form in, files of any form out, whatever the rows hold."""

import csv
import functools
import gzip
import io
import json
import math
import os
import resource
import sys
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from sentiment_cli.data.tables.readers import Rejects
from sentiment_cli.errors import DataError, MachineError, SentimentError, UsageError
from sentiment_cli.inference.batch import chunks
from sentiment_cli.inference.batch.chunks import given_texts
from sentiment_cli.inference.batch.inputs import open_file
from sentiment_cli.inference.batch.predict_all import predict_all
from sentiment_cli.inference.batch.streams import lines_as_they_come
from sentiment_cli.inference.predictor import Prediction
from sentiment_cli.storage import failpoints

ADDED = ["label", "probability", "probability_neg", "probability_pos", "tokens", "unknown", "truncated", "low_evidence"]

zip_up = functools.partial(gzip.compress, mtime=0)  # the same bytes in each process that collects the tests


class Counting:
    """Answers without a model: the more tokens the surer; four of them are read."""

    def __init__(self, labels: tuple[str, ...] = ("neg", "pos"), target: str = "label") -> None:
        self.labels, self.target = labels, target

    def encode(self, texts: Sequence[str]) -> list[list[str]]:
        return [text.encode("utf-8").decode().split() for text in texts]

    def judge(self, texts: Sequence[str], rows: Sequence[list[str]]) -> list[Prediction]:
        return [self._answer(text, len(words)) for text, words in zip(texts, rows, strict=True)]

    def _answer(self, text: str, n: int) -> Prediction:
        best, p = self.labels[-1], (n + 1) / (n + 2)
        counts = {"tokens": n, "unknown": 0, "truncated": n > 4, "low_evidence": n == 0}
        if self.target == "stars":
            return Prediction(text, best, None, None, **counts, stars=10 * p)
        others = dict.fromkeys(self.labels[:-1], (1 - p) / (len(self.labels) - 1))
        return Prediction(text, best, p, {**others, best: p}, **counts)


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a file, predict it into another, and return that one's path."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, content: bytes | str, out: str, column: str | None = None, **how: Any) -> Path:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        form = how.pop("form", None) or Path(out.removesuffix(".gz")).suffix[1:]
        predictor = how.pop("predictor", Counting())
        source = open_file(Path(name), column, how.get("on_error", "stop"))
        predict_all(predictor, source, form, tmp_path / out, **how)
        return tmp_path / out

    return run


def parquet_of(table: pyarrow.Table, **how: Any) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, **how)
    return buffer.getvalue()


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file as texts by column, read by other means than ours."""
    if path.suffix == ".parquet":
        rows = parquet.read_table(path).to_pylist()
        return [
            {name: value if isinstance(value, str) else json.dumps(value) for name, value in r.items()} for r in rows
        ]
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    if ".jsonl" in path.name:
        rows = [json.loads(line) for line in text.splitlines()]
        return [
            {name: value if isinstance(value, str) else json.dumps(value) for name, value in r.items()} for r in rows
        ]
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ","))


ROWS = [{"id": "7", "body": 'a "b",\n c', "note": "x;y"}, {"id": "8", "body": "", "note": "tab\there"}]
OBJECTS = "".join(json.dumps(row) + "\n" for row in ROWS)
QUOTED = 'id{0}body{0}note\n7{0}"a ""b"",\n c"{0}"x;y"\n8{0}{0}"tab\there"\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.csv", QUOTED.format(",")),
        ("in.csv", "\ufeff" + QUOTED.format(";").replace("\n8", "\r\n8")),
        ("in.tsv", QUOTED.format("\t")),
        ("in.csv.gz", zip_up(QUOTED.format("|").encode())),
        ("in.jsonl", OBJECTS),
        ("in.NDJSON.gz", zip_up(OBJECTS.encode())),
        ("in.parquet", parquet_of(pyarrow.Table.from_pylist(ROWS), row_group_size=1)),
    ],
)
@pytest.mark.parametrize("out", ["out.csv", "out.tsv", "out.jsonl", "out.parquet", "out.csv.gz", "out.jsonl.gz"])
def test_b10_columns_and_order_are_kept_and_the_answers_added(predict, name: str, content, out: str) -> None:
    found = read(predict(name, content, out))
    assert [{key: row[key] for key in ROWS[0]} for row in found] == ROWS
    added = ADDED if "jsonl" not in out else ["label", "probability", "probabilities", *ADDED[4:]]
    assert all(list(row) == [*ROWS[0], *added] for row in found)
    assert [row["tokens"] for row in found] == ["3", "0"]
    assert [row["low_evidence"] for row in found] == ["false", "true"]
    assert float(found[0]["probability"]) == 0.8
    if "jsonl" in out:
        assert json.loads(found[0]["probabilities"]) == pytest.approx({"neg": 0.2, "pos": 0.8})
    else:
        assert float(found[0]["probability_neg"]) == pytest.approx(0.2)


@pytest.mark.parametrize("out", ["out.csv", "out.jsonl", "out.parquet"])
def test_what_is_in_out_may_be_in_again(predict, out: str, capsys) -> None:
    once = predict("a.csv", "text,label\ngood,x\n", out)
    again = predict(f"b{once.suffix}", once.read_bytes(), "again.csv")
    (row,) = read(again)
    names = ["label", "prediction_label", "prediction_prediction_label"]
    assert [row[name] for name in names] == ["x", "pos", "pos"]
    assert "'label' is 'prediction_prediction_label'" in capsys.readouterr().err


def test_star_ratings_and_many_labels_have_columns_of_their_own(predict) -> None:
    stars = predict("a.csv", "text\na b\n", "out.csv", predictor=Counting(target="stars"))
    assert stars.read_text() == "text,label,stars,tokens,unknown,truncated,low_evidence\na b,pos,7.5,2,0,false,false\n"
    (row,) = read(predict("a.csv", "text\na b\n", "out.jsonl", predictor=Counting(target="stars")))
    assert (row["stars"], row["probability"], row["probabilities"]) == ("7.5", "null", "null")
    (row,) = read(predict("a.csv", "text\na b\n", "out.parquet", predictor=Counting(("a", "=b", "c"))))
    assert [name for name in row if name[:12] == "probability_"] == ["probability_a", "probability_=b", "probability_c"]


def test_the_types_of_a_parquet_file_are_kept(predict) -> None:
    table = pyarrow.table(
        {
            "when": pyarrow.array([1, None, 3], pyarrow.timestamp("ns")),
            "body": pyarrow.array(["a", "b c", "d"], pyarrow.large_string()),
            "kind": pyarrow.array(["x", "y", "x"]).dictionary_encode(),
            "list": pyarrow.array([[1, 2], None, []], pyarrow.list_(pyarrow.int16())),
            "price": pyarrow.array([Decimal("1.50"), None, Decimal("2.00")]),
            "share": pyarrow.array([0.5, float("nan"), float("inf")]),
            "raw": pyarrow.array([b"\xff", b"a", None]),
        }
    ).replace_schema_metadata({"made": "by hand"})
    out = parquet.read_table(predict("in.parquet", parquet_of(table, row_group_size=2), "out.parquet"))
    assert out.schema.names == [*table.column_names, *ADDED]
    assert out.schema.metadata[b"made"] == b"by hand"
    for name in table.column_names:
        assert out.schema.field(name) == table.schema.field(name)
        columns = [each[name].cast("int64") if name == "when" else each[name] for each in (out, table)]
        assert str(columns[0].to_pylist()) == str(columns[1].to_pylist())  # for NaN equals only its name
    first, second, third = [
        json.loads(line) for line in predict("in.parquet", parquet_of(table), "o.jsonl").read_text().splitlines()
    ]
    assert first["when"] == "1970-01-01 00:00:00.000000001"
    assert (first["list"], first["price"], first["raw"]) == ([1, 2], "1.50", "\ufffd")
    assert (second["share"], third["share"], third["raw"], third["list"]) == (None, None, None, [])
    assert read(predict("in.parquet", parquet_of(table), "o.csv"))[0]["list"] == "[1, 2]"


def test_objects_become_columns_of_one_type_each(predict) -> None:
    rows = [
        {"text": "a", "n": 1, "x": 1, "ok": True, "mixed": 1, "deep": {"b": [1]}, "big": 1 << 70, "none": None},
        {"text": "b", "n": None, "x": 2.5, "late": "é\ud800", "mixed": "two", "ok": None},
    ]
    out = predict("in.jsonl", "".join(json.dumps(row) + "\n" for row in rows), "out.parquet")
    table = parquet.read_table(out)
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names[:9]}
    text = ["text", "mixed", "deep", "big", "none", "late"]
    assert kinds == {**dict.fromkeys(text, "string"), "n": "int64", "x": "double", "ok": "bool"}
    first, second = table.to_pylist()
    assert (first["x"], first["mixed"], first["deep"], first["big"]) == (1.0, "1", '{"b": [1]}', str(1 << 70))
    assert (second["n"], second["mixed"], second["late"]) == (None, '"two"', "é\ufffd")
    assert list(read(predict("in.jsonl", (Path("in.jsonl")).read_bytes(), "out.csv"))[0])[:9] == list(kinds)


GOOD = b'{"text": "a"}\n'
BAD_ROWS = [
    ("x.csv", b"text,n\na,1\nb\nc,3\n", 2, 3, "1 fields where the header names 2", ["b"]),
    ("x.csv", b'text,n\na,1\n"b"b,2\nc,3\n', 2, 3, "',' expected after '\"'", None),
    ("x.csv", b"text,n\na,1\nc,3\n" + b"x" * 16_000_001 + b",2\n", 3, 4, "field larger than field limit", None),
    ("x.jsonl", GOOD + b"\n{text\n" + GOOD, 2, 3, "no JSON: Expecting property name", "{text\n"),
    ("x.jsonl", GOOD + b"[1]\n" + GOOD, 2, 2, "a JSON list where an object should be", "[1]\n"),
    ("x.jsonl", GOOD + GOOD + b'{"n": 1}\n', 3, 3, "its text is missing, not text", {"n": 1}),
    ("x.jsonl", b'{"text": 5}\n' + GOOD * 2, 1, 1, "its text is a int, not text", {"text": 5}),
    (
        "x.parquet",
        parquet_of(pyarrow.table({"n": [1, 2, 3], "text": ["a", None, "c"], "share": [0.5, math.nan, 1.0]})),
        2,
        None,
        "its text is missing",
        {"n": 2, "text": None, "share": None},
    ),
]


@pytest.mark.parametrize(("name", "content", "number", "line", "said", "held"), BAD_ROWS)
def test_b10_a_bad_row_is_an_error_before_anything_is_judged_or_a_reject(
    predict, tmp_path: Path, name: str, content: bytes, number: int, line: int | None, said: str, held: Any, capsys
) -> None:
    before = predict("before.csv", "text\ngood\n", "out.csv").read_text()
    capsys.readouterr()
    with pytest.raises(DataError) as caught:
        predict(name, content, "out.csv", predictor=None)
    place = f"{name}, row {number}" + (f" (line {line})" if line else "")
    assert str(caught.value).startswith(f"{place}: ")
    assert said in str(caught.value)
    assert caught.value.hint.startswith("--on-error skip")
    assert (tmp_path / "out.csv").read_text() == before

    out = predict(name, content, "out.csv", on_error="skip")
    rejects = tmp_path / "out.csv.rejects.jsonl"
    (reject,) = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert (reject["file"], reject["row"], reject["line"], reject["content"]) == (name, number, line, held)
    assert said in reject["reason"]
    assert len(read(out)) == 2
    talk = capsys.readouterr().err
    assert "3 rows in, 2 out, 1 rejected" in talk
    assert "out.csv.rejects.jsonl" in talk
    predict("fine.csv", "text\na\n", "out.csv", on_error="skip")
    assert not rejects.exists()


def test_b10_rejects_lie_in_the_current_directory_when_answers_go_to_stdout(predict, tmp_path: Path, capsys) -> None:
    (tmp_path / "x.jsonl").write_bytes(GOOD + b"{\n" + GOOD)
    predict_all(Counting(), open_file(tmp_path / "x.jsonl", None, "skip"), "jsonl", on_error="skip")
    captured = capsys.readouterr()
    assert [json.loads(line)["text"] for line in captured.out.splitlines()] == ["a", "a"]
    assert json.loads((tmp_path / "x.jsonl.rejects.jsonl").read_text())["row"] == 2
    assert "1 of 3 rows were left out; they are listed in x.jsonl.rejects.jsonl" in captured.err


def test_b10_a_file_of_bad_rows_alone_has_no_answers(predict) -> None:
    assert predict("x.jsonl", "{\n[\n", "out.jsonl", on_error="skip").read_text() == ""
    assert predict("x.csv", "a,text\n1\n", "out.csv", on_error="skip").read_text().splitlines() == [
        ",".join(["a", "text", *ADDED])
    ]


def test_invariant_8_rows_in_are_rows_out_and_rejects_over_many_chunks(predict, monkeypatch) -> None:
    monkeypatch.setattr(chunks, "ROWS_AT_ONCE", 10)
    lines = [b'{"text": "%s", "n": %d}' % (b"w " * (i % 5), i) if i % 7 else b"{broken" for i in range(700)]
    out = predict("x.jsonl", b"\n".join(lines), "out.jsonl", on_error="skip")
    rejects = [json.loads(line)["row"] for line in Path(f"{out}.rejects.jsonl").read_text().splitlines()]
    assert [int(row["n"]) for row in read(out)] == [i for i in range(700) if i % 7]
    assert rejects == [i + 1 for i in range(0, 700, 7)]


@pytest.mark.parametrize(
    ("name", "content", "column", "said", "hint"),
    [
        (
            "x.csv",
            "a,b\n1,2\n",
            None,
            "has no column that is clearly the text; it has 'a', 'b'",
            "--set data.text_column=a",
        ),
        ("x.csv", "text,b\n1,2\n", "c", "has no column 'c'; it has 'text', 'b'", "--set data.text_column=text"),
        ("x.csv", "text,b,text\n1,2,3\n", None, "has 2 columns named 'text'", "--set data.text_column=text"),
        ("x.csv", "", None, "is empty; its first line should name the columns", None),
        ("x.jsonl", "\n", None, "is empty; each line should be an object", None),
        (
            "x.csv.gz",
            zip_up(b"text\n" + b"a\n" * 999)[:-9],
            None,
            "cannot be read: Compressed file ended",
            None,
        ),
        ("x.txt", zip_up(b"text\n" * 999)[:-9], None, "cannot be read: Compressed file ended", None),
        ("x.parquet", b"PAR1", None, "is not a readable Parquet file", None),
        ("x.txt", "a\n", "text", "--text-column goes with a table", "sentiment predict --file x.txt"),
    ],
)
def test_b10_what_cannot_be_read_is_refused(predict, tmp_path, name, content, column, said, hint) -> None:
    with pytest.raises(SentimentError, match=said) as caught:
        predict(name, content, "out.csv", column)
    assert caught.value.exit_code == (2 if isinstance(caught.value, UsageError) else 3)
    assert (caught.value.hint or "").startswith(hint or "")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("typed", "there", "hint"),
    [
        ("revews.csv", "reviews.csv", "--file {}/reviews.csv"),
        ("REVIEWS.CSV", "reviews.csv", "--file {}/reviews.csv"),
        ("reviews", "reviews.csv", "--file {}/reviews.csv"),
        ("my file.cs", "my file.csv", "--file '{}/my file.csv'"),
        ("quite-other.csv", "reviews.csv", "ls {}"),
        ("no/such/folder.csv", "reviews.csv", "ls {}"),
    ],
)
def test_a_missing_file_names_the_nearest_one(tmp_path: Path, typed: str, there: str, hint: str) -> None:
    (tmp_path / there).write_text("text\na\n")
    with pytest.raises(DataError, match="cannot be read: No") as caught:
        open_file(tmp_path / typed, None, "stop")
    assert caught.value.hint == hint.format(tmp_path)


@pytest.mark.parametrize("name", ["https://example.com/a.csv", "http://example.com/a%20b.csv?x=1&y=2"])
def test_an_address_of_the_web_is_no_file(name: str) -> None:
    with pytest.raises(DataError, match="a web address") as caught:
        open_file(Path(name), None, "stop")
    assert str(caught.value.hint).startswith("curl -LO ")


def test_the_home_directory_is_known(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.csv").write_text("text\na\n")
    assert open_file(Path("~/x.csv"), None, "stop").n_rows == 1
    with pytest.raises(DataError, match="cannot be read"):
        open_file(Path("~nobody-at-all/x.csv"), None, "stop")


def test_b10_a_header_alone_is_a_table_without_rows(predict) -> None:
    assert predict("x.csv", "text,n\n", "out.csv").read_text() == ",".join(["text", "n", *ADDED]) + "\n"
    empty = predict("x.csv", "text,n\n", "out.parquet")
    assert parquet.read_table(empty).column_names == ["text", "n", *ADDED]
    assert predict("x.csv", "text\n", "out.jsonl").read_text() == ""
    assert predict("x.txt", "", "out.jsonl").read_text() == ""


def test_files_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for path, said in [(tmp_path / "none.csv", "cannot be read: No such"), (tmp_path, "a directory, not a file")]:
        with pytest.raises(DataError, match=said):
            open_file(path, None, "stop")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="a file is read twice"):
        open_file(tmp_path / "pipe.csv", None, "stop")


def test_a_file_that_changes_while_it_is_read_gives_nothing(predict, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "x.csv").write_text("text\na\nb\n")
    source = open_file(tmp_path / "x.csv", None, "stop")
    (tmp_path / "x.csv").write_text("text\na\n")
    with pytest.raises(DataError, match=r"x.csv was changed while it was read"):
        predict_all(Counting(), source, "csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


ODD = ["a\0b", "caf\u00e9 \u2028 \x85 z", "mid\rline", "\u200bzero \u202e rtl", "🎬\u200d🎥 電影", "", " ", "\ufeff in"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("zipped", [False, True])
def test_b08_odd_lines_come_back_from_json_one_for_one(predict, end: str, zipped: bool) -> None:
    data = ("\ufeff" + end.join(ODD)).encode("utf-8")
    out = predict("odd.txt", zip_up(data) if zipped else data, "out.jsonl")
    assert out.read_bytes().isascii()
    assert [row["text"] for row in read(out)] == ODD


def test_b08_what_is_no_utf8_is_replaced_counted_and_said(predict, capsys) -> None:
    bad = [b"fine", b"tail \xe2\x82", b"overlong \xc0\xaf", b"surrogate \xed\xa0\x80", b"\xff"]
    rows = read(predict("bad.txt", b"\n".join(bad), "out.jsonl"))
    assert [row["text"][:4] for row in rows] == ["fine", "tail", "over", "surr", "\ufffd"]
    assert "4 of 5 texts have \ufffd, which stands for what was no UTF-8 (2, 3, 4, 5)" in capsys.readouterr().err
    out = predict("bad.jsonl", json.dumps({"text": "half \ud83c"}), "out.jsonl")
    assert json.loads(out.read_text())["text"] == "half \ud83c"  # the input's column, as it was
    assert "row 1 has \ufffd" in capsys.readouterr().err
    assert read(predict("bad.jsonl", json.dumps({"text": "half \ud83c"}), "out.csv"))[0]["text"] == "half \ufffd"


def test_what_answers_rest_on_is_said(predict, capsys) -> None:
    predict("a.txt", "good film\n\none two three four five\n", "out.txt", form="text")
    talk = capsys.readouterr().err
    assert "text 2 has no known word; the answer is a guess\n" in talk
    assert "text 3 has more tokens than the model reads: the answer rests on a part of them\n" in talk
    predict("a.csv", "text\n" + '""\n' * 8 + "a\n", "out.txt", form="text")
    assert "8 of 9 rows have no known word; the answer is a guess (1, 2, 3, 4, 5, …)" in capsys.readouterr().err


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", " =", "\uff1d", "-1+", "+cmd|", "\r\n="])
@pytest.mark.parametrize("out", ["out.csv", "out.tsv"])
def test_m11_no_cell_is_a_formula_unless_asked_for(predict, start: str, out: str, capsys) -> None:
    bad = f"{start}1)"
    lines = json.dumps({"text": "good", bad: bad, "number": "-5.2e+3", "plain": "a = b"})
    (row,) = read(predict("in.jsonl", lines, out, predictor=Counting(("neg", bad))))
    assert (row["number"], row["plain"]) == ("-5.2e+3", "a = b")
    assert not any(
        cell.lstrip(" ").startswith(tuple("=+-@\t\r\uff1d")) for cell in [*row, *row.values()] if cell != "-5.2e+3"
    )
    assert "made harmless: " in capsys.readouterr().err
    (row,) = read(predict("in.jsonl", lines, out, predictor=Counting(("neg", bad)), is_safe=False))
    assert row[bad] == row["label"] == bad


@pytest.mark.parametrize("out", ["out.csv", "out.tsv", "out.csv.gz"])
def test_an_answered_table_is_read_back_with_the_same_texts(predict, out: str) -> None:
    odd = ["=1+1 it is", "'=1", "''+x y", "@bob says", "-5", "- so", "'quoted'", "+1 from me", "a = b", "'", "\uff1dx"]
    once = predict("in.jsonl", "".join(json.dumps({"text": text, "note": text}) + "\n" for text in odd), out)
    again = predict(f"again-{out}", once.read_bytes(), "again.jsonl")
    rows = [json.loads(line) for line in again.read_text().splitlines()]
    assert [row["text"] for row in rows] == [row["note"] for row in rows] == odd
    assert [str(row["prediction_tokens"]) for row in rows] == [row["tokens"] for row in rows]
    third = predict(f"third-{out}", predict("again.jsonl", again.read_bytes(), out).read_bytes(), "third.jsonl")
    assert [json.loads(line)["text"] for line in third.read_text().splitlines()] == odd


def test_an_apostrophe_of_the_user_s_own_stays(predict) -> None:
    out = predict("in.csv", "text,label\n'=x,a\n'tis so,b\n", "out.jsonl")
    assert [row["text"] for row in read(out)] == ["'=x", "'tis so"]


def test_m10_csv_is_shown_and_not_obeyed_and_stays_what_it_is(predict, capsys) -> None:
    text = "a\x1b[2J\x9b\u202eb\r\nc"
    line = json.dumps({"text": text})
    assert read(predict("in.jsonl", line, "out.csv"))[0]["text"] == r"a\x1b[2J\x9b\u202eb" + "\r\nc"
    assert read(predict("in.jsonl", line, "out.csv", is_safe=False))[0]["text"] == text
    predict_all(Counting(), open_file(Path("in.jsonl"), None, "stop"), "csv", is_safe=False)
    assert "\x1b[2J" in capsys.readouterr().out  # no terminal


@pytest.mark.parametrize("out", ["out.csv", "out.jsonl.gz", "out.parquet"])
@pytest.mark.parametrize("failure", ["write:1:nospace", "write:2:nospace", "rename:1:ioerror", "flush:1:ioerror"])
def test_f07_a_disk_that_refuses_leaves_what_was_there(predict, tmp_path: Path, out: str, failure: str) -> None:
    before = predict("in.csv", "text\n" + "good film\n" * 50, out).read_bytes()
    source = open_file(tmp_path / "in.csv", None, "stop")
    failpoints.arm(failure)
    with pytest.raises(MachineError, match=out):
        predict_all(Counting(), source, Path(out.removesuffix(".gz")).suffix[1:], tmp_path / out)
    failpoints.arm(None)
    assert (tmp_path / out).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", out]


@pytest.mark.parametrize("form", ["csv", "jsonl", "text", "parquet"])
def test_f08_a_full_device_is_an_error(predict, form: str) -> None:
    with pytest.raises(MachineError, match="No space left"):
        predict("in.csv", "text\ngood\n", "/dev/full", form=form)


def chunks_of(descriptor: int) -> Any:
    return lines_as_they_come(descriptor, "a pipe").read(Rejects("stop"))


def test_b09_a_line_is_there_as_soon_as_it_has_come_and_half_a_line_is_not(monkeypatch) -> None:
    reader, writer = os.pipe()
    chunks = chunks_of(reader)
    os.write(writer, b"\xef\xbb\xbfone\r\n")
    assert next(chunks).texts == ["one"]
    os.write(writer, b"two\n\nhal")
    assert next(chunks).texts == ["two", ""]
    threading.Timer(0.1, lambda: (os.write(writer, b"f\nno end"), os.close(writer))).start()
    rest = list(chunks)
    assert [text for chunk in rest for text in chunk.texts] == ["half", "no end"]
    assert [number for chunk in rest for number in chunk.numbers] == [4, 5]
    os.close(reader)


def test_b09_lines_that_come_fast_come_together_and_slow_ones_do_not_wait_for_ever(monkeypatch) -> None:
    reader, writer = os.pipe()
    stop = threading.Event()

    def drip() -> None:
        for _ in range(100_000):
            if stop.wait(0.0005):
                break
            os.write(writer, b"a line\n")

    thread = threading.Thread(target=drip)
    thread.start()
    first = next(chunks_of(reader))
    assert thread.is_alive()  # lines are still coming
    stop.set()
    thread.join()
    assert len(first.texts) >= 1
    os.write(writer, b"x" * 100 + b"\n" * 5000)
    os.close(writer)
    texts = [len(chunk.texts) for chunk in chunks_of(reader)]
    assert max(texts) == chunks.ROWS_AT_ONCE
    assert sum(texts) >= 5000
    os.close(reader)


@pytest.mark.parametrize(("data", "expected"), [(b"", []), (b"\n", [""]), (b"\n\n", ["", ""]), (b"a", ["a"])])
def test_b09_one_text_per_line_in_a_pipe_as_in_a_file(tmp_path: Path, data: bytes, expected: list[str]) -> None:
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    assert [text for chunk in chunks_of(reader) for text in chunk.texts] == expected
    os.close(reader)
    (tmp_path / "x.txt").write_bytes(data)
    source = open_file(tmp_path / "x.txt", None, "stop")
    assert [text for chunk in source.read(Rejects("stop")) for text in chunk.texts] == expected
    assert source.n_rows == len(expected)


def test_texts_given_may_hold_anything() -> None:
    (chunk,) = given_texts(["two\nlines\n", "bad \udcff"]).read(Rejects("stop"))
    assert chunk.texts == ["two\nlines\n", "bad \ufffd"]


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "-"])
def test_b11_b09_memory_is_flat_from_ten_thousand_rows_to_a_hundred_thousand(tmp_path: Path, forked, name: str) -> None:
    def peak(n: int) -> int:
        if name == "-":
            reader, writer = os.pipe()
            threading.Thread(target=lambda: write_and_close(writer, b"a good film\n", n)).start()
            predict_all(Counting(), lines_as_they_come(reader, "a pipe"), "jsonl", tmp_path / "out.jsonl")
        else:
            predict_all(Counting(), open_file(tmp_path / f"{n}{name}", None, "stop"), name[2:], tmp_path / f"out{name}")
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def compare() -> None:
        before = peak(10_000)
        assert peak(100_000) - before < 50_000_000

    for n in (10_000, 100_000):
        texts = [f"a good film number {i}" for i in range(n)]
        if name == "x.csv":
            (tmp_path / f"{n}{name}").write_text("id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(texts)))
        elif name == "x.parquet":  # one group of rows, which no compression makes small
            texts = [f"a good film {os.urandom(300).hex()}" for _ in range(n)]
            parquet.write_table(pyarrow.table({"id": list(range(n)), "text": texts}), tmp_path / f"{n}{name}")
    assert forked(compare) == 0


def write_and_close(descriptor: int, line: bytes, n: int) -> None:
    with open(descriptor, "wb") as pipe:
        pipe.writelines(line for _ in range(n))
