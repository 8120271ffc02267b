"""Several processes on the pretended device: each has a GPU, and together they train what one trains."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sentiment_cli.errors import UsageError
from sentiment_cli.training.processes.distributed import own_device

SMALL = (
    "train.device=cuda train.precision=fp32 train.slices=2 train.epochs=1 train.max_steps=3 "
    "model.embedding.width=8 model.encoder.width=8 text.max_tokens=40"
).split()


def train(*settings: str, n: int, name: str) -> list[tuple[int, str]]:
    """Train in `n` processes as torchrun starts them; return their exit codes and what they say."""
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
                env={**os.environ, "PRETENDED_GPUS": "2", **(shared if n > 1 else {})},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return [(process.wait(), said) for process in together for said in [process.communicate()[1]]]


@pytest.mark.parametrize(
    ("device", "gpus", "reason", "hint"),
    [
        ("cuda", 1, "2 processes on this machine need a GPU each, and it has 1", "--nproc 1 --set train.device=cuda"),
        ("cuda:1", 2, "train.device is cuda:1, and 2 processes", "--nproc 2 --set train.device=cuda"),
        ("cuda:0", 1, "train.device is cuda:0, and 2 processes", "--nproc 1 --set train.device=cuda"),
    ],
)
def test_processes_without_a_gpu_each_are_refused_by_the_first(
    device: str, gpus: int, reason: str, hint: str, monkeypatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(UsageError, match=reason) as caught:
        own_device(torch.device(device), slices=2)
    assert caught.value.hint == hint
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit) as silent:
        own_device(torch.device(device), slices=2)
    assert silent.value.code == 2


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
