import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.schema import Data, Experiment
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.corpus.raw_texts import Texts, prepare_texts
from sentiment_cli.data.sources import sample
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.evaluation.label_errors import (
    JudgedSplit,
    Suspect,
    check_out,
    confident_labels,
    find_suspects,
    judge_split,
    thresholds,
    write_suspects,
)
from sentiment_cli.runs.ledger import count_openings
from sentiment_cli.workflows.seeds_and_folds import fit_folds, fold_experiments

TINY = ("model.encoder.width=4", "model.embedding.width=4", "train.epochs=1", "train.threads=1", "train.max_steps=3")
LABELS = ("bad", "fair", "good")
# Given bad: thresholds .5; fair: .6; good: .35, each the mean of its column below over its rows.
LABEL = np.array([0, 0, 0, 1, 1, 2, 2])
PROBABILITY = np.array(
    [
        [0.9, 0.1, 0.0],
        [0.5, 0.1, 0.4],  # over bad's threshold and good's: the likelier counts, and it is right
        [0.1, 0.65, 0.25],  # says fair
        [0.2, 0.8, 0.0],
        [0.25, 0.4, 0.35],  # predicted fair as given, and yet no threshold but good's is reached
        [0.45, 0.25, 0.3],  # predicted bad, which no threshold is reached for
        [0.3, 0.3, 0.4],
    ]
)


def texts_of(path: Path, **settings: Any) -> Texts:
    return prepare_texts(find_source(Data(source=str(path), **settings)), "labelled")


def suspect(text: str, *, id: str = "1", label: str = "neg", split: str = "train") -> Suspect:
    return Suspect(id, split, label, "pos", 0.25, -0.5, True, 1, "run-fold-1", None, text)


def test_confident_learning_by_hand() -> None:
    threshold_C = thresholds(LABEL, PROBABILITY)
    assert threshold_C == pytest.approx([0.5, 0.6, 0.35])
    assert confident_labels(PROBABILITY, threshold_C).tolist() == [0, 0, 1, 1, 2, -1, 2]


@given(st.integers(2, 4), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_confident_learning_is_its_definition(n_labels: int, n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    label_N, probability_NC = generator.integers(0, n_labels, n), generator.dirichlet(np.ones(n_labels), n)
    threshold_C = thresholds(label_N, probability_NC)
    for label in range(n_labels):
        own = [row[label] for row, given_label in zip(probability_NC, label_N, strict=True) if given_label == label]
        assert threshold_C[label] == (pytest.approx(sum(own) / len(own)) if own else np.inf)
    for row, found in zip(probability_NC, confident_labels(probability_NC, threshold_C), strict=True):
        over = [label for label in range(n_labels) if row[label] >= threshold_C[label] - 1e-6]
        assert found == (max(over, key=lambda label: row[label]) if over else -1)


def test_equal_probabilities_reach_their_own_mean() -> None:
    label_N, probability_NC = np.zeros(11, dtype=np.int64), np.tile([0.7, 0.3], (11, 1))
    threshold_C = thresholds(label_N, probability_NC)
    assert threshold_C[0] > 0.7  # by rounding
    assert confident_labels(probability_NC, threshold_C).tolist() == [0] * 11


@pytest.fixture
def seven(tmp_path: Path) -> Texts:
    with (tmp_path / "seven.csv").open("w", newline="") as file:
        rows = [(f"{'long ' * 100}{i}", LABELS[label]) for i, label in enumerate(LABEL)]
        csv.writer(file).writerows([("text", "label"), *rows])
    return texts_of(tmp_path / "seven.csv")


def judged(rows: list[int], split: str = "train", fold: int | None = 1) -> JudgedSplit:
    ids = [str(row + 1) for row in rows]
    return JudgedSplit("a", split, fold, "train", np.array(rows), LABELS, ids, LABEL[rows], PROBABILITY[rows])


def test_suspects_are_ranked_by_the_probability_of_their_label_over_all_folds(seven: Texts) -> None:
    suspects, disputes = find_suspects([judged([4, 2, 6]), judged([0, 1, 3, 5], fold=2)], seven)
    assert [(one.id, one.fold, one.label, one.predicted) for one in suspects] == [
        ("3", 1, "bad", "fair"),
        ("6", 2, "good", "bad"),
        ("5", 1, "fair", "fair"),
    ]
    assert [one.probability for one in suspects] == [0.1, 0.3, 0.4]
    assert [one.margin for one in suspects] == pytest.approx([-0.55, -0.15, 0.05])
    assert [one.estimated_error for one in suspects] == [True, False, True]
    assert [(len(one.text), one.stars) for one in suspects] == [(300, None)] * 3
    found = disputes["train"]
    assert (found.n, found.accuracy, found.disputed, found.n_errors) == (7, pytest.approx(5 / 7), 3, 2)
    assert found.thresholds == pytest.approx({"bad": 0.5, "fair": 0.6, "good": 0.35})
    assert found.estimated_errors == {
        "bad": {"fair": 1, "good": 0},
        "fair": {"bad": 0, "good": 1},
        "good": {"bad": 0, "fair": 0},
    }


def test_top_cuts_the_list_and_not_the_counts(seven: Texts) -> None:
    suspects, disputes = find_suspects([judged(list(range(7)))], seven, top=1)
    assert [one.id for one in suspects] == ["3"]
    assert disputes["train"].disputed == 3


def test_each_split_has_thresholds_of_its_own_and_one_list_for_both(seven: Texts) -> None:
    suspects, disputes = find_suspects([judged([0, 2, 4]), judged([1, 3, 5, 6], "test", None)], seven)
    assert disputes["train"].thresholds == {"bad": 0.5, "fair": 0.4, "good": None}  # none is labelled good
    assert disputes["test"].thresholds == pytest.approx({"bad": 0.5, "fair": 0.8, "good": 0.35})
    assert [(one.id, one.split) for one in suspects] == [("3", "train"), ("6", "test")]
    json.dumps(disputes["train"]._asdict(), allow_nan=False)


def test_each_training_row_is_judged_by_the_run_that_did_not_read_it(experiment) -> None:
    settings = experiment(*TINY)
    runs = [one.directory for one in fit_folds(settings, 2, None)]
    texts = prepare_texts(find_source(settings.data), "labelled")
    parts = []
    for fold, (run, one) in enumerate(zip(runs, fold_experiments(settings, 2), strict=True), 1):
        part = judge_split(run, "valid", one, texts)
        assert (part.run, part.split, part.fold) == (f"sample-fold-{fold}", "train", fold)
        assert not set(part.ids) & set(prepare(one, ("train",)).ids("train"))
        assert count_openings(run, "test") == 0
        parts.append(part)
    assert sorted(parts[0].ids + parts[1].ids) == sorted(texts.ids("train"))
    suspects, _ = find_suspects(parts, texts)
    written = {review.id: review for split, review in sample.generate_reviews() if split == "train"}
    assert len(suspects) > 100
    for one in suspects:
        review = written[one.id]
        assert (one.text, one.label, one.stars) == (review.text[:300], review.label, review.stars)


def test_test_rows_are_an_opening_in_the_ledger_of_the_run(quick_run: Path, experiment) -> None:
    settings = experiment("model.encoder.width=8", "model.embedding.width=8", "train.epochs=1")
    before = count_openings(quick_run, "test")
    texts = prepare_texts(find_source(settings.data), "labelled")
    part = judge_split(quick_run, "test", settings, texts)
    assert (part.split, part.fold, part.of) == ("test", None, "test")
    assert part.ids == texts.ids("test")
    assert count_openings(quick_run, "test") == part.openings == before + 1
    last = (quick_run / "evaluation" / "ledger.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["command"] == "data suspects"


def test_other_reviews_than_those_of_the_run_are_refused(quick_run: Path, experiment, seven: Texts) -> None:
    with pytest.raises(DataError, match="changed while it was scored"):
        judge_split(quick_run, "test", experiment(), seven)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_m11_a_csv_cell_is_never_a_formula(tmp_path: Path, start: str) -> None:
    bad = f'{start}HYPERLINK("http://example.com")'
    path = tmp_path / "out.csv"
    write_suspects(path, [suspect(bad, id=bad, label=bad), suspect('so, "plain"\nand = so - on', id="a-1")])
    header, first, second = csv.reader(io.StringIO(path.read_text("utf-8"), newline=""))
    assert header == list(Suspect._fields)
    for cell in (first[0], first[2], first[-1]):
        assert cell.startswith("'" if start != "\r" else r"\x0dHYPER")  # which is shown as an escape, as ESC is
    assert first[header.index("margin")] == "-0.5"  # a number of ours, and no formula
    assert (second[0], second[-1]) == ("a-1", 'so, "plain"\nand = so - on')
    assert second[header.index("estimated_error")] == "true"
    assert second[header.index("stars")] == ""


def test_m09_what_a_terminal_would_obey_is_escaped_in_both_formats(tmp_path: Path) -> None:
    bad = "a\x1b[2J\x9b\u202eb\u2028c"
    for name in ("out.csv", "out.jsonl"):
        write_suspects(tmp_path / name, [suspect(bad, id=bad)])
        written = (tmp_path / name).read_text("utf-8")
        assert not set(written) & set("\x1b\x9b\u202e\u2028")
    line = json.loads((tmp_path / "out.jsonl").read_text())
    assert line == suspect(bad, id=bad)._asdict()


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    (tmp_path / "link.jsonl").symlink_to("nowhere")
    for name, other in (("mine.csv", "mine-2.csv"), ("link.jsonl", "link-2.jsonl")):
        with pytest.raises(UsageError, match="is not overwritten") as refused:
            write_suspects(tmp_path / name, [])
        assert refused.value.hint == f"--out {tmp_path / other}"
    assert (tmp_path / "mine.csv").read_text() == "mine"
    with pytest.raises(UsageError, match=r"should end in \.jsonl or \.csv"):
        check_out(tmp_path / "out.txt")


def test_most_labels_that_were_turned_round_are_found(tmp_path: Path, experiment) -> None:
    reviews = [review for split, review in sample.generate_reviews() if split != "unsup"]
    turned = set(random.Random(0).sample(range(len(reviews)), len(reviews) // 20))
    path = tmp_path / "turned.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "movie"))
        for i, review in enumerate(reviews):
            label = {"neg": "pos", "pos": "neg"}[review.label or ""] if i in turned else review.label
            writer.writerow((review.text, label, review.group))
    quick = ["model.embedding.width=32", "model.encoder.width=32", "train.precision=fp32"]
    quick += ["train.epochs=12", "train.lr=2e-2", "train.batch_tokens=2048"]
    settings: Experiment = experiment(*quick, f"data.source={path}", "data.test_share=0.01")
    runs = [one.directory for one in fit_folds(settings, 2, None)]
    assert all(run.parent == runs_dir() for run in runs)
    texts = texts_of(path)
    folds = zip(runs, fold_experiments(settings, 2), strict=True)
    parts = [judge_split(run, "valid", one, texts) for run, one in folds]
    suspects, disputes = find_suspects(parts, texts)
    planted = {str(i + 1) for i in turned} & {row for part in parts for row in part.ids}
    found = sum(one.id in planted for one in suspects[: len(planted)])
    # 0.75 where this was written; of rows taken at random 0.05 would be turned. The model is right in 0.87 of cases, of
    # 0.95 at most.
    assert found / len(planted) > 0.6
    assert 0.5 * len(planted) < disputes["train"].n_errors < 2 * len(planted)
