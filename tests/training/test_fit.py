import json
import os
import signal

import numpy as np
import pytest
import torch

from sentiment_cli.config import schema
from sentiment_cli.data.batches import Batch
from sentiment_cli.errors import DivergedError, InterruptedRun, MachineError, UsageError
from sentiment_cli.evaluation.metrics import score
from sentiment_cli.inference.artefact import load_artefact
from sentiment_cli.inference.predictor import Predictor, score_rows
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.training import fit as fit_module
from sentiment_cli.training import session as session_module
from sentiment_cli.training.checkpoints import weights_of
from sentiment_cli.training.fit import fit
from sentiment_cli.training.loop import step_seed, train_steps
from sentiment_cli.training.objectives import classification_loss
from sentiment_cli.training.plan import plan_steps

TINY = ("model.encoder.width=8", "model.embedding.width=8", "train.epochs=2", "train.threads=1")


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "mean", "max", "both", "attention"])
def test_32_reviews_are_learnt_by_heart(cell: str, bidirectional: bool, pooling: str) -> None:
    torch.manual_seed(0)
    settings = schema.Model(
        embedding=schema.Embedding(width=16),
        encoder=schema.Encoder(cell=cell, width=16, bidirectional=bidirectional),
        pooling=pooling,
    )
    model = Classifier(settings, 50, 1, pad_is_input=False)
    length_B = torch.randint(3, 12, (32,))
    ids_BL = torch.randint(2, 50, (32, 12)) * (torch.arange(12) < length_B[:, None])
    batch = Batch(ids_BL, length_B, torch.arange(32) % 2)
    optimizer = torch.optim.Adam(model.parameters())
    steps = train_steps(
        model, classification_loss, [batch] * 150, optimizer, lambda step: 0.02, seed=0, bf16=False, max_grad_norm=1.0
    )
    assert any(((model(ids_BL, length_B) > 0) == batch.label_B.bool()).all() for _ in steps)


def test_every_draw_of_a_step_follows_from_seed_and_step() -> None:
    assert step_seed(0, 1) != step_seed(1, 0)
    assert step_seed(3, 4) == step_seed(3, 4)
    model = Classifier(schema.Model(dropout=0.5), 9, 1, pad_is_input=False)
    batch = Batch(torch.ones(2, 3, dtype=torch.long), torch.tensor([3, 3]), torch.tensor([0, 1]))

    def losses(start: int, noise: int) -> list[float]:
        torch.manual_seed(noise)
        still = torch.optim.SGD(model.parameters(), lr=0.0)
        steps = train_steps(
            model, classification_loss, [batch] * (4 - start), still, lambda _: 0.0,
            seed=7, bf16=False, max_grad_norm=None, start=start,
        )  # fmt: skip
        return [float(step.loss) for step in steps]

    assert losses(2, noise=2) == losses(0, noise=1)[2:]
    assert len(set(losses(0, noise=1))) == 4


def test_the_plan_leaves_out_empty_rows_and_stops_at_max_steps() -> None:
    length_N = np.array([5, 0, 7, 3])
    whole = plan_steps(length_N, schema.Train(epochs=3, batch_tokens=7, max_steps=None), 0)
    assert sorted(np.concatenate(whole.rows[: whole.epoch_ends[0]]).tolist()) == [0, 2, 3]
    assert len(whole.epoch_ends) == 3
    short = plan_steps(length_N, schema.Train(epochs=3, batch_tokens=7, max_steps=4), 0)
    assert short.n_steps == 4
    assert short.epoch_ends == [whole.epoch_ends[0], 4]


def test_a_run_holds_what_it_promises(experiment) -> None:
    finished = fit(experiment(*TINY))
    run = finished.directory
    held = {"experiment.yaml", "metrics.jsonl", "model", "summary.json", "run.json", "checkpoints"}
    assert {path.name for path in run.iterdir()} == held
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    best = min(rows, key=lambda row: row["valid_loss"])
    assert finished.scores.loss == best["valid_loss"]
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"


def test_the_best_epoch_is_the_one_kept(experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, weights = iter([0.5, 0.3, 0.4]), []

    def scripted(*args):
        return type(real := score(*args))(**{**vars(real), "loss": next(losses)})

    def watched(model, *args):
        weights.append(weights_of(model))
        return score_rows(model, *args)

    monkeypatch.setattr(session_module, "score", scripted)
    monkeypatch.setattr(session_module, "score_rows", watched)
    finished = fit(experiment(*TINY, "train.epochs=3"))
    kept = load_artefact(finished.directory).model.state_dict()
    assert all(torch.equal(kept[name], weights[1][name]) for name in kept)
    assert any(not torch.equal(kept[name], weights[2][name]) for name in kept)


def test_patience_stops_early(experiment, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    accuracies = iter([0.5, 0.9, 0.9, 0.8, 0.95])
    monkeypatch.setattr(
        session_module, "score", lambda *args: type(s := score(*args))(**{**vars(s), "accuracy": next(accuracies)})
    )
    finished = fit(experiment(*TINY, "train.epochs=5", "train.patience=2", "train.monitor=accuracy"))
    assert finished.scores.accuracy == 0.9
    assert "stopped: 2 epochs without a better validation accuracy" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_model(experiment) -> None:
    first, again = (load_artefact(fit(experiment(*TINY)).directory).model.state_dict() for _ in range(2))
    other = load_artefact(fit(experiment(*TINY, "seed=1")).directory).model.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_sigint_leaves_a_usable_run(experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(model, batch):
        os.kill(os.getpid(), signal.SIGINT)
        return classification_loss(model, batch)

    monkeypatch.setattr(session_module, "classification_loss", interrupt)
    with pytest.raises(InterruptedRun, match="interrupted after step 1") as caught:
        fit(experiment(*TINY), "stopped")
    assert "stopped" in (caught.value.hint or "")
    run = fit_module.runs_dir() / "stopped"
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
    assert Predictor(load_artefact(run)).predict(["The plot was good."])[0].label in ("neg", "pos")


def test_f21_a_loss_that_is_not_finite_stops_at_its_step(experiment) -> None:
    with pytest.raises(DivergedError, match="step 2 gives loss nan and gradient norm nan; its") as caught:
        fit(experiment(*TINY, "train.lr=1e39"), "nan")
    assert "at learning rate" in str(caught.value)
    assert "the last good checkpoint is none yet" in str(caught.value)
    assert "train.lr=" in (caught.value.hint or "")
    about = json.loads((fit_module.runs_dir() / "nan" / "diverged.json").read_text())
    assert about["step"] == 2
    assert all(name.startswith(("pos/", "neg/")) or "/" in name for name in about["rows"])
    assert str(len(about["rows"])) in str(caught.value)


def test_f21_an_infinite_gradient_under_a_finite_loss_stops_too(experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    def steep(model, batch):
        loss = classification_loss(model, batch)
        return loss + (model.output.bias - model.output.bias.detach()).abs().sqrt().sum()  # d sqrt(0) = inf

    monkeypatch.setattr(session_module, "classification_loss", steep)
    with pytest.raises(DivergedError, match=r"step 1 gives loss 0\.\d+ and gradient norm (inf|nan)"):
        fit(experiment(*TINY))


def test_f21_scores_that_are_not_finite_are_a_divergence_too(experiment) -> None:
    with pytest.raises(DivergedError, match="validation after step 1 gives scores that are not finite"):
        fit(experiment(*TINY, "train.lr=1e39", "train.max_steps=1"))


def test_f21_a_late_divergence_keeps_the_best_epoch(experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail_later(model, batch):
        calls.append(None)
        return classification_loss(model, batch) * (float("nan") if len(calls) > 12 else 1)

    monkeypatch.setattr(session_module, "classification_loss", fail_later)
    with pytest.raises(DivergedError, match="checkpoint is step-00000012; epoch 1, the best so far, is in") as caught:
        fit(experiment(*TINY), "late")
    run = fit_module.runs_dir() / "late"
    assert f"sentiment train --resume {run} --set train.lr=0.001 --allow-change train.lr" in (caught.value.hint or "")
    assert json.loads((run / "summary.json").read_text())["status"] == "diverged"
    assert load_artefact(run).model


def test_too_little_memory_is_a_machine_error(experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("x: can't allocate memory"),
    ):

        def refuse(model, batch, error=error):
            raise error

        monkeypatch.setattr(session_module, "classification_loss", refuse)
        with pytest.raises(MachineError, match="there is not enough memory") as caught:
            fit(experiment(*TINY))
        assert "train.batch_tokens" in (caught.value.hint or "")


def test_the_name_is_checked_before_any_work(experiment, tmp_path) -> None:
    with pytest.raises(UsageError, match="is not a run name"):
        fit(experiment(*TINY), "../up")
    assert not (tmp_path / "data").exists()


def test_invariant_10_training_finishes_with_the_test_pack_unreadable(experiment) -> None:
    from sentiment_cli.data.corpus import prepare

    directory = prepare(experiment(*TINY)).directory
    for path in directory.glob("test-*"):
        path.write_bytes(b"")
    fit(experiment(*TINY))
    assert all(path.read_bytes() == b"" for path in directory.glob("test-*"))
