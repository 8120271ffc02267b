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
    "train.device=cuda train.precision=fp32 train.slices=2 train.epochs=1 train.max_steps=3 data.source=sample "
    "model.embedding.width=8 model.encoder.width=8"
).split()
LAZY = "train.lazy_embeddings=true model.embedding.ngrams=3 model.embedding.buckets=50 text.max_tokens=40".split()
WORDS = "train.window=16 train.batch_tokens=512 vocabulary.size=300 data.valid.unsup_share=0.02".split()


def train(*arguments: str, settings: list[str], n: int) -> list[str]:
    """Train in `n` processes as torchrun starts them; return what they say."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    together = []
    command = [sys.executable, "-m", "pretended_cuda", "-m", "sentiment_cli", *arguments, "--name", f"of-{n}"]
    for rank in range(n):
        shared = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "MASTER_PORT": port}
        numbers = {key: str(value) for key, value in shared.items()} if n > 1 else {}
        together.append(
            subprocess.Popen(
                [*command, *(part for setting in (*SMALL, *settings) for part in ("--set", setting))],
                env={**os.environ, "PRETENDED_GPUS": "2", "MASTER_ADDR": "127.0.0.1", **numbers},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said = [process.communicate()[1] for process in together]
    assert [process.returncode for process in together] == [0] * n, said
    return said


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


@pytest.mark.parametrize(
    ("command", "settings"),
    [(["train", "sample"], ["text.max_tokens=40"]), (["train", "sample"], LAZY), (["pretrain", "imdb-lm"], WORDS)],
    ids=["dense", "lazy", "language model"],
)
def test_two_processes_train_the_bytes_of_one(command: list[str], settings: list[str], tmp_path: Path) -> None:
    said = {n: train(*command, settings=settings, n=n)[0] for n in (1, 2)}
    assert "on 2 processes, cuda:0" in said[2]
    one, two = ((tmp_path / "runs" / f"of-{n}" / "model" / "weights.safetensors").read_bytes() for n in (1, 2))
    assert one == two
