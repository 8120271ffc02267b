"""Cross-fitting: no training row reads weights that a label of its fold had a part in."""

import csv
import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import killing
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batching.batches import rows_on
from sentiment_cli.data.corpus.packed import Corpus, Packed, join_rows, select_rows
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.errors import DataError
from sentiment_cli.evaluation.target_scores import score_outputs, truth_of
from sentiment_cli.inference.parity import largest_difference
from sentiment_cli.inference.predictor import MemberPredictor
from sentiment_cli.inference.torch_model import load_model, score_rows
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.runs.saved_model import GRAPH, open_artefact
from sentiment_cli.training.checkpoints import RunFingerprint, TrainProgress
from sentiment_cli.training.processes.distributed import ALONE
from sentiment_cli.training.processes.signals import Stop
from sentiment_cli.training.state import TrainJob, TrainState, build_state
from sentiment_cli.training.tasks import cross_fitting
from sentiment_cli.training.tasks.cross_fitting import cross_fit, fit_folds_of, row_folds
from sentiment_cli.training.tasks.linear import fit_ngram_weights, read_features
from sentiment_cli.training.tasks.table import prepare_for, task_of
from sentiment_cli.training.weights_init import build_initial_model
from sentiment_cli.workflows.train import fit

LINEAR = ("model.linear.min_count=2", "model.linear.penalty=0.1")
WIDE = ("model.wide.use=both", *LINEAR, "train.threads=1", "model.embedding.width=4", "model.encoder.width=4")
N_GROUPS, N_IN_GROUP = 30, 6

Build = Callable[..., Experiment]


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    """Reviews that hold nothing but the name of their movie, whose label is drawn at random.

    A linear model that has seen a movie's other reviews knows the label; one that has not can only guess.
    """
    generator = np.random.default_rng(0)
    label_G = generator.permutation(np.arange(N_GROUPS) % 2)
    rows = []
    for group, label in enumerate(label_G):
        for _ in range(N_IN_GROUP):
            rest = " ".join(f"w{generator.integers(20)}" for _ in range(3))
            rows.append((f"movie{group} {rest}", ("neg", "pos")[label], f"m{group}"))
    path = tmp_path / "movies.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label", "movie"), *(rows[i] for i in generator.permutation(len(rows)))])
    return path


def movie_settings(movies: Path, *settings: str) -> tuple[str, ...]:
    return (f"data.source={movies}", "data.group_column=movie", "vocabulary.min_count=1", *WIDE, *settings)


def state_of(experiment: Experiment, corpus: Corpus, progress: TrainProgress | None = None) -> TrainState:
    fingerprint = RunFingerprint("", experiment, corpus.key, {}, {})
    job = TrainJob(Path(), fingerprint, corpus, torch.device("cpu"), progress or TrainProgress(), Stop(), ALONE)
    return build_state(job, task_of(experiment), build_initial_model(experiment, corpus, ()))


@torch.no_grad()
def said_in_training(state: TrainState) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return for each row of an epoch whether what the linear part adds is on the side of its label, and that."""
    loader = state.task.build_loader(state)
    model = state.model
    assert isinstance(model, Classifier)
    is_right, added = [], []
    for step, batch in zip(range(loader.epoch_ends[0]), loader.batches(0), strict=False):
        assert len(loader.names(step)) == len(batch.ids_BL)
        added_B = model.inputs(batch.ids_BL, batch.length_B, batch.fold_B)[1]
        assert added_B is not None
        is_right.append(((added_B > 0) == (batch.label_B > 0.5)).numpy())
        added.append(added_B.double().numpy())
    return np.concatenate(is_right), np.concatenate(added)


def test_training_rows_read_no_weights_that_know_their_movie(experiment: Build, movies: Path) -> None:
    """The leak test: a linear model that had seen the row's own movie would be right about every one of them."""
    settings = experiment(*movie_settings(movies))
    corpus = prepare_for(settings)
    state = state_of(settings, corpus)
    is_right_N, _ = said_in_training(state)
    assert len(is_right_N) == len(corpus.split("train").label_N)
    assert is_right_N.mean() < 0.7  # of 26 movies half by chance: 0.7 is two standard deviations above

    # The same with cross-fitting broken on purpose, in two ways, so that the test is seen to find a leak.
    state.model.wide.table = state.model.wide.linear.weight.repeat(6, 1)
    assert said_in_training(state)[0].mean() > 0.95
    shuffled = experiment(*movie_settings(movies, "data.valid.by=row", "data.valid.seed=1"))
    state = state_of(shuffled, prepare_for(shuffled))
    assert said_in_training(state)[0].mean() > 0.95


def test_labels_of_a_fold_change_nothing_that_its_rows_read(experiment: Build, movies: Path) -> None:
    settings = experiment(*movie_settings(movies))
    corpus = prepare_for(settings)
    packed = corpus.split("train")
    fold_N = row_folds(packed, settings)
    before = fit_folds_of(packed, fold_N, settings, corpus)
    other_N = np.where(fold_N == 2, 1 - packed.label_N, packed.label_N)
    after = fit_folds_of(replace(packed, label_N=other_N), fold_N, settings, corpus)
    assert torch.equal(before.key_K, after.key_K)
    for fold in range(6):
        assert torch.equal(before.weight_KFC[fold], after.weight_KFC[fold]) == (fold == 2)
        assert torch.equal(before.bias_KC[fold], after.bias_KC[fold]) == (fold == 2)


def test_soft_labels_of_a_fold_change_nothing_that_its_rows_read(experiment: Build, movies: Path) -> None:
    settings = experiment(*movie_settings(movies))
    corpus = prepare_for(settings)
    packed = corpus.split("train")
    fold_N = row_folds(packed, settings)
    soft_N = torch.from_numpy(np.random.default_rng(1).random(len(fold_N), np.float32))
    before = fit_folds_of(packed, fold_N, settings, corpus, soft_N)
    after = fit_folds_of(packed, fold_N, settings, corpus, torch.where(torch.from_numpy(fold_N) == 2, 0.5, soft_N))
    for fold in range(6):
        assert torch.equal(before.weight_KFC[fold], after.weight_KFC[fold]) == (fold == 2)


def test_those_of_a_student_are_fitted_to_what_it_is_taught(experiment: Build, tmp_path: Path) -> None:
    """The linear model of all rows is that which the teachers train; unlabelled rows are dealt out, too."""
    draw, words = np.random.default_rng(0), ("dull", "fine")
    for name, n_rows in (("rows", 120), ("more", 80)):
        labels = draw.integers(2, size=n_rows)
        lines = [f"w{i} {words[label]} w{draw.integers(9)},{words[label]}" for i, label in enumerate(labels)]
        table = ["text,label", *lines] if name == "rows" else ["text", *(line.partition(",")[0] for line in lines)]
        (tmp_path / f"{name}.csv").write_text("\n".join(table) + "\n")
    data = (f"data.source={tmp_path / 'rows.csv'}", f"data.unlabelled={tmp_path / 'more.csv'}")
    alike = ("vocabulary.min_count=1", "train.threads=1")
    linear = tmp_path / "linear.yaml"
    linear.write_text("name: linear\nmodel: {kind: linear}\n")
    teacher = fit(load_experiment(linear, (*data, *alike)), "teacher").directory
    taught = (*data, *alike, f"teacher.run={teacher}", "teacher.temperature=0.5")
    settings = experiment(*WIDE, *taught)
    corpus = prepare_for(settings)
    state = state_of(settings, corpus)

    student = fit(load_experiment(linear, (*taught, *LINEAR)), "student").directory
    expected = load_model(open_artefact(student))
    assert torch.equal(state.model.wide.linear.keys, expected.keys)
    torch.testing.assert_close(state.model.wide.linear.weight, expected.weight)
    loader = state.task.build_loader(state)
    batches = [batch for _, batch in zip(range(loader.epoch_ends[0]), loader.batches(0), strict=False)]
    fold_N, label_N = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("fold_B", "label_B"))
    is_soft_N = (label_N > 0) & (label_N < 1)
    assert int(is_soft_N.sum()) == len(corpus.split("unsup").label_N) > 70
    assert set(fold_N[is_soft_N].tolist()) == set(fold_N[~is_soft_N].tolist()) == {1, 2, 3, 4, 5}
    sizes_K = torch.bincount(fold_N[is_soft_N])[1:]
    assert int(sizes_K.max() - sizes_K.min()) <= 1

    other = experiment(*WIDE, *data, *alike)  # without its teacher it is another model, not found in the cache
    assert not torch.equal(state_of(other, prepare_for(other)).model.wide.linear.bias, expected.bias)


@pytest.mark.parametrize("weighting", ["bayes", "idf"])
@pytest.mark.parametrize("normalize", ["false", "true"])
@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_folds_model_is_that_of_the_other_rows_alone(
    experiment: Build, n_labels: int, normalize: str, weighting: str
) -> None:
    settings = experiment(
        *WIDE, f"model.linear.normalize={normalize}", f"model.linear.weighting={weighting}", "model.linear.min_count=1"
    )
    generator, n_rows = np.random.default_rng(0), 40
    length_N = generator.integers(1, 9, n_rows)
    starts_N1 = np.concatenate([[0], np.cumsum(length_N)])
    label_N = np.arange(n_rows) % n_labels
    # Every word is in every other row, so that both models have the same words; longer n-grams differ.
    ids_T = generator.integers(2, 6, starts_N1[-1]).astype(np.int32)
    packed = Packed(ids_T, starts_N1, label_N, label_N, np.full(n_rows, -1), label_N > 9)
    vocabulary = Vocabulary(("<pad>", "<unk>", "a", "b", "c", "d"), 1)
    corpus: Any = SimpleNamespace(sets_KC=None, labels=tuple("xyz"[:n_labels]), vocabulary=vocabulary)
    fold_N = row_folds(packed, settings)
    found = fit_folds_of(packed, fold_N, settings, corpus)
    for fold in range(1, 6):
        rest = select_rows(packed, fold_N != fold)
        features = read_features(rest, settings, vocabulary)
        label_M = torch.from_numpy(rest.label_N[features.order_N])
        truth_NC = torch.nn.functional.one_hot(label_M, n_labels)[:, -found.bias_KC.shape[1] :].double()
        alone = fit_ngram_weights(features, truth_NC, settings, vocabulary)
        place_K = torch.searchsorted(found.key_K[found.key_K < 36], features.key_K[features.key_K < 36])
        weight_FC = found.weight_KFC[fold]
        if normalize == "false":  # with it a row's number of n-grams is that of all rows' n-grams
            torch.testing.assert_close(weight_FC[:6], alone.weight_FC[:6], atol=2e-3, rtol=1e-2)
            twos_FC = alone.weight_FC[6 : 6 + len(place_K)]
            torch.testing.assert_close(weight_FC[6 + place_K], twos_FC, atol=2e-3, rtol=1e-2)
        absent_F = torch.ones(len(weight_FC), dtype=torch.bool)
        absent_F[:6], absent_F[6 + place_K] = False, False
        absent_F[6 + int((found.key_K < 36).sum()) :] = False
        assert not weight_FC[absent_F].any()  # n-grams of the fold alone have no weight without it


def test_folds_keep_movies_together_and_are_as_many_as_there_can_be(experiment: Build, movies: Path) -> None:
    settings = experiment(*movie_settings(movies))
    packed = prepare_for(settings).split("train")
    fold_N = row_folds(packed, settings)
    assert set(fold_N) == {1, 2, 3, 4, 5}
    assert all(len(set(fold_N[packed.group_N == group])) == 1 for group in set(packed.group_N))
    some = select_rows(packed, np.isin(packed.group_N, np.unique(packed.group_N)[:3]))
    assert set(row_folds(some, settings)) == {1, 2, 3}
    one = select_rows(packed, packed.group_N == packed.group_N[0])
    with pytest.raises(DataError, match="they are one group alone") as refused:
        row_folds(one, settings)
    assert "--set model.wide.use=none" in str(refused.value.hint)


def test_validation_reads_the_model_of_all_training_rows_and_the_refit_one_of_both(
    experiment: Build, movies: Path
) -> None:
    settings = experiment(*movie_settings(movies, "train.refit=true"))
    corpus = prepare_for(settings)
    train, valid = corpus.split("train"), corpus.split("valid")
    for is_refit, packed in ((False, train), (True, join_rows(train, valid))):
        features = read_features(packed, settings, corpus.vocabulary)
        truth_NC = torch.from_numpy(packed.label_N[features.order_N]).double()[:, None]
        whole = fit_ngram_weights(features, truth_NC, settings, corpus.vocabulary)
        progress = TrainProgress()
        if is_refit:
            progress.refit = True
        state = state_of(settings, corpus, progress)
        assert torch.equal(state.model.wide.linear.weight, whole.weight_FC)
        assert torch.equal(state.model.wide.linear.keys, features.key_K)
        added = state.model.inputs(torch.tensor([[3, 4, 5]]), torch.tensor([3]))[1]
        expected = state.model.wide.linear(torch.tensor([[3, 4, 5]]), torch.tensor([3]))
        torch.testing.assert_close(added.detach(), expected)


def test_they_are_fitted_once_for_the_same_rows_and_settings(
    experiment: Build, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = experiment(*WIDE)
    corpus = prepare_for(settings)
    first = cross_fit(settings, corpus, is_refit=False)
    fits: list[int] = []
    monkeypatch.setattr(cross_fitting, "fit_folds_of", lambda *args: fits.append(1) or fit_folds_of(*args))
    capsys.readouterr()
    again = cross_fit(experiment(*WIDE, "train.lr=1e-3", "model.wide.width=3", "seed=4"), corpus, is_refit=False)
    assert not fits
    assert "wide: fitted before, in " in capsys.readouterr().err
    assert all(torch.equal(*pair) for pair in zip(first[:3], again[:3], strict=True))
    assert first.gain == again.gain
    for n, other in enumerate(("text.max_tokens=9", "model.linear.penalty=2.0", "model.wide.folds=2"), 1):
        cross_fit(experiment(*WIDE, other), corpus, is_refit=False)
        assert len(fits) == n
    cross_fit(settings, corpus, is_refit=True)
    assert len(fits) == 4


@pytest.mark.parametrize("kind", ["recurrent", "bag", "transformer"])
def test_a_wide_run_answers_without_torch_as_with_it(experiment: Build, kind: str) -> None:
    own = {
        "recurrent": WIDE,
        "bag": (*WIDE[:-1], "model.kind=bag", "model.encoder.width=128", "model.encoder.bidirectional=false"),
        "transformer": (*WIDE, "model.kind=transformer", "model.encoder.heads=2", "model.encoder.bidirectional=false"),
    }
    settings = experiment(*own[kind], "train.epochs=1", "train.max_steps=3")
    for path in prepare_for(settings).directory.glob("test-*"):
        path.write_bytes(b"")  # invariant 10
    done = fit(settings)
    artefact = open_artefact(done.directory)
    model = load_model(artefact)
    assert len(model.wide.linear.keys)
    texts = ["The plot was good.", "", "dull", "I did not like it, not at all"]
    rows = MemberPredictor(artefact).encode(texts)
    graph = artefact.read(GRAPH)
    assert largest_difference(model, graph, rows, settings.text) < 1e-5


@pytest.mark.parametrize("target", ["multilabel", "ordinal", "stars"])
def test_the_linear_models_learn_what_the_network_learns(experiment: Build, tmp_path: Path, target: str) -> None:
    """Of several labels and of ranks each output is a yes or no of its own; a rating is a share of the scale."""
    settings = [*WIDE, "model.wide.use=skip", f"data.target={target}", "train.epochs=1", "train.max_steps=2"]
    if target != "stars":
        draw, words = np.random.default_rng(0), ("soup", "goal", "bank")
        rows = [draw.random(3) < 0.5 for _ in range(300)]
        texts = [" ".join(["the", *np.array(words)[of], f"w{draw.integers(9)}"]) for of in rows]
        labels = [("|".join(np.array(words)[of]) or "bank") if target == "multilabel" else str(of.sum()) for of in rows]
        with (tmp_path / "rows.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *zip(texts, labels, strict=True)])
        settings += [f"data.source={tmp_path / 'rows.csv'}", "vocabulary.min_count=1"]
        settings += ['data.label_separator="|"'] if target == "multilabel" else []
    done = fit(experiment(*settings))
    artefact = open_artefact(done.directory)
    model, corpus = load_model(artefact), prepare_for(experiment(*settings))
    valid, reading = corpus.split("valid"), experiment(*settings).text
    output = score_rows(model.wide.linear, rows_on(torch.device("cpu"), valid), valid.length_N, reading)
    scores = score_outputs(output, truth_of(valid), corpus.labels, target)
    if target == "stars":
        rating_N = 1 + 9 / (1 + np.exp(-output))
        assert np.corrcoef(rating_N, valid.stars_N)[0, 1] > 0.5
    else:
        assert output.shape[1] == 3  # labels, or ranks but the lowest
        assert scores.accuracy > 0.95
    ids = MemberPredictor(artefact).encode(["the soup w1", "", "goal bank"])
    assert largest_difference(model, artefact.read(GRAPH), ids, reading) < 1e-5


def test_a_killed_wide_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """Invariants 1 and 6, also in the refit, whose linear models are others."""
    killing.write_reviews(tmp_path)
    wide = ("model.wide.use=both", "train.refit=true", "model.linear.ngrams=2")
    assert killing.train(tmp_path, "whole", settings=wide)[0] == 0
    for i, at in enumerate((3, 10)):
        run = tmp_path / "runs" / f"run-{i}"
        assert killing.train(tmp_path, run.name, settings=wide, place="after backward", at=at)[0] == -signal.SIGKILL
        code, said = killing.train(tmp_path, run.name, resumed=True)
        assert code == 0, said
        assert killing.outcome(run) == killing.outcome(tmp_path / "runs" / "whole")
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
