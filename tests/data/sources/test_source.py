"""People's own tables and folders, whole: three classes, a folder per class, gzipped JSON Lines, aclImdb's layout."""

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.sources.review import Review
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.data.tables.readers import Rejects
from sentiment_cli.errors import Change, DataError, SentimentError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of texts, each with its own path as its text."""

    def make(name: str, *files: str) -> Path:
        for file in files:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"the text of {file}", errors="replace")
        return tmp_path / name

    return make


def read(experiment, part: str = "labelled") -> list[tuple[str, Review]]:
    return list(find_source(experiment.data).rows(part, Rejects(experiment.data.on_error)))


def found(experiment, part: str = "labelled") -> list[tuple[str, str, str | None]]:
    return [(split, review.id, review.label) for split, review in read(experiment, part)]


def test_three_classes_in_a_table(own) -> None:
    rows = [f"text {i} of {label},{label}" for i in range(60) for label in ("bad", "fair", "good")]
    corpus = prepare(own("My own reviews.v2.csv", "\n".join(["text,label", *rows])))
    assert corpus.labels == ("bad", "fair", "good")
    assert corpus.key.startswith("my-own-reviews-")
    # 18 of 180 for test and then 16 of 162 for validation, of each class its share
    assert {split: Counter(corpus.split(split).label_N.tolist()) for split in corpus.directories} == {
        "train": {0: 49, 1: 49, 2: 49},
        "valid": {0: 5, 1: 5, 2: 5},
        "test": {0: 6, 1: 6, 2: 6},
    }


def test_gzipped_json_lines(own) -> None:
    lines = [json.dumps({"review": f"text {i}", "sentiment": i % 3, "movie": f"m{i % 20}"}) for i in range(200)]
    corpus = prepare(own("x.jsonl.gz", gzip.compress("\n".join(lines).encode())))
    assert corpus.labels == ("0", "1", "2")
    groups = {split: set(corpus.split(split).group_N.tolist()) for split in ("train", "valid", "test")}
    assert len(set.union(*groups.values())) == sum(map(len, groups.values())) == 20


def test_a_folder_per_class(own, folder) -> None:
    path = folder("f", "b/2.txt", "b/1.txt", "a/10.txt", "a/9.txt", "c/x.txt", "README.txt", "a/notes.md", ".git/1.txt")
    expected = [("a/10", "a"), ("a/9", "a"), ("b/1", "b"), ("b/2", "b"), ("c/x", "c")]
    assert found(own("f", None)) == [("train", name, label) for name, label in expected]
    assert read(own("f", None))[0][1].text == "the text of a/10.txt"
    assert not find_source(own("f", None).data).has_unlabelled
    shutil.move(path / "c" / "x.txt", path / "c" / "y.txt")
    assert found(own("f", None))[-1] == ("train", "c/y", "c")


def test_a_folder_with_test_rows_and_unlabelled_ones(own, folder) -> None:
    folder("f", "train/a/1.txt", "train/b/1.txt", "test/a/1.txt", "test/b/2.txt", "train/unsup/7.txt")
    rows = [("train", "a/1", "a"), ("train", "b/1", "b"), ("test", "a/1", "a"), ("test", "b/2", "b")]
    assert found(own("f", None)) == rows
    assert found(own("f", None), "unlabelled") == [("unsup", "unsup/7", None)]
    folder("t", "a/5.txt", "b/5.txt", "unsup/5.txt")
    given = own("f", None, f"data.test={folder('t')}")  # takes the place of the folder's own
    assert found(given) == [*rows[:2], ("test", "a/5", "a"), ("test", "b/5", "b")]
    folder("both", "train/a/1.txt", "train/b/1.txt", "test/a/3.txt", "test/b/3.txt")
    given = own("f", None, f"data.test={folder('both')}")  # of which the training rows are no test rows
    assert found(given) == [*rows[:2], ("test", "a/3", "a"), ("test", "b/3", "b")]


def test_the_two_parts_of_a_folder_are_hashed_apart(own, folder) -> None:
    path = folder("f", "a/1.txt", "b/1.txt", "unsup/1.txt")
    source = find_source(own("f", None).data)
    before = [source.digest(part) for part in ("labelled", "unlabelled")]
    (path / "unsup" / "1.txt").write_text("changed")
    after = [source.digest(part) for part in ("labelled", "unlabelled")]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]
    (path / "a" / "1.txt").rename(path / "b" / "2.txt")
    assert source.digest("labelled") != before[0]


@pytest.mark.parametrize("name", ["plain/1.txt", "plain/unsup/1.txt", "plain.csv"])
def test_unlabelled_rows_given_apart(own, folder, tmp_path: Path, name: str) -> None:
    folder("f", "a/1.txt", "b/1.txt", "unsup/ignored.txt")
    path = tmp_path / name.split("/")[0]
    if path.suffix == ".csv":
        path.write_text("label,text\na,the text of plain.csv\n")  # its labels are not looked at
    else:
        folder("plain", name.removeprefix("plain/"), "pos/1.txt")
    rows = read(own("f", None, f"data.unlabelled={path}"), "unlabelled")
    assert [(split, review.label, review.text) for split, review in rows] == [
        ("unsup", None, f"the text of {name.removeprefix('plain/')}")
    ]


def test_rows_without_a_label_can_be_the_unlabelled_ones(own, tmp_path: Path) -> None:
    lines = [{"text": "first"}, {"text": "second", "label": "a"}, {"text": "third", "label": None}, {"label": 0.5}]
    content = "\n".join(map(json.dumps, lines))
    settings = ("data.without_label=unlabelled", "data.on_error=skip")
    experiment = own("x.jsonl", content, *settings)
    assert found(experiment) == [("train", "2", "a")]
    assert found(experiment, "unlabelled") == [("unsup", "1", None), ("unsup", "3", None)]
    source = find_source(experiment.data)
    parts = [prepare_texts(source, part) for part in ("labelled", "unlabelled")]
    assert [part.rejected for part in parts] == [1, 0]  # counted once
    (tmp_path / "t.jsonl").write_text('{"text": "x", "label": "a"}\n{"text": "y"}\n')
    with pytest.raises(DataError, match=r"t\.jsonl, row 2 \(line 2\): its label is missing"):
        found(own("y.jsonl", "\n".join(map(json.dumps, lines[:3])), settings[0], f"data.test={tmp_path}/t.jsonl"))


def test_invariant_10_labelled_rows_do_not_pass_for_unlabelled_ones(own, small_csv: str) -> None:
    with pytest.raises(DataError, match=r"x\.csv has no unlabelled reviews") as caught:
        prepare(own("x.csv", small_csv, "vocabulary.from=[train, unsup]"))
    assert caught.value.hint == "sentiment data info"


def test_invariant_10_unlabelled_texts_that_stand_in_test_are_dropped(own, small_csv: str, tmp_path: Path) -> None:
    texts = [line.partition(",")[0] for line in small_csv.splitlines()[1:]]
    (tmp_path / "u.csv").write_text("\n".join(["text", *texts, "something else"]))
    settings = (f"data.unlabelled={tmp_path}/u.csv", "vocabulary.from=[unsup]", "data.test_share=0.25")
    corpus = prepare(own("x.csv", small_csv, *settings), ("train", "valid", "test", "unsup"))
    test = {texts[int(name) - 1] for name in corpus.ids("test")}
    assert len(test) == 10
    unsup = [[*texts, "something else"][int(name) - 1] for name in corpus.ids("unsup")]
    assert unsup == [text for text in [*texts, "something else"] if text not in test]
    numbers = {word for text in test for word in text.split() if word.isdigit()}
    assert numbers
    assert not numbers & set(corpus.vocabulary.entries)


def test_rows_known_from_training_are_marked_split_by_split(own) -> None:
    rows = [f"text {i % 30},{'ab'[i % 2]}" for i in range(60)]
    corpus = prepare(own("x.csv", "\n".join(["text,label", *rows])))
    twin_of = {str(i + 1): str((i + 30) % 60 + 1) for i in range(60)}
    for split in ("test", "valid"):
        names = corpus.ids(split)
        assert corpus.split(split).in_train_N.tolist() == [twin_of[name] not in names for name in names]
    assert (
        not prepare(own("y.csv", "text,label\n" + "".join(f"{i},{i % 2}\n" for i in range(40))))
        .split("test")
        .in_train_N.any()
    )


def test_a_folder_in_aclimdbs_layout(own, tmp_path: Path, sample_folder: Path) -> None:
    shutil.copytree(sample_folder, tmp_path / "mine" / "aclImdb")
    corpus = prepare(own("mine", None))
    assert corpus.labels == ("neg", "pos")
    assert corpus.key.startswith("mine-")
    assert {split: len(corpus.split(split).label_N) for split in corpus.directories}["test"] == 1000
    assert (corpus.split("train").group_N >= 0).all()
    assert (corpus.split("train").stars_N > 0).all()


@pytest.mark.parametrize(
    ("setting", "shown"),
    [("data.test=x.csv", "null"), ("data.unlabelled=x.csv", "null"), ("data.label_map=[neg=pos]", "[]")],
)
def test_settings_that_imdbs_layout_has_no_use_for(
    own, tmp_path: Path, setting: str, shown: str, sample_folder: Path
) -> None:
    (tmp_path / "mine").symlink_to(sample_folder)
    with pytest.raises(UsageError, match=r"is laid out as IMDb is, with rows and labels of its own") as caught:
        find_source(own("mine", None, setting).data)
    assert caught.value.hint == Change("--set", f"{setting.partition('=')[0]}={shown}")
    with pytest.raises(UsageError, match="which brings its own"):
        load_experiment("sample", [setting])


def test_only_tables_and_folders_can_be_given_apart(own, small_csv: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"")
    for key in ("test", "unlabelled"):
        experiment = own("x.csv", small_csv, f"data.{key}={tmp_path}/a.tar.gz")
        with pytest.raises(DataError, match=rf"data\.{key} is .*: only a table or a folder can be given apart"):
            prepare(experiment, ("train", "valid", "test", "unsup"))


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("reveiws.csv", "there is no such file or folder", "--set data.source='{}/my reviews.csv'"),
        ("quite-different", "there is no such file or folder", "ls {}"),
        ("nosuch/x.csv", "there is no such file or folder", "ls {}"),
        ("a\0b", "there is no such file or folder", "ls {}"),
        ("x" * 300, "there is no such file or folder", "ls {}"),
        ("notes.docx", "not a kind of file that is read", "ls -l {}/notes.docx"),
        ("empty", r"empty holds no labelled texts: CLASS/NAME\.txt or train/CLASS/NAME\.txt is looked for", None),
    ],
)
def test_what_is_not_there_or_nothing_we_read(own, folder, tmp_path, name: str, said: str, hint: str | None) -> None:
    (tmp_path / "my reviews.csv").write_text("")
    (tmp_path / "notes.docx").write_text("")
    (tmp_path / "empty").mkdir()
    experiment = own("x", None)
    data = experiment.data.model_copy(update={"source": f"{tmp_path}/{name}"})
    with pytest.raises(DataError, match=said) as caught:
        prepare_texts(find_source(data), "labelled")
    assert caught.value.hint == (hint and hint.format(tmp_path))


def test_a_text_that_cannot_be_read_is_named(own, folder) -> None:
    path = folder("f", "a/1.txt", "b/1.txt")
    (path / "b" / "1.txt").unlink()
    (path / "b" / "1.txt").symlink_to("/proc/self/mem")
    with pytest.raises(SentimentError, match=r"f/b/1\.txt cannot be read: Input/output error"):
        prepare(own("f", None))


def test_names_that_are_no_utf_8(own, folder, tmp_path: Path) -> None:
    folder("f", "a/1.txt", "b\udcff/2.txt", "b\udcff/\udcfe.txt")
    corpus = prepare_texts(find_source(own("f", None).data), "labelled")
    assert corpus.labels == ("a", "b\ufffd")
    assert corpus.ids("train") == ["a/1", "b\ufffd/2", "b\ufffd/\ufffd"]


def test_paths_in_a_file_are_from_the_files_folder_and_of_set_from_here(own, tmp_path, monkeypatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "there" / "base.yaml").write_text("name: base\ndata: {source: a.csv, test: sub/t.csv}\n")
    (tmp_path / "here" / "my.yaml").write_text("extends: ../there/base.yaml\nname: my\ndata: {unlabelled: u.csv}\n")
    data = load_experiment("my.yaml").data
    assert (data.source, data.test, data.unlabelled) == (
        f"{tmp_path}/there/a.csv",
        f"{tmp_path}/there/sub/t.csv",
        f"{tmp_path}/here/u.csv",
    )
    data = load_experiment("my.yaml", ["data.source=../b.csv", "data.test=/abs/t.csv"]).data
    assert (data.source, data.test) == (f"{tmp_path}/b.csv", "/abs/t.csv")
    assert load_experiment("my.yaml", ["data={source: c.csv}"]).data.source == f"{tmp_path}/here/c.csv"
    assert (
        load_experiment("my.yaml", ["data.source=sample", "data.test=null", "data.unlabelled=null"]).data.test is None
    )
