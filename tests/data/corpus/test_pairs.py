"""Pairs of sequences: read from tables, held out by row, packed and cut; a bad row is told by its number."""

import gzip
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.schema import Experiment, Text
from sentiment_cli.data.batching.batches import Batch
from sentiment_cli.data.batching.pair_batches import gather_pairs, pair_rows_on, reconstruction
from sentiment_cli.data.corpus import pairs as pairs_module
from sentiment_cli.data.corpus.pairs import (
    END_ID,
    Pair,
    assign_pairs,
    open_pairs,
    prepare_pairs,
    read_pair_rows,
    write_pairs,
)
from sentiment_cli.data.tables.readers import Columns, Rejects
from sentiment_cli.data.tokens.tokenizer import build_tokenizer
from sentiment_cli.errors import DataError
from sentiment_cli.storage import store

ENTRIES = ("<pad>", "<start>", "<unk>", "a", "b", "c", "d")
TEXT = Text(start=True)


def parquet_of(**columns: list[object]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def read(folder: Path, name: str, content: bytes, on_error: str = "stop", **columns: str) -> tuple[list[Pair], list]:
    path, rejects = folder / name, Rejects(on_error)
    path.write_bytes(content)
    return list(read_pair_rows(path, Columns(**columns), rejects)), rejects.found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b"source,target\na b,b a\nc,d\n"),
        ("x.csv", b'id;target;source\n1;"b a";a b\n2;d;c\n'),
        ("x.tsv", b"source\ttarget\na b\tb a\n\nc\td\n"),
        ("x.tsv.gz", gzip.compress(b"source\ttarget\na b\tb a\nc\td\n", mtime=0)),
        ("x.jsonl", b'{"source": "a b", "target": "b a"}\n{"target": "d", "source": "c"}\n'),
        ("x.parquet", parquet_of(source=["a b", "c"], target=["b a", "d"])),
    ],
)
def test_b10_two_columns_of_any_table_are_read(tmp_path: Path, name: str, content: bytes) -> None:
    assert read(tmp_path, name, content)[0] == [Pair(1, "a b", "b a"), Pair(2, "c", "d")]


def test_b10_columns_are_called_what_they_are_called(tmp_path: Path) -> None:
    content = b"en,de,source\ngood,gut,x\n"
    assert read(tmp_path, "x.csv", content, text="en", label="de")[0] == [Pair(1, "good", "gut")]
    with pytest.raises(DataError, match=r"x\.csv has no column 'target'; it has 'en', 'de', 'source'") as caught:
        read(tmp_path, "x.csv", content)
    assert caught.value.hint == "--set data.label_column=de"


BAD_ROWS = [
    ("x.csv", b"source,target\na,b\nb\nc,d\n", 2, 3, "1 fields where the header names 2"),
    ("x.csv", b"source,target\na,b\n ,d\nc,d\n", 2, 3, "its source is empty"),
    ("x.csv", b"source,target\na,b\nc,d\nb,\n", 3, 4, "its target is empty"),
    ("x.jsonl", b'{"source": "a", "target": "b"}\n{"source": "a"}\n{"source": "c", "target": "d"}\n', 2, 2, "missing"),
    (
        "x.jsonl",
        b'{"source": 1, "target": "b"}\n' + b'{"source": "a", "target": "b"}\n' * 2,
        1,
        1,
        "its source is a int",
    ),
    ("x.parquet", parquet_of(source=["a", "b", "c"], target=["b", None, "d"]), 2, None, "its target is missing"),
]


@pytest.mark.parametrize(("name", "content", "number", "line", "said"), BAD_ROWS)
def test_b10_a_bad_pair_is_told_by_its_number_or_left_out(tmp_path: Path, name, content, number, line, said) -> None:
    place = f"row {number}" if line is None else rf"row {number} \(line {line}\)"
    with pytest.raises(DataError, match=rf"{name}, {place}: .*{said}"):
        read(tmp_path, name, content)
    rows, rejected = read(tmp_path, name, content, "skip")
    assert len(rows) == 2
    assert [row.number for row in rows] == [n for n in (1, 2, 3) if n != number]
    assert [(row["row"], row["line"]) for row in rejected] == [(number, line)]


def test_b10_what_utf8_cannot_hold_is_replaced(tmp_path: Path) -> None:
    content = json.dumps({"source": "a\ud83c", "target": "\udc00"}).encode()
    assert read(tmp_path, "x.jsonl", content)[0] == [Pair(1, "a\ufffd", "\ufffd")]


def test_rows_are_held_out_by_seed_and_each_is_somewhere_once() -> None:
    first, again, other = (assign_pairs(200, valid_share=0.1, test_share=0.2, seed=seed) for seed in (0, 0, 1))
    assert {name: int(rows.sum()) for name, rows in first.items()} == {"train": 144, "valid": 16, "test": 40}
    assert (sum(rows.astype(int) for rows in first.values()) == 1).all()
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["test"] != other["test"]).any()
    alone, other = (assign_pairs(200, valid_share=0.1, test_share=0, seed=seed) for seed in (0, 1))
    assert not alone["test"].any()
    assert (alone["valid"] != other["valid"]).any()


@pytest.fixture
def packed(tmp_path: Path):
    tokenizer = build_tokenizer(TEXT, ENTRIES, "<unk>")
    texts = [("a b c d", "D c"), ("x", "b b b b b"), ("", "a"), ("b a", "")]
    pairs = [Pair(i, *pair) for i, pair in enumerate(texts, 1)]
    with store.new_directory(tmp_path / "packs") as draft:
        write_pairs(draft, "train", pairs, tokenizer)
        write_pairs(draft, "valid", (pair for pair in pairs * 600), tokenizer)
        write_pairs(draft, "test", [], tokenizer)
    return {split: open_pairs(tmp_path / "packs", split) for split in ("train", "valid", "test")}


def test_pairs_are_packed_with_an_end_behind_each_target(packed) -> None:
    train = packed["train"]
    assert train.source_T.tolist() == [3, 4, 5, 6, 2, 4, 3]
    assert train.source_starts_N1.tolist() == [0, 4, 5, 5, 7]
    assert train.target_T.tolist() == [6, 5, END_ID, 4, 4, 4, 4, 4, END_ID, 3, END_ID, END_ID]
    assert train.target_starts_N1.tolist() == [0, 3, 9, 11, 12]
    valid = packed["valid"]
    assert valid.source_T.tolist() == train.source_T.tolist() * 600
    assert (np.diff(valid.target_starts_N1) == np.tile([3, 6, 2, 1], 600)).all()
    assert packed["test"].target_starts_N1.tolist() == [0]


def test_pairs_are_cut_into_padded_rectangles(packed) -> None:
    sides = pair_rows_on(torch.device("cpu"), packed["train"])
    batch = gather_pairs(sides, torch.tensor([3, 0, 1, 2]), (5, 6), TEXT)
    assert batch.source_BL.tolist() == [[1, 4, 3, 0, 0], [1, 3, 4, 5, 6], [1, 2, 0, 0, 0], [1, 0, 0, 0, 0]]
    assert batch.source_length_B.tolist() == [3, 5, 2, 1]
    assert batch.target_BM.tolist() == [[1, 0, 0, 0, 0, 0], [6, 5, 1, 0, 0, 0], [4, 4, 4, 4, 4, 1], [3, 1, 0, 0, 0, 0]]
    assert batch.target_length_B.tolist() == [1, 3, 6, 2]
    assert batch.mean_length_B.tolist() == [3.0] * 4


def test_a_target_that_is_cut_teaches_no_early_end(packed) -> None:
    sides = pair_rows_on(torch.device("cpu"), packed["train"])
    text = TEXT.model_copy(update={"max_tokens": 3, "truncate": "ends"})
    batch = gather_pairs(sides, torch.tensor([0, 1]), (3, 3), text)
    assert batch.source_BL.tolist() == [[4, 5, 6], [1, 2, 0]]
    assert batch.target_BM.tolist() == [[6, 5, 1], [4, 4, 4]]
    assert batch.target_length_B.tolist() == [3, 3]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_reconstruction_is_the_row_after_its_start(reverse: bool) -> None:
    ids_BL = torch.tensor([[1, 5, 6, 7], [1, 8, 0, 0], [1, 0, 0, 0], [1, 2, 3, 0]])
    batch = Batch(ids_BL, torch.tensor([4, 2, 1, 3]), torch.zeros(4, dtype=torch.long))
    pair = reconstruction(batch, reverse=reverse)
    first, last = ([7, 6, 5, 1], [3, 2, 1, 0]) if reverse else ([5, 6, 7, 1], [2, 3, 1, 0])
    assert pair.target_BM.tolist() == [first, [8, 1, 0, 0], [1, 0, 0, 0], last]
    assert pair.target_length_B.tolist() == [4, 2, 1, 3]
    assert pair.source_BL is ids_BL
    assert pair.mean_length_B.tolist() == [2.5] * 4


def test_rows_in_are_rows_out_and_rejects_in_order(tmp_path: Path) -> None:
    lines = [f"{'' if i % 7 == 3 else i},{i}" for i in range(1, 101)]
    rows, rejected = read(tmp_path, "x.csv", "\n".join(["source,target", *lines]).encode(), "skip")
    numbers = [row.number for row in rows] + [row["row"] for row in rejected]
    assert sorted(numbers) == list(range(1, 101))
    assert all(a.number < b.number for a, b in itertools.pairwise(rows))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_words_of_targets_stand_the_other_way_round_their_end_does_not(packed, reverse: bool) -> None:
    sides = pair_rows_on(torch.device("cpu"), packed["train"])
    text = TEXT.model_copy(update={"max_tokens": 3, "truncate": "head"})
    whole = gather_pairs(sides, torch.tensor([0, 3]), (5, 3), TEXT, reverse=reverse)
    assert whole.target_BM.tolist() == [[5, 6, 1] if reverse else [6, 5, 1], [1, 0, 0]]
    cut = gather_pairs(sides, torch.tensor([0, 1]), (3, 3), text, reverse=reverse)  # the second has lost its end
    assert cut.target_BM.tolist() == [[5, 6, 1] if reverse else [6, 5, 1], [4, 4, 4]]
    assert whole.target_length_B.tolist() == [3, 1]


def experiment_of(folder: Path, *settings: str) -> Experiment:
    (folder / "x.yaml").write_text("name: x\n")
    plain = [f"data.source={folder / 'pairs.csv'}", "task=pairs", "text.start=true", "vocabulary.min_count=1"]
    return load_experiment(folder / "x.yaml", [*plain, *settings])


def write_rows(folder: Path, rows: list[str]) -> None:
    (folder / "pairs.csv").write_text("\n".join(["source,target", *rows]) + "\n")


ROWS = [f"s{i} common,t{i} common" for i in range(100)]


def test_pairs_are_prepared_once_and_found_again(tmp_path: Path, capsys) -> None:
    write_rows(tmp_path, ROWS)
    corpus = prepare_pairs(experiment_of(tmp_path))
    assert capsys.readouterr().err.count("pairs.csv: text in 'source', label in 'target'") == 1
    assert (corpus.labels, list(corpus.directories)) == ((), ["train", "valid", "test"])
    numbers = {split: [int(name) for name in corpus.ids(split)] for split in corpus.directories}
    assert {split: len(rows) for split, rows in numbers.items()} == {"train": 81, "valid": 9, "test": 10}
    assert sorted(itertools.chain(*numbers.values())) == list(range(1, 101))
    entries = corpus.vocabulary.entries
    assert entries[:3] == ("<pad>", "<start>", "<unk>")
    assert set(entries[3:]) == {"common", *(f"{side}{i - 1}" for i in numbers["train"] for side in "st")}
    for split, rows in numbers.items():
        packed = open_pairs(corpus.directories[split], split)
        unknown = split != "train"
        for i, number in enumerate(rows):
            ids = packed.source_T[packed.source_starts_N1[i] : packed.source_starts_N1[i + 1]].tolist()
            assert [entries[j] for j in ids] == ["<unk>" if unknown else f"s{number - 1}", "common"]
            ids = packed.target_T[packed.target_starts_N1[i] : packed.target_starts_N1[i + 1]].tolist()
            assert [entries[j] for j in ids] == ["<unk>" if unknown else f"t{number - 1}", "common", "<start>"]
    again = prepare_pairs(experiment_of(tmp_path, "train.lr=1", "data.source=" + str(tmp_path / "pairs.csv")))
    assert again == corpus
    assert "text in 'source'" not in capsys.readouterr().err
    (tmp_path / "pairs.csv").unlink()
    assert prepare_pairs(experiment_of(tmp_path), ("train",), corpus.key).ids("train") == corpus.ids("train")


@pytest.mark.parametrize(
    "setting",
    ["data.valid.share=0.2", "data.valid.seed=1", "data.test_share=0.2", "text.lowercase=false", "vocabulary.size=9"],
)
def test_settings_that_bear_on_pairs_are_part_of_their_key(tmp_path: Path, setting: str) -> None:
    write_rows(tmp_path, ROWS)
    key = prepare_pairs(experiment_of(tmp_path)).key
    assert prepare_pairs(experiment_of(tmp_path, setting)).key != key
    write_rows(tmp_path, [*ROWS[1:], ROWS[0]])
    changed = prepare_pairs(experiment_of(tmp_path))
    assert changed.key != key
    with pytest.raises(DataError, match=rf"the data at hand is {changed.key}, other pairs than pairs-0123456789abcdef"):
        prepare_pairs(experiment_of(tmp_path), ("train",), "pairs-0123456789abcdef")


def test_b10_bad_pairs_are_listed_once(tmp_path: Path, capsys) -> None:
    write_rows(tmp_path, [*ROWS, "alone", ",empty", "one,more"])
    with pytest.raises(DataError, match=r"pairs.csv, row 101 \(line 102\)"):
        prepare_pairs(experiment_of(tmp_path))
    corpus = prepare_pairs(experiment_of(tmp_path, "data.on_error=skip"))
    listed = (corpus.directory / "rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in listed] == [101, 102]
    assert "warning: 2 of 103 rows were left out, see" in capsys.readouterr().err
    assert sorted(int(name) for split in corpus.directories for name in corpus.ids(split)) == [*range(1, 101), 103]


def test_too_few_pairs_and_what_is_no_table_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path, ROWS[:3])
    with pytest.raises(DataError, match=r"pairs.csv has too few pairs: valid gets none of 3") as caught:
        prepare_pairs(experiment_of(tmp_path))
    assert caught.value.hint == "--set data.valid.share=0.5"
    (tmp_path / "folder" / "pos").mkdir(parents=True)
    with pytest.raises(DataError, match="folder: pairs are read from a table with two columns"):
        prepare_pairs(experiment_of(tmp_path, f"data.source={tmp_path / 'folder'}"))


def test_a_table_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch) -> None:
    write_rows(tmp_path, ROWS)
    learn = pairs_module.train_tokenizer

    def change(*args):
        write_rows(tmp_path, ROWS[::-1])
        return learn(*args)

    monkeypatch.setattr(pairs_module, "train_tokenizer", change)
    with pytest.raises(DataError, match=r"pairs\.csv was changed while it was read"):
        prepare_pairs(experiment_of(tmp_path))
