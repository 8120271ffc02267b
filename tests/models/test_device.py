import pytest
import torch

from sentiment_cli.errors import UsageError
from sentiment_cli.models.device import runs_bf16, select_device


def test_the_cpu_is_always_there() -> None:
    assert select_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "mps", "cuda"])
def test_b16_a_device_that_is_not_here_is_refused_and_those_that_are_get_named(name: str, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=f"train.device is {name}, .* it finds cpu$") as caught:
        select_device(name)
    assert caught.value.hint == "the same command with --set train.device=auto"


def test_b16_auto_takes_the_cpu_without_a_gpu_and_warns_of_one_it_cannot_use(monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr("pathlib.Path.exists", lambda path: False)
    assert select_device("auto") == torch.device("cpu")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("pathlib.Path.exists", lambda path: True)
    assert select_device("auto") == torch.device("cpu")
    assert "warning: an NVIDIA GPU is here" in capsys.readouterr().err


def test_precision_is_as_told() -> None:
    assert runs_bf16(torch.device("cpu"), "bf16")
    assert not runs_bf16(torch.device("cpu"), "fp32")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_trains_the_sample(experiment) -> None:
    from sentiment_cli.training.fit import fit

    finished = fit(experiment("train.device=cuda"))
    assert finished.scores.accuracy > 0.7
