"""Cases T2, T3, T7, T12, T15, A9 and A20 (files and attacks of others): what a file is, and how it is read."""

import bz2
import functools
import gzip
import io
import json
import lzma
import os
import random
import shlex
import zipfile
from pathlib import Path

import pytest

from sentiment_cli import console
from sentiment_cli.cli.reading import load_data
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.files import encodings
from sentiment_cli.data.sources.path_kinds import format_of
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.data.tables import csv_lines, json_rows, rows
from sentiment_cli.data.tables.protection import spreadsheet_cell, unprotected
from sentiment_cli.data.tables.readers import Columns, Rejects, read_table
from sentiment_cli.data.tokens import encoding as encoding_module
from sentiment_cli.errors import DataError, SentimentError
from sentiment_cli.inference.batch import streams
from sentiment_cli.inference.batch.inputs import open_file

zip_up = functools.partial(gzip.compress, mtime=0)  # the same bytes in each process that collects the tests
TWO = [("a film, so; good", "pos"), ("a dull one", "neg")]


def trained(own, name: str, content, *settings: str) -> list[tuple[str, str | None]]:
    """Return the rows that training reads."""
    data = own(name, content, *settings).data
    return [(row.text, row.label) for _, row in find_source(data).rows("labelled", Rejects(data.on_error))]


def predicted(path: Path, *settings: str, on_error: str = "stop") -> tuple[list[str], int | None, list[str]]:
    """Return the texts that predict reads, how many rows it counted, and the names of the columns."""
    data = load_data(settings)
    source = open_file(path, data.text_column, on_error, format_of(data))
    rejects = Rejects(on_error)
    texts = [text for chunk in source.read(rejects) for text in chunk.texts]
    assert len(texts) + len(rejects.found) == source.n_rows
    return texts, source.n_rows, source.names


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


CSV = 'text,label\n"a film, so; good",pos\na dull one,neg\n'
OBJECTS = [{"text": text, "label": label} for text, label in TWO]
LINES = "".join(json.dumps(one) + "\n" for one in OBJECTS)
NOISE = "".join(f"it was number {i},{'pos' if i % 2 else 'neg'}\n" for i in range(30))


@pytest.mark.parametrize(
    ("name", "content", "settings", "said"),
    [
        ("x.csv", CSV.encode("utf-16"), (), "UTF-16"),
        ("x.csv", CSV.encode("utf-32"), (), "UTF-32"),
        ("x.csv", CSV.encode("utf-16-le"), ("data.encoding=utf-16-le",), "utf-16-le"),
        ("x.csv", CSV.encode("utf-8-sig"), (), "UTF-8"),
        ("x.csv", "sep=;\r\n" + CSV.replace('",', '";').replace("one,", "one;").replace("text,", "text;"), (), "semic"),
        ("x.csv", CSV.replace('",', '"|').replace("one,", "one|").replace("text,", "text|"), (), "pipes"),
        ("x.tsv", CSV, (), "commas"),
        ("x.tab", 'text\tlabel\n"a film, so; good"\tpos\na dull one\tneg\n', (), "tabs"),
        ("x.csv", 'text#label\n"a film, so; good"#pos\na dull one#neg\n', ("data.delimiter='#'",), "'#'"),
        ("x.json", LINES, (), "an object a line"),
        ("x.json", json.dumps(OBJECTS), (), "an array of objects"),
        ("x.json", json.dumps(OBJECTS, indent=4).encode("utf-16"), (), "UTF-16, an array of objects"),
        ("x.jsonl", json.dumps(OBJECTS, indent=1), (), "an array of objects"),
        ("x.json", json.dumps({"n": 2, "data": OBJECTS}), (), "an object of records"),
        ("x.json", json.dumps({f"k{i}": one for i, one in enumerate(OBJECTS)}, indent=1), (), "an object of records"),
        ("x.json", json.dumps({key: [one[key] for one in OBJECTS] for key in OBJECTS[0]}), (), "an object of records"),
        ("x.json.gz", zip_up(LINES.encode()), (), "an object a line"),
        ("x.csv.bz2", bz2.compress(CSV.encode()), (), "commas"),
        ("x.csv.xz", lzma.compress(CSV.encode()), (), "commas"),
        ("x.csv", lzma.compress(CSV.encode()), (), "commas"),
        ("x.zip", zipped(**{"a/x.csv": CSV, "a/README": "x", "__MACOSX/a/._x.csv": "x"}), (), "commas"),
        ("x.csv.zip", zipped(data=CSV), (), "commas"),
        ("x.txt", "__label__pos a film, so; good\n__label__neg a dull one\n", (), "fastText"),
        ("x.txt", "__label__pos a film, so; good\r__label__neg a dull one\r", (), "fastText"),
        ("x.jsonl", LINES.replace("\n", "\r"), (), "an object a line"),
        ("x.csv", CSV.replace("\n", "\r"), (), "commas"),
        ("x.train", "\n__label__pos\ta film, so; good\n\n__label__neg  a dull one\n", (), "fastText"),
        ("x.csv", "__label__pos a film, so; good\n__label__neg a dull one\n", (), "fastText"),
        ("x.csv", 'y,text\n__label__pos,"a film, so; good"\n__label__neg,a dull one\n', ("data.label_column=1",
         "data.label_map={__label__pos: pos, __label__neg: neg}"), "commas"),
        ("x.ft.txt.gz", zip_up(b"__label__pos a film, so; good\n__label__neg a dull one"), (), "fast"),
        ("x.data", "a film, so; good\tpos\na dull one\tneg\n", ("data.delimiter=tab", "data.header=false",
         "data.label_column=2", "data.text_column=1"), "no line names"),
        ("x.csv", 'a;b\n"a film, so; good";pos\na dull one;neg\n', ("data.label_column=b", "data.text_column=a"), ""),
    ],
)  # fmt: skip
def test_train_and_predict_read_the_same_rows_of_each_form(
    own, tmp_path, capsys, name, content, settings, said
) -> None:
    assert trained(own, name, content, *settings) == TWO
    talk = capsys.readouterr().err
    assert said in talk
    texts, n, _ = predicted(tmp_path / name, *(one for one in settings if "data.label_" not in one))
    assert texts == [text for text, _ in TWO]
    assert n == 2
    assert f"data: {name}: text in " in capsys.readouterr().err


def fields(*cells: str, by: str = "\t") -> str:
    return by.join(cells) + "\n"


OPEN = ['" the phone was weak .', "the plot was fine .", "the cast was weak .", 'the battery was warm . "']
SHUT = [f"a row of number {i} , yes ." for i in range(20)]


def lines_of(texts: list[str], by: str) -> str:
    return "text" + by + "label\n" + "".join(fields(text, "np"[i % 2], by=by) for i, text in enumerate(texts))


@pytest.mark.parametrize(
    ("name", "texts", "by"),
    [
        ("x.tsv", [*SHUT, *OPEN, *SHUT], "\t"),
        ("x.tsv", ['"so" he said', *SHUT, '"', '""', *OPEN], "\t"),
        ("x.tsv", [*SHUT, '" left open to the end'], "\t"),
        ("x.csv", [*SHUT, *OPEN], "\t"),
        ("x.csv", [text.replace(",", "") for text in [*SHUT, *OPEN, *SHUT]], ","),
        ("x.csv", [text.replace(";", "") for text in [*OPEN, *SHUT]], ";"),
    ],
)
def test_t2_a_file_that_quotes_nothing_is_read_without_quotes(own, tmp_path, capsys, name, texts, by) -> None:
    content = lines_of(texts, by)
    assert [text for text, _ in trained(own, name, content)] == texts
    assert predicted(tmp_path / name)[0] == texts
    assert capsys.readouterr().err.count("quotes read as they are") == 2


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", 'text,label\n"two\nlines",a\nx,b\n', ["two\nlines", "x"]),
        ("x.csv", 'text,label\n"Good, \nbut bad",a\nx,b\n', ["Good, \nbut bad", "x"]),
        ("x.tsv", 'text\tlabel\n"two\nlines"\ta\n"""x"" y"\tb\n', ["two\nlines", '"x" y']),
        ("x.csv", 'text,label\n"a ""b"", c",a\n"C:\\dir\\",b\n', ['a "b", c', "C:\\dir\\"]),
    ],
)
def test_t2_a_file_that_quotes_properly_is_read_with_quotes(own, tmp_path, name: str, content: str, expected) -> None:
    assert [text for text, _ in trained(own, name, content)] == expected
    assert predicted(tmp_path / name)[0] == expected


def test_t2_lines_that_may_have_been_merged_are_warned_of_and_can_be_parted(own, capsys) -> None:
    content = 'text,label\n"so,a\nfine",b\n"proper",a\nx,a\ny,b\n"z",b\n'
    assert next(text for text, _ in trained(own, "x.csv", content)) == "so,a\nfine"
    talk = capsys.readouterr().err
    assert "warning: x.csv: 2 lines that each have 2 fields are read as 1 row, the first at line 2" in talk
    assert "--set data.quoting=none" in talk
    texts = [text for text, _ in trained(own, "x.csv", content, "data.quoting=none")]
    assert texts == ['"so', 'fine"', '"proper"', "x", "y", '"z"']


@pytest.mark.parametrize("by", [",", "\t", ";"])
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r'"\"The Thing\" by him"', '"The Thing" by him'),
        (r'"they say \"art\"."', 'they say "art".'),
        (r'"a backslash \\ and \n and \"q\""', r'a backslash \ and \n and "q"'),
    ],
)  # fmt: skip
def test_t7_quotes_escaped_by_a_backslash(own, tmp_path, capsys, by: str, written: str, meant: str) -> None:
    content = "text" + by + "label\n" + "".join(fields(written, "np"[i % 2], by=by) for i in range(9))
    assert {text for text, _ in trained(own, "x.csv", content)} == {meant}
    assert set(predicted(tmp_path / "x.csv")[0]) == {meant}
    assert "quotes escaped by backslashes" in capsys.readouterr().err
    assert {text for text, _ in trained(own, "x.csv", content, "data.quoting=backslash")} == {meant}


def test_t7_no_message_shows_a_raw_tab(own) -> None:
    with pytest.raises(DataError) as caught:
        trained(own, "x.tsv", 'text\tlabel\n"a"b\tx\nc\n', "data.quoting=double")
    assert "\t" not in str(caught.value)
    assert "a tab expected after" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("v1,v2,,,", ["v1", "v2", "column 3", "column 4", "column 5"]),
        (",text,label", ["column 1", "text", "label"]),
        ("text,label,x,x,x", ["text", "label", "x", "x.1", "x.2"]),
        ("text,label,x,x.1,x", ["text", "label", "x", "x.1", "x.2"]),
        ("text,column 3,", ["text", "column 3", "column 3.1"]),
    ],
)
def test_t12_columns_without_a_name_and_twins_get_one(tmp_path, capsys, header: str, names: list[str]) -> None:
    n = len(names)
    row = ["a good film it was"] * n
    (tmp_path / "x.csv").write_text(header + "\n" + f"{','.join(row[:2] + [''] * (n - 2))}\n" * 3)
    assert predicted(tmp_path / "x.csv", f"data.text_column={names[1]}")[2] == names
    if "x,x" in header:
        assert "columns of one name numbered: 'x'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "row", "settings", "said"),
    [
        ('"text\nof the review",label\n', "{},{}", (), "the first line names the columns"),
        ('id,text,"label\r\n(p or n)"\n', "7,{},{}", ("data.label_column=3",), "the first line names the columns"),
        ('sep=;\nn;"text\n\nof it";label\n', "7;{};{}", (), "the first line names the columns"),
        ("\n\ntext,label\n", "{},{}", (), "line 3 names the columns"),
        ("A survey of 2024,\ntext,label\n", "{},{}", (), "line 2 names the columns"),
        ('# a comment\n# and another; one\n\n"Text";Sentiment\n', "{};{}", (), "line 4 names the columns"),
        ("A survey\nwhat,verdict\n", "{},{}", ("data.text_column=what", "data.label_column=verdict"), "line 2 names"),
    ],
)
def test_lines_before_the_first_row_are_no_rows(own, tmp_path, capsys, before, row, settings, said: str) -> None:
    content = before + "".join(row.format(f"it was film {i}", "pn"[i % 2]) + "\n" for i in range(30))
    assert trained(own, "x.csv", content, *settings) == [(f"it was film {i}", "pn"[i % 2]) for i in range(30)]
    assert said in capsys.readouterr().err
    assert predicted(tmp_path / "x.csv", *(one for one in settings if "text" in one))[1] == 30
    with pytest.raises(DataError, match=rf"row 31 \(line {content.count(chr(10)) + 1}\)"):
        trained(own, "x.csv", content + "short\n", *settings)


@pytest.mark.parametrize("header", ["text,label", "text,label,", "text,label,,"])
def test_t12_commas_at_the_ends_of_all_lines(own, header: str) -> None:
    assert trained(own, "x.csv", header + "\na,x,,\nb,y,,\n") == [("a", "x"), ("b", "y")]


WEST = "the caf\xe9 was na\xefve , \xa35 at \xe0 la carte , \xabgood\xbb and don\x92t \x96 so"


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.txt", "x.ft"])
def test_latin_1_is_found_out_and_said(own, tmp_path, capsys, name: str) -> None:
    raw = WEST.encode("latin-1")
    meant = raw.decode("cp1252")
    forms = {
        "x.csv": b'text,label\n"' + raw + b'",a\nx,b\n',
        "x.jsonl": b'{"text": "' + raw + b'", "label": "a"}\n{"text": "x", "label": "b"}\n',
        "x.txt": raw + b"\nx\n",
        "x.ft": b"__label__a " + raw + b"\n__label__b x\n",
    }
    if name != "x.txt":
        assert trained(own, name, forms[name]) == [(meant, "a"), ("x", "b")]
    (tmp_path / name).write_bytes(forms[name])
    assert predicted(tmp_path / name)[0] == [meant, "x"]
    assert "Windows-1252 (latin-1)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "хороший фильм и плохой"),
        ("cp1250", "żółty łabędź książę"),
        ("gb18030", "味道真的很不错"),
        ("shift_jis", "とても面白い映画"),
        ("cp1254", "çok güzel bir şey değil mi ışık"),
        ("koi8-r", "хороший фильм и плохой"),
        ("mac_roman", "déjà vu et un café au thé"),
        ("mac_roman", "für alle Prüfungen über Bücher"),
        ("mac_roman", "schön und größer und süß am höchsten"),
        ("mac_roman", "el niño está aquí y allá más año"),
        ("cp437", "déjà vu et une bonne idée du café"),
        ("cp850", "größer für später"),
    ],
)
def test_an_encoding_that_the_bytes_do_not_tell_is_asked_for(own, tmp_path, encoding: str, text: str) -> None:
    content = ("text,label\n" + f"{text},a\nx,b\n" * 9).encode(encoding)
    with pytest.raises(DataError, match=r"x\.csv is not UTF-8, and its bytes do not tell") as caught:
        trained(own, "x.csv", content)
    assert str(caught.value.hint).startswith("--set data.encoding=")
    if encoding in ("mac_roman", "cp437", "cp850"):
        assert str(caught.value.hint).endswith("mac_roman" if encoding == "mac_roman" else "cp850")
    with pytest.raises(DataError, match="is not UTF-8"):
        predicted(tmp_path / "x.csv")
    assert trained(own, "x.csv", content, f"data.encoding={encoding}")[0] == (text, "a")
    assert predicted(tmp_path / "x.csv", f"data.encoding={encoding}")[0][0] == text


def test_utf_8_with_some_damage_is_warned_of(own, capsys) -> None:
    content = "text,label\n" + "déjà vu, à peine\n" * 0 + "d\u00e9j\u00e0 vu,a\n" * 9
    assert trained(own, "x.csv", content.encode() + b"cut \xc3,b\n")[-1] == ("cut \ufffd", "b")
    assert "warning: x.csv is not all UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "n", "text", "label"),
    [
        ("".join(f'"{i % 4}","a {i} film it was","x"\n' for i in range(40)), 40, "column 2", "column 1"),
        ("a film of all,pos\nno film at all,neg\nso a film is,pos\nfilm it was,neg\n", 4, "column 1", "column 2"),
        ("".join(f"{i},it was film {i} again\t,{'yn'[i % 2]}\n" for i in range(40)), 40, "column 2", "column 3"),
    ],
)
def test_a_table_without_a_header(own, tmp_path, capsys, content: str, n: int, text: str, label: str) -> None:
    assert len(trained(own, "x.csv", content)) == n
    talk = capsys.readouterr().err
    assert f"text in {text!r} (by what it holds), label in {label!r} (by what it holds)" in talk
    assert "no line names the columns" in talk
    assert predicted(tmp_path / "x.csv")[1] == n
    assert len(trained(own, "x.csv", content, "data.header=true", f"data.text_column={text[-1]}",
                       f"data.label_column={label[-1]}")) == n - 1  # fmt: skip


@pytest.mark.parametrize(
    ("header", "text", "label"),
    [
        ("id,comment,verdict", "comment", "verdict"),
        ("id,remark,stars", "remark", "stars"),
        ("n,What do you think of it?,Would you come again?", "What do you think of it?", "Would you come again?"),
    ],
)
def test_columns_are_found_by_what_they_hold(own, capsys, header: str, text: str, label: str) -> None:
    content = header + "\n" + "".join(f"{i},it was film {i} again,{'yn'[i % 2]}\n" for i in range(40))
    assert len(trained(own, "x.csv", content)) == 40
    talk = capsys.readouterr().err
    assert f"text in {text!r}" in talk
    assert f"label in {label!r} (by what it holds)" in talk


def test_another_column_whose_name_tells_the_same_is_said(own, tmp_path, capsys) -> None:
    content = "text,Review,label,sentiment\n" + "".join(f"{i},film {i},{'pn'[i % 2]},{i % 3}\n" for i in range(30))
    trained(own, "x.csv", content)
    talk = capsys.readouterr().err
    assert "data: x.csv: 'Review' can be the text, too; --set data.text_column=Review reads it" in talk
    assert "data: x.csv: 'sentiment' can be the label, too; --set data.label_column=sentiment reads it" in talk
    predicted(tmp_path / "x.csv", "data.text_column=Review")
    assert "can be the" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("header", "row", "said", "hint"),
    [
        ("remark,gender,verdict", "it was film {i} again,{a},{b}", "several columns that can be the label", "verdict"),
        ("pro,con,label", "it was film {i} again,and a bad {i} one,{a}", "several columns of texts", '["pro", "con"]'),
        ("id,remark,n", "{i},it was film {i} again,{i}", "no column that is clearly the label", "n"),
    ],
)
def test_columns_that_could_be_meant_are_named_in_the_hint(own, header, row, said: str, hint: str) -> None:
    lines = [row.format(i=i, a="mf"[i % 2], b="yn"[i // 2 % 2]) for i in range(40)]
    with pytest.raises(DataError, match=said) as caught:
        trained(own, "x.csv", header + "\n" + "\n".join(lines))
    option, setting = shlex.split(str(caught.value.hint))
    assert option == "--set"
    assert setting.endswith(f"_column={hint}")
    if "clearly" not in said:
        assert len(trained(own, "x.csv", header + "\n" + "\n".join(lines), setting)) == 40


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("x.csv", "text^label\n" + "it was film^p\nso it was^n\n" * 9, """--set 'data.delimiter="^"'"""),
        ("x.csv", "text::label\n" + "it was film::p\nso it was::n\n" * 9, """--set 'data.delimiter=":"'"""),
        ("x.csv", "id,n,label\n" + "1,2,p\n2,3,n\n" * 9, "--set data.text_column=id"),
        ("x.csv", "text\n" + "it was film\nso it was\n" * 9, "head -n 5 "),
        ("x.jsonl", '{"data": {"text": "so it was", "label": "p"}}\n' * 9, "head -n 5 "),
        ("x.json", json.dumps({"columns": ["text", "label"], "data": [["so it was", "p"]] * 9}), "head -n 5 "),
    ],
)
def test_the_hint_for_a_table_without_clear_columns_leads_on(own, name: str, content: str, hint: str) -> None:
    with pytest.raises(DataError, match="no column that is clearly") as caught:
        trained(own, name, content)
    assert str(caught.value.hint).startswith(hint)
    if "data.delimiter" in hint:
        assert len(trained(own, name, content, shlex.split(hint)[1])) == 18


def test_several_columns_of_text_are_joined(own, tmp_path, capsys) -> None:
    content = "title,body,label\nA title,the body,x\n,only a body,y\nonly,,x\n"
    assert [text for text, _ in trained(own, "x.csv", content, "data.text_column=[title, body]")] == [
        "A title\nthe body",
        "only a body",
        "only",
    ]
    assert predicted(tmp_path / "x.csv", "data.text_column=[title, body]")[0][0] == "A title\nthe body"
    assert "text in 'title' and 'body'" in capsys.readouterr().err


OFFICE = zipped(**{"[Content_Types].xml": "x", "xl/workbook.xml": "x"})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("book.xlsx", OFFICE, "an Excel workbook"),
        ("book.csv", OFFICE, "an Excel workbook"),
        ("x.docx", zipped(**{"[Content_Types].xml": "x", "word/document.xml": "x"}), "a Word document"),
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"x" * 50, "an old Excel or Word document"),
        ("x.pdf", b"%PDF-1.7\n", "a PDF document"),
        ("x.csv", b"7z\xbc\xaf\x27\x1c\0\4", "a 7-Zip archive"),
        ("x.csv.zst", b"\x28\xb5\x2f\xfd\x24", "compressed by zstd"),
        ("x.txt", b"PAR1\x15\x04", "a Parquet file"),
        ("x.txt", zip_up(b"%PDF-1.7\n"), "a PDF document"),
        ("x.csv.gz", zip_up(zip_up(b"text,label\n")), "compressed by gzip within another"),
        ("x.txt", b"\0" * 5000, "a binary file"),
        ("x.bin", bytes(random.Random(0).randbytes(5000)), "a binary file"),
        ("x.csv", CSV.encode("utf-16-le"), "UTF-16 text without a byte order mark"),
        ("x.zip", zipped(a="x", b="y"), "holds 2 files, and one is read: 'a', 'b'"),
        ("x.zip", zipped(), "holds 0 files"),
        ("lines.txt", LINES, "holds JSON objects"),
        ("lines.log", "\n" + LINES, "holds JSON objects"),
        ("lines.csv", LINES, "holds JSON objects"),
        ("lines.tsv.gz", zip_up(LINES.encode()), "holds JSON objects"),
        ("lines.csv.zip", zipped(**{"lines.jsonl": LINES}), "holds JSON objects"),
        ("lines", zip_up(LINES.encode()), "holds JSON objects"),
        ("x.json", "[{]", "no JSON"),
        ("x.json", "5", "a JSON int"),
        ("x.json", '[{"text": "a"}] x', "there is more after the end of the array"),
        ("x.json", '[{"text": "a"}', "no JSON"),
    ],
)  # fmt: skip
def test_t3_what_is_no_text_is_refused_as_what_it_is(own, tmp_path, name: str, content, said: str) -> None:
    for read in (lambda: trained(own, name, content), lambda: predicted(tmp_path / name)):
        with pytest.raises(DataError, match=f"{name}.*{said}") as caught:
            read()
        assert caught.value.hint is None or shlex.split(caught.value.hint)


def test_t3_fasttext_rows_without_a_label_or_with_several_are_rejects(own, tmp_path) -> None:
    content = "__label__a x\nno label\n__label__a __label__b y\n__label__b z\n"
    with pytest.raises(DataError, match=r"row 2 \(line 2\): its label is missing"):
        trained(own, "x.txt", content)
    assert trained(own, "x.txt", content, "data.on_error=skip") == [("x", "a"), ("z", "b")]
    assert predicted(tmp_path / "x.txt")[0] == ["x", "no label", "y", "z"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.csv", "text,label\n" + "a,b,c\n" * 9, "all 9 rows cannot be read"),
        ("x.csv", "text,label\n" + "a,0.5\n" * 30, "the first 20 rows cannot be read"),
        ("x.jsonl", "{\n" * 9, "all 9 rows cannot be read"),
    ],
)
def test_skipping_is_not_offered_where_all_rows_fail(own, name: str, content: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        prepare_texts(find_source(own(name, content).data), "labelled")
    assert str(caught.value.hint).startswith("head -n 5 /")


def test_a9_rows_too_deep_or_too_wide_are_rejects(own, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "MOST_COLUMNS", 50)
    good = {"text": "a", "label": "x"}
    deep = [json.dumps(good)[:-1] + ', "d": ' + "[" * n + "NaN" + "]" * n + "}" for n in (50, 150, 950)]
    wide = [json.dumps({**good, **{f"k{i}": i for i in range(n)}}) for n in (20, 60)]
    later = json.dumps({**good, **{f"j{i}": i for i in range(40)}})
    odd = ['{"text": "a", "label": "x", "\\ud800": 1}', '{"text": "a", "label": "y", "\\ud83c\\udfac": 1}']
    content = "\n".join([json.dumps(good), *deep, *wide, later, *odd])
    data = own("x.jsonl", content, "data.on_error=skip").data
    rejects = Rejects("skip")
    found = list(find_source(data).rows("labelled", rejects))
    assert [(one["row"], one["reason"].split(" ", 3)[:3]) for one in rejects.found] == [
        (3, ["its", "values", "are"]),
        (4, ["its", "values", "are"]),
        (6, ["it", "has", "62"]),
        (7, ["with", "its", "keys"]),
        (8, ["its", "key", "'\\ud800'"]),
    ]
    assert len(found) + len(rejects.found) == 9
    assert predicted(tmp_path / "x.jsonl", on_error="skip")[1] == 9


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.txt", "x.ft", "x.csv.gz"])
def test_a20_a_line_beyond_the_bound_is_a_reject_and_its_rest_is_not_held(
    own, tmp_path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in (csv_lines, rows):
        monkeypatch.setattr(module, "LONGEST_LINE", 1000)
    long = "word " * 2000
    forms = {
        "x.csv": f"text,label\na,x\n{long},x\nb,y\n",
        "x.jsonl": "".join(json.dumps({"text": text, "label": "x"}) + "\n" for text in ("a", long, "b")),
        "x.txt": f"a\n{long}\nb\n",
        "x.ft": f"__label__x a\n__label__x {long}\n__label__y b\n",
    }
    content = forms[name.removesuffix(".gz")].encode()
    (tmp_path / name).write_bytes(zip_up(content) if name.endswith(".gz") else content)
    encodings._find.cache_clear()
    assert predicted(tmp_path / name, on_error="skip")[:2] == (["a", "b"], 3)
    with pytest.raises(DataError, match="its line is longer than"):
        predicted(tmp_path / name)
    if name != "x.txt":
        assert [text for text, _ in trained(own, name, None, "data.on_error=skip")] == ["a", "b"]


def test_a20_one_long_word_is_tokenized_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding_module, "_LONGEST_PIECE", 100)
    monkeypatch.setattr(encoding_module, "_LONGEST_WORD", 300)
    for text in ("x" * 1000, "!" * 900, "a b " * 10, "x" * 301 + " y"):
        (pieces,) = list(encoding_module.batches([text]))
        assert "".join(piece for piece, _ in pieces) == text
        assert max(len(piece) for piece, _ in pieces) <= 300
        assert [is_last for _, is_last in pieces] == [False] * (len(pieces) - 1) + [True]


def test_a20_rejects_are_written_as_they_come(own, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def watch(self: Rejects, *args: object) -> None:
        held.append(len(self.found))
        kept(self, *args)

    kept = Rejects.reject
    monkeypatch.setattr(Rejects, "reject", watch)
    content = "text,label\ngood,a\nbad,b\n" + "x\n" * 500
    texts = prepare_texts(find_source(own("x.csv", content, "data.on_error=skip").data), "labelled")
    assert texts.rejected == len((texts.directory / "rejects.jsonl").read_text().splitlines()) == 500
    assert set(held) == {0}


def test_t15_files_whose_names_begin_with_a_dot_are_passed_over_and_counted(own, tmp_path, capsys) -> None:
    for name in ("pos/1.txt", "neg/1.txt", "pos/._1.txt", "neg/.hidden.txt", ".git/x.txt"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_text(name)
    assert trained(own, "f", None) == [("neg/1.txt", "neg"), ("pos/1.txt", "pos")]
    assert "data: f: 2 files whose names begin with a dot are passed over" in capsys.readouterr().err


def test_t15_files_of_other_names_in_folders_of_classes_are_said(own, tmp_path, capsys) -> None:
    for name in ("pos/1.txt", "neg/1.TXT", "neg/1.txt", "pos/2.md", "neg/deep/3.txt", "neg/4"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_text(name)
    assert sorted(trained(own, "f", None)) == [("neg/1.TXT", "neg"), ("neg/1.txt", "neg"), ("pos/1.txt", "pos")]
    said = "data: f: 3 files and folders beside the .txt files are not read: neg/4, neg/deep, pos/2.md\n"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("rt-polarity.neg", "rt-polarity.pos"), ["neg", "pos"]),
        (("good.txt", "bad.txt", "README.txt"), ["bad", "good"]),
        (("quote.tok.gt9.5000", "plot.tok.gt9.5000"), None),  # of which no name is one word apart
        (("train.txt", "test.txt"), None),
        (("1.txt", "2.txt", "3.txt"), None),
    ],
)
def test_a_folder_of_a_file_for_each_class(own, tmp_path, names: tuple[str, ...], labels: list[str] | None) -> None:
    (tmp_path / "f").mkdir()
    for name in names:
        (tmp_path / "f" / name).write_text(f"one of {name}\n\ntwo\n")
    if labels is None:
        with pytest.raises(DataError, match="holds no labelled texts"):
            trained(own, "f", None)
    else:
        found = trained(own, "f", None)
        assert [label for _, label in found] == [label for label in labels for _ in "12"]
        assert found[1][0] == "two"


@pytest.mark.parametrize("text", ["=1+1", "'=1", "''+x", "'", "-5", "'-5", "a", "\t=x", "'a", "@", "'\t", " =a", "+\n"])
def test_a_protected_cell_is_read_as_the_text_it_was(text: str) -> None:
    cell = spreadsheet_cell(text)
    assert text.startswith(("'", "-5", "a")) or cell.startswith("'")
    assert unprotected(cell) == text.replace("\t", "\t")


def test_what_was_found_is_said_of_prepared_data_too(own, capsys) -> None:
    source = find_source(own("x.csv", CSV + NOISE).data)
    prepare_texts(source, "labelled")
    first = [line for line in capsys.readouterr().err.splitlines() if line.startswith("data: x.csv: text in")]
    console.set_manner()  # the next command
    prepare_texts(source, "labelled")
    again = [line for line in capsys.readouterr().err.splitlines() if line.startswith("data: x.csv: text in")]
    assert first == again != []


def test_a_changed_reading_is_other_data(own) -> None:
    found = [
        prepare_texts(find_source(own("x.csv", CSV + NOISE, *more).data), "labelled").directory
        for more in ((), ("data.quoting=none", "data.on_error=skip"), ("data.encoding=utf-8",))
    ]
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("data.delimiter=ab", "is not one character"),
        ("data.encoding=nonsense", "is not an encoding"),
        ("data.encoding=rot13", "is not an encoding of text files"),
        ("data.text_column=[]", "data.text_column"),
        ("data.quoting=single", "data.quoting"),
        ("data.header=maybe", "data.header"),
    ],
)
def test_settings_of_reading_are_checked(own, setting: str, said: str) -> None:
    with pytest.raises(SentimentError, match=said):
        own("x.csv", CSV, setting)


def test_a_pipe_of_what_is_no_text_is_refused(tmp_path: Path) -> None:
    for data, said in [
        (CSV.encode("utf-16"), "UTF-16"),
        (zipped(a="x"), "a zip archive"),
        (zip_up(b"x"), "compressed by gzip"),
        (b"\0" * 100, "a binary file"),
        (b"%PDF-1.4", "a PDF document"),
        (LINES.encode(), "JSON objects"),
    ]:
        reader, writer = os.pipe()
        os.write(writer, data)
        os.close(writer)
        with pytest.raises(DataError, match=said) as caught:
            list(streams.lines_as_they_come(reader, "stdin").read(Rejects("stop")))
        assert "stdin" in str(caught.value)
        os.close(reader)


def test_lines_of_old_programs_for_the_mac_are_lines(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"so good\rso bad\r")
    assert predicted(tmp_path / "x.txt")[0] == ["so good", "so bad"]
    (tmp_path / "x.txt").write_bytes(b"so\rgood\nso bad")
    assert predicted(tmp_path / "x.txt")[0] == ["so\rgood", "so bad"]
    for data, texts in [(b"so good\rso bad\r", ["so good", "so bad"]), (b"a\nso\rgood", ["a", "so\rgood"])]:
        reader, writer = os.pipe()
        os.write(writer, data)
        os.close(writer)
        chunks = list(streams.lines_as_they_come(reader, "stdin").read(Rejects("stop")))
        os.close(reader)
        assert [text for chunk in chunks for text in chunk.texts] == texts


def test_a_pipe_in_another_encoding_and_with_a_long_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LONGEST_LINE", 100)
    reader, writer = os.pipe()
    os.write(writer, "café\n".encode("latin-1") + b"x" * 500 + b"\nend")
    os.close(writer)
    rejects = Rejects("skip")
    how = format_of(load_data(["data.encoding=latin-1"]))
    chunks = list(streams.lines_as_they_come(reader, "stdin", how).read(rejects))
    os.close(reader)
    assert [text for chunk in chunks for text in chunk.texts] == ["café", "end"]
    assert [number for chunk in chunks for number in chunk.numbers] == [1, 3]
    assert [(one["row"], one["line"]) for one in rejects.found] == [(2, 2)]


def test_columns_of_pairs_are_read_by_the_same_reader(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text('source\ttarget\n" a\tb\nc "\td\n')
    found = read_table(tmp_path / "x.tsv", Columns("source", "target"), Rejects("stop"), has_labels=True)
    assert [(row.text, row.label) for row in found] == [('" a', "b"), ('c "', "d")]
