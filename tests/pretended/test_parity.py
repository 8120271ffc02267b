"""The branches that a GPU takes give the CPU's numbers: every cell, pooling, softmax and optimizer, in float32."""

import pytest
import torch

from sentiment_cli.models.layers.encoders import CELLS

CPU = torch.device("cpu")
SETTINGS = [
    *(("lstm", [f"model.encoder.cell={cell}"]) for cell in CELLS),
    ("lstm-bi", ["model.pooling=both", "model.encoder.layers=2"]),
    ("lstm-bi", ["model.pooling=concat", "model.encoder.cell=gru"]),
    ("lstm-bi", ["model.pooling=attention", "model.encoder.cell=rnn"]),
    ("lstm-bi", ["model.pooling=max", "model.encoder.cell=mingru", "model.context=global"]),
    ("lstm-bi", ["model.pooling=mean", "model.encoder.cell=sru", "model.context=local", "model.context_window=4"]),
    ("lstm-bi", ["model.head=steps", "model.pooling=last", "model.encoder.skip=residual"]),
    ("lstm-bi", ["train.optimizer=adam", "train.lazy_embeddings=true", "train.slices=4"]),
    ("lstm-bi", ["train.optimizer=sgd", "train.lazy_embeddings=true"]),
    ("lstm-bi", ["train.lazy_embeddings=true", "model.embedding.ngrams=3", "model.embedding.buckets=500"]),
    ("transformer", ["model.encoder.dropout=0"]),
    ("bag", []),
    ("imdb-vectors", []),
    *(
        (
            "imdb-best-lm",
            ["model.encoder.weight_dropout=0", "model.encoder.dropout=0", f"model.language.softmax={softmax}"],
        )
        for softmax in ("full", "sampled", "adaptive")
    ),
    ("imdb-autoencoder", ["model.encoder.dropout=0", "model.encoder.cell=lstm"]),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=[f"{n} {' '.join(s)}" for n, s in SETTINGS])
def test_a_gpu_takes_the_steps_of_the_cpu(begun, name: str, settings: list[str]) -> None:
    """Dropout of rows and words is on, drawn from the same seeds; F.dropout draws otherwise on CUDA."""
    own = ["train.precision=fp32", "model.dropout=0", *settings]
    if "model.language.softmax=adaptive" in own:
        own.append("model.language.cutoffs=[50,100]")
    if "model.language.softmax=sampled" in own:
        own.append("model.language.samples=16")
    losses, weights = {}, {}
    for device in (CPU, torch.device("cuda")):
        started = begun(name, own, device=device)
        steps = started.steps()
        losses[device.type] = [float(next(steps).loss.detach()) for _ in range(3)]
        weights[device.type] = {key: value.cpu() for key, value in started.state.model.state_dict().items()}
    assert losses["cuda"] == pytest.approx(losses["cpu"], abs=1e-5)
    for key, value in weights["cpu"].items():
        torch.testing.assert_close(weights["cuda"][key], value, atol=1e-3, rtol=0, msg=key)
