"""Cases A15, A16, A21 and A3: test labels reach a model by no way that is not said, and known rows are told apart."""

import gzip
import multiprocessing
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import data_dir, runs_dir
from sentiment_cli.config.schema import Data
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.evaluation.ensembling import make_ensemble
from sentiment_cli.evaluation.evaluate import evaluate, evaluate_data
from sentiment_cli.evaluation.printing import print_scores
from sentiment_cli.runs.ledger import count_openings, record_opening
from sentiment_cli.runs.saved_model import open_artefact, pack_artefact
from sentiment_cli.training.tasks.table import task_of
from sentiment_cli.workflows.train import fit

SMALL = (
    "model.embedding.width=4",
    "model.encoder.width=4",
    "train.epochs=1",
    "train.max_steps=2",
    "train.device=cpu",
    "train.threads=1",
)
Write = Callable[[str, list[str], int], Path]


def texts(name: str, n: int) -> list[str]:
    draw = random.Random(name)
    return [f"{name} " + " ".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(n)]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write texts with labels by coin toss, in two halves."""

    def write(name: str, rows: list[str], seed: int = 0) -> Path:
        labels = ["neg", "pos"] * (len(rows) // 2)
        random.Random(seed).shuffle(labels)
        path = tmp_path / name
        lines = "".join(f'"{text}",{label}\n' for text, label in zip(rows, labels, strict=True))
        content = f"text,label\n{lines}".encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def linear(source: Path, name: str, *settings: str) -> Path:
    return fit(
        load_experiment("linear", [f"data.source={source}", "vocabulary.min_count=1", *settings]), name
    ).directory


@pytest.fixture
def student(write: Write, tmp_path: Path, experiment) -> Callable[..., tuple[Path, list[str]]]:
    """Train a student of a teacher on rows of its own, with test rows and unlabelled ones apart."""

    def train(teacher: Path, unlabelled: list[str], *settings: str) -> Path:
        source, test = write("own.csv", texts("own", 80)), write("test.csv", texts("test", 40), 1)
        (tmp_path / "more.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in unlabelled))
        data = (f"data.source={source}", f"data.test={test}", f"data.unlabelled={tmp_path / 'more.csv'}")
        return fit(experiment(*SMALL, *data, f"teacher.run={teacher}", *settings))

    return train


@pytest.mark.parametrize("copy", ["copy.csv", "copy.csv.gz", "test.csv"])
def test_a15_a_teacher_that_has_learnt_test_s_labels_is_said_and_its_rows_are_told_apart(
    write: Write, student, capsys, copy: str
) -> None:
    teacher = linear(write(copy, texts("test", 40), 1), "teacher")
    changed = [f"{text} ." if i % 2 else text.upper() for i, text in enumerate(texts("test", 40))]
    finished = student(teacher, [*changed, *texts("new", 6)])
    said = capsys.readouterr().err
    assert "unsup 6 reviews, 40 left out that are also in test" in said
    assert f"teacher.run {teacher} has learnt the labels of 36 of the 40 test rows" in said
    found = evaluate(finished.directory, "test")
    assert (found.n_known, found.unseen.n) == (36, 4)
    assert found.to_json()["n_trained_on"] == 36
    # What a pupil of the pupil has learnt is passed on, too.
    shutil.rmtree(teacher)
    grandchild = student(finished.directory, texts("new", 6))
    assert "has learnt the labels of 36 of the 40 test rows" in capsys.readouterr().err
    assert evaluate(grandchild.directory, "test").n_known == 36


def test_a15_a_teacher_of_other_rows_is_not_said(write: Write, student, capsys) -> None:
    teacher = linear(write("others.csv", texts("others", 60)), "teacher")
    finished = student(teacher, texts("new", 6), "teacher.rows=both")
    assert "has learnt the labels" not in capsys.readouterr().err
    assert evaluate(finished.directory, "test").n_known == 0


def test_a15_a_teacher_teaches_no_training_row_that_stands_in_test(write: Write, experiment, tmp_path, capsys) -> None:
    shared = texts("shared", 10)
    test = write("test.csv", [text.upper() for text in shared] + texts("test", 10))
    source = write("own.csv", [*shared, *texts("own", 70)])
    teacher = linear(test, "teacher")
    settings = (f"data.source={source}", f"data.test={test}", f"teacher.run={teacher}", "teacher.rows=train")
    fit(experiment(*SMALL, *settings))
    said = capsys.readouterr().err
    assert "training reviews are also in test and get no soft labels" in said


def test_a15_unlabelled_rows_that_all_stand_in_test_leave_nothing_to_teach(write: Write, student) -> None:
    teacher = linear(write("copy.csv", texts("test", 40), 1), "teacher")
    with pytest.raises(UsageError, match=r"every unlabelled row of .* is also in test") as caught:
        student(teacher, [f"{text}!" for text in texts("test", 40)])
    assert caught.value.hint == "--set teacher.rows=train"


@pytest.mark.parametrize("kind", ["run", "model", "packed"])
def test_a15_a_teacher_is_known_by_its_rows_wherever_its_model_lies(
    write: Write, student, tmp_path: Path, capsys, kind: str
) -> None:
    run = linear(write("copy.csv", texts("test", 40), 1), "teacher")
    pack_artefact(open_artefact(run), tmp_path / "teacher.model")
    student({"run": run, "model": run / "model", "packed": tmp_path / "teacher.model"}[kind], texts("new", 6))
    assert "has learnt the labels of 36 of the 40 test rows" in capsys.readouterr().err


def test_a15_where_the_rows_of_a_teacher_are_not_known_it_is_said(write, student, tmp_path: Path, capsys) -> None:
    run = linear(write("copy.csv", texts("test", 40), 1), "teacher")
    shutil.rmtree(run / "rows")
    student(run, texts("new", 6))  # the prepared data tell
    assert "has learnt the labels of 36 of the 40 test rows" in capsys.readouterr().err
    shutil.rmtree(data_dir())
    student(run, texts("newer", 6))
    assert f"which rows {run} was trained on is not known here" in capsys.readouterr().err


def test_a15_what_training_starts_from_is_compared_too(write: Write, experiment, capsys) -> None:
    settings = ("vocabulary.min_count=1", *SMALL)
    rows = texts("own", 80)
    first = fit(experiment(*settings, f"data.source={write('a.csv', rows)}", "data.valid.seed=1"), "first").directory
    capsys.readouterr()
    again = experiment(*settings, f"data.source={write('b.csv', rows)}", "data.valid.seed=1", f"init_from={first}")
    fit(again, "second")
    assert "has learnt the labels" not in capsys.readouterr().err
    write("c.csv", [*rows[40:], *rows[:40]])
    other = again.model_copy(
        update={"data": again.data.model_copy(update={"source": str(runs_dir().parent / "c.csv")})}
    )
    corpus = prepare(other, task_of(other).splits)
    from sentiment_cli.training.init_from import known_rows

    known_rows(other, corpus)
    assert f"init_from {first} has learnt the labels of" in capsys.readouterr().err


def test_a15_an_ensemble_knows_what_its_members_know(write: Write, tmp_path: Path, capsys) -> None:
    rows = texts("own", 120)
    one = linear(write("a.csv", rows), "one", "train.refit=false")
    two = linear(write("b.csv", rows), "two", "train.refit=false", "data.valid.seed=5")
    made = make_ensemble([str(one), str(two)], "both", "equal").directory
    assert "members have learnt the labels of" in capsys.readouterr().err
    found = evaluate_data(made, Data(source=str(tmp_path / "a.csv")))
    assert found.n_known > evaluate_data(one, Data(source=str(tmp_path / "a.csv"))).n_known


def changed_copy(path: Path, change: str) -> Path:
    copy = path.with_name(f"copy-{change}.csv{'.gz' if change == 'gz' else ''}")
    head, *lines = path.read_text().splitlines()
    if change == "link":
        copy.hardlink_to(path)
        return copy
    if change == "gz":
        copy.write_bytes(gzip.compress(path.read_bytes()))
        return copy
    changes = {
        "same": lambda text: text,
        "upper": str.upper,
        "lower": str.lower,
        "blank": lambda text: text.replace(" ", " \u200b", 1),
        "stop": lambda text: f"{text} .",
    }
    rows = [(text.strip('"'), label) for text, _, label in (line.rpartition(",") for line in lines)]
    copy.write_text("\n".join([head, *(f'"{changes[change](text)}",{label}' for text, label in rows)]) + "\n")
    return copy


@pytest.mark.parametrize("change", ["link", "gz", "same", "upper", "lower", "blank", "stop"])
def test_a3_a21_rows_that_a_run_knows_are_known_in_any_file(write: Write, capsys, change: str) -> None:
    source = write("own.csv", texts("own", 200))
    run = linear(source, "run", "train.refit=false")
    found = evaluate_data(run, Data(source=str(changed_copy(source, change))))
    assert (found.scores.n, found.n_known, found.unseen.n) == (200, 162, 38)
    assert found.openings == count_openings(run, "test") == 1  # the test rows are among them
    assert "162 of these 200 rows were trained on" in capsys.readouterr().err
    print_scores(found)
    assert "without the 162 that were trained on: " in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["run", "model", "packed"])
def test_a21_openings_are_counted_for_the_run_that_a_model_is_of(
    write: Write, tmp_path: Path, kind: str, capsys
) -> None:
    test = write("test.csv", texts("test", 40), 1)
    run = linear(write("own.csv", texts("own", 80)), "run", f"data.test={test}")
    pack_artefact(open_artefact(run), tmp_path / "my.model")
    path = {"run": run, "model": run / "model", "packed": tmp_path / "my.model"}[kind]
    assert evaluate_data(path, Data(source=str(changed_copy(test, "gz")))).openings == 1
    assert count_openings(run, "test") == 1
    shutil.move(run, tmp_path / "elsewhere")
    if kind == "packed":
        assert evaluate_data(path, Data(source=str(test))).openings is None
        assert "no ledger counts this opening" in capsys.readouterr().err


def test_rows_that_are_all_known_leave_no_unseen_ones(write: Write, tmp_path: Path, capsys) -> None:
    source = write("own.csv", texts("own", 80))
    run = linear(source, "run")
    train = evaluate(run, "valid")
    assert train.n_known is None  # which goes without saying, of train.refit
    lines = source.read_text().splitlines()
    ids = prepare(load_experiment(run / "experiment.yaml"), ("train",)).ids("train")
    (tmp_path / "known.csv").write_text("\n".join([lines[0], *(lines[int(i)] for i in ids)]))
    found = evaluate_data(run, Data(source=str(tmp_path / "known.csv")))
    assert found.unseen is None
    assert found.to_json()["unseen"] == {"n": 0, "accuracy": None, "accuracy_ci95": None}
    print_scores(found)
    assert f"all {len(ids)} were trained on" in capsys.readouterr().out


def _open_often(run: Path, k: int) -> None:
    for i in range(40):
        record_opening(run, "test", f"eval --data {k} {i} " + "x" * 20_000)


def test_a21_no_line_of_openings_at_once_is_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_open_often, args=(tmp_path, k)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert count_openings(tmp_path, "test") == 160


@pytest.mark.parametrize(
    ("labels", "monitor", "is_refused"),
    [
        (["a"] * 60 + ["b"], "auc", True),
        (["a"] * 60 + ["b"] * 2, "auc", False),  # one of the two is held out for validation
        (["a"] * 60 + ["b"], "f1", True),
        (["a"] * 30 + ["b"] * 30 + ["c"], "auc", True),
        (["a"] * 30 + ["b"] * 30 + ["c"], "f1", False),
        (["a"] * 60 + ["b"], "loss", False),
    ],
)
def test_t5_a_figure_that_validation_does_not_have_chooses_no_epoch(
    tmp_path: Path, experiment, labels: list[str], monitor: str, is_refused: bool
) -> None:
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f"text {i},{label}\n" for i, label in enumerate(labels)))
    settings = (f"data.source={tmp_path / 'x.csv'}", f"train.monitor={monitor}")
    if is_refused:
        with pytest.raises(UsageError, match=f"train.monitor is {monitor}, which validation does not have") as caught:
            fit(experiment(*settings, *SMALL))
        assert caught.value.hint == "--set train.monitor=loss"
        assert not runs_dir().exists()
    else:
        assert fit(experiment(*settings, *SMALL))


@pytest.mark.parametrize(
    "rows",
    [
        [f"zz{i}q" for i in range(60)],
        [f"zz{i}q xx{i}y" for i in range(40)],
        [f"{i}" for i in range(30)],
    ],
)
def test_t11_no_frequent_n_gram_is_refused_with_settings_that_work(write: Write, rows: list[str]) -> None:
    source = f"data.source={write('x.csv', rows)}"
    with pytest.raises(DataError, match=r"no n-gram is in \d training rows") as caught:
        fit(load_experiment("linear", [source]), "run")
    assert not runs_dir().exists()
    settings = str(caught.value.hint).split(" ")[1::2]
    assert fit(load_experiment("linear", [source, *settings]), "run")


@pytest.mark.parametrize("kind", ["linear", "bag", "recurrent"])
@pytest.mark.parametrize("tokenizer", ["words", "bpe"])
def test_t11_texts_of_nothing_are_refused_and_one_text_is_learnt(write, experiment, kind: str, tokenizer: str) -> None:
    small = {"bag": ["model.embedding.buckets=512"], "recurrent": ["model.encoder.width=4"]}
    base = [] if kind == "linear" else ["model.embedding.width=4", *small[kind]]
    name = {"linear": "linear", "bag": "bag", "recurrent": "sample"}[kind]
    size = ["text.tokenizer=bpe", "vocabulary.size=600"] if tokenizer == "bpe" else []
    settings = [*base, *size, *([] if kind == "linear" else ["train.max_steps=2", "train.device=cpu"])]
    with pytest.raises(DataError, match="no row of training has a token: all 54"):
        fit(load_experiment(name, [f"data.source={write('empty.csv', [''] * 66)}", *settings]), "empty")
    same = write("same.csv", ["one and the same"] * 66)
    assert fit(load_experiment(name, [f"data.source={same}", *settings]), "same")
