import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.evaluation import scoring as outputs_module
from sentiment_cli.evaluation.evaluate import Evaluation, evaluate
from sentiment_cli.evaluation.metrics import score
from sentiment_cli.evaluation.printing import print_scores
from sentiment_cli.evaluation.target_scores import score_stars


def test_three_labels_are_scored_and_kept_in_their_order(
    three_labels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [2, 3, 4, 3, 4]  # so good bad good bad
    packed = Packed(
        np.array(words, dtype=np.int32),
        np.arange(6),
        np.array([0, 1, 2, 2, 2]),
        np.zeros(5, dtype=np.int64),
        np.zeros(5, dtype=np.int64),
        np.array([True, False, False, True, False]),
    )
    labels = ("so-so", "good", "bad")
    ids, groups = list("abcde"), tuple[str, ...]()
    corpus = SimpleNamespace(
        labels=labels, texts="", split=lambda name: packed, ids=lambda name: ids, groups=lambda: groups
    )
    corpus.digests = lambda name: None
    monkeypatch.setattr(outputs_module, "prepare", lambda *args: corpus)
    evaluation = evaluate(three_labels, "test")
    scores = evaluation.scores
    assert scores.confusion == ((1, 0, 0), (0, 1, 0), (0, 1, 2))
    assert scores.accuracy == 0.8
    kept = json.loads((three_labels / "evaluation" / "test.json").read_text())
    assert list(kept["f1_per_label"]) == list(labels)
    assert (kept["unseen"]["n"], kept["unseen"]["accuracy"]) == (3, 1.0)
    assert kept["confusion"] == [list(row) for row in scores.confusion]
    lines = (three_labels / "evaluation" / "test-predictions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["label"] for row in rows] == ["so-so", "good", "bad", "bad", "bad"]
    assert all(list(row["probabilities"]) == list(labels) for row in rows)
    assert all(sum(row["probabilities"].values()) == pytest.approx(1) for row in rows)
    capsys.readouterr()
    print_scores(evaluation)
    out = capsys.readouterr().out
    assert "without the 2 that were trained on: 100.00%" in out
    table = out.splitlines().index(r"truth \ predicted   so-so    good     bad")
    assert out.splitlines()[table : table + 4] == [
        r"truth \ predicted   so-so    good     bad",
        "            so-so       1       0       0",
        "             good       0       1       0",
        "              bad       0       1       2",
    ]


def test_long_labels_keep_the_columns_straight(capsys: pytest.CaptureFixture[str]) -> None:
    labels = ("neither good nor bad", "good", "bad")
    print_scores(Evaluation("test", score(np.arange(3), np.eye(3), labels)))
    table = capsys.readouterr().out.splitlines()[-4:]
    assert "truth" in table[0]
    assert len({len(line) for line in table}) == 1


@pytest.mark.parametrize("n_labels", [2, 9, 40])
def test_a_confusion_matrix_of_any_size_stays_within_the_terminal(monkeypatch, capsys, n_labels: int) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    labels = tuple(f"topic {i}" for i in range(n_labels))
    label_N, predicted_N = np.arange(n_labels), np.arange(n_labels)[::-1]
    print_scores(Evaluation("test", score(label_N, np.eye(n_labels)[predicted_N], labels)))
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    tops = [i for i, line in enumerate(lines) if "truth" in line]
    cells = np.zeros((n_labels, n_labels), dtype=int)
    first = 0
    for top in tops:
        n_columns = lines[top].count("topic")
        for row, line in enumerate(lines[top + 1 : top + 1 + n_labels]):
            cells[row, first : first + n_columns] = line.split()[2:]
        first += n_columns
    assert (cells == np.eye(n_labels, dtype=int)[:, ::-1]).all()


def test_stars_are_shown_by_their_errors(capsys: pytest.CaptureFixture[str]) -> None:
    scores = score_stars(np.array([1.0, -1.0]), np.array([1, 0]), np.array([8, 1]), ("neg", "pos"))
    print_scores(Evaluation("test", scores))
    shown = capsys.readouterr().out.splitlines()
    assert shown[1] == "MAE 1.000 stars   RMSE 1.414 stars"
    assert shown[2].startswith("loss 0.0988   F1 1.0000   AUC 1.0000")
    assert "Brier" not in shown[2]
