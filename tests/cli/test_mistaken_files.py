"""Mistakes with files of the user's own: tables, models and runs; the message, the suggested command, the exit code."""

import json
import random
import shlex
import shutil
from pathlib import Path

import pytest
from hints import complaint

from sentiment_cli.cli.predict import predict
from sentiment_cli.cli.reading import load_data
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.evaluation.evaluate import evaluate_data

ROWS = [("awful" if i % 2 else "lovely") + f" film number {i}" for i in range(40)]
LABELS = ["positive", "negative"] * 20


def table(labels: list[str], head: str = "text,label\n") -> str:
    return head + "".join(f"{text},{label}\n" for text, label in zip(ROWS, labels, strict=False))


FILES = {
    "empty.csv": "",
    "header.csv": "text,label\n",
    "three.csv": table(LABELS[:3]),
    "blank.csv": table([f"{label} " for label in LABELS]),
    "mixed.csv": table([label.title() if i < 3 else label for i, label in enumerate(LABELS)]),
    "fraction.csv": table([str(random.Random(i).random()) for i in range(40)]),
    "one.csv": table(["positive"] * 40),
    "plain.txt": "".join(f"{text}\n" for text in ROWS),
    "reviews.csv": table(LABELS),
    "numbers.csv": table(["1" if label == "positive" else "0" for label in LABELS]),
    "caps.csv": table([label.title() for label in LABELS]),
    "odd.csv": "review;rating\n" + "".join(f"{t};{n}\n" for t, n in zip(ROWS, LABELS, strict=True)),
    "bare.csv": table(LABELS, head=""),
    "columns.csv": "Text,Preis,text: en,# text,null,label\n" + "".join(f"{t},1,{t},{t},{t},pos\n" for t in ROWS),
    "window.yaml": "\ufeffname: window\r\ntrain: {lr: 0.1}\r\n",
    "config.json": '{"name": "config"}',
    "unnamed.yaml": "train: {lr: 0.1}\n",
    "child.yaml": "extends: defualt\nname: x\n",
    "six.yaml": "nmae: x\ntrain: {lr: -1, epochs: x}\ntrain: {lr: 1}\nmodel: {kind: foo}\ndata: {sorce: 1}\n",
    "books.xlsx": "PK\x03\x04 not one",
}
DATA, USAGE, OK = 3, 2, 0
# What is typed, the exit code, a part of the message, and the whole hint, "" for none; {} is the folder.
TABLE = {
    # columns whose names YAML would take for something else
    "eval mine --data columns.csv --text-column text:en": (
        DATA, "has no column 'text:en'", "sentiment eval mine --data columns.csv --text-column 'text: en'",
    ),
    "eval mine --data columns.csv --text-column '#text'": (
        DATA, "has no column '#text'", "sentiment eval mine --data columns.csv --text-column '# text'",
    ),
    "predict --run mine --file columns.csv --text-column Null": (
        DATA, "has no column 'Null'", "sentiment predict --run mine --file columns.csv --text-column null",
    ),
    "train linear --data columns.csv --set data.text_column=nul": (
        DATA, "has no column 'nul'",
        """sentiment train linear --data columns.csv --set 'data.text_column="null"'""",
    ),
    # several columns
    "train linear --data columns.csv --set data.text_column=Text,Preis": (
        DATA, "several columns are a list, [Text, Preis]",
        """sentiment train linear --data columns.csv --set 'data.text_column=["Text", "Preis"]'""",
    ),
    "predict --run mine --file columns.csv --text-column Text,Preis": (
        DATA, "several columns are a list",
        """sentiment predict --run mine --file columns.csv --set 'data.text_column=["Text", "Preis"]'""",
    ),
    "eval mine --data columns.csv --text-column 'Text + Preis'": (
        DATA, "several columns are a list",
        """sentiment eval mine --data columns.csv --set 'data.text_column=["Text", "Preis"]'""",
    ),
    "train linear --data columns.csv --set data.text_column=Text,Prise": (
        DATA, "has no column 'Text,Prise'", "sentiment train linear --data columns.csv --set data.text_column=Text",
    ),
    # files that are not read as they are
    "train linear --data empty.csv": (DATA, "empty.csv is empty; its first line should name", "head -n 5 {}/empty.csv"),
    "train linear --data header.csv": (DATA, "header.csv holds no labelled rows", "head -n 5 {}/header.csv"),
    "train linear --data three.csv": (
        DATA, "3 rows are too few", "sentiment train sample",
    ),
    "train linear --data three.csv --set data.valid.share=0.5": (
        DATA, "3 rows are too few", "sentiment train sample",
    ),
    "train linear --data fraction.csv": (DATA, "is a fraction, not a class", "head -n 5 {}/fraction.csv"),
    "train linear --data one.csv": (
        DATA, "every training row is labelled 'positive'", "sentiment data check --set data.source={}/one.csv",
    ),
    "train linear --data mixed.csv": (
        DATA, "has labels that differ in case alone",
        """sentiment train linear --data mixed.csv """
        """--set 'data.label_map={"Negative": "negative", "Positive": "positive"}'""",
    ),
    "-q --color never train linear --data mixed.csv": (
        DATA, "has labels that differ in case alone",
        """sentiment train -q --color never linear --data mixed.csv """
        """--set 'data.label_map={"Negative": "negative", "Positive": "positive"}'""",
    ),
    "train plain.txt": (DATA, "not a kind of file that is read. Convert it to one of .csv", "head -n 5 {}/plain.txt"),
    "train linear --data plain.txt": (DATA, "not a kind of file that is read", "head -n 5 {}/plain.txt"),
    "train books.xlsx": (DATA, "books.xlsx cannot be read", "ls -l books.xlsx"),
    "train --set data.source=imbd": (DATA, "Did you mean 'imdb'?", "sentiment train --set data.source=imdb"),
    "train linear --data IMDB": (DATA, "Did you mean 'imdb'?", "sentiment train linear --data imdb"),
    "predict --file nope.csv": (DATA, "No such file or directory", "sentiment predict --file one.csv"),
    "predict --file .": (DATA, "books.xlsx cannot be read", "ls -l books.xlsx"),
    # experiments
    "config check window.yaml config.json": (OK, "", ""),
    "config check unnamed.yaml": (USAGE, "add a line such as `name: my-run`", ""),
    "config check child.yaml": (USAGE, "did you mean default?", ""),
    "config check six.yaml": (USAGE, "7 problems in six.yaml", ""),
    "train sample --set train.device=cuda": (
        USAGE, "train.device is cuda", "sentiment train sample --set train.device=auto",
    ),
    # models and runs
    "predict --run reviews.csv hi": (DATA, "reviews.csv is not a packed model", "sentiment runs list"),
    "predict --run x.model hi": (USAGE, "there is no run 'x.model' in ", "sentiment runs list"),
    "generate mine": (USAGE, "mine is a classifier; generate needs a language model", "sentiment pretrain imdb-lm"),
    "eval mine --data numbers.csv": (
        DATA, "'0' (20), '1' (20); the training labels are 'negative', 'positive'. --label-map OLD=NEW,OLD=NEW says",
        "head -n 5 {}/numbers.csv",
    ),
    "eval mine --data caps.csv": (
        DATA, "the training labels are 'negative', 'positive'",
        "sentiment eval mine --data caps.csv --label-map Negative=negative,Positive=positive",
    ),
    "predict --run less hi": (
        DATA, "its files are not those of its manifest: graph.onnx missing", "sentiment reproduce {}/runs/less",
    ),
    "predict --run more hi": (DATA, "graph.onnx is damaged: its size or checksum", "sentiment reproduce {}/runs/more"),
    "predict --run bare hi": (USAGE, "bare holds no trained model", "sentiment train --resume {}/runs/bare"),
    "compare mine": (USAGE, "two runs or more", "sentiment runs list"),
    "ensemble mine": (USAGE, "two members at least", "sentiment runs list"),
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear run on a table that is deleted afterwards."""
    from sentiment_cli.config.loader import load_experiment
    from sentiment_cli.workflows.train import fit

    root = tmp_path_factory.mktemp("mistaken")
    (root / "reviews.csv").write_text(FILES["reviews.csv"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_DATA", str(root / "data"))
        patch.setenv("SENTIMENT_RUNS", str(root / "runs"))
        fit(load_experiment("linear", [f"data.source={root}/reviews.csv"]), "mine")
    (root / "reviews.csv").unlink()
    return root


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        Path(name).write_text(content, newline="")
    for name in ("mine", "less", "more", "bare"):
        shutil.copytree(trained / "runs" / "mine", runs_dir() / name)
    (runs_dir() / "less" / "model" / "graph.onnx").unlink()
    with (runs_dir() / "more" / "model" / "graph.onnx").open("ab") as graph:
        graph.write(b"X")
    shutil.rmtree(runs_dir() / "bare" / "model")
    return tmp_path


@pytest.mark.parametrize("line", TABLE)
def test_a_mistake_with_a_file_gets_a_sentence_and_a_command(typed, place: Path, line: str) -> None:
    code, message, hint = TABLE[line]
    said = typed(*shlex.split(line))
    assert (said.code, said.hint) == (code, hint.replace("{}", str(place)))
    assert message in said.error
    assert not any(mark in said.error for mark in ("Traceback", "{'", "['"))
    assert not hint or complaint(said.hint, shlex.split(line)) is None


@pytest.mark.parametrize("name", ["blank.csv", "odd.csv", "bare.csv", "utf16.csv"])
def test_a_table_in_another_form_is_trained_on(typed, place: Path, name: str) -> None:
    Path("utf16.csv").write_text(FILES["reviews.csv"], encoding="utf-16")
    run = Path(typed("train", "linear", "--data", name, "--name", "own").out.strip())
    assert json.loads((run / "model" / "model.json").read_text())["labels"] == ["negative", "positive"]


def test_texts_in_several_columns_are_read_as_they_were_in_training(typed, place: Path, capsys) -> None:
    rows = [f"{text},number {i} of all,{label}" for i, (text, label) in enumerate(zip(ROWS, LABELS, strict=True))]
    Path("two.csv").write_text("\n".join(["title,body,label", *rows]))
    joined = "data.text_column=[title, body]"
    typed("train", "linear", "--data", "two.csv", "--set", joined, "--name", "two")
    shutil.copy("two.csv", "again.csv")  # what is said of a file is said once a process
    evaluate_data(runs_dir() / "two", load_data(["data.source=again.csv"]))
    assert "text in 'title' and 'body'" in capsys.readouterr().err
    evaluate_data(runs_dir() / "two", load_data(["data.source=two.csv", "data.text_column=body"]))
    assert "text in 'body'" in capsys.readouterr().err
    for asked, read in (
        ({}, "'title' and 'body'"),
        ({"settings": ["data.text_column=body"]}, "'body'"),
        ({"text_column": "body"}, "'body'"),
        ({"parts": Path("parts")}, "'title' and 'body'"),
    ):
        predict(run="two", file="two.csv", **asked)
        assert f"two.csv: text in {read}" in capsys.readouterr().err


def test_columns_that_were_found_by_content_are_read_where_another_file_has_them(typed, place: Path, capsys) -> None:
    """Whatever else the other file holds: a longer text, or another column of two values."""
    Path("seen.csv").write_text("avis,verdict\n" + "".join(f"{text},{i % 2}\n" for i, text in enumerate(ROWS)))
    typed("train", "linear", "--data", "seen.csv", "--name", "seen")
    note = "a much longer note about the delivery that goes on and on and is no review"
    rows = [f"{text},{note} {i},{i // 2 % 2},{i % 2}" for i, text in enumerate(ROWS)]
    Path("more.csv").write_text("\n".join(["avis,note,verified,verdict", *rows]))
    capsys.readouterr()
    evaluate_data(runs_dir() / "seen", load_data(["data.source=more.csv"]))
    assert "more.csv: text in 'avis', label in 'verdict'; not read: note, verified" in capsys.readouterr().err
    predict(run="seen", file="more.csv", out=Path("answers.csv"))
    assert "more.csv: text in 'avis'" in capsys.readouterr().err
    typed("train", "linear", "--data", "seen.csv", "--test", "more.csv", "--name", "tested")
    assert "more.csv: text in 'avis', label in 'verdict'" in (runs_dir() / "tested" / "log.txt").read_text()


def test_places_of_columns_without_names_are_not_those_of_another_table(typed, place: Path, capsys) -> None:
    Path("bare.csv").write_text("".join(f"{text},{i % 2}\n" for i, text in enumerate(ROWS)))
    typed("train", "linear", "--data", "bare.csv", "--name", "nameless")
    Path("ids.csv").write_text("".join(f"{i},{text}\n" for i, text in enumerate(ROWS)))
    capsys.readouterr()
    predict(run="nameless", file="ids.csv", out=Path("answers.csv"))
    assert "ids.csv: text in 'column 2'" in capsys.readouterr().err


def test_a_test_table_without_the_label_column_is_refused_and_one_of_a_folder_left_out(
    typed, place: Path, capsys
) -> None:
    rows = [f"{text},{i // 3 % 2},{i % 2}" for i, text in enumerate(ROWS)]
    Path("folder").mkdir()
    Path("folder", "train.csv").write_text("\n".join(["text,verified,label", *rows]))
    Path("folder", "test.csv").write_text("\n".join(["text,verified", *(row[:-2] for row in rows)]))
    done = typed("train", "linear", "--data", "folder/train.csv", "--test", "folder/test.csv")
    assert done.code == 3
    said = "test.csv has no column 'label', which the training rows have the labels in; it has 'text', 'verified'"
    assert done.error.endswith(said)
    assert done.hint == "sentiment train linear --data folder/train.csv --set data.test=null"
    done = typed("train", "linear", "--data", "folder", "--name", "kaggle")
    assert done.code == 0
    assert "folder: no row of test has a label, so none is a test row" in (runs_dir() / "kaggle/log.txt").read_text()
    evaluate_data(runs_dir() / "kaggle", load_data(["data.source=folder/test.csv"]))
    assert "test.csv has no column 'label', which the model's labels were read from" in capsys.readouterr().err
    Path("empty.csv").write_text("text,label\n")
    done = typed("train", "linear", "--data", "folder/train.csv", "--test", "empty.csv")
    assert done.code == 3
    assert done.error.endswith("empty.csv holds no labelled rows, and it is what the test rows are read from")


def test_text_that_is_not_utf_8_gets_a_warning_with_the_encoding(typed, place: Path, capsys) -> None:
    Path("latin.csv").write_text(FILES["reviews.csv"].replace("lovely", "schön"), encoding="latin-1")
    assert typed("data", "check", "--data", "latin.csv").code == OK
    typed("train", "linear", "--data", "latin.csv", "--name", "latin")
    assert '"schön' in json.dumps(
        json.loads((runs_dir() / "latin" / "model" / "vocabulary.json").read_text()), ensure_ascii=False
    )


def test_a_run_answers_after_its_data_are_deleted_and_it_was_renamed_and_moved(
    typed, trained: Path, place, monkeypatch
) -> None:
    monkeypatch.setenv("SENTIMENT_DATA", str(trained / "data"))
    (runs_dir() / "mine").rename(runs_dir() / "größer als je")
    assert typed("predict", "--run", "größer als je", "a lovely film").out.startswith("positive\t")
    assert typed("eval", "größer als je", "--json").code == OK
    near = typed("predict", "--run", "größer als", "hi")
    assert near.hint == "sentiment predict --run 'größer als je' hi"
    monkeypatch.chdir("/")
    assert typed("predict", "--run", "größer als je", "a lovely film").code == OK
    (runs_dir() / "größer als je").rename(place / "elsewhere")
    assert typed("predict", "--run", str(place / "elsewhere"), "a lovely film").out.startswith("positive\t")
    monkeypatch.setenv("SENTIMENT_RUNS", "runs")
    assert typed("predict", "hi").out.startswith(("neg\t", "pos\t"))  # the labels of the bundled model


def test_a_deleted_table_whose_rows_are_not_prepared_gets_a_command_that_works(typed, place: Path) -> None:
    said = typed("eval", "mine")
    assert said.code == DATA
    assert "reviews.csv: there is no such file or folder" in said.error
    assert complaint(said.hint, ["eval", "mine"]) is None
