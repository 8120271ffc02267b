"""Files of a run that were edited, damaged or cut off: which key of which file is wrong is said, and an edit too."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentiment_cli.cli.runs_table import list_entry
from sentiment_cli.config.loader import load_experiment
from sentiment_cli.errors import SentimentError
from sentiment_cli.evaluation.evaluate import evaluate
from sentiment_cli.evaluation.significance import compare_runs
from sentiment_cli.reports.run_files import read_run
from sentiment_cli.reports.run_report import build_report
from sentiment_cli.runs.directory import all_runs, describe_run
from sentiment_cli.runs.files import EXPERIMENT, SEALS, SUMMARY
from sentiment_cli.runs.seals import edited_files, seal_files
from sentiment_cli.storage.store import IntegrityError
from sentiment_cli.workflows.train import fit

HUGE = 10**400


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on few rows, scored on its test and validation rows; its prepared data lie beside `runs`."""
    root = tmp_path_factory.mktemp("scored")
    rows = "".join(
        f"The film {i} was{' not' if i % 5 == 0 else ''} {'awful' if i % 3 else 'lovely'},{'neg' if i % 2 else 'pos'}\n"
        for i in range(300)
    )
    (root / "rows.csv").write_text(f"text,label\n{rows}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_DATA", str(root / "data"))
        patch.setenv("SENTIMENT_RUNS", str(root / "runs"))
        small = ["model.encoder.width=4", "model.embedding.width=4", "train.epochs=1", "train.device=cpu"]
        run = fit(load_experiment("sample", [f"data.source={root / 'rows.csv'}", *small]), "quick").directory
        for split in ("test", "valid"):
            evaluate(run, split)
    return run


@pytest.fixture
def run(scored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scored, tmp_path / "runs" / "quick"))


def change(path: Path, key: str, value: Any) -> None:
    """Set a key of a JSON file, or of the first line of a log; None removes it."""
    first, rest = path.read_text(), ""
    if path.suffix == ".jsonl":
        first, _, rest = first.partition("\n")
    found = json.loads(first)
    *above, last = key.split(".")
    holder = found
    for name in above:
        holder = holder[int(name) if isinstance(holder, list) else name]
    if value is None:
        del holder[last]
    else:
        holder[int(last) if isinstance(holder, list) else last] = value
    path.write_text(json.dumps(found) + ("\n" + rest if path.suffix == ".jsonl" else ""))


EDITS: list[tuple[str, str, Any]] = [
    *(
        ("evaluation/test.json", "accuracy", wrong)
        for wrong in ("high", HUGE, float("inf"), float("nan"), True, 1.5, [])
    ),
    *(("evaluation/test.json", "n", wrong) for wrong in (None, "many", 1.5, -1, HUGE)),
    *(("evaluation/test.json", "accuracy_ci95", wrong) for wrong in (None, 1, [0.1], [0.1, "x"], {})),
    *(("evaluation/test.json", "f1_per_label", wrong) for wrong in (None, [], {"neg": "x"}, 3)),
    *(("evaluation/test.json", "confusion", wrong) for wrong in (None, [[1, 2]], [[1], [2]], "x", [[HUGE, 1], [1, 1]])),
    *(("evaluation/test.json", "loss", wrong) for wrong in ("x", HUGE, [])),
    *(("evaluation/test.json", "slices.0.n", wrong) for wrong in (None, "x", HUGE)),
    *(("evaluation/test.json", "slices.0.accuracy_ci95", wrong) for wrong in (None, 7)),
    *(("evaluation/test.json", "slices", wrong) for wrong in (1, {"a": 1}, [1])),
    *(
        ("evaluation/test.json", "unseen", {"n": n, "accuracy": accuracy, "accuracy_ci95": interval})
        for n, accuracy, interval in ((3, None, [0, 1]), (3, 0.5, None), (0, "x", None), (None, None, None))
    ),
    *(("summary.json", "valid.accuracy", wrong) for wrong in ("x", HUGE)),
    *(("summary.json", "valid.confusion", wrong) for wrong in (None, 7)),
    *(("summary.json", "seconds.train", wrong) for wrong in ("x", HUGE, float("inf"))),
    *(("summary.json", "seconds", wrong) for wrong in (1, [])),
    *(("summary.json", "versions", wrong) for wrong in ("x", {"torch": 2})),
    *(("summary.json", "finished_at", wrong) for wrong in ("x", HUGE, 1e300)),
    *(("summary.json", "tokens_per_second", wrong) for wrong in ("fast", HUGE)),
    *(("summary.json", "fingerprint", wrong) for wrong in ("x", [1])),
    *(("summary.json", "status", wrong) for wrong in (None, 7)),
    *(
        ("run.json", "changes", wrong)
        for wrong in (1, [1], [{"step": 1}], [{"step": HUGE, "key": "a", "from": 1, "to": 2}])
    ),
    *(("metrics.jsonl", "step", wrong) for wrong in (None, "x", HUGE, 1.5)),
    *(("metrics.jsonl", "train_loss", wrong) for wrong in ("x", HUGE, float("inf"))),
    *(("metrics.jsonl", "best", wrong) for wrong in ("x", 1)),
    *(("evaluation/test-predictions.jsonl", "id", wrong) for wrong in (None, 7)),
    *(("evaluation/test-predictions.jsonl", "label", wrong) for wrong in (None, "other", [])),
    *(
        ("evaluation/test-predictions.jsonl", "probabilities.neg", wrong)
        for wrong in (None, "x", HUGE, float("nan"), 7)
    ),
    *(("evaluation/test-predictions.jsonl", "probabilities", wrong) for wrong in (None, 1, {})),
]


def readers(run: Path) -> dict[str, Callable[[], Any]]:
    other = run.with_name("other")
    if not other.exists():
        shutil.copytree(run, other)
    return {
        "report": lambda: build_report(read_run(run)),
        "runs show": lambda: describe_run(run),
        "compare": lambda: compare_runs([run, other], "test"),
    }


def read_all(run: Path) -> list[SentimentError]:
    """What each reader has against a run's files; anything but our own errors is raised."""
    found = []
    for read in readers(run).values():
        try:
            read()
        except SentimentError as error:
            found.append(error)
    return found


def test_a_run_that_nobody_changed_is_read_and_nothing_is_said(run: Path, capsys) -> None:
    assert edited_files(run) == []
    assert read_all(run) == []
    assert "changed" not in capsys.readouterr().err


def test_scores_of_rows_that_were_all_trained_on_are_read(run: Path) -> None:
    change(run / "evaluation" / "test.json", "unseen", {"n": 0, "accuracy": None, "accuracy_ci95": None})
    assert read_all(run) == []


@pytest.mark.parametrize(("name", "key", "wrong"), EDITS)
def test_a7_which_key_of_which_file_is_wrong_is_said(run: Path, name: str, key: str, wrong: Any) -> None:
    """A7: a wrong type, a missing key, 10**400 or infinity ended in a traceback, or was believed."""
    change(run / name, key, wrong)
    errors = read_all(run)
    said = "\n".join(map(str, errors))
    if name == "summary.json" and not errors:  # `runs show` calls the run damaged, and says why
        assert "state: damaged" in describe_run(run)
        return
    assert errors, "nobody noticed"
    assert name in said
    assert key.rpartition(".")[2] in said or "JSON" in said or "label" in said
    assert all(len(str(error)) < 1000 for error in errors)


NAMES = ("summary.json", "run.json", "metrics.jsonl", "evaluation/test.json", "evaluation/test-predictions.jsonl")


@pytest.mark.parametrize("name", [*NAMES, "model/calibration.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"7", b"null", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5_000, b'{"a": Infinity}', b"NaN\n"],
)
def test_a7_a_file_that_is_something_else_is_no_traceback(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    read_all(run)


@pytest.mark.parametrize("name", NAMES)
def test_a7_a_file_that_is_cut_off_is_no_traceback(run: Path, name: str) -> None:
    data = (run / name).read_bytes()
    for part in (1, 2, 5, 9):
        (run / name).write_bytes(data[: len(data) * part // 10])
        read_all(run)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("evaluation/test.json", b'"accuracy": 0.', b'"accuracy": 0.9'),
        ("evaluation/valid.json", b'"accuracy": 0.', b'"accuracy": 0.9'),
        ("summary.json", b'"status": "finished"', b'"status":  "finished"'),
        ("metrics.jsonl", b'"train_loss": 0.', b'"train_loss": 0.1'),
        ("evaluation/ledger.jsonl", b'"split": "test"', b'"split": "none"'),
        ("experiment.yaml", b"seed: 0", b"seed: 1"),
        ("model/manifest.json", b"{", b"{ "),
        ("validation/manifest.json", b"{", b"{ "),
        ("rows/manifest.json", b"{", b"{ "),
    ],
)
def test_a18_an_edit_is_said(run: Path, name: str, old: bytes, new: bytes, capsys) -> None:
    """A18: one bit of a digit was believed."""
    data = (run / name).read_bytes()
    assert old in data
    (run / name).write_bytes(data.replace(old, new, 1))
    for what, read in readers(run).items():
        capsys.readouterr()
        try:
            read()
        except SentimentError:
            assert what != "runs show"
        assert f"warning: {run / name} was changed after the run wrote it" in capsys.readouterr().err, what


def test_a18_the_list_of_runs_and_eval_warn_of_edits(run: Path, scored: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("SENTIMENT_DATA", str(scored.parents[1] / "data"))
    for name, old, new in [("summary.json", b'"n": ', b'"n": 1'), ("evaluation/test.json", b'"n": ', b'"n": 1')]:
        (run / name).write_bytes((run / name).read_bytes().replace(old, new, 1))
    list_entry(next(entry for entry in all_runs() if entry.path == run))
    said = capsys.readouterr().err
    assert [f"{run / name} was changed" in said for name in ("summary.json", "evaluation/test.json")] == [True] * 2
    (run / "experiment.yaml").write_bytes((run / "experiment.yaml").read_bytes().replace(b"seed: 0", b"seed: 1", 1))
    evaluate(run, "valid")
    assert "experiment.yaml was changed after the run wrote it" in capsys.readouterr().err


def test_a18_files_that_were_removed_or_added_are_said(run: Path, capsys) -> None:
    (run / "evaluation" / "mine.json").write_bytes((run / "evaluation" / "test.json").read_bytes())
    for name in ("metrics.jsonl", "evaluation/ledger.jsonl"):
        (run / name).unlink()
    describe_run(run)
    said = capsys.readouterr().err
    assert "ledger.jsonl was removed after the run wrote it" in said
    assert "metrics.jsonl was removed" in said
    assert "mine.json was changed" in said


def test_a18_each_flipped_bit_of_predictions_is_said(run: Path) -> None:
    path = run / "evaluation" / "test-predictions.jsonl"
    data = path.read_bytes()
    for place in range(0, len(data), len(data) // 40):
        flipped = bytearray(data)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        assert edited_files(run) == ["evaluation/test-predictions.jsonl"]
    path.write_bytes(data)
    assert edited_files(run) == []


def test_a18_what_the_run_writes_again_is_no_edit(run: Path, scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_DATA", str(scored.parents[1] / "data"))
    evaluate(run, "test")
    evaluate(run, "valid")
    assert edited_files(run) == []
    (run / "evaluation" / "test.json").unlink()
    assert edited_files(run) == []


def test_runs_without_seals_and_with_damaged_ones(run: Path, capsys) -> None:
    for damaged in (b"", b'{"file": "sum', b"\xff\0{}["):
        (run / SEALS).write_bytes(damaged)
        assert edited_files(run) == [SEALS]
    (run / SEALS).write_text("{\n")
    assert edited_files(run) == [SEALS]
    describe_run(run)
    assert f"{SEALS} was changed" in capsys.readouterr().err
    (run / SEALS).unlink()
    assert edited_files(run) == [SEALS]
    seal_files(run, [EXPERIMENT])  # as a later score does, which begins the file anew
    assert edited_files(run) == [SEALS]
    (run / SEALS).unlink()
    summary = json.loads((run / SUMMARY).read_bytes())
    (run / SUMMARY).write_text(json.dumps({**summary, "versions": {**summary["versions"], "sentiment": "0.1.0"}}))
    assert edited_files(run) == []
    assert read_all(run) == []


def test_a_damaged_file_of_scores_comes_with_the_command_that_makes_it_anew(run: Path) -> None:
    (run / "evaluation" / "test.json").write_text("{")
    for read in (readers(run)["report"], readers(run)["runs show"]):
        with pytest.raises(IntegrityError):
            read()
