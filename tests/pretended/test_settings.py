"""Every setting trains, validates, saves and restores on a GPU, in three precisions, without mixing devices."""

import math

import pytest
import torch
from pretended_cuda import cudnn

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.schema import Gpu
from sentiment_cli.models.layers.encoders import CELLS
from sentiment_cli.runs.files import EXPERIMENT
from sentiment_cli.training.checkpoints import read_checkpoint, restore
from sentiment_cli.workflows.dependencies import find_or_train
from sentiment_cli.workflows.train import fit

# One line covers several settings; each recipe runs in test_budgets, each cell alone in test_parity.
TWO_LAYERS = ["model.encoder.layers=2", "model.encoder.dropout=0.2"]
SETTINGS: list[tuple[str, list[str]]] = [
    *(
        ("lstm-bi", [f"model.encoder.cell={cell}", *TWO_LAYERS])
        for cell in CELLS
        if cell not in ("lstm-2d", "lstm-grid")
    ),
    *(
        ("lstm", [f"model.encoder.cell={cell}", "model.encoder.state_dropout=0.2"])
        for cell in ("lstm-1997", "lstm-peephole", "gru", "rnn", "orthogonal", "goru", "lstm-grid", "rnn-output")
    ),
    ("lstm-2d", ["model.encoder.state_dropout=0.2", "model.encoder.bidirectional=true"]),
    ("lstm", ["model.encoder.weight_dropout=0.2", "model.encoder.chop=5", "train.ema=0.99", "model.pooling=concat"]),
    (
        "lstm-bi",
        ["model.encoder.skip=highway", "model.encoder.direction_maps=true", *TWO_LAYERS, "model.context=global"],
    ),
    ("lstm-bi", ["model.head=steps", "model.pooling=last", "train.label_smoothing=0.1", "train.unfreeze=1"]),
    ("lstm-bi", ["model.embedding.element_dropout=0.1", "model.embedding.type_dropout=0.1", "train.layer_decay=0.5"]),
    ("lstm-bi", ["data.target=stars", "train.monitor=loss", "text.pad=left", "text.pad_to=16", "text.start=true"]),
    ("lstm-bi", ["train.optimizer=sgd", "train.slices=4", "train.lazy_embeddings=true", "text.truncate=tail"]),
    ("lstm-bi", ["model.embedding.ngrams=3", "model.embedding.buckets=500", "train.lazy_embeddings=true"]),
    ("transformer", ["model.context=local", "model.context_window=4"]),
    ("imdb-best-lm", ["model.language.softmax=sampled", "model.language.samples=16", "train.lazy_embeddings=true"]),
    (
        "imdb-best-lm",
        ["model.language.softmax=adaptive", "model.language.cutoffs=[50,100]", "model.language.label=true"],
    ),
    ("imdb-best-lm", ["model.language.tied=false", "model.encoder.cell=gru", "train.slices=2"]),
    *(
        ("imdb-autoencoder", [f"model.decoding.attention={attention}", f"model.encoder.cell={cell}"])
        for attention, cell in (("none", "lstm"), ("bahdanau", "gru"), ("luong", "mingru"))
    ),
    ("imdb-vectors", ["train.optimizer=adam"]),
    ("imdb-regions", ["model.regions.weights=frequency"]),
    ("default", []),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=[f"{n} {' '.join(s)}" for n, s in SETTINGS])
def test_it_trains_validates_saves_and_restores(begun, name: str, settings: list[str]) -> None:
    for precision in ("bf16", "fp16", "fp32"):
        started = begun(name, [*settings, f"train.precision={precision}"])
        state, steps = started.state, started.steps()
        cudnn.calls.clear()
        for _ in range(2):
            step = next(steps)
            state.job.progress.losses.append(step.loss.detach())
            state.job.progress.step += 1
            assert math.isfinite(float(step.loss.detach()))
            assert math.isfinite(float(step.grad_norm))
        dtypes = {dtype for _, dtype in cudnn.calls}  # of training: some tasks are validated in float32
        expected = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
        assert dtypes <= {expected}
        assert state.task.validate(state) is not None
        state.save()
        again = begun(name, [*settings, f"train.precision={precision}"]).state
        (saved,) = (state.job.run / "checkpoints").glob("step-*")
        averaged = again.ema.model if again.ema else None
        restore(read_checkpoint(saved, ""), again.model, again.optimizer, averaged, again.carried)
        for one, other in zip(state.model.state_dict().values(), again.model.state_dict().values(), strict=True):
            assert other.is_cuda
            assert torch.equal(one.cpu(), other.cpu())
        for parameter, values in again.optimizer.state.items():
            assert all(value.device == parameter.device for value in values.values())


def test_a_run_takes_the_settings_for_gpus_and_writes_plain_numbers(capsys) -> None:
    small = ["model.embedding.width=8", "model.encoder.width=8", "train.epochs=1"]
    asked = ["train.gpu.epochs=2", "train.gpu.batch_tokens=4096"]
    experiment = load_experiment("sample", ["train.device=cuda", *small, *asked])
    run = fit(experiment).directory
    said = capsys.readouterr().err
    assert "chosen: train.epochs 2, train.batch_tokens 4096: train.gpu, as this trains on a GPU" in said
    written = load_experiment(run / EXPERIMENT)
    assert (written.train.epochs, written.train.batch_tokens, written.train.gpu) == (2, 4096, Gpu())
    assert find_or_train(experiment, run.name) == run  # it is the same training, and finished


def test_the_default_experiment_has_settings_for_gpus() -> None:
    assert load_experiment("default").train.gpu.batch_tokens == 131_072
    assert load_experiment("default", ["train.batch_tokens=16384"]).train.gpu.batch_tokens is None
