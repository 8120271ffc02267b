"""Several processes on the pretended device: each has a GPU, and together they train what one trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = (
    "train.device=cuda train.precision=fp32 train.slices=2 train.epochs=1 train.max_steps=3 "
    "model.embedding.width=8 model.encoder.width=8 text.max_tokens=40"
).split()


def train(
    *settings: str, n: int = 1, gpus: int = 2, torchrun: bool = True, name: str = "run"
) -> list[tuple[int, str]]:
    """Train in `n` processes as torchrun starts them; return their exit codes and what they say."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    together = []
    command = [sys.executable, "-m", "pretended_cuda", "-m", "sentiment_cli", "train", "sample", "--name", name]
    for rank in range(n):
        shared = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n)}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        together.append(
            subprocess.Popen(
                [*command, *(part for setting in (*SMALL, *settings) for part in ("--set", setting))],
                env={**os.environ, "PRETENDED_GPUS": str(gpus), **(shared if n > 1 else {})},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return [(process.wait(), said) for process in together for said in [process.communicate()[1]]]


@pytest.mark.parametrize(
    ("settings", "gpus", "reason", "hint"),
    [
        ([], 1, "2 processes on this machine need a GPU each, and it has 1", "--nproc 1 --set train.device=cuda"),
        (["train.device=cuda:1"], 2, "train.device is cuda:1, and 2 processes", "--nproc 2 --set train.device=cuda"),
    ],
)
def test_processes_without_a_gpu_each_are_refused_once(settings: list[str], gpus: int, reason: str, hint: str) -> None:
    (first, said), (other, silence) = train(*settings, n=2, gpus=gpus)
    assert (first, other) == (2, 2)
    assert reason in said
    assert "--nproc" in said
    assert said.count("train.device=cuda") >= 1
    assert hint.split()[0] in said.splitlines()[-1]
    assert "error" not in silence


@pytest.mark.parametrize("settings", [[], ["train.lazy_embeddings=true", "model.embedding.ngrams=2"]])
def test_two_processes_train_the_bytes_of_one_on_cuda(settings: list[str], tmp_path: Path) -> None:
    ngrams = ["model.embedding.buckets=50"] if settings else []
    outcomes = {}
    for n in (1, 2):
        name = f"of-{n}"
        for code, said in train(*settings, *ngrams, n=n, name=name):
            assert code == 0, said
        outcomes[n] = (tmp_path / "runs" / name / "model" / "weights.safetensors").read_bytes()
    assert outcomes[1] == outcomes[2]
