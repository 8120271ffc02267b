import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import killing
import numpy as np
import pytest
import scipy.sparse
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from sentiment_cli.config import schema
from sentiment_cli.data.batching.batches import gather, rows_on
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.errors import DataError, InterruptedRun, UsageError
from sentiment_cli.evaluation.evaluate import evaluate
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.inference.torch_model import load_model
from sentiment_cli.models.layers.ngrams import Counted
from sentiment_cli.runs.saved_model import open_artefact
from sentiment_cli.training.tasks import linear, newton
from sentiment_cli.training.tasks.linear import read_rows
from sentiment_cli.training.tasks.newton import solve
from sentiment_cli.training.tasks.presence import Presence, build_presence, log_count_ratios
from sentiment_cli.workflows.profile import profile_steps
from sentiment_cli.workflows.seeds_and_folds import fit_folds, reproduce
from sentiment_cli.workflows.train import fit, resume

# The experiment that these are set over is a recurrent one; what only such a model has goes back to its default.
LINEAR = (
    *("model.kind=linear", "train.threads=1", "model.pooling=last", "model.dropout=0.0", "model.embedding.width=128"),
    *("model.embedding.std=1.0", "model.embedding.dropout=0.0", "model.embedding.word_dropout=0.0"),
    *("model.encoder.width=128", "model.encoder.bidirectional=false"),
)


def counted_of(dense_NF: np.ndarray) -> Counted:
    """Features as if they were words."""
    start_F1 = np.concatenate([[0], np.cumsum(dense_NF.sum(axis=0))])
    return Counted(np.empty(0, dtype=np.int64), start_F1, np.nonzero(dense_NF.T)[1].astype(np.int32))


def random_presence(n_rows: int = 60, n_features: int = 200) -> tuple[np.ndarray, Presence]:
    dense_NF = (np.random.default_rng(0).random((n_rows, n_features)) < 0.1).astype(np.int64)
    return dense_NF, build_presence(counted_of(dense_NF), n_rows)


def labels_of(n_rows: int, n_labels: int) -> tuple[np.ndarray, torch.Tensor]:
    label_N = np.random.default_rng(1).integers(0, n_labels, n_rows)
    n_logits = 1 if n_labels == 2 else n_labels
    return label_N, F.one_hot(torch.from_numpy(label_N), n_labels)[:, -n_logits:].double()


def test_both_forms_are_the_matrix_and_a_last_feature_of_all_rows() -> None:
    dense_NF, presence = random_presence()
    expected_NG = torch.from_numpy(np.append(dense_NF, np.ones((60, 1)), axis=1))
    assert torch.equal(presence.row_NG.to_dense(), expected_NG)
    assert torch.equal(presence.feature_GN.to_dense(), expected_NG.T)


def test_log_count_ratios_are_those_of_the_paper() -> None:
    """Three rows, two of the second label. The third feature is in no row and the fourth is the bias."""
    dense_NF = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]])
    presence = build_presence(counted_of(dense_NF), 3)
    found = log_count_ratios(presence, torch.tensor([[1.0], [1.0], [0.0]], dtype=torch.float64), 0.5)
    p, q = np.array([2.5, 1.5]) / 4, np.array([0.5, 1.5]) / 2
    np.testing.assert_allclose(found[:, 0], [*np.log(p / q), 0, 1], rtol=1e-12)


@pytest.mark.parametrize("penalty", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("n_labels", [2, 3, 5])
def test_the_solution_is_scikit_learns(penalty: float, n_labels: int) -> None:
    dense_NF, presence = random_presence()
    label_N, label_NC = labels_of(60, n_labels)
    scale_G1 = torch.rand(201, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    scale_G1[-1] = 1
    scaled_NF = scipy.sparse.csr_matrix(dense_NF * scale_G1[:-1, 0].numpy())
    oracle = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(scaled_NF, label_N)
    found = solve(presence, scale_G1.expand(-1, label_NC.shape[1]), label_NC, penalty, tolerance=1e-10)
    np.testing.assert_allclose(found.weight_GC[:-1].T, oracle.coef_, atol=1e-5)
    np.testing.assert_allclose(found.weight_GC[-1], oracle.intercept_, atol=1e-5)
    own_N = oracle.predict_proba(scaled_NF)[np.arange(60), label_N]
    assert found.loss == pytest.approx(-np.log(own_N).mean(), abs=1e-6)


@pytest.mark.parametrize("n_labels", [2, 4])
def test_the_gradient_at_the_solution_is_nothing(n_labels: int) -> None:
    """The objective with dense matrices, with a separate scale for each label."""
    presence = random_presence()[1]
    label_N, label_NC = labels_of(60, n_labels)
    scale_GC = log_count_ratios(presence, label_NC, 1.0)
    found = solve(presence, scale_GC, label_NC, 0.7, tolerance=1e-9)
    weight_GC = found.weight_GC.clone().requires_grad_()
    logit_NC = presence.row_NG.to_dense() @ (scale_GC * weight_GC)
    if n_labels == 2:
        logit_NC = F.pad(logit_NC, (1, 0))
    loss = F.cross_entropy(logit_NC, torch.from_numpy(label_N), reduction="sum") + 0.35 * (weight_GC[:-1] ** 2).sum()
    (gradient_GC,) = torch.autograd.grad(loss, weight_GC)
    assert gradient_GC.norm() < 1e-7
    assert found.gradient <= 1e-9


@pytest.mark.parametrize("n_labels", [2, 4])
def test_steps_of_exact_curvature_converge_quadratically(monkeypatch, n_labels: int) -> None:
    monkeypatch.setattr(newton, "_REST", 1e-10)
    presence = random_presence()[1]
    label_NC = labels_of(60, n_labels)[1]
    scale_GC = log_count_ratios(presence, label_NC, 1.0)
    assert solve(presence, scale_GC, label_NC, 0.7, tolerance=1e-9).n_steps <= 8


def test_rows_are_read_as_the_model_reads_them() -> None:
    rows = [[2, 3, 4, 5, 6, 7, 8, 9], [], [2, 3], [4]]
    starts_N1 = np.cumsum([0, *map(len, rows)])
    ids_T = np.array([token for row in rows for token in row], dtype=np.int32)
    label_N = np.array([0, 1, 0, 1])
    packed = Packed(ids_T, starts_N1, label_N, label_N, label_N, label_N > 0)
    text = schema.Text(max_tokens=4, truncate="ends")
    ids, row_T, order_N = read_rows(packed, text)
    assert ids.tolist() == [4, 0, 2, 3, 0, 2, 7, 8, 9, 0]
    assert row_T.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert order_N.tolist() == [3, 2, 0]
    batch = gather(rows_on(torch.device("cpu"), packed), torch.tensor([0]), 4, text)
    assert batch.ids_BL[0].tolist() == ids[5:9].tolist()
    with pytest.raises(DataError, match="no training review has a token"):
        read_rows(Packed(ids_T[:0], np.zeros(2, dtype=np.int64), *[label_N[:1]] * 4), text)


def test_a_linear_run_has_the_files_of_a_run(experiment, cli) -> None:
    finished = fit(experiment(*LINEAR, "train.refit=true"))
    run = finished.directory
    held = {
        "experiment.yaml",
        "metrics.jsonl",
        "model",
        "summary.json",
        "run.json",
        "curves.svg",
        "validation",
        "rows",
        "log.txt",
    }
    held |= {"seals.jsonl", "log.txt"}
    assert {path.name for path in run.iterdir()} == held
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("stage") for row in rows] == [None, "refit"]
    assert rows[0]["valid_accuracy"] == finished.scores.accuracy > 0.75
    assert rows[0]["train_loss"] < rows[0]["valid_loss"]
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["refit_steps"]) == ("finished", rows[1]["step"])
    assert {"prepare", "train", "validate", "save"} == summary["seconds"].keys()
    assert finished.tokens_per_second > 0
    assert evaluate(run, "test").scores.accuracy > 0.7
    text = "The plot was wonderful."
    predictor = open_predictor(run)
    alone, beside = predictor.predict([text])[0], predictor.predict(["x", text, "", "Not a good film. " * 50])[1]
    assert alone.probability == pytest.approx(beside.probability, abs=1e-6)
    assert predictor.predict([""])[0].low_evidence
    told = json.loads(cli("predict", "--run", str(run), "--json", text).stdout)
    assert told["probability"] == pytest.approx(alone.probability)
    again = reproduce(run)
    assert again.is_same
    assert again.differences == []


def test_without_refit_the_validated_model_is_kept(experiment) -> None:
    plain, refit = (fit(experiment(*LINEAR, f"train.refit={refit}")) for refit in ("false", "true"))
    one, other = (load_model(open_artefact(run.directory)) for run in (plain, refit))
    assert plain.scores == refit.scores
    assert len(one.weight) < len(other.weight)
    (row,) = (json.loads(line) for line in (plain.directory / "metrics.jsonl").read_text().splitlines())
    calibration = evaluate(plain.directory, "train").calibration
    assert calibration is not None
    assert calibration.loss_before == pytest.approx(row["train_loss"], abs=1e-7)


def test_three_labels_and_folds(experiment, tmp_path: Path) -> None:
    source = tmp_path / "reviews.csv"
    words = ("good", "bad", "so so")
    rows = [f"{i} {words[i % 3]} film{i % 7},{words[i % 3]}" for i in range(120)]
    source.write_text("\n".join(["text,label", *rows]))
    settings = (f"data.source={source}", "vocabulary.min_count=1")
    finished = fit_folds(experiment(*LINEAR, *settings), 3, "folded")
    assert [one.scores.accuracy for one in finished] == [1, 1, 1]
    artefact = open_artefact(finished[0].directory)
    assert artefact.n_logits == load_model(artefact).n_logits == 3
    answers = open_predictor(artefact.path).predict(["so so, really", "a bad film"])
    assert [found.label for found in answers] == ["so so", "bad"]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_at_once_and_resuming_starts_over(experiment, monkeypatch, capsys, number, exit_code) -> None:
    def interrupt(*args: Any, **kwargs: Any) -> None:
        os.kill(os.getpid(), number)
        pytest.fail("the signal came to nothing")

    settings = experiment(*LINEAR)
    whole = fit(settings, "whole")
    with monkeypatch.context() as patch:
        patch.setattr(linear, "solve", interrupt)
        with pytest.raises(InterruptedRun, match="stopped at once") as caught:
            fit(settings, "stopped")
    assert caught.value.exit_code == exit_code
    run = whole.directory.parent / "stopped"
    assert caught.value.hint == f"sentiment train --resume {run}"
    assert resume(run, settings, ()).scores == whole.scores
    assert "it starts at step 0 of its own experiment.yaml" in capsys.readouterr().err
    assert killing.outcome(run) == killing.outcome(whole.directory)


@pytest.mark.parametrize("kill", [{"place": "model"}, {"fail": "write:3:kill"}, {"fail": "rename:4:kill"}])
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path: Path, kill: dict[str, Any]) -> None:
    """Invariant 1."""
    killing.write_reviews(tmp_path)
    assert killing.train(tmp_path, "whole", settings=LINEAR)[0] == 0
    code, said = killing.train(tmp_path, "run", settings=LINEAR, **kill)
    assert code == -signal.SIGKILL, said
    run = tmp_path / "runs" / "run"
    if (run / "experiment.yaml").exists():
        code, said = killing.train(tmp_path, "run", resumed=True)
        assert "it starts at step 0 of its own experiment.yaml" in said
    else:
        shutil.rmtree(run)
        code, said = killing.train(tmp_path, "run", settings=LINEAR)
    assert code == 0, said
    assert killing.outcome(run) == killing.outcome(tmp_path / "runs" / "whole")
    assert killing.leftovers(tmp_path) == []


def test_settings_that_do_not_apply_are_refused(experiment, monkeypatch) -> None:
    with pytest.raises(UsageError, match="no training steps to profile"):
        profile_steps(experiment(*LINEAR))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(UsageError, match="which one process trains"):
        fit(experiment(*LINEAR))
