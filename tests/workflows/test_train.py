import json
import os
import shutil
import signal

import pytest
import torch

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.data.corpus.fit_settings import settle
from sentiment_cli.errors import DataError, DivergedError, InterruptedRun, MachineError, UsageError
from sentiment_cli.evaluation.target_scores import score_outputs
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.inference.torch_model import load_model, score_rows
from sentiment_cli.runs.saved_model import open_artefact, save_artefact
from sentiment_cli.training import epochs
from sentiment_cli.training.checkpoints import weights_of
from sentiment_cli.training.epochs import seconds_to_go
from sentiment_cli.training.loader import BatchLoader
from sentiment_cli.training.losses import labels as objectives_module
from sentiment_cli.training.losses.labels import classification_loss
from sentiment_cli.training.state import TrainState
from sentiment_cli.training.tasks import classification as classifying_module
from sentiment_cli.workflows import train as fit_module
from sentiment_cli.workflows.profile import measure_steps
from sentiment_cli.workflows.train import fit, resume

TINY = ("model.encoder.width=8", "model.embedding.width=8", "train.epochs=2", "train.threads=1")


def test_a_run_has_all_its_files(experiment) -> None:
    finished = fit(experiment(*TINY))
    run = finished.directory
    held = {
        "experiment.yaml",
        "metrics.jsonl",
        "model",
        "summary.json",
        "run.json",
        "seals.jsonl",
        "curves.svg",
        "validation",
        "rows",
        "log.txt",
    }
    assert {path.name for path in run.iterdir()} == held
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    best = min(rows, key=lambda row: row["valid_loss"])
    assert finished.scores.loss == best["valid_loss"]
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"


def test_a_finished_run_keeps_checkpoints_only_with_keep_finished(experiment, capsys) -> None:
    kept = experiment(*TINY, "train.keep_finished=true")
    run = fit(kept, "kept").directory
    assert len(list((run / "checkpoints").iterdir())) == 2
    resume(run, kept, ())
    assert (run / "checkpoints").exists()
    own = experiment(*TINY)
    freed = fit(own, "freed").directory
    assert not (freed / "checkpoints").exists()
    shutil.copytree(run / "checkpoints", freed / "checkpoints")  # as a kill between the summary and the removal leaves
    capsys.readouterr()
    resume(freed, own, ())
    assert "is finished; there is nothing left to train" in capsys.readouterr().err
    assert not (freed / "checkpoints").exists()
    with pytest.raises(UsageError, match=r"train.epochs was 2 and is 3") as caught:
        resume(freed, experiment(*TINY, "train.epochs=3"), ())
    assert f"--set init_from={freed} --set train.epochs=3" in str(caught.value.hint)


def test_checkpoints_stay_where_the_model_was_not_written_whole(experiment, monkeypatch) -> None:
    def falsified(*args, **kwargs):
        save_artefact(*args, **kwargs)
        path = args[0] / "model" / "weights.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"?")

    monkeypatch.setattr("sentiment_cli.workflows.finish.save_artefact", falsified)
    with pytest.raises(DataError, match=r"weights.safetensors"):
        fit(experiment(*TINY), "falsified")
    assert list((runs_dir() / "falsified" / "checkpoints").iterdir())


def test_a_second_run_of_a_stopped_runs_name_says_how_to_resume(experiment, capsys) -> None:
    stopped = runs_dir() / "mine"
    stopped.mkdir(parents=True)
    (stopped / "experiment.yaml").write_text("name: mine\n")
    run = fit(experiment(*TINY, "train.epochs=1"), "mine").directory
    assert run == runs_dir() / "mine-2"
    said = capsys.readouterr().err
    assert f"{stopped} was stopped before its end; sentiment train --resume {stopped} resumes it" in said
    assert f"This is a new run, {run}" in said
    (stopped / "experiment.yaml").unlink()
    fit(experiment(*TINY, "train.epochs=1"), "mine")
    assert "resumes it" not in capsys.readouterr().err  # mine-2 is finished


def test_the_best_epoch_is_the_one_kept(experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, weights = iter([0.5, 0.3, 0.4]), []

    def scripted(*args):
        return type(real := score_outputs(*args))(**{**vars(real), "loss": next(losses)})

    def watched(model, *args, **share):
        weights.append(weights_of(model))
        return score_rows(model, *args, **share)

    monkeypatch.setattr(classifying_module, "score_outputs", scripted)
    monkeypatch.setattr(classifying_module, "score_rows", watched)
    finished = fit(experiment(*TINY, "train.epochs=3"))
    kept = load_model(open_artefact(finished.directory)).state_dict()
    assert all(torch.equal(kept[name], weights[1][name]) for name in kept)
    assert any(not torch.equal(kept[name], weights[2][name]) for name in kept)


def test_a_training_says_once_and_early_how_long_it_will_take(experiment, monkeypatch, capsys) -> None:
    given: list[tuple[float, float, int]] = []

    def keep(state: TrainState, loader: BatchLoader, rate: float) -> float:
        given.append((seconds_to_go(state, loader, rate), rate, state.job.progress.step))
        return given[-1][0]

    monkeypatch.setattr(epochs, "seconds_to_go", keep)
    settings = (*TINY, "train.batch_tokens=2000", "train.refit=true")
    finished = fit(experiment(*settings))
    said = capsys.readouterr().err.splitlines()
    ((seconds, rate, step),) = given
    assert step == 6
    (place,) = [i for i, line in enumerate(said) if line.startswith("estimate: about ")]
    assert said[place].endswith(" of memory so far")
    assert place < next(i for i, line in enumerate(said) if line.split()[:1] == ["1"]), (
        "it comes before the first epoch"
    )
    # What remains of both epochs, their validation at a third of the cost, and refit's steps, all at this rate.
    found = measure_steps(settle(experiment(*settings)))
    loader, valid = found.loader, found.state.job.corpus.split("valid")
    n_tokens = loader.tokens_between(6, loader.n_steps) + loader.tokens_between(0, loader.n_steps)
    assert seconds * rate == pytest.approx(n_tokens + 2 / 3 * int(valid.length_N.sum()))
    assert finished.tokens_per_second > 0


def test_patience_is_early_stopping(experiment, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    accuracies, losses = iter([0.5, 0.9, 0.9, 0.8, 0.95]), iter([0.7, 0.6, 0.5, 0.4, 0.3])

    def scripted(*args):
        scores = {"accuracy": next(accuracies), "loss": next(losses)}
        return type(real := score_outputs(*args))(**{**vars(real), **scores})

    monkeypatch.setattr(classifying_module, "score_outputs", scripted)
    finished = fit(experiment(*TINY, "train.epochs=5", "train.patience=2", "train.monitor=accuracy"))
    assert (finished.scores.accuracy, finished.scores.loss) == (0.9, 0.5)  # of equals the one with the lower loss
    assert "stopped: 2 epochs without a better validation accuracy" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_model(experiment) -> None:
    first, again = (load_model(open_artefact(fit(experiment(*TINY)).directory)).state_dict() for _ in range(2))
    other = load_model(open_artefact(fit(experiment(*TINY, "seed=1")).directory)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_sigint_leaves_a_usable_model(experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(model, batch):
        os.kill(os.getpid(), signal.SIGINT)
        return classification_loss(model, batch)

    monkeypatch.setattr(objectives_module, "classification_loss", interrupt)
    with pytest.raises(InterruptedRun, match="interrupted after step 1") as caught:
        fit(experiment(*TINY), "stopped")
    assert "stopped" in (caught.value.hint or "")
    run = fit_module.runs_dir() / "stopped"
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
    assert open_predictor(run).predict(["The plot was good."])[0].label in ("neg", "pos")


def test_a_loss_that_is_not_finite_stops_training_at_its_step(experiment) -> None:
    """Robustness case F21."""
    with pytest.raises(DivergedError, match="step 2 gives loss nan and gradient norm nan; its") as caught:
        fit(experiment(*TINY, "train.lr=1e39"), "nan")
    assert "at learning rate" in str(caught.value)
    assert "the last good checkpoint is none yet" in str(caught.value)
    assert "train.lr=" in (caught.value.hint or "")
    about = json.loads((fit_module.runs_dir() / "nan" / "diverged.json").read_text())
    assert about["step"] == 2
    assert all(name.startswith(("pos/", "neg/")) or "/" in name for name in about["rows"])
    assert str(len(about["rows"])) in str(caught.value)


def test_an_infinite_gradient_under_a_finite_loss_stops_too(experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Robustness case F21."""

    def steep(model, batch):
        loss = classification_loss(model, batch)
        return loss + (model.output.bias - model.output.bias.detach()).abs().sqrt().sum()  # d sqrt(0) = inf

    monkeypatch.setattr(objectives_module, "classification_loss", steep)
    with pytest.raises(DivergedError, match=r"step 1 gives loss 0\.\d+ and gradient norm (inf|nan)"):
        fit(experiment(*TINY))


def test_scores_that_are_not_finite_are_a_divergence_too(experiment) -> None:
    """Robustness case F21."""
    with pytest.raises(DivergedError, match="validation after step 1 gives scores that are not finite"):
        fit(experiment(*TINY, "train.lr=1e39", "train.max_steps=1"))


def test_a_late_divergence_keeps_the_best_epoch(experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Robustness case F21."""
    calls = []

    def fail_later(model, batch):
        calls.append(None)
        return classification_loss(model, batch) * (float("nan") if len(calls) > 12 else 1)

    monkeypatch.setattr(objectives_module, "classification_loss", fail_later)
    with pytest.raises(DivergedError, match="checkpoint is step-00000012; epoch 1, the best so far, is in") as caught:
        fit(experiment(*TINY), "late")
    run = fit_module.runs_dir() / "late"
    assert f"sentiment train --resume {run} --set train.lr=0.001 --allow-change train.lr" in (caught.value.hint or "")
    assert json.loads((run / "summary.json").read_text())["status"] == "diverged"
    assert load_model(open_artefact(run))


REFUSALS = [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("x: can't allocate memory")]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_too_little_memory_names_the_budget_and_the_next(experiment, monkeypatch, refusal: Exception) -> None:
    """Robustness case F20."""
    calls = []

    def refuse(model, batch):
        calls.append(None)
        if len(calls) == 14:
            raise refusal
        return classification_loss(model, batch)

    monkeypatch.setattr(objectives_module, "classification_loss", refuse)
    with pytest.raises(
        MachineError, match=r"not enough memory: .*, at step 14 with train\.batch_tokens 4,096 in 1 slices"
    ) as caught:
        fit(experiment(*TINY), "small")
    run = fit_module.runs_dir() / "small"
    hint = caught.value.hint or ""
    assert f"sentiment train --resume {run} --set train.slices=2 --allow-change train.slices" in hint
    slices = load_experiment(run / "experiment.yaml", ["train.slices=2"])
    assert load_model(open_artefact(resume(run, slices, ["train.slices"]).directory))
    assert len(calls) == 13 + 1 + 2 * 12  # the epoch's checkpoint was saved at step 12


@pytest.mark.parametrize("refusal", [*REFUSALS, RuntimeError("CUDA error: out of memory")])
@pytest.mark.parametrize("place", ["build_initial_model", "train"])
def test_too_little_memory_for_the_model_gives_a_hint(experiment, monkeypatch, refusal, place) -> None:
    """Robustness case F20."""

    def refuse(*args):
        raise refusal

    monkeypatch.setattr(fit_module, place, refuse)
    with pytest.raises(MachineError, match="there is not enough memory") as caught:
        fit(experiment(*TINY))
    assert "A smaller train.batch_tokens or model.encoder.width needs less" in str(caught.value)
    assert str(caught.value.hint).startswith("sentiment doctor")


def test_training_rows_without_tokens_are_refused(experiment, tmp_path) -> None:
    """Robustness case B06."""
    content = "text,label\n" + "".join(f'"{" " * i}",{i % 2}\n' for i in range(40))
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(DataError, match="no row of training has a token"):
        fit(experiment(*TINY, f"data.source={tmp_path / 'x.csv'}"))


NO_DROPOUT = [f"model.{key}=0" for key in ("dropout", "embedding.dropout", "embedding.word_dropout")]


def test_with_split_the_batch_is_split_with_the_same_result(experiment, monkeypatch, capsys) -> None:
    """Robustness case F20."""
    settings = (*TINY, *NO_DROPOUT, "train.precision=fp32", "train.on_memory_error=split", "train.optimizer=sgd")
    whole = load_model(open_artefact(fit(experiment(*settings), "whole").directory)).state_dict()
    rows = []

    def refuse(model, batch):
        rows.append(len(batch.length_B))
        if len(rows) in (14, 15):
            raise MemoryError
        return classification_loss(model, batch)

    monkeypatch.setattr(objectives_module, "classification_loss", refuse)
    split = load_model(open_artefact(fit(experiment(*settings), "split").directory)).state_dict()
    said = capsys.readouterr().err
    assert "at step 14; reading the same batch in 2 slices" in said
    assert "at step 14; reading the same batch in 4 slices" in said
    assert abs(rows[15] - rows[13] / 4) <= 1
    for name, tensor in whole.items():
        torch.testing.assert_close(split[name], tensor, atol=1e-6, rtol=1e-6)


def test_a_batch_that_cannot_be_split_further_stops(experiment, monkeypatch) -> None:
    """Robustness case F20."""
    n_rows = []

    def refuse(model, batch):
        n_rows.append(len(batch.length_B))
        raise MemoryError

    monkeypatch.setattr(objectives_module, "classification_loss", refuse)
    with pytest.raises(MachineError, match=r"at step 1 with train\.batch_tokens 4,096 in \d+ slices$"):
        fit(experiment(*TINY, "train.on_memory_error=split"))
    assert n_rows[-1] == 1


@pytest.mark.parametrize("monitor", ["f1", "auc"])
def test_the_best_can_be_chosen_by_any_score(experiment, monkeypatch, monitor: str) -> None:
    values = iter([0.5, None if monitor == "auc" else 0.4, 0.9, 0.8])

    def scripted(*args):
        return type(real := score_outputs(*args))(**{**vars(real), monitor: next(values)})

    monkeypatch.setattr(classifying_module, "score_outputs", scripted)
    finished = fit(experiment(*TINY, "train.epochs=4", f"train.monitor={monitor}"))
    assert getattr(finished.scores, monitor) == 0.9
    rows = [json.loads(line) for line in (finished.directory / "metrics.jsonl").read_text().splitlines()]
    assert [row["best"] for row in rows] == [True, False, True, False]
    assert rows[2][f"valid_{monitor}"] == 0.9


def test_the_run_name_is_checked_before_any_work(experiment, tmp_path) -> None:
    with pytest.raises(UsageError, match="is not a run name"):
        fit(experiment(*TINY), "../up")
    assert not (tmp_path / "data").exists()


def test_training_finishes_with_the_test_pack_unreadable(experiment) -> None:
    """Invariant 10."""
    from sentiment_cli.data.corpus.prepare import prepare

    directory = prepare(experiment(*TINY)).directory
    for path in directory.glob("test-*"):
        path.write_bytes(b"")
    fit(experiment(*TINY))
    assert all(path.read_bytes() == b"" for path in directory.glob("test-*"))


def test_refit_trains_again_on_all_rows_for_the_selected_steps(experiment, capsys) -> None:
    settings = (*TINY, "train.precision=fp32", "train.schedule=linear")
    plain = fit(experiment(*settings), "plain")
    refit = fit(experiment(*settings, "train.refit=true"), "refit")
    said = capsys.readouterr().err
    rows = [json.loads(line) for line in (refit.directory / "metrics.jsonl").read_text().splitlines()]
    chosen = next(row["step"] for row in rows[::-1] if row["best"])
    assert f"refit: {chosen} steps on all 2,000 reviews, validation included" in said
    assert [row.get("stage") for row in rows] == [None, None, "refit", "refit"][: len(rows)]
    assert rows[-1]["step"] == chosen
    assert rows[-1]["valid_loss"] is None
    assert rows[-1]["lr"] == pytest.approx(rows[chosen // 12 - 1]["lr"])  # the learning rate takes the same course
    assert refit.scores == plain.scores
    one, other = (load_model(open_artefact(run.directory)).state_dict() for run in (plain, refit))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    summary = json.loads((refit.directory / "summary.json").read_text())
    assert (summary["status"], summary["refit_steps"]) == ("finished", chosen)
