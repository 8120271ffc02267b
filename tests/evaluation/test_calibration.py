import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from sentiment_cli.evaluation.calibration import (
    calibrate,
    find_calibration,
    fit_temperature,
    measure_calibration,
    print_reliability,
    reliability_bins,
)
from sentiment_cli.evaluation.metrics import expected_calibration_error, log_loss
from sentiment_cli.evaluation.target_scores import Truth, score_outputs
from sentiment_cli.runs.saved_model import open_artefact
from sentiment_cli.storage import store
from sentiment_cli.workflows.train import fit

TINY = ("model.encoder.width=8", "model.embedding.width=8", "train.epochs=2", "train.precision=fp32")


def drawn(n_labels: int, sharpness: float, seed: int = 0, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits that are `sharpness` times what the labels were drawn by."""
    generator = np.random.default_rng(seed)
    logit_NC = generator.normal(0, 2, (n, n_labels))
    probability_NC = np.exp(logit_NC - logsumexp(logit_NC, axis=1, keepdims=True))
    label_N = np.array([generator.choice(n_labels, p=row) for row in probability_NC])
    if n_labels == 2:
        logit_NC = logit_NC[:, 1] - logit_NC[:, 0]
    return sharpness * logit_NC, label_N


def loss_at(temperature: float, logits: np.ndarray, label_N: np.ndarray) -> float:
    logit_NC = logits if logits.ndim == 2 else np.stack([0 * logits, logits], axis=1)
    scaled_NC = logit_NC / temperature
    return float((logsumexp(scaled_NC, axis=1) - scaled_NC[np.arange(len(label_N)), label_N]).mean())


@pytest.mark.parametrize("n_labels", [2, 3, 7])
@pytest.mark.parametrize("sharpness", [0.3, 1, 3])
def test_the_temperature_undoes_what_made_logits_too_sharp_or_too_flat(n_labels: int, sharpness: float) -> None:
    logits, label_N = drawn(n_labels, sharpness)
    assert fit_temperature(logits, label_N) == pytest.approx(sharpness, rel=0.1)
    found = calibrate(logits, label_N)
    assert found.loss_after <= found.loss_before
    if sharpness == 3:
        assert found.ece_after < 0.025 < found.ece_before


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.integers(0, 10**6), st.integers(3, 60), st.floats(0.2, 5))
def test_the_temperature_is_the_one_that_scipy_finds(n_labels: int, seed: int, n: int, sharpness: float) -> None:
    logits, label_N = drawn(n_labels, sharpness, seed, n)
    theirs = minimize_scalar(lambda s: loss_at(1 / s, logits, label_N), bounds=(0.05, 20), method="bounded")
    ours = fit_temperature(logits, label_N)
    assert 0.05 <= ours <= 20
    assert loss_at(ours, logits, label_N) <= theirs.fun + 1e-7


@pytest.mark.parametrize(
    ("logits", "label"),
    [
        ([0.0, 0, 0], [0, 1, 1]),  # says nothing
        ([[1.0, 1, 1]] * 3, [0, 1, 2]),
    ],
)
def test_a_temperature_that_lowers_no_loss_is_not_kept(logits: list, label: list[int]) -> None:
    found = calibrate(np.array(logits), np.array(label))
    assert found.temperature == 1
    assert (found.loss_before, found.ece_before) == (found.loss_after, found.ece_after)


def test_a_perfect_and_a_hopeless_model_have_finite_temperatures() -> None:
    logits = np.array([-3.0, -2, 2, 3])
    assert fit_temperature(logits, np.array([0, 0, 1, 1])) == pytest.approx(0.05)
    assert fit_temperature(logits, np.array([1, 1, 0, 0])) == pytest.approx(20)


@pytest.mark.parametrize("n_labels", [2, 4])
def test_calibration_leaves_labels_and_ranks_as_they_are(n_labels: int) -> None:
    logits, label_N = drawn(n_labels, 2, n=500)
    stars_N, labels = np.zeros(500, dtype=np.int64), tuple("abcd"[:n_labels])
    before, after = (score_outputs(logits / t, Truth(label_N, stars_N), labels, "label") for t in (1, 1.7))
    assert before.confusion == after.confusion
    assert before.loss != after.loss
    if n_labels == 2:
        assert before.auc == pytest.approx(after.auc, abs=1e-12)
    found = measure_calibration(logits, label_N, 1.7)
    assert found == (1.7, before.ece, after.ece, before.loss, after.loss, None)


def test_reliability_bins_add_up_to_the_calibration_error(capsys) -> None:
    generator = np.random.default_rng(0)
    confidence_N = np.concatenate([generator.uniform(0.5, 1, 500), [1.0]])
    is_right_N = generator.random(501) < 0.8
    bins = reliability_bins(is_right_N, confidence_N)
    assert sum(one.n for one in bins) == 501
    error = sum(one.n * abs(one.confidence - one.accuracy) for one in bins) / 501
    assert error == pytest.approx(expected_calibration_error(is_right_N, confidence_N))
    assert all(one.low <= one.confidence <= one.high for one in bins)
    assert all(one.accuracy_ci95[0] <= one.accuracy <= one.accuracy_ci95[1] for one in bins)
    assert sum(one.n * one.accuracy for one in bins) == pytest.approx(is_right_N.sum())
    print_reliability(bins)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(bins) == 9
    last = bins[-1]
    assert f"93% to 100%{last.n:>8,}" in lines[-1]
    assert lines[-1].index("|") > lines[-1].index("#")


@pytest.mark.parametrize("is_refit", [False, True])
def test_training_ends_with_a_temperature_fitted_on_validation(experiment, is_refit: bool) -> None:
    settings = [*TINY, f"train.refit={str(is_refit).lower()}"]
    run = fit(experiment(*settings)).directory
    found = json.loads((run / "model" / "calibration.json").read_text())
    assert list(found) == ["temperature", "ece_before", "ece_after", "loss_before", "loss_after"]
    assert found["loss_after"] < found["loss_before"]
    valid = json.loads((run / "summary.json").read_text())["valid"]
    assert (found["loss_before"], found["ece_before"]) == (valid["loss"], valid["ece"])
    assert open_artefact(run).temperature == found["temperature"] != 1
    assert "calibration.json" in store.read_manifest(run / "model")


def test_the_temperature_of_a_refit_is_that_of_the_training_with_validation_held_out(experiment) -> None:
    plain, refit = (fit(experiment(*TINY, f"train.refit={on}")).directory for on in ("false", "true"))
    one, other = ((run / "model" / "calibration.json").read_bytes() for run in (plain, refit))
    assert one == other


def test_stars_have_no_temperature(experiment) -> None:
    run = fit(experiment(*TINY, "data.target=stars")).directory
    assert not (run / "model" / "calibration.json").exists()
    assert open_artefact(run).temperature == 1


def test_a_training_cut_short_writes_a_model_without_a_temperature(experiment, monkeypatch, tmp_path: Path) -> None:
    from sentiment_cli.config.paths import runs_dir
    from sentiment_cli.errors import DivergedError
    from sentiment_cli.training import epochs as epochs_module
    from sentiment_cli.training.divergence import diverged

    def refuse(session, course, scores):
        real(session, course, scores)
        raise diverged(session, "told to", 0.1)

    real = epochs_module._close_epoch
    monkeypatch.setattr(epochs_module, "_close_epoch", refuse)
    with pytest.raises(DivergedError):
        fit(experiment(*TINY), "cut")
    assert open_artefact(runs_dir() / "cut").temperature == 1


@pytest.mark.parametrize("n", [36, 4, 2, 49])
def test_t14_few_rows_bear_no_temperature(n: int) -> None:
    logits = np.where(np.arange(n) % 2, 3.0, -3.0)
    found = find_calibration(logits, np.arange(n) % 2)
    assert found.calibration.temperature == 1
    assert found.reason == f"{n} validation rows are too few to fit one, 50 are enough"


@pytest.mark.parametrize("logit", [0.5, 2.0, 8.0])
@pytest.mark.parametrize("n", [50, 181, 2000])
def test_t14_rows_without_an_error_cool_no_further_than_a_half(logit: float, n: int) -> None:
    logits = np.where(np.arange(n) % 2, logit, -logit)
    assert 0.5 <= find_calibration(logits, np.arange(n) % 2).calibration.temperature <= 1


@pytest.mark.parametrize("label", [0, 1])
def test_t14_rows_of_one_label_bear_no_temperature(label: int) -> None:
    found = find_calibration(np.random.default_rng(0).normal(2, 1, 200), np.full(200, label))
    assert (found.calibration.temperature, found.reason) == (1, "the validation rows are of one label")


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 4), st.integers(0, 10**6), st.integers(50, 400), st.floats(0.3, 4))
def test_t14_what_is_kept_makes_neither_loss_nor_calibration_worse(n_labels, seed, n, sharpness) -> None:
    logits, label_N = drawn(n_labels, sharpness, seed, n)
    found, reason = find_calibration(logits, label_N)
    assert found.loss_after <= found.loss_before
    assert found.ece_after <= found.ece_before
    assert (found.temperature == 1) == (reason is not None)


@pytest.mark.parametrize("sharpness", [0.7, 1.3, 2.0])
def test_t14_the_prior_is_negligible_at_the_size_of_imdb_s_validation(sharpness: float) -> None:
    logits, label_N = drawn(2, sharpness, n=2511)
    free, drawn_in = fit_temperature(logits, label_N), fit_temperature(logits, label_N, 2.0)
    assert drawn_in == pytest.approx(free, rel=0.01)
    assert abs(np.log(drawn_in)) < abs(np.log(free))


def test_t14_a_loss_is_never_minus_zero() -> None:
    sure = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert f"{log_loss(np.array([1, 0]), sure):.4f}" == "0.0000"
