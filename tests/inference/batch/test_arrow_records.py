"""Answers for Arrow record batches, as engines hand them out."""

import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

import sentiment_cli as sentiment
from sentiment_cli.errors import UsageError

TEXTS = ["so good", None, "bad", "", "good good bad", "unheard"]


def batch_of(texts: list[str | None], **columns: list[object]) -> pyarrow.RecordBatch:
    ids, words = pyarrow.array(range(len(texts)), "int64"), pyarrow.array(texts, "string")
    return pyarrow.RecordBatch.from_pydict({"id": ids, "text": words, **columns})


def test_the_columns_are_those_that_predict_writes(three_labels: Path, tmp_path: Path, typed) -> None:
    texts = [text for text in TEXTS if text is not None]
    batches = [batch_of(texts[:2]), batch_of([]), batch_of(texts[2:])]
    found = list(sentiment.score(iter(batches), three_labels / "model"))
    assert [one.num_rows for one in found] == [2, 0, 3]
    parquet.write_table(pyarrow.Table.from_batches(batches), tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    typed("predict", "--run", str(three_labels / "model"), "--file", str(tmp_path / "in.parquet"), "--out", str(out))
    written = parquet.read_table(out)
    mine = pyarrow.Table.from_batches(found)
    assert mine.schema.equals(written.schema)
    assert mine.drop_columns([name for name in mine.column_names if "probability" in name]).equals(
        written.drop_columns([name for name in written.column_names if "probability" in name])
    )
    for name in ("probability", "probability_good"):
        assert mine[name].to_pylist() == pytest.approx(written[name].to_pylist(), abs=1e-6)


def test_a_row_without_text_keeps_its_place_and_has_no_answer(three_labels: Path) -> None:
    (found,) = sentiment.score([batch_of(TEXTS)], sentiment.load(three_labels / "model"))
    assert found.column("id").to_pylist() == list(range(len(TEXTS)))
    labels = found.column("label").to_pylist()
    assert labels[1] is None
    assert found.column("tokens").to_pylist()[1] is None
    assert (labels[0], labels[2]) == ("good", "bad")


def test_a_column_of_the_tables_own_keeps_its_name(three_labels: Path) -> None:
    (found,) = sentiment.score([batch_of(["bad"], label=[7])], three_labels / "model")
    assert (found.column("label").to_pylist(), found.column("prediction_label").to_pylist()) == ([7], ["bad"])


@pytest.mark.parametrize(
    ("batches", "column", "said"),
    [
        ([batch_of(["bad"])], "body", "there is no column 'body' in the record batch; it has ['id', 'text']"),
        ([batch_of(["bad"])], "id", "the column 'id' is of type int64, not text"),
        ([batch_of(["bad"]), batch_of(["bad"], more=[1])], "text", "record batches of two schemas"),
    ],
)
def test_what_cannot_be_scored_is_refused(three_labels: Path, batches: list[object], column: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        list(sentiment.score(batches, three_labels / "model", column))
    assert said in str(error.value)


def test_the_bundled_model_scores_without_torch_and_is_opened_once() -> None:
    code = """
import sys
import pyarrow
import sentiment_cli as sentiment
from sentiment_cli.inference.batch import records

batch = pyarrow.RecordBatch.from_pydict({"text": ["a wonderful film", "a dull film"]})
for _ in range(2):
    (found,) = sentiment.score([batch])
print(found.column("label").to_pylist(), records._open_once.cache_info().misses, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "['pos', 'neg'] 1 False\n", done.stderr
