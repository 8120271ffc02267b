"""Robustness case B10: tables as people have them; a bad row is refused by its number, or left out and listed."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.sources.review import Review
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.data.tables import csv_lines
from sentiment_cli.data.tables.readers import Columns, Rejects, read_table
from sentiment_cli.errors import DataError

LONG = "x" * 200_000  # the csv module's own limit is 131,072


def short(value: object) -> str:
    return value[:20] if isinstance(value, str) else ""


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def parquet_of(**columns: list[object]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def not_utf8() -> bytes:
    column = pyarrow.array([b"fine", b"\xff\xfe"]).view(pyarrow.string())
    return parquet_of(text=column, label=["a", "b"])


def json_lines(*values: object) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def read(own: Callable, name: str, content: str | bytes, *settings: str) -> tuple[list[Review], list[dict]]:
    data = own(name, content, *settings).data
    rejects = Rejects(data.on_error)
    rows = [review for _, review in find_source(data).rows("labelled", rejects)]
    return rows, rejects.found


PAIR = [("a", "neg"), ("b", "pos")]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", "text,label\na,neg\nb,pos\n", PAIR),
        ("x.csv", "text,label\na,neg\nb,pos", PAIR),
        ("x.csv", "label;text\nneg;a\npos;b\n", PAIR),
        ("x.csv", "text|label\na|neg\nb|pos\n", PAIR),
        ("x.csv", "text\tlabel\na\tneg\nb\tpos\n", PAIR),
        ("x.tsv", "text\tlabel\na, c; d\tneg\nb\tpos\n", [("a, c; d", "neg"), ("b", "pos")]),
        ("x.csv", "id, Review ,SENTIMENT,x,x\n1,a,neg,,\n2,b,pos,,\n", PAIR),
        ("x.csv", "body,text,label,body\n1,a,neg,2\n3,b,pos,4\n", PAIR),  # twice there, but not read
        ("x.csv", 'text,label\n"a\nb, ""c""\r\n",neg\n\nb,pos\n', [('a\nb, "c"\r\n', "neg"), ("b", "pos")]),
        ("x.csv", f"text,label\n{LONG},neg\nb,pos\n", [(LONG, "neg"), ("b", "pos")]),
        ("x.csv", "text,label\r\na,neg\r\nb,pos\r\n", PAIR),
        ("x.csv", "text,label\ra,neg\rb,pos\r", PAIR),
        ("x.csv", "\ufefftext,label\na,neg\nb,pos\n", PAIR),
        ("x.csv", "text,label\na\0\u2028\x85\x0c,neg\nb,pos\n", [("a\0\u2028\x85\x0c", "neg"), ("b", "pos")]),
        ("x.csv", b"text,label\n\xc3\x28,neg\nb,pos\n", [("\ufffd(", "neg"), ("b", "pos")]),
        ("x.csv.gz", gzipped(b"text,label\na,neg\nb,pos\n"), PAIR),
        ("x.csv.gz", "text,label\na,neg\nb,pos\n", PAIR),  # the name lies, the bytes do not
        ("x.csv", gzipped(b"text,label\na,neg\nb,pos\n"), PAIR),
        ("x.TSV.GZ", gzipped(b"text\tlabel\na\tneg\nb\tpos\n"), PAIR),
        ("x.jsonl", json_lines({"text": "a", "label": "neg"}, {"label": "pos", "text": "b", "n": 1}), PAIR),
        ("x.ndjson", b'\n{"text": "a\\nb", "label": 1}\r\n\n{"text": "b", "label": 2}', [("a\nb", "1"), ("b", "2")]),
        ("x.jsonl.gz", gzipped(json_lines({"text": LONG, "label": True})), [(LONG, "true")]),
        ("x.jsonl", b'\xef\xbb\xbf{"text": "a\xe2\x80\xa8", "label": 1.0}', [("a\u2028", "1")]),
        ("x.jsonl", rb'{"text": "\ud83c\udfac \ud83c", "label": "\udc00"}', [("🎬 \ufffd", "\ufffd")]),
        ("x.jsonl", b'{"text": "\xff", "label": 1}', [("\ufffd", "1")]),
        ("x.parquet", parquet_of(text=["a", "b"], id=[1, 2], label=["neg", "pos"]), PAIR),
        ("x.parquet", parquet_of(label=[0, 1], review=["a", LONG]), [("a", "0"), (LONG, "1")]),
    ],
    ids=short,
)
def test_b10_what_people_have_is_read(own, name: str, content, expected: list[tuple[str, str]]) -> None:
    rows, _ = read(own, name, content)
    assert [(row.text, row.label) for row in rows] == expected


@pytest.mark.parametrize(
    ("name", "content", "said", "hint"),
    [
        ("x.csv", "text,stars\na,1\n", "no column that is clearly the label; it has 'text', 'stars'", "data.label_col"),
        ("x.jsonl", json_lines({"text": "a"}, {"text": "b"}), "no column that is clearly the label", None),
        ("x.parquet", parquet_of(label=[1]), "no column that is clearly the text; it has 'label'", None),
        ("x.csv", "text,label,text\na,b,c\n", "has 2 columns named 'text'; each needs a name of its own", None),
        ("x.csv", "", "is empty; its first line should name the columns", None),
        ("x.tsv", "\n\n", "is empty", None),
        ("x.csv.gz", gzipped(b""), "is empty", None),
        ("x.jsonl", "\n \n", "is empty; each line should be an object", None),
        ("x.parquet", b"", "is not a readable Parquet file", None),
        ("x.csv", "text,label\n", "holds no labelled rows", "head -n 5 "),
        ("x.parquet", parquet_of(text=pyarrow.array([], "string"), label=[]), "holds no labelled rows", "ls -l "),
        ("x.csv.gz", gzipped(b"text,label\n" + LONG.encode())[:60], "cannot be read: Compressed file ended", None),
        ("x.jsonl.gz", gzipped(json_lines({"text": LONG}))[:-4] + b"bad!", "cannot be read: .*", None),
        ("x.csv.gz", gzipped(b"")[:10] + b"\x07" * 40, "cannot be read: Error -3 while decompressing", None),
        ("x.parquet", b"PAR1 or not", "is not a readable Parquet file", None),
        ("x.parquet", parquet_of(text=["a"], label=[1])[:-9], "is not a readable Parquet file", None),
        ("x.parquet", not_utf8(), "is not a readable Parquet file: 'utf-8' codec", None),
    ],
    ids=short,
)
def test_b10_what_is_no_table_is_refused(own, name: str, content, said: str, hint: str | None) -> None:
    with pytest.raises(DataError, match=rf"/{name}.* {said}") as caught:
        prepare_texts(find_source(own(name, content, "data.on_error=skip").data), "labelled")
    assert caught.value.exit_code == 3
    assert (caught.value.hint or "").removeprefix("--set ").startswith(hint or "")


GOOD = {"text": "a", "label": "neg"}
BAD_ROWS = [
    ("x.csv", "text,label\na,neg\nb\nc,pos\n", 2, 3, "1 fields where the header names 2"),
    ("x.csv", "text,label\na,neg\nb,pos,\nc,pos\n", 2, 3, "3 fields where the header names 2"),
    ("x.csv", 'text,label\n"a\na",neg\n\nb\nc,pos\n', 2, 5, "1 fields where"),
    ("x.csv", 'text,label\na,neg\n"b"b,pos\nc,pos\n', 2, 3, "',' expected after '\"'"),
    ("x.csv", 'text,label\na,neg\nc,pos\n"b,pos\n', 3, 4, "unexpected end of data"),
    ("x.csv", 'text,label\na,neg\n"b,pos\nc,pos\n', 2, 3, "unexpected end of data"),  # c's row is not lost with it
    ("x.csv", f"text,label\na,neg\n{'x' * 16_000_001},pos\nc,pos\n", 2, 3, "field larger than field limit"),
    ("x.csv", "text,label\na,neg\nb, \nc,pos\n", 2, 3, "its label is missing"),
    ("x.tsv", "text\tlabel\na\tneg\nb\t0.5\nc\tpos\n", 2, 3, "its label 0.5 is a fraction, not a class"),
    ("x.jsonl", json_lines(GOOD) + b"\n{text\n" + json_lines(GOOD), 2, 3, "no JSON: Expecting property name"),
    ("x.jsonl", b"[" * 100_000 + b"\n" + json_lines(GOOD, GOOD), 1, 1, "its values are nested deeper than 100 levels"),
    ("x.jsonl", json_lines(GOOD, [1], GOOD), 2, 2, "a JSON list where an object should be"),
    ("x.jsonl", json_lines(GOOD, GOOD, {"label": 1}), 3, 3, "its text is missing, not text"),
    ("x.jsonl", json_lines(GOOD, GOOD, {"text": 5, "label": 1}), 3, 3, "its text is a int, not text"),
    ("x.jsonl", json_lines(GOOD, {"text": "b", "label": {"x": 1}}, GOOD), 2, 2, "its label is a dict, not a class"),
    ("x.jsonl", json_lines(GOOD, {"text": "b", "label": float("nan")}, GOOD), 2, 2, "its label is missing"),
    ("x.parquet", parquet_of(text=["a", None, "c"], label=["x", "y", "z"]), 2, None, "its text is missing, not text"),
    ("x.parquet", parquet_of(text=["a", "b", "c"], label=[1.0, None, 2.0]), 2, None, "its label is missing"),
]


@pytest.mark.parametrize(("name", "content", "number", "line", "said"), BAD_ROWS, ids=short)
def test_b10_a_bad_row_is_refused_by_its_number_or_left_out(own, name, content, number, line, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read(own, name, content)
    place = f"row {number}" if line is None else f"row {number} (line {line})"
    assert f"{name}, {place}: {said}" in str(caught.value)
    assert (caught.value.hint or "").startswith("--set data.on_error=skip")
    rows, rejected = read(own, name, content, "data.on_error=skip")
    assert len(rows) + len(rejected) == 3  # rows in = rows out + rejects
    assert [(reject["row"], reject["line"]) for reject in rejected] == [(number, line)]
    assert said in rejected[0]["reason"]
    assert [row.id for row in rows] == [str(n) for n in (1, 2, 3) if n != number]


def test_invariant_8_rejected_rows_are_listed_beside_those_kept(own, capsys) -> None:
    lines = [b'{"text": "t%d", "label": %d}' % (i, i % 2) if i % 7 else b"{broken" for i in range(700)]
    experiment = own("x.jsonl", b"\n".join(lines), "data.on_error=skip")
    texts = prepare_texts(find_source(experiment.data), "labelled")
    listed = [json.loads(line) for line in (texts.directory / "rejects.jsonl").read_text().splitlines()]
    assert len(texts.rows("train")) + len(listed) == 700
    assert [reject["row"] for reject in listed] == [i + 1 for i in range(0, 700, 7)]
    assert all(reject["file"] == "x.jsonl" and reject["line"] == reject["row"] for reject in listed)
    assert (
        f"100 of 700 rows were left out; they are listed in {texts.directory}/rejects.jsonl" in capsys.readouterr().err
    )


def test_b10_all_rows_bad_is_no_corpus(own) -> None:
    source = find_source(own("x.jsonl", "{\n[\n", "data.on_error=skip").data)
    with pytest.raises(DataError, match="holds no labelled rows: all 2 rows were left out"):
        prepare_texts(source, "labelled")


def test_columns_are_said_and_can_be_named(own, capsys) -> None:
    content = "text,review,class,label,movie\nt,r,c,l,m\n"
    rows, _ = read(own, "x.csv", content)
    assert rows[0] == Review("1", "t", "l", None, "m")
    assert (
        "x.csv: text in 'text', label in 'label', group in 'movie'; not read: review, class" in capsys.readouterr().err
    )
    named = ("data.text_column=review", "data.label_column=class", "data.group_column=label")
    assert read(own, "x.csv", content, *named)[0][0] == Review("1", "r", "c", None, "l")
    with pytest.raises(DataError, match="has no column 'revue'; it has 'text', 'review'"):
        read(own, "x.csv", content, "data.text_column=revue")


def test_a_column_may_come_late_in_json_lines(own) -> None:
    lines = [{"text": f"film {i}", "label": "ab"[i % 2], **({"movie": f"m{i}"} if i > 150 else {})} for i in range(160)]
    rows, _ = read(own, "x.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert [row.group for row in rows] == [None] * 151 + [f"m{i}" for i in range(151, 160)]


def test_a_header_that_is_no_csv_is_refused(own) -> None:
    with pytest.raises(DataError, match=r"x.csv: its first line, .* is no CSV: field larger than field limit"):
        read(own, "x.csv", "text," + "x" * 16_000_001 + "\na,b\n")


def test_groups_missing_are_none(own) -> None:
    rows, _ = read(own, "x.parquet", parquet_of(text=["a", "b"], label=[1, 2], group=[3.0, float("nan")]))
    assert [row.group for row in rows] == ["3.0", None]
    rows, _ = read(own, "x.csv", "text,label,group\na,1,\nb,2,g\n")
    assert [row.group for row in rows] == [None, "g"]


def test_b10_stray_quotes_cost_their_own_rows_however_long_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_lines, "_SPARE_LINES", 10)
    lines = [('"' if number % 50 == 25 else "") + f"text {number},pos\n" for number in range(1000)]
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(lines))
    rejects = Rejects("skip")
    rows = list(read_table(tmp_path / "x.csv", Columns("text", "label", None), rejects, has_labels=True))
    assert [one["row"] - 1 for one in rejects.found] == list(range(25, 1000, 50))
    assert len(rows) == 1000 - len(rejects.found)


def test_rows_that_each_run_to_the_end_are_not_read_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_lines, "_SPARE_LINES", 1000)
    (tmp_path / "x.csv").write_text("text,label\n" + '",x","\n' * 300)
    rejects = Rejects("skip")
    assert not list(read_table(tmp_path / "x.csv", Columns("text", "label", None), rejects, has_labels=True))
    assert 0 < len(rejects.found) < 10
