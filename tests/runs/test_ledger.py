import json
from datetime import datetime
from pathlib import Path

import pytest

import sentiment_cli
from sentiment_cli.config.schema import Data
from sentiment_cli.data.sources.download import archive_path
from sentiment_cli.errors import MachineError
from sentiment_cli.evaluation import evaluate as evaluate_module
from sentiment_cli.evaluation import scoring as outputs_module
from sentiment_cli.evaluation.evaluate import evaluate, evaluate_data
from sentiment_cli.evaluation.printing import print_scores
from sentiment_cli.runs.ledger import count_openings, record_opening
from sentiment_cli.storage import store


def lines_of(run: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (run / "evaluation" / "ledger.jsonl").read_text().splitlines()]


def test_openings_are_written_down_and_counted(tmp_path: Path) -> None:
    assert count_openings(tmp_path, "test") == 0
    assert [record_opening(tmp_path, "test", command) for command in ("eval", "data suspects")] == [1, 2]
    rows = lines_of(tmp_path)
    assert [list(row) for row in rows] == [["at", "split", "command", "version"]] * 2
    assert [row["command"] for row in rows] == ["eval", "data suspects"]
    assert {row["split"] for row in rows} == {"test"}
    assert {row["version"] for row in rows} == {sentiment_cli.__version__}
    assert datetime.fromisoformat(rows[0]["at"]).tzinfo is not None


def test_half_a_line_of_a_killed_process_is_no_opening(tmp_path: Path) -> None:
    record_opening(tmp_path, "test", "eval")
    with (tmp_path / "evaluation" / "ledger.jsonl").open("a") as file:
        file.write('{"at"')
    assert count_openings(tmp_path, "test") == 1
    assert record_opening(tmp_path, "test", "eval") == 2


@pytest.mark.parametrize("line", ["no JSON\n", "{}\n", "3\n", "\n"])
def test_a_damaged_ledger_is_said_to_be_one(tmp_path: Path, line: str) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "ledger.jsonl").write_text(line)
    with pytest.raises(store.IntegrityError, match=r"ledger\.jsonl is damaged"):
        count_openings(tmp_path, "test")


def test_the_opening_is_written_down_before_the_split_is_opened(quick_run: Path, monkeypatch) -> None:
    before = count_openings(quick_run, "test")

    def prepare(*args):
        assert count_openings(quick_run, "test") == before + 1
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs_module, "prepare", prepare)
    with pytest.raises(KeyboardInterrupt):
        evaluate(quick_run, "test")
    assert count_openings(quick_run, "test") == before + 1


def test_a_ledger_that_cannot_be_written_keeps_the_split_shut(quick_run: Path, monkeypatch) -> None:
    def refuse(path: Path, line: str) -> None:
        raise MachineError("the disk is full")

    monkeypatch.setattr(store, "append_line", refuse)
    monkeypatch.setattr(outputs_module, "prepare", lambda *args: pytest.fail("the split was opened"))
    with pytest.raises(MachineError, match="full"):
        evaluate(quick_run, "test")


def test_the_archive_that_was_downloaded_is_where_imdb_s_test_reviews_are(tmp_path: Path, monkeypatch) -> None:
    imdb = Data(source="imdb")
    assert evaluate_module._opens_test(Data(source=str(archive_path())), imdb)
    assert not evaluate_module._opens_test(Data(source=str(tmp_path / "my.csv")), imdb)
    monkeypatch.setenv("SENTIMENT_IMDB", str(tmp_path / "my.tar.gz"))
    assert evaluate_module._opens_test(Data(source=str(tmp_path / "my.tar.gz")), imdb)
    assert evaluate_module._opens_test(Data(source=str(archive_path())), imdb)


def test_only_test_rows_count_as_opened(quick_run: Path, tmp_path: Path, capsys) -> None:
    before = count_openings(quick_run, "test")
    assert evaluate(quick_run, "valid").openings is None
    (tmp_path / "new.csv").write_text("text,label\ngood,pos\nbad,neg\n")
    assert evaluate_data(quick_run, Data(source=str(tmp_path / "new.csv"))).openings is None
    assert count_openings(quick_run, "test") == before
    first = evaluate(quick_run, "test")
    assert first.to_json()["test_openings"] == before + 1
    again = evaluate_data(quick_run, Data(source="sample"))  # where its own test rows come from
    assert again.openings == before + 2
    assert lines_of(quick_run)[-1]["command"] == "eval --data sample"
    capsys.readouterr()
    print_scores(again)
    assert f"test opened {before + 2} times for this run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "own", "is_opening"),
    [
        ("imdb", Data(source="imdb"), True),
        ("folder/archive.tar", Data(source="imdb"), True),
        ("./mine.csv", Data(source="mine.csv"), True),
        ("test.csv", Data(source="mine.csv", test="test.csv"), True),
        ("sample", Data(source="imdb"), False),
        ("folder/archive.tar", Data(source="sample"), False),
        ("new.csv", Data(source="mine.csv"), False),
    ],
)
def test_data_that_holds_the_test_rows_of_a_run_opens_them(monkeypatch, source: str, own: Data, is_opening) -> None:
    monkeypatch.setenv("SENTIMENT_IMDB", "folder/archive.tar")
    assert evaluate_module._opens_test(Data(source=source), own) == is_opening
