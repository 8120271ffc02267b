"""The lines of docs/scaling.md on real Spark, `local[2]`: the rows of one process. `make engines` runs this."""

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import dataset, parquet

from sentiment_cli.runs.saved_model import open_artefact, pack_artefact

pytest.importorskip("pyspark", reason="Spark is not installed; `make engines` installs it and runs this")
pytest.importorskip("pandas", reason="Spark's mapInArrow needs pandas")


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
def test_the_lines_of_the_page_give_the_rows_of_one_process(
    typed, quick_run: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pack_artefact(open_artefact(quick_run), Path("quick.model"))
    Path("rows").mkdir()
    for k in range(2):  # two partitions, of three batches each
        texts = [None if i % 997 == 5 else f"a {'good' if i % 3 else 'bad'} film {i}" for i in range(5000)]
        table = pyarrow.table({"id": range(5000 * k, 5000 * k + 5000), "text": texts})
        parquet.write_table(table, f"rows/{k}.parquet")
    script = Path(__file__).with_name("score_on_spark.py")
    subprocess.run([sys.executable, str(script), "rows", "spark", "quick.model"], check=True, capture_output=True)
    words = ("--file", "rows", "--run", "quick.model", "--on-error", "skip", "--out", "one.parquet")
    assert typed("predict", *words).code == 0
    spark, one = (sorted(map(str, dataset.dataset(name).to_table().to_pylist())) for name in ("spark", "one.parquet"))
    assert len(list(Path("spark").glob("*.parquet"))) == 2
    assert len(spark) == 10_000
    assert [row for row in spark if "'label': None" not in row] == one
