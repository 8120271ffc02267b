"""The terms beside the loss of the labels: each against its formula, their sum, and trainings with all of them."""

import dataclasses
import json
import signal
from pathlib import Path

import killing
import numpy as np
import pytest
import torch

from sentiment_cli.config.paths import runs_dir
from sentiment_cli.data.batching.batches import Batch, plan_steps
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.errors import UsageError
from sentiment_cli.inference.torch_model import load_weights
from sentiment_cli.models.classifier import build_classifier
from sentiment_cli.runs.saved_model import open_artefact
from sentiment_cli.training.losses import objective as objective_module
from sentiment_cli.training.losses.consistency import mixup_loss, ratings_loss, symmetric_divergence
from sentiment_cli.training.losses.labels import classification_loss, cross_entropy
from sentiment_cli.training.losses.objective import build_objective
from sentiment_cli.training.losses.passes import read_batch
from sentiment_cli.training.tasks.companions import pair_rows, softened_labels
from sentiment_cli.training.tasks.table import prepare_for
from sentiment_cli.workflows.profile import begin_training
from sentiment_cli.workflows.train import fit

TINY = ("model.embedding.width=4", "model.encoder.width=4", "train.threads=1")
STILL = ("model.dropout=0", "model.embedding.dropout=0", "model.embedding.word_dropout=0")
TERMS = (
    "objective.adversarial.weight=1",
    "objective.virtual.weight=0.5",
    "objective.rdrop.weight=1",
    "objective.mixup.weight=1",
    "objective.ramp=0.5",
)
VOCABULARY, SHARE_V = Vocabulary(tuple("<pad> <unk> a b c".split()), 1), torch.tensor([0, 0.1, 0.3, 0.4, 0.2])
BATCH = Batch(
    torch.tensor([[2, 3, 4, 0], [4, 2, 3, 3], [3, 0, 0, 0]]),
    torch.tensor([3, 4, 1]),
    torch.tensor([1, 0, 1]),
    stars_B=torch.tensor([8, 1, 0]),
    unlabelled_BL=torch.tensor([[3, 3], [2, 4], [4, 0]]),
    unlabelled_length_B=torch.tensor([2, 2, 1]),
)


def _softmax(logit_BC: np.ndarray) -> np.ndarray:
    power_BC = np.exp(logit_BC - logit_BC.max(axis=1, keepdims=True))
    return np.asarray(power_BC / power_BC.sum(axis=1, keepdims=True))


def test_r_drop_is_half_the_sum_of_both_divergences() -> None:
    one_BC, other_BC = (np.random.default_rng(seed).normal(size=(4, 3)) for seed in (0, 1))
    p_BC, q_BC = _softmax(one_BC), _softmax(other_BC)
    expected = 0.5 * ((p_BC - q_BC) * np.log(p_BC / q_BC)).sum(axis=1).mean()
    found = symmetric_divergence(torch.tensor(one_BC), torch.tensor(other_BC), "label")
    assert float(found) == pytest.approx(expected)


def test_mixup_mixes_states_and_labels_in_one_share(experiment) -> None:
    torch.manual_seed(0)
    model = build_classifier(experiment(*TINY, *STILL), VOCABULARY, 3).train()
    first = read_batch(model, BATCH.ids_BL, BATCH.length_B, None, seed=1)
    torch.manual_seed(5)
    found = float(mixup_loss(model, first, BATCH, cross_entropy, alpha=0.4).detach())
    torch.manual_seed(5)
    share, other_B = float(torch.distributions.Beta(0.4, 0.4).sample()), torch.randperm(3).numpy()
    assert 0.01 < share < 0.99
    assert list(other_B) != [0, 1, 2]
    pooled_BD = first.pooled_BD.detach().numpy()
    mixed_BD = share * pooled_BD + (1 - share) * pooled_BD[other_B]
    logit_BC = mixed_BD @ model.output.weight.detach().numpy().T + model.output.bias.detach().numpy()
    truth_BC = np.eye(3)[BATCH.label_B.numpy()]
    truth_BC = share * truth_BC + (1 - share) * truth_BC[other_B]
    assert found == pytest.approx(-(truth_BC * np.log(_softmax(logit_BC))).sum(axis=1).mean(), rel=1e-5)


def test_ratings_are_learnt_as_at_least_so_many_stars() -> None:
    logit_BJ, stars_B = np.random.default_rng(0).normal(size=(4, 9)), np.array([1, 10, 7, 0])
    total = 0.0
    for logit_J, stars in zip(logit_BJ, stars_B, strict=True):
        for logit, least in zip(logit_J, range(2, 11), strict=True):
            if stars:  # a row without a rating adds nothing
                total += np.log1p(np.exp(-logit if stars >= least else logit))
    assert float(ratings_loss(torch.tensor(logit_BJ), torch.tensor(stars_B))) == pytest.approx(total / (4 * 9))


def test_labels_are_softened_by_their_rating(experiment) -> None:
    train = prepare_for(experiment()).split("train")
    stars_N = np.resize([1, 4, 7, 10, 0], len(train.label_N))
    rated = dataclasses.replace(train, stars_N=stars_N)
    truth_N, truth_NC = (softened_labels(rated, n, 0.4).numpy() for n in (2, 3))
    for label, stars, truth, truth_C in zip(train.label_N, stars_N, truth_N, truth_NC, strict=True):
        share = 0.4 * (1 - abs(stars - 5.5) / 4.5) if stars else 0.0
        assert truth == pytest.approx(label * (1 - share) + share / 2)
        assert truth_C[label] == pytest.approx(1 - share + share / 3)
        assert truth_C.sum() == pytest.approx(1)


def _value(experiment, *settings: str, batch: Batch = BATCH, still: bool = True) -> float:
    torch.manual_seed(0)
    described = experiment(*TINY, *(STILL if still else ()), *settings)
    model = build_classifier(described, VOCABULARY, 2).train()
    torch.manual_seed(1)
    return float(build_objective(described, None, SHARE_V)(model, batch).detach())


@pytest.mark.parametrize("term", ["adversarial", "virtual", "rdrop", "mixup", "stars"])
def test_a_term_is_added_at_its_weight_and_rises_with_the_ramp(experiment, term: str) -> None:
    is_still = term != "rdrop"  # of which dropout makes the two passes
    plain, half = _value(experiment), _value(experiment, f"objective.{term}.weight=100", still=is_still)
    whole = _value(experiment, f"objective.{term}.weight=200", still=is_still)
    ramped = BATCH._replace(ramp_B=torch.full((3,), 0.5))
    assert _value(experiment, f"objective.{term}.weight=200", batch=ramped, still=is_still) == pytest.approx(half)
    assert whole - half > 1e-3
    if is_still:
        assert half - plain == pytest.approx(whole - half, rel=1e-3)


@pytest.mark.parametrize("rows", ["train", "unsup", "both"])
def test_virtual_adversarial_rows_are_those_asked_for(experiment, rows: str) -> None:
    """Which rows change the loss: of unlabelled rows alone the answers to labelled ones are left as they are."""
    settings = ("objective.virtual.weight=1000", f"objective.virtual.rows={rows}")
    batch = BATCH if rows != "train" else BATCH._replace(unlabelled_BL=None, unlabelled_length_B=None)
    found = _value(experiment, *settings, batch=batch)
    others = batch._replace(unlabelled_BL=torch.tensor([[4, 4], [3, 3], [2, 0]]))
    if rows != "train":
        assert _value(experiment, *settings, batch=others) != pytest.approx(found, abs=1e-5)
    relabelled = batch._replace(label_B=1 - batch.label_B)
    change = _value(experiment, *settings, batch=relabelled) - found
    plain = _value(experiment, batch=relabelled) - _value(experiment)
    assert change == pytest.approx(plain, abs=1e-5)  # the term itself reads no label


def test_unlabelled_rows_read_the_linear_model_of_all_training_rows(experiment, monkeypatch) -> None:
    """The folds of a wide part are those of labelled rows."""
    read, folds = objective_module.read_batch, list[list[int]]()

    def noting(model, ids_BL, length_B, fold_B, seed):
        folds.append(fold_B.tolist())
        return read(model, ids_BL, length_B, None, seed)

    monkeypatch.setattr(objective_module, "read_batch", noting)
    batch = BATCH._replace(fold_B=torch.tensor([1, 2, 1]))
    _value(experiment, "objective.virtual.weight=1", "objective.virtual.rows=both", batch=batch)
    assert folds == [[1, 2, 1], [0, 0, 0]]


def test_without_a_weight_the_loss_is_that_of_the_labels_and_the_bytes_are_those_of_the_plain_run(experiment) -> None:
    assert build_objective(experiment("objective.mixup.weight=0")) is classification_loss
    runs = []
    for weight in (0, 1):
        done = fit(experiment(*TINY, "train.epochs=1", "train.max_steps=2", f"objective.stars.weight={weight}"))
        runs.append(load_weights(open_artefact(done.directory)))
    again = load_weights(open_artefact(fit(experiment(*TINY, "train.epochs=1", "train.max_steps=2")).directory))
    assert all(torch.equal(tensor, again[name]) for name, tensor in runs[0].items())
    assert set(runs[1]) - set(runs[0]) == {"ratings.weight", "ratings.bias"}


def test_a_run_starts_from_another_with_or_without_a_head_for_ratings(experiment) -> None:
    few = (*TINY, "train.epochs=1", "train.max_steps=1", "train.lr=1e-9")
    names = ("plain", "rated", "plain-again")
    for name, weight, start in zip(names, (0, 1, 0), ("null", "plain", "rated"), strict=True):
        fit(experiment(*few, f"objective.stars.weight={weight}", f"init_from={start}"), name)
    plain, rated, again = (load_weights(open_artefact(runs_dir() / name)) for name in names)
    for name, tensor in plain.items():
        torch.testing.assert_close(rated[name], tensor, atol=1e-6, rtol=0)
        torch.testing.assert_close(again[name], tensor, atol=1e-6, rtol=0)


def test_each_batch_has_as_many_unlabelled_rows_of_similar_lengths(experiment) -> None:
    draw, settings = np.random.default_rng(0), experiment("train.epochs=3", "train.batch_tokens=2000")
    read_N, unlabelled_N = draw.integers(5, 200, 300), draw.integers(0, 150, 700)
    found, plan = pair_rows(settings, read_N, unlabelled_N), plan_steps(read_N, settings.train, settings.seed)
    assert [len(row_B) for row_B in found] == [len(row_B) for row_B in plan.rows]
    first, second = (np.concatenate(found[i * len(found) // 3 : (i + 1) * len(found) // 3]) for i in (0, 1))
    assert len(set(first)) == 300  # none twice
    assert set(first) != set(second)
    assert (unlabelled_N[np.concatenate(found)] > 0).all()
    assert sum(unlabelled_N[row_B].max() * len(row_B) for row_B in found) < 1.3 * sum(
        unlabelled_N[row_B].sum() for row_B in found
    )
    cut = experiment("train.epochs=3", "train.batch_tokens=2000", "train.max_steps=4")
    assert all(np.array_equal(*both) for both in zip(pair_rows(cut, read_N, unlabelled_N), found, strict=True))


def test_batches_have_the_ramp_of_their_step_from_any_step_on(experiment) -> None:
    settings = experiment(*TINY, *TERMS, "objective.virtual.rows=both", "train.epochs=2", "objective.ramp=1.5")
    loader = begin_training(settings, prepare_for(settings), torch.device("cpu"))[1]
    n_ramp, batches = 1.5 * loader.epoch_ends[0], list(loader.batches(0))
    assert [float(batch.ramp_B[0]) for batch in batches] == pytest.approx(
        [min(1, step / n_ramp) for step in range(loader.n_steps)]
    )
    for start in (1, loader.n_steps - 1):
        for batch, other in zip(batches[start:], loader.batches(start), strict=True):
            for one, two in zip(batch, other, strict=True):
                assert one is two or torch.equal(one, two)
    assert all(len(batch.unlabelled_BL) == len(batch.ids_BL) for batch in batches)


def test_a_killed_run_with_all_terms_resumes_and_two_processes_train_the_same_bytes(tmp_path: Path) -> None:
    """Invariants 1, 6 and 7, with a wide part, region inputs aside, soft labels and unlabelled rows."""
    killing.write_reviews(tmp_path)
    rows = (tmp_path / "data" / "reviews.csv").read_text().splitlines()[1:121]
    (tmp_path / "data" / "more.csv").write_text("text\n" + "".join(row.rpartition(",")[0] + "\n" for row in rows[::2]))
    settings = (
        *TERMS,
        f"data.unlabelled={tmp_path / 'data' / 'more.csv'}",
        "objective.virtual.rows=both",
        "model.wide.use=both",
        "model.wide.dropout=0.5",
        "model.linear.ngrams=2",
        "train.label_smoothing=0.1",
        "train.epochs=1",
    )
    assert killing.train(tmp_path, "whole", settings=settings)[0] == 0
    assert killing.train(tmp_path, "run", settings=settings, place="after backward", at=3)[0] == -signal.SIGKILL
    code, said = killing.train(tmp_path, "run", resumed=True)
    assert code == 0, said
    assert [code for code, _ in killing.train_together(tmp_path, "two", settings=settings)] == [0, 0]
    whole = killing.outcome(tmp_path / "runs" / "whole")
    assert killing.outcome(tmp_path / "runs" / "run") == whole
    assert killing.outcome(tmp_path / "runs" / "two") == whole
    assert json.loads((tmp_path / "runs" / "run" / "summary.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("model.kind=linear", "objective.rdrop.weight=1"), "objective.rdrop.weight is of networks"),
        (("model.head=steps", "model.pooling=last", "objective.mixup.weight=1"), "model.head steps has one at each"),
        (("task=vectors", "objective.adversarial.weight=1"), "objective.adversarial.weight is of task classify"),
        (("objective.virtual.rows=unsup",), "objective.virtual.rows is of objective.virtual.weight above 0"),
        (("objective.ramp=1",), "objective.ramp raises the weights"),
        (("data.target=stars", "objective.stars.weight=1"), "adds ratings to single labels"),
        (("teacher.run=x", "objective.virtual.weight=1", "objective.virtual.rows=both"), "makes the unlabelled rows"),
        (("train.class_weight=balanced", "objective.stars.smoothing=0.2"), "softens the labels"),
    ],
)
def test_terms_that_contradict_other_settings(experiment, settings: tuple[str, ...], said: str) -> None:
    """Robustness case B04."""
    with pytest.raises(UsageError, match=said):
        experiment(*settings)


@pytest.mark.parametrize(
    ("settings", "said", "hint"),
    [
        (
            ("objective.virtual.weight=1", "objective.virtual.rows=both"),
            "objective.virtual.rows is both, and .* has no unlabelled rows",
            "--set objective.virtual.rows=train",
        ),
        (("objective.stars.weight=1",), "no training row of .* has a star rating", "--set objective.stars.weight=0.0"),
    ],
)
def test_rows_that_a_source_does_not_have_are_refused(
    experiment, tmp_path: Path, settings: tuple[str, ...], said: str, hint: str
) -> None:
    killing.write_reviews(tmp_path)
    with pytest.raises(UsageError, match=said) as refused:
        fit(experiment(f"data.source={tmp_path / 'data' / 'reviews.csv'}", *settings))
    assert refused.value.hint == hint
