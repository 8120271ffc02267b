"""Distillation: the rows and targets of soft labels and pseudo-labels, their cache, and resuming."""

import dataclasses
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import outcome, train, write_reviews

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import data_dir, runs_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.packed import Corpus, join_rows
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.sources import sample
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.evaluation.ensembling import make_ensemble
from sentiment_cli.inference.predictor import Predictor, open_predictor
from sentiment_cli.inference.torch_model import load_model
from sentiment_cli.runs.run_lock import RunRecord
from sentiment_cli.runs.saved_model import open_artefact
from sentiment_cli.storage import store
from sentiment_cli.training.checkpoints import RunFingerprint, fingerprint_differences
from sentiment_cli.training.init_from import known_rows
from sentiment_cli.training.tasks import distillation
from sentiment_cli.training.tasks.distillation import add_soft_labels, open_teachers, teaching_key
from sentiment_cli.training.tasks.linear import read_features
from sentiment_cli.training.tasks.newton import solve
from sentiment_cli.training.tasks.presence import log_count_ratios
from sentiment_cli.training.tasks.table import task_of
from sentiment_cli.workflows.dependencies import resolve_dependencies
from sentiment_cli.workflows.estimate import estimate
from sentiment_cli.workflows.fingerprint import versions
from sentiment_cli.workflows.resume import check_allowed
from sentiment_cli.workflows.train import fit

TINY = ("model.encoder.width=4", "model.embedding.width=4", "train.epochs=1", "train.threads=1", "train.max_steps=3")
MOODS = {
    "good": ("lovely", "wise", "warm"),
    "bad": ("dull", "noisy", "flat"),
    "so-so": ("plain", "usual", "known"),
}
LINEAR_YAML = "name: linear-teacher\ndata: {{source: {}}}\nvocabulary: {{min_count: 1}}\nmodel: {{kind: linear}}\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """Write tables of labelled, unlabelled and test rows with two or three labels; return their settings."""

    def write(n_moods: int = 2) -> tuple[str, ...]:
        moods = list(MOODS)[:n_moods]
        rows = [
            (f"film {i} was {MOODS[moods[(i + i // 5) % n_moods]][i // n_moods % 3]} and {i % 7}", moods[i % n_moods])
            for i in range(90)
        ]
        unlabelled = [f"story {i} seemed {MOODS[moods[i % n_moods]][i % 3]}" for i in range(40)]
        tests = [(f"tale {i} felt very {MOODS[moods[i % n_moods]][0]}", moods[i % n_moods]) for i in range(12)]
        unlabelled[3:5] = [tests[0][0], f"  {tests[1][0]} "]  # which stand in test
        for name, header, table in (
            ("reviews", "text,label", [",".join(row) for row in rows]),
            ("tests", "text,label", [",".join(row) for row in tests]),
            ("more", "text", unlabelled),
        ):
            (tmp_path / f"{name}.csv").write_text("\n".join([header, *table]) + "\n")
        return (
            f"data.source={tmp_path / 'reviews.csv'}",
            f"data.test={tmp_path / 'tests.csv'}",
            f"data.unlabelled={tmp_path / 'more.csv'}",
        )

    return write


def linear(name: str, *settings: str) -> Path:
    path = runs_dir().parent / "linear.yaml"
    path.write_text("name: linear-teacher\nvocabulary: {min_count: 1}\nmodel: {kind: linear}\n")
    return fit(load_experiment(path, settings), name).directory


def lesson(experiment: Experiment) -> tuple[Corpus, list[str], torch.Tensor]:
    corpus = prepare(experiment, task_of(experiment).splits)
    packed, ids, truth = add_soft_labels(experiment, corpus, corpus.split("train"), corpus.ids("train"))
    assert len(packed.label_N) == len(ids) == len(truth)
    own = corpus.split("train")
    expected = own if "unsup" not in corpus.directories else join_rows(own, corpus.split("unsup"))
    if len(expected.label_N) == len(ids):
        for field in dataclasses.fields(packed):
            np.testing.assert_array_equal(getattr(packed, field.name), getattr(expected, field.name))
    return corpus, ids, truth


def texts_of(path: str) -> dict[str, str]:
    lines = Path(path.partition("=")[2]).read_text().splitlines()[1:]
    return {str(i): line.partition(",")[0] for i, line in enumerate(lines, 1)}


@pytest.mark.parametrize("n_moods", [2, 3])
def test_rows_and_truths_are_those_of_a_plain_loop(experiment, write, n_moods: int) -> None:
    data = write(n_moods)
    teacher = linear("teacher", *data)
    taught = experiment(*TINY, *data, f"teacher.run={teacher}", "teacher.temperature=2", "teacher.rows=both")
    corpus, ids, truth = lesson(taught)
    predictor, n_train = open_predictor(teacher), len(corpus.ids("train"))
    unlabelled, labelled = texts_of(data[2]), texts_of(data[0])
    assert ids[n_train:] == [name for name in unlabelled if name not in ("4", "5")]  # those two are test's, too
    for i, name in enumerate(ids):
        (text,) = [labelled[name]] if i < n_train else [unlabelled[name]]
        (found,) = predictor.outputs(predictor.encode([text])) / predictor.temperature / 2
        odds = np.exp([0, found] if n_moods == 2 else found)
        expected = odds / odds.sum()
        if i < n_train:
            expected = 0.5 * expected + 0.5 * (np.arange(n_moods) == corpus.split("train").label_N[i])
        np.testing.assert_allclose(truth[i], expected[1] if n_moods == 2 else expected, atol=1e-6)


@pytest.mark.parametrize("n_moods", [2, 3])
def test_several_teachers_give_the_mean_of_their_log_odds(experiment, write, n_moods: int) -> None:
    data = write(n_moods)
    runs = [linear("teacher", *data), linear("other", *data, "model.linear.ngrams=1")]
    together = lesson(experiment(*TINY, *data, f"teacher.run=[{runs[0]}, {runs[1]}]"))[2]
    assert (together != lesson(experiment(*TINY, *data, f"teacher.run={runs[0]}"))[2]).any()
    alone = [lesson(experiment(*TINY, *data, f"teacher.run={run}"))[2].double() for run in runs]
    mean = sum(one.logit() if n_moods == 2 else one.log() for one in alone) / 2
    expected = mean.sigmoid() if n_moods == 2 else mean.softmax(dim=1)
    n_taught = len(texts_of(data[2])) - 2  # two are test's, too
    torch.testing.assert_close(together[-n_taught:].double(), expected[-n_taught:], rtol=0, atol=1e-5)
    assert torch.equal(together[:-n_taught].double(), alone[0][:-n_taught])
    assert versions(experiment(*TINY, *data, f"teacher.run=[{runs[0]}, {runs[1]}]"))["teacher"] == "+".join(
        versions(experiment(*TINY, *data, f"teacher.run={run}"))["teacher"] for run in runs
    )


@pytest.mark.parametrize("n_moods", [2, 3])
def test_teachers_are_mixed_at_the_weights_of_an_ensemble(experiment, write, tmp_path: Path, n_moods: int) -> None:
    data = write(n_moods)
    runs = [linear("teacher", *data, "seed=1"), linear("other", *data, "vocabulary.size=12")]
    weights = list(make_ensemble([str(run) for run in runs]).weights.values())
    assert abs(weights[0] - 0.5) > 0.01
    mixed = experiment(*TINY, *data, f"teacher.run=[{runs[0]}, {runs[1]}]", "teacher.mix=fitted")
    together, n_taught = lesson(mixed)[2], len(texts_of(data[2])) - 2
    alone = [lesson(experiment(*TINY, *data, f"teacher.run={run}"))[2].double() for run in runs]
    odds = [one.logit() if n_moods == 2 else one.log() for one in alone]
    mean = weights[0] * odds[0] + weights[1] * odds[1]
    expected = mean.sigmoid() if n_moods == 2 else mean.softmax(dim=1)
    torch.testing.assert_close(together[-n_taught:].double(), expected[-n_taught:], rtol=0, atol=1e-5)
    assert "mix" not in teaching_key(experiment(*TINY, *data, f"teacher.run=[{runs[0]}, {runs[1]}]"))  # old caches hold
    assert teaching_key(mixed)["mix"] == "fitted"
    shutil.move(runs[1] / "validation", tmp_path / "validation")
    with pytest.raises(UsageError, match="there are no validation outputs of") as refused:
        fit(mixed)
    assert refused.value.hint == "--set teacher.mix=equal"


def test_labelled_rows_mix_their_labels_with_soft_labels_by_weight(experiment, write) -> None:
    data = write()
    teacher = linear("teacher", *data)
    corpus, _, truth = lesson(experiment(*TINY, *data, f"teacher.run={teacher}"))
    label_N = corpus.split("train").label_N
    np.testing.assert_array_equal(truth[: len(label_N)], label_N)
    assert truth.dtype == torch.float32
    assert ((truth[len(label_N) :] > 0) & (truth[len(label_N) :] < 1)).all()
    half, whole = (
        lesson(experiment(*TINY, *data, f"teacher.run={teacher}", "teacher.rows=train", f"teacher.weight={weight}"))[2]
        for weight in (0.5, 1.0)
    )
    assert len(half) == len(label_N)
    np.testing.assert_allclose(half, (whole.numpy() + label_N) / 2, atol=1e-6)


def test_pseudo_labels_are_the_most_probable_labels_of_confident_rows(experiment, write) -> None:
    data = write()
    teacher = linear("teacher", *data)
    _, ids, soft = lesson(experiment(*TINY, *data, f"teacher.run={teacher}"))
    n_train = len(ids) - 38
    sure = torch.maximum(soft, 1 - soft)[n_train:]
    threshold = float(sure.median()) + 1e-4
    settings = experiment(*TINY, *data, f"teacher.run={teacher}", f"teacher.confident={threshold}")
    _, kept, hard = lesson(settings)
    is_sure = (sure >= threshold).tolist()
    assert 0 < sum(is_sure) < 38
    assert kept[n_train:] == [name for name, one in zip(ids[n_train:], is_sure, strict=True) if one]
    assert hard[n_train:].tolist() == [round(p) for p, one in zip(soft[n_train:].tolist(), is_sure, strict=True) if one]
    with pytest.raises(UsageError, match=r"that sure of none of 38 reviews"):
        lesson(experiment(*TINY, *data, f"teacher.run={teacher}", "teacher.confident=0.9999"))


def test_soft_labels_are_predicted_once_per_teacher(experiment, write, capsys, monkeypatch) -> None:
    data = write()
    teacher, other = linear("teacher", *data), linear("other", *data, "model.linear.ngrams=1")
    settings = [experiment(*TINY, *data, f"teacher.run={run}", "teacher.rows=both") for run in (teacher, other)]
    first = lesson(settings[0])[2]
    assert capsys.readouterr().err.count("asking") == 2  # about labelled and unlabelled rows
    with monkeypatch.context() as patch:
        patch.setattr(distillation, "Predictor", None)
        assert torch.equal(lesson(settings[0].model_copy(update={"seed": 1}))[2], first)
        soft = settings[0].teacher.model_copy(update={"rows": "unsup", "temperature": 3.0})
        lesson(settings[0].model_copy(update={"teacher": soft}))
    capsys.readouterr()
    lesson(settings[1])
    assert capsys.readouterr().err.count("asking") == 2
    for entry in (data_dir() / "cache").glob("taught-*"):
        for path in entry.glob("*.float32"):
            path.write_bytes(bytes(len(path.read_bytes())))
    assert torch.equal(lesson(settings[0])[2], first)
    assert "preparing it again" in capsys.readouterr().err


def test_rows_that_changed_since_preparation_are_not_predicted(experiment, write) -> None:
    """Robustness case F27."""
    data = write()
    taught = experiment(*TINY, *data, f"teacher.run={linear('teacher', *data)}")
    corpus = prepare(taught, task_of(taught).splits)
    for entry in (data_dir() / "cache").glob("texts-*"):
        shutil.rmtree(entry)
    path = Path(data[2].partition("=")[2])
    path.write_text(path.read_text().replace("story 7 ", "story 77 "))
    with pytest.raises(DataError, match="no longer those"):
        add_soft_labels(taught, corpus, corpus.split("train"), corpus.ids("train"))
    path.write_text(path.read_text().replace("story 77 ", "story 7 "))
    assert len(add_soft_labels(taught, corpus, corpus.split("train"), corpus.ids("train"))[1]) > 100


def test_a_model_file_and_an_ensemble_can_be_teachers(experiment, write) -> None:
    data = write()
    linear("one", *data), linear("two", *data, "model.linear.ngrams=1")
    made = make_ensemble(["one", "two"])
    corpus, ids, truth = lesson(experiment(*TINY, *data, f"teacher.run={made.directory.name}"))
    unlabelled, n_train = texts_of(data[2]), len(corpus.ids("train"))
    answers = open_predictor(made.directory).predict([unlabelled[name] for name in ids[n_train:]])
    np.testing.assert_allclose(truth[n_train:], [one.probabilities["good"] for one in answers], atol=1e-6)


def test_test_is_not_opened_and_validation_gets_no_soft_labels(experiment, write, monkeypatch) -> None:
    """Invariant 10."""
    data = write()
    teacher = linear("teacher", *data)
    settings = experiment(*TINY, *data, f"teacher.run={teacher}", "teacher.rows=both", "train.refit=true")
    prepare(settings, (*task_of(settings).splits, "test"))
    for path in (*(data_dir() / "cache").glob("*/test-*"), *(data_dir() / "cache").glob("*/test.text")):
        path.write_bytes(b"")
    asked: list[str] = []
    encode = Predictor.encode
    monkeypatch.setattr(Predictor, "encode", lambda self, texts: asked.extend(texts) or encode(self, texts))
    fit(settings)
    assert all(path.read_bytes() == b"" for path in (data_dir() / "cache").glob("*/test*"))
    corpus, labelled = prepare(settings, ("valid",)), texts_of(data[0])
    assert len(asked) > 100
    assert not set(asked) & {labelled[name] for name in corpus.ids("valid")}
    assert not {text for text in asked if text.strip().startswith("tale")}


def test_a_student_with_few_labels_gains_from_a_teacher(experiment) -> None:
    """The student has forty labelled reviews; only the teacher has seen the other labels."""
    few = ("data.valid.share=0.98", "vocabulary.from=[train, unsup]", "train.threads=1")
    bag = ("model.kind=bag", "model.encoder.width=128", "model.encoder.bidirectional=false", "model.pooling=mean")
    quick = (*few, *bag, "train.epochs=4", "train.lr=0.02")
    teacher = linear("teacher", "data.source=sample")
    alone = fit(experiment(*quick), "alone")
    taught = fit(experiment(*quick, f"teacher.run={teacher}"), "taught")
    assert alone.scores.accuracy_ci95[1] < 0.7 < taught.scores.accuracy_ci95[0]


def test_each_generation_has_the_one_before_it_as_a_further_teacher(write, capsys) -> None:
    data = write()
    teacher = str(linear("teacher", *data))
    settings = [*data, "vocabulary.min_count=1", "vocabulary.from=[train,unsup]", f"teacher.run={teacher}"]
    taught = load_experiment("linear", [*settings, "train.refit=true", "teacher.generations=3"])
    assert estimate(taught, None).needs == ["linear-generation-1", "linear-generation-2"]
    assert not (runs_dir() / "linear-generation-1").exists()
    resolved = resolve_dependencies(taught)
    first, second = (str(runs_dir() / f"linear-generation-{n}") for n in (1, 2))
    assert (resolved.teacher.run, resolved.teacher.generations, resolved.train.refit) == ((teacher, second), 1, True)
    for run, expected in ((first, (teacher,)), (second, (teacher, first))):
        trained = load_experiment(Path(run) / "experiment.yaml")
        assert (trained.teacher.run, trained.train.refit) == (expected, False)  # else it could not teach
    capsys.readouterr()
    assert resolve_dependencies(taught) == resolved
    assert capsys.readouterr().err.count("it is not trained again") == 2
    fit(resolved, "last")
    alone = fit(load_experiment("linear", [*settings, "train.refit=true"]), "alone")
    weights = [load_model(open_artefact(run)).weight for run in (runs_dir() / "last", alone.directory)]
    assert not torch.equal(*weights)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Labelled and unlabelled reviews, and a teacher."""
    write_reviews(tmp_path)
    texts = [review.text for split, review in sample.generate_reviews() if split == "unsup"][::20]
    with store.replacing(tmp_path / "data" / "more.csv") as file:
        file.writelines([b"text\n", *(f'"{text.replace(chr(34), "")}"\n'.encode() for text in texts)])
    linear("teacher", f"data.source={tmp_path / 'data' / 'reviews.csv'}")
    return tmp_path


@pytest.mark.parametrize("n_moods", [2, 3])
@pytest.mark.parametrize("how", [(), ("teacher.temperature=0.5",), ("teacher.confident=0.34",)])
def test_a_linear_student_learns_words_of_unlabelled_rows(write, n_moods: int, how) -> None:
    data = write(n_moods)
    settings = [*data, "vocabulary.min_count=1", "vocabulary.from=[train,unsup]", "model.linear.char_ngrams=[]"]
    settings += [f"model.linear.{one}" for one in ("min_count=1", "penalty=1.0", "normalize=false", "weighting=bayes")]
    teacher = linear("teacher", *data)
    plain = fit(load_experiment("linear", settings), "plain")
    taught_settings = load_experiment("linear", [*settings, "model.linear.ngrams=2", f"teacher.run={teacher}", *how])
    taught = fit(taught_settings, "taught")
    artefact = open_artefact(taught.directory)
    seemed = artefact.vocabulary.entries.index("seemed")
    weights = [load_model(open_artefact(run.directory)).weight[seemed] for run in (plain, taught)]
    assert not weights[0].any()
    assert weights[1].any()
    assert fit(taught_settings, "again").scores == taught.scores
    # Each row counts as its soft label says: as two rows, of the label and of the other, by these shares.
    corpus = prepare(taught_settings, ("train", "valid", "unsup"))
    packed, _, truth = add_soft_labels(taught_settings, corpus, corpus.split("train"), corpus.ids("train"))
    features = read_features(packed, taught_settings, corpus.vocabulary)
    truth_N = truth[torch.from_numpy(features.order_N)].double()
    truth_NC = truth_N.view(len(truth_N), -1)
    scale_GC = log_count_ratios(features.presence, truth_NC, 1.0)
    found = solve(features.presence, scale_GC, truth_NC, 1.0, 1e-7)
    weight_GC = found.weight_GC.clone().requires_grad_()
    logit_NC = features.presence.row_NG.to_dense() @ (scale_GC * weight_GC)
    if n_moods == 2:
        logit_NC, truth_NC = torch.nn.functional.pad(logit_NC, (1, 0)), torch.cat([1 - truth_NC, truth_NC], dim=1)
    parts = [
        (
            truth_NC[:, c]
            * torch.nn.functional.cross_entropy(logit_NC, torch.full((len(truth_NC),), c), reduction="none")
        )
        for c in range(n_moods)
    ]
    loss = sum(part.sum() for part in parts) + 0.5 * (weight_GC[:-1] ** 2).sum()
    (gradient_GC,) = torch.autograd.grad(loss, weight_GC)
    assert gradient_GC.norm() < 1e-5


def test_a_distilled_run_resumes_to_the_same_bytes(root: Path) -> None:
    taught = (
        f"data.unlabelled={root / 'data' / 'more.csv'}",
        f"teacher.run={root / 'runs' / 'teacher'}",
        "teacher.rows=both",
        "train.refit=true",
        "train.epochs=1",
    )
    assert train(root, "whole", settings=taught)[0] == 0
    n_steps = outcome(root / "runs" / "whole")[1][0]["step"]
    assert train(root, "run", settings=taught, place="after backward", at=n_steps + 2)[0] == -signal.SIGKILL
    for path in (root / "data" / "cache").glob("taught-*"):
        shutil.rmtree(path)
    code, said = train(root, "run", resumed=True)
    assert code == 0, said
    assert outcome(root / "runs" / "run") == outcome(root / "runs" / "whole")


def test_a_run_resumes_only_with_the_same_teacher(experiment, write, tmp_path: Path) -> None:
    """Robustness case F27."""
    data = write()
    settings = experiment(*TINY, *data, f"teacher.run={linear('teacher', *data)}")
    before = RunFingerprint("run", settings, "data", versions(settings), {})
    shutil.rmtree(runs_dir() / "teacher")
    linear("teacher", *data, "model.linear.ngrams=1")
    ((key, old, new),) = found = fingerprint_differences(before, before._replace(versions=versions(settings)))
    assert key == "versions.teacher"
    assert old != new
    with pytest.raises(UsageError, match=r"no run can go on with another versions\.teacher"):
        check_allowed(found, [], RunRecord(), tmp_path, "sentiment train")


def test_an_invalid_teacher_is_refused_before_any_work(experiment, write, quick_run: Path, tmp_path: Path) -> None:
    data = write()
    with pytest.raises(UsageError, match="there is no run 'nobody'"):
        fit(experiment(*TINY, *data, "teacher.run=nobody"))
    assert not data_dir().exists()
    stars = fit(experiment("data.target=stars", *TINY), "stars").directory
    with pytest.raises(UsageError, match=r"learnt data\.target stars"):
        open_teachers(experiment(*TINY, f"teacher.run={stars}"))
    with pytest.raises(UsageError, match="has the labels neg, pos, the experiment's are bad, good"):
        lesson(experiment(*TINY, *data, f"teacher.run={quick_run}"))


def test_a_teacher_without_rows_is_refused_with_a_hint(experiment, write) -> None:
    source, *_ = write()
    teacher = linear("teacher", source)
    for rows in ("unsup", "both"):
        with pytest.raises(UsageError, match=rf"teacher\.rows is {rows}, and .* has no unlabelled rows") as caught:
            fit(experiment(*TINY, source, f"teacher.run={teacher}", f"teacher.rows={rows}"))
        assert caught.value.hint == "--set teacher.rows=train"
    assert fit(experiment(*TINY, source, f"teacher.run={teacher}", "teacher.rows=train"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("train.refit=true",), "has learnt the labels of 8 of the 8 valid rows"),
        (("data.valid.seed=3",), "of the 8 valid rows"),
        ((), None),
    ],
)
def test_a_teacher_that_has_seen_validation_labels_is_warned_of(experiment, write, capsys, settings, said) -> None:
    data = write()
    teacher = linear("teacher", *data, *settings)
    taught = experiment(*TINY, *data, f"teacher.run={teacher}")
    corpus = prepare(taught, task_of(taught).splits)
    capsys.readouterr()
    known_rows(taught, corpus)
    warned = capsys.readouterr().err
    assert said in warned if said else "has learnt" not in warned


@pytest.mark.parametrize(
    ("settings", "said"),
    [(("data.test_share=0.3",), True), (("data.valid.seed=3",), True), (("data.valid.share=0.3",), False)],
)
def test_a_teacher_that_has_seen_test_labels_is_warned_of(experiment, write, capsys, settings, said: bool) -> None:
    """Invariant 10."""
    source, _, unlabelled = write()
    teacher = linear("teacher", source, unlabelled)
    taught = experiment(*TINY, source, unlabelled, f"teacher.run={teacher}", *settings)
    corpus = prepare(taught, task_of(taught).splits)
    capsys.readouterr()
    known_rows(taught, corpus)
    warned = capsys.readouterr().err
    assert ("test scores are too good" in warned) == said
    assert "validation scores are too good" in warned


def test_a_teachers_experiment_is_trained_first_and_cycles_are_refused(experiment, write, tmp_path: Path) -> None:
    data = write()
    path = tmp_path / "teacher.yaml"
    path.write_text(LINEAR_YAML.format(tmp_path / "reviews.csv"))
    settings = experiment(*TINY, *data, f"teacher.run={path}", "teacher.temperature=2")
    found = resolve_dependencies(settings)
    assert found.teacher.run == (str(runs_dir() / "linear-teacher"),)
    assert found.teacher.temperature == 2
    assert resolve_dependencies(settings) == found  # the finished run serves
    circle = tmp_path / "circle.yaml"
    circle.write_text(f"name: circle\ndata: {{source: {tmp_path / 'reviews.csv'}}}\nteacher: {{run: {circle}}}\n")
    for refusing in (resolve_dependencies, estimate):
        with pytest.raises(UsageError, match=r"teacher.run: .*circle.yaml needs itself first"):
            refusing(load_experiment(circle))


def test_an_estimate_refuses_the_teachers_that_training_refuses(experiment, write) -> None:
    teacher = linear("teacher", *write(3))
    with pytest.raises(UsageError, match="has the labels bad, good, so-so, the experiment's are bad, good"):
        estimate(experiment(*TINY, *write(), f"teacher.run={teacher}"))


@pytest.mark.parametrize("kind", ["network", "network with a linear model", "linear"])
def test_the_time_of_a_student_is_estimated_before_its_teacher_is_trained(
    experiment, write, tmp_path: Path, kind: str
) -> None:
    data, path = write(), tmp_path / "teacher.yaml"
    path.write_text(LINEAR_YAML.format(tmp_path / "reviews.csv"))
    small = (*TINY[:-1], "train.batch_tokens=128", "text.max_tokens=64", *data, f"teacher.run={path}")
    settings = experiment(*small, f"model.wide.use={'both' if kind == 'network with a linear model' else 'none'}")
    if kind == "linear":
        (tmp_path / "student.yaml").write_text("name: student\nmodel: {kind: linear}\n")
        settings = load_experiment(tmp_path / "student.yaml", [*data, f"teacher.run={path}"])
    found = estimate(settings, "student")
    assert found.needs == [str(path)]
    assert not runs_dir().exists()
    if kind != "linear":
        done = fit(resolve_dependencies(settings), "student")
        assert found.n_steps == json.loads((done.directory / "metrics.jsonl").read_text().splitlines()[-1])["step"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ("teacher.temperature=2",),
            "teacher.temperature says how a teacher is learnt from, and teacher.run names none",
        ),
        (("teacher.run=x", "teacher.weight=0.2"), "teacher.weight is of labelled rows, and teacher.rows is unsup"),
        (("teacher.run=x", "teacher.confident=0.9", "teacher.temperature=2"), "teacher.temperature softens"),
        (("teacher.run=x", "data.target=stars"), "teaches probabilities of single labels, and data.target is stars"),
        (("teacher.run=x", "task=vectors"), "teacher.run is of task classify, and task is vectors"),
    ],
)
def test_settings_of_a_teacher_that_contradict_each_other(experiment, settings, said: str) -> None:
    """Robustness case B04."""
    with pytest.raises(UsageError, match=said):
        experiment(*settings)
