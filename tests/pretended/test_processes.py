"""Several processes on the pretended device: each has a GPU, and together they train what one trains."""

import os
import signal
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


KILLED = (
    "train.device=cuda train.deterministic=true train.slices=2 train.epochs=2 train.max_steps=6 "
    "train.checkpoint_steps=2 train.lazy_embeddings=true train.ema=0.9 text.max_tokens=40 "
    "model.embedding.width=8 model.encoder.width=8 model.encoder.cell=goru"
).split()


def test_a_killed_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL after step 4, before its checkpoint is written."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pretended_cuda", "-m", "sentiment_cli", "train", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **more})

    settings = [part for setting in KILLED for part in ("--set", setting)]
    whole = run("sample", "--name", "whole", *settings)
    assert whole.returncode == 0, whole.stderr
    assert "on cuda, Pretended GPU" in whole.stderr
    killed = run("sample", "--name", "killed", *settings, SENTIMENT_FAIL="save:2:kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = run("--resume", str(tmp_path / "runs" / "killed"))
    assert again.returncode == 0, again.stderr
    assert "after step 2" in again.stderr
    one, two = ((tmp_path / "runs" / n / "model" / "weights.safetensors").read_bytes() for n in ("whole", "killed"))
    assert one == two
