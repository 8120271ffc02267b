"""What few, rare and repeated rows can bear: refused, or said each time that a corpus is trained on."""

import gzip
import hashlib
import shlex
from pathlib import Path

import numpy as np
import pytest

from sentiment_cli.data.checks.checks import check_data
from sentiment_cli.data.checks.statistics import corpus_facts
from sentiment_cli.data.corpus import prepare as prepare_module
from sentiment_cli.data.corpus.packed import SPLITS
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.corpus.splits import held_out
from sentiment_cli.data.sources.download import SHA256, archive_path
from sentiment_cli.data.sources.imdb_source import say_other_archive
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.errors import DataError


def table(*labels: str, groups: int = 0) -> str:
    named = [f"text number {i},{label}" + (f",{i % groups}" if groups else "") for i, label in enumerate(labels)]
    return "\n".join(["text,label" + (",group" if groups else ""), *named]) + "\n"


@pytest.mark.parametrize(
    "labels",
    [
        ["ok"] * 750 + ["bad"] * 4,
        ["ok"] * 90 + ["bad"] * 3,
        ["a"] * 3 + ["b"] * 3 + ["c"] * 3,
        ["a"] * 40 + ["b"] * 4 + ["c"] * 5,
        ["a"] * 5 + ["b"] * 5,
    ],
)
@pytest.mark.parametrize("settings", [(), ("data.test_share=0.9", "data.valid.share=0.9")])
def test_t5_a_class_of_three_rows_has_one_in_each_split(own, labels: list[str], settings: tuple[str, ...]) -> None:
    facts = corpus_facts(own("x.csv", table(*labels), *settings))
    for split in SPLITS:
        assert set(facts["splits"][split]["labels"]) == set(labels)
        assert min(facts["splits"][split]["labels"].values()) >= 1
    assert sum(facts["splits"][split]["rows"] for split in SPLITS) == len(labels)


def test_t5_shares_that_give_each_class_a_row_are_what_they_were() -> None:
    label_N = np.arange(200) % 2
    group_N = np.arange(200) // 5
    for by in ("row", "group"):
        before, now = (held_out(label_N, group_N, by, 0.1, 0, left) for left in (0, 2))
        assert (before == now).all()


def test_t5_groups_stay_whole_and_still_give_a_rare_class_to_each_split(own) -> None:
    labels = ["bad" if i % 40 == 7 else "ok" for i in range(200)]  # 5 rows, each in a group of its own
    rows = [f"text {i},{label},{i // 4}" for i, label in enumerate(labels)]
    facts = corpus_facts(own("x.csv", "\n".join(["text,label,group", *rows])))
    assert all(facts["splits"][split]["labels"]["bad"] >= 1 for split in SPLITS)
    assert facts["groups_shared"] == {}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["ok"] * 30 + ["fine"] * 30 + ["bad"], {"valid", "test"}),
        (["ok"] * 30 + ["fine"] * 30 + ["bad"] * 2, {"test"}),
        (["ok"] * 30 + ["fine"] * 30 + [f"rare {i}" for i in range(5)], {"valid", "test"}),
    ],
)
def test_t5_a_class_that_a_split_lacks_is_said_each_time(own, capsys, labels: list[str], said: set[str]) -> None:
    for _ in range(2):
        prepare(own("x.csv", table(*labels)), ("train", "valid"))
        warned = capsys.readouterr().err
        assert {split for split in SPLITS if f"no {split} row is labelled" in warned} == said
    assert any("too few rows labelled" in one.what for one in check_data(own("x.csv", table(*labels)).data).findings)


@pytest.mark.parametrize("n_groups", [1, 2])
def test_t13_few_groups_are_told_from_few_rows(own, n_groups: int) -> None:
    content = table(*["a", "b", "b", "a"] * 100, groups=n_groups)
    with pytest.raises(DataError, match=rf"^{n_groups} groups cannot give") as caught:
        prepare(own("x.csv", content))
    assert prepare(own("x.csv", content, shlex.split(str(caught.value.hint))[1]))


@pytest.mark.parametrize(("n_rows", "n_labels"), [(400, 400), (60, 50), (20, 20)])
def test_t13_a_label_that_is_an_id_is_asked_about(own, n_rows: int, n_labels: int) -> None:
    lines = [f"text {i},id {i % n_labels},{'ab'[i % 2]}" for i in range(n_rows)]
    with pytest.raises(DataError, match=f"{n_labels} labels for {n_rows} rows, .* is that the label column") as caught:
        prepare(own("x.csv", "\n".join(["text,label,mood", *lines])))
    assert caught.value.hint == "--set data.label_column=mood"
    assert prepare(own("x.csv", None, shlex.split(caught.value.hint)[1])).labels == ("a", "b")
    with pytest.raises(DataError) as caught:
        prepare(own("y.csv", "\n".join(["text,label", *(line.rpartition(",")[0] for line in lines)])))
    assert str(caught.value.hint).startswith("sentiment data check --set data.source=")


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "a", "b"], ["a", "b", "c"]])
def test_t13_tables_that_cannot_be_divided_say_why(own, labels: list[str]) -> None:
    with pytest.raises(
        DataError, match=f"^{len(labels)} rows are too few: .*Training keeps a row of each label"
    ) as caught:
        prepare(own("x.csv", table(*labels)))
    assert caught.value.hint == "sentiment train sample"


@pytest.mark.parametrize("labels", [["a", "a", "b", "b"], ["a"] * 5 + ["b"] * 5, ["a"] * 3 + ["b"], ["a", "b"] * 3])
def test_t13_tiny_tables_are_divided(own, labels: list[str]) -> None:
    facts = corpus_facts(own("x.csv", table(*labels)))
    assert all(facts["splits"][split]["rows"] for split in SPLITS)
    assert all(facts["splits"]["train"]["labels"].values())


def test_a16_a_test_file_that_is_the_source_is_refused(own, small_csv: str, tmp_path: Path) -> None:
    own("x.csv", small_csv)
    (tmp_path / "copy.csv").write_text(small_csv)
    (tmp_path / "hard.csv").hardlink_to(tmp_path / "x.csv")
    for name in ("x.csv", "copy.csv", "hard.csv"):
        for key in ("data.test", "data.valid.source"):
            with pytest.raises(DataError, match="holds the same rows as the train rows") as caught:
                prepare(own("x.csv", None, f"{key}={tmp_path / name}"))
            assert caught.value.hint == f"--set {key}=null"


def other_case(content: str) -> bytes:
    head, *lines = content.splitlines()
    pairs = [line.rpartition(",") for line in lines]
    return "\n".join([head, *(f"{text.upper()} .,{label}" for text, _, label in pairs)]).encode()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("t.csv.gz", lambda content: gzip.compress(content.encode())),
        ("t.csv", lambda content: "\n".join(content.splitlines()[:21]).encode()),
        ("t.csv", other_case),
        ("t.csv", lambda content: content.replace("film", "fi\u200blm").encode()),
    ],
)
def test_a16_test_rows_that_all_stand_in_training_are_said_each_time(
    own, small_csv: str, tmp_path: Path, capsys, name: str, change
) -> None:
    (tmp_path / name).write_bytes(change(small_csv))
    experiment = own("x.csv", small_csv, f"data.test={tmp_path / name}")
    for _ in range(2):
        prepare(experiment, ("train", "valid"))
        assert "test rows are also in train or valid: the test scores do not measure" in capsys.readouterr().err
    assert any("all test texts are also in train" in one.what for one in check_data(experiment.data).findings)


@pytest.mark.parametrize("name", ["valid", "dev", "val", "validation"])
def test_t15_a_folder_of_validation_texts_beside_train_is_used(own, tmp_path: Path, name: str) -> None:
    for split, n in (("train", 9), (name, 4), ("test", 3)):
        for label in ("neg", "pos"):
            for i in range(n):
                (tmp_path / "f" / split / label).mkdir(parents=True, exist_ok=True)
                (tmp_path / "f" / split / label / f"{i}.txt").write_text(f"{split} {label} {i}")
    corpus = prepare(own("f", None))
    assert [len(corpus.ids(split)) for split in SPLITS] == [18, 8, 6]
    assert corpus.split("valid").label_N.tolist() == [0] * 4 + [1] * 4
    (tmp_path / "f" / "valid").mkdir(exist_ok=True)
    (tmp_path / "f" / "dev").mkdir(exist_ok=True)
    with pytest.raises(DataError, match=r"valid/ and .*validation texts come from one folder") as caught:
        prepare(own("f", None))
    assert str(caught.value.hint).startswith("--set data.valid.source=")


def test_t15_a_file_of_validation_rows_is_used_and_is_in_the_key(own, small_csv: str, tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text(small_csv.replace("number", "no"))
    setting = f"data.valid.source={tmp_path / 'v.csv'}"
    corpus = prepare(own("x.csv", small_csv, setting))
    assert [len(corpus.ids(split)) for split in SPLITS] == [36, 40, 4]
    (tmp_path / "v.csv").write_text(small_csv.replace("number", "nr"))
    assert prepare(own("x.csv", small_csv, setting)).key != corpus.key
    (tmp_path / "v.csv").write_text(small_csv.replace("number", "Number").replace(",pos", ",good"))
    with pytest.raises(DataError, match=r"the valid split of .* is labelled 'neg' .*'good'"):
        prepare(own("x.csv", small_csv, setting))
    (tmp_path / "v.csv").write_text(small_csv.replace("number", "Number !"))
    report = check_data(own("x.csv", small_csv, setting).data)
    assert report.duplicates["train_valid"] == 0
    assert report.duplicates_normalised["train_valid"] == 40
    assert any("all valid texts are also in train" in one.what for one in report.findings)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: f"{text} .",
        str.upper,
        lambda text: text.replace("film", "fi\u200blm"),
        lambda text: text.replace(" ", "<br /> ", 1),
        lambda text: f"“{text}”!!!",
        lambda text: text.replace("o", "ó"),
    ],
)
def test_a15_unlabelled_rows_that_are_test_rows_in_other_clothes_are_dropped(
    own, small_csv: str, tmp_path: Path, capsys, change
) -> None:
    texts = [f"{'good' if i % 2 else 'bad'} test film {i}" for i in range(20)]
    (tmp_path / "t.csv").write_text(
        "text,label\n" + "".join(f"{t},{'pos' if i % 2 else 'neg'}\n" for i, t in enumerate(texts))
    )
    (tmp_path / "u.csv").write_text("text\n" + "".join(f'"{change(text)}"\n' for text in texts) + "something else\n")
    settings = (f"data.test={tmp_path}/t.csv", f"data.unlabelled={tmp_path}/u.csv")
    for extra in ((), ("vocabulary.from=[train, unsup]",)):
        corpus = prepare(own("x.csv", small_csv, *settings, *extra), (*SPLITS, "unsup"))
        assert corpus.ids("unsup") == ["21"]
        assert "20 left out that are also in test" in capsys.readouterr().err
    assert "something" in corpus.vocabulary.entries
    assert "test" not in corpus.vocabulary.entries


def test_a15_rows_are_compared_by_their_tokens_too(own, small_csv: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\ngood unheard film,pos\nbad film,neg\n")
    (tmp_path / "u.csv").write_text("text\ngood strange film\nfilm good strange\n")
    settings = (f"data.test={tmp_path}/t.csv", f"data.unlabelled={tmp_path}/u.csv")
    assert prepare(own("x.csv", small_csv, *settings), (*SPLITS, "unsup")).ids("unsup") == ["2"]


def test_t15_folders_that_are_not_read_are_said(own, tmp_path: Path, small_csv: str, capsys) -> None:
    for name in ("train/neg", "train/pos", "test/neg", "test/pos", "extra/pos", "dev/pos", "dev/neg"):
        (tmp_path / "f" / name).mkdir(parents=True)
        for i in range(6):
            (tmp_path / "f" / name / f"{i}.txt").write_text(f"{name} {i}")
    prepare(own("f", None))
    assert "not read: extra/\n" in capsys.readouterr().err
    (tmp_path / "t.csv").write_text(small_csv)
    prepare(own("f", None, f"data.test={tmp_path / 't.csv'}", f"data.valid.source={tmp_path / 'f' / 'dev'}"))
    assert "not read: dev/, extra/, test/\n" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_finds_its_splits_again(own) -> None:
    """Its key says that shares were rounded; without its pack in the cache the same rows are packed."""
    experiment = own("x.csv", table(*["ok"] * 60 + ["bad"] * 4))
    source = find_source(experiment.data)
    fingerprint = prepare_texts(source, "labelled").fingerprint
    earlier = prepare_module._key(source, experiment, [fingerprint], prepare_module._FORMAT_ROUNDED).directory_name
    corpus, now = prepare(experiment, SPLITS, earlier), prepare(experiment)
    assert corpus.key == earlier != now.key
    assert [(corpus.split(split).label_N == 0).sum() for split in SPLITS] == [4, 0, 0]
    assert [(now.split(split).label_N == 0).sum() for split in SPLITS] == [2, 1, 1]


@pytest.mark.parametrize(("is_named", "kind"), [(False, "archive"), (True, "archive"), (True, "folder")])
def test_a22_an_archive_of_other_bytes_is_said(tmp_path: Path, monkeypatch, capsys, is_named: bool, kind: str) -> None:
    path = archive_path()
    if is_named:
        path = tmp_path / "aclImdb.tar.xz"
        monkeypatch.setenv("SENTIMENT_IMDB", str(path))
    if kind == "folder":
        path.mkdir()
    say_other_archive(path, "0" * 64, 160)
    said = capsys.readouterr().err
    assert (
        "is a folder, which no published hash" in said if kind == "folder" else "is not the published archive" in said
    )
    assert said.startswith("warning: ") == (not is_named)
    if kind == "archive":
        say_other_archive(path, hashlib.sha256(f" {SHA256}".encode()).hexdigest(), 160)
        assert capsys.readouterr().err == ""
