"""Folders of tables per split, as hubs hold data sets and as `datasets` saves them."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.corpus.packed import SPLITS, Corpus
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.data.sources.split_files import find_split_files
from sentiment_cli.data.tables.readers import Rejects
from sentiment_cli.errors import DataError

NAMES = ["neg", "pos"]
Rows = Sequence[tuple[str, int]]


def rows_of(first: int, n: int, label: int | None = None) -> Rows:
    """Return different texts of the same few words, by the digits of numbers from `first` on."""
    words = ["plot", "cast", "score", "end", "start"]
    texts = [" ".join(words[i // 5**place % 5] for place in range(5)) for i in range(first, first + n)]
    return [
        (f"{text} {'loved' if i % 2 else 'hated'}", i % 2 if label is None else label) for i, text in enumerate(texts)
    ]


PARTS: dict[str, Rows] = {
    "train": rows_of(0, 90),
    "test": rows_of(100, 30),
    "unsupervised": rows_of(200, 20, -1),
}


def table_of(rows: Rows, names: object = NAMES) -> pyarrow.Table:
    """Return rows as `datasets` writes them: whole numbers, and the names of the classes in the schema."""
    feature = {"names": names, "_type": "ClassLabel"}
    about = {"info": {"features": {"text": {"dtype": "string", "_type": "Value"}, "label": feature}}}
    columns = {"text": [text for text, _ in rows], "label": pyarrow.array([label for _, label in rows], "int64")}
    return pyarrow.table(columns).replace_schema_metadata({"huggingface": json.dumps(about)})


def write_shards(folder: Path, parts: dict[str, Rows] = PARTS, n: int = 2, names: object = NAMES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in parts.items():
        for i in range(n):
            shard = rows[len(rows) * i // n : len(rows) * (i + 1) // n]
            parquet.write_table(table_of(shard, names), folder / f"{split}-{i:05}-of-{n:05}.parquet")
    return folder


def write_saved(folder: Path, rows: Rows, n: int = 1) -> Path:
    """Write what Dataset.save_to_disk does."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"data-{i:05}-of-{n:05}.arrow" for i in range(n)]
    for i, name in enumerate(files):
        table = table_of(rows[len(rows) * i // n : len(rows) * (i + 1) // n])
        with pyarrow.ipc.new_stream(str(folder / name), table.schema) as writer:
            writer.write_table(table, max_chunksize=16)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in files]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def write_saved_dict(folder: Path) -> Path:
    for split, rows in PARTS.items():
        write_saved(folder / split, rows, n=2)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(PARTS)}))
    return folder


def write_folders(folder: Path) -> Path:
    for split, rows in PARTS.items():
        (folder / split).mkdir(parents=True)
        parquet.write_table(table_of(rows), folder / split / "0000.parquet")
    return folder


def write_json(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for split, rows in PARTS.items():
        lines = [json.dumps({"text": text, "label": NAMES[label] if label >= 0 else None}) for text, label in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "shards": write_shards,
    "one folder down": lambda folder: write_shards(folder / "plain_text").parent,
    "save_to_disk": write_saved_dict,
    "folders": write_folders,
    "json lines": write_json,
}


def prepared(*settings: str) -> Corpus:
    experiment = load_experiment(
        "linear",
        [f"data.{one}" for one in settings]
        + [
            "vocabulary.size=1000",
            "vocabulary.min_count=1",
            "model.linear.min_count=1",
            "model.linear.ngrams=1",
            "model.linear.char_ngrams=[]",
            "model.linear.weighting=bayes",
            "model.linear.normalize=false",
            "model.linear.penalty=1",
        ],
    )
    return prepare(experiment, (*SPLITS, "unsup"))


@pytest.mark.parametrize("form", WRITERS)
def test_every_form_gives_the_packed_rows_of_one_json_lines_file(form: str, tmp_path: Path) -> None:
    apart = write_json(tmp_path / "apart")
    files = {"source": "train", "test": "test", "unlabelled": "unsupervised"}
    one = prepared(*(f"{key}={apart / name}.jsonl" for key, name in files.items()))
    found = prepared(f"source={WRITERS[form](tmp_path / 'written')}")
    assert found.labels == one.labels == ("neg", "pos")
    for split in (*SPLITS, "unsup"):
        mine, other = found.split(split), one.split(split)
        assert len(other.label_N) > 0
        for name in ("ids_T", "starts_N1", "label_N"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(other, name), f"{split} {name}")
        assert found.ids(split) == one.ids(split)


def test_one_data_set_of_save_to_disk_is_train_rows(tmp_path: Path) -> None:
    source = find_source(
        load_experiment("linear", [f"data.source={write_saved(tmp_path / 'one', PARTS['train'])}"]).data
    )
    read = list(source.rows("labelled", Rejects("stop")))
    assert [(split, review.text, review.label) for split, review in read] == [
        ("train", text, NAMES[label]) for text, label in PARTS["train"]
    ]


def test_rows_labelled_minus_one_are_unlabelled_whatever_their_split(tmp_path: Path) -> None:
    """As GLUE has its test rows: none of them has a label, so test rows are held out of others."""
    half = [(text, label if i % 3 else -1) for i, (text, label) in enumerate(PARTS["train"])]
    folder = write_shards(tmp_path / "glue", {"train": half, "test": rows_of(100, 30, -1)})
    source = find_source(load_experiment("linear", [f"data.source={folder}"]).data)
    said: list[str] = []
    labelled = list(source.rows("labelled", Rejects("stop"), say=said.append))
    assert {split for split, _ in labelled} == {"train"}
    assert len(labelled) == 60
    assert "data: glue: no row of test has a label, so none is a test row" in said
    unlabelled = [review for _, review in source.rows("unlabelled", Rejects("stop"))]
    assert len(unlabelled) == 30 + 30
    assert {review.label for review in unlabelled} == {None}


def test_a_parquet_file_by_itself_has_the_names_of_its_schema(tmp_path: Path) -> None:
    parquet.write_table(table_of(PARTS["train"]), tmp_path / "rows.parquet")
    source = find_source(load_experiment("linear", [f"data.source={tmp_path / 'rows.parquet'}"]).data)
    assert {review.label for _, review in source.rows("labelled", Rejects("stop"))} == set(NAMES)


def test_a_file_moved_to_another_split_is_other_data(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "hub", n=1)
    data = load_experiment("linear", [f"data.source={folder}"]).data
    before = find_source(data).digest("labelled")
    (folder / "test-00000-of-00001.parquet").rename(folder / "validation-00000-of-00001.parquet")
    assert find_source(data).digest("labelled") != before


def _without_a_shard(folder: Path) -> None:
    write_shards(folder, n=3)
    (folder / "train-00001-of-00003.parquet").unlink()


def _two_files(folder: Path) -> None:
    write_json(folder)
    shutil.copy(folder / "train.jsonl", folder / "train.json")


def _several(folder: Path) -> None:
    for name in ("cola", "sst2"):
        write_shards(folder / name)


def _leaves(folder: Path) -> None:
    write_saved(folder, PARTS["train"])
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../other.arrow"}]}))


def _chosen_rows(folder: Path) -> None:
    write_saved(folder, PARTS["train"])
    about = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**about, "_indices_data_files": [{"filename": "i.arrow"}]}))


def _number_without_name(folder: Path) -> None:
    write_shards(folder, {"train": [("a", 0), ("b", 1), ("c", 2)] * 9}, n=1)


def _damaged(folder: Path) -> None:
    write_saved(folder, PARTS["train"])
    path = folder / "data-00000-of-00001.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b""
    path.write_bytes(data)


def _names_twice(folder: Path) -> None:
    write_shards(folder, names=["same", "same"])


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (_without_a_shard, "the train rows are 3 files, of which 1 are missing: 00001"),
        (_two_files, "holds several files that could be the train rows: train.json, train.jsonl"),
        (_several, "which holds several data sets: cola/, sst2/"),
        (_leaves, "names '../other.arrow', which is no name in its folder"),
        (_chosen_rows, "selects rows by a file of numbers"),
        (_number_without_name, "row 3: its label is 2, and the schema names 2 classes"),
        (_damaged, "is not a readable Arrow file"),
        (_names_twice, "the class names of 'label' in its schema are ['same', 'same'], no different texts"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(
    write: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    write(folder)
    with pytest.raises(DataError) as error:
        for _ in find_source(load_experiment("linear", [f"data.source={folder}"]).data).rows(
            "labelled", Rejects("stop")
        ):
            pass
    assert said in str(error.value)


def test_a_folder_of_splits_given_apart_is_refused_with_its_file(tmp_path: Path) -> None:
    hub, own = write_shards(tmp_path / "hub", n=1), write_json(tmp_path / "own")
    data = load_experiment("linear", [f"data.source={own / 'train.jsonl'}", f"data.test={hub}"]).data
    with pytest.raises(DataError, match="a folder of several splits") as error:
        list(find_source(data).rows("labelled", Rejects("stop")))
    assert error.value.hint == f"--set data.test={hub / 'test-00000-of-00001.parquet'}"


def test_a_folder_of_texts_has_no_split_files(tmp_path: Path) -> None:
    (tmp_path / "train" / "pos").mkdir(parents=True)
    (tmp_path / "train" / "pos" / "1.txt").write_text("fine")
    (tmp_path / "notes.csv").write_text("a,b\n")
    assert find_split_files(tmp_path) is None


def test_tables_beside_those_of_the_splits_are_said(tmp_path: Path, capsys) -> None:
    rows = "text,label\n" + "".join(f"so {'good' if i % 2 else 'bad'} {i},{i % 2}\n" for i in range(30))
    for name in ("train.csv", "test.csv", "train2.csv", "more.jsonl.gz", "README.md", "dataset_infos.json"):
        (tmp_path / name).write_text(rows.replace("so", "very") if name == "test.csv" else rows)
    prepare(load_experiment("sample", [f"data.source={tmp_path}", "vocabulary.min_count=1"]))
    assert f"data: {tmp_path.name}: not read: more.jsonl.gz, train2.csv\n" in capsys.readouterr().err
