import json
import os
import signal

import pytest
import torch

from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.errors import InterruptedRun, UsageError
from sentiment_cli.models.device import check_precision, precision_name, runs_bf16, select_device, set_up


def test_the_cpu_is_always_there() -> None:
    assert select_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "mps", "cuda"])
def test_a_missing_device_is_refused_with_the_available_ones(name: str, monkeypatch) -> None:
    """Robustness case B16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=f"train.device is {name}, .* it finds cpu$") as caught:
        select_device(name)
    assert caught.value.hint == "--set train.device=auto"


def test_auto_takes_the_cpu_without_a_gpu_and_warns_of_one_it_cannot_use(monkeypatch, capsys) -> None:
    """Robustness case B16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr("pathlib.Path.exists", lambda path: False)
    assert select_device("auto") == torch.device("cpu")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("pathlib.Path.exists", lambda path: True)
    assert select_device("auto") == torch.device("cpu")
    assert "warning: an NVIDIA GPU is here" in capsys.readouterr().err


def test_auto_never_takes_mps(monkeypatch) -> None:
    """No training was ever run on it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert select_device("auto") == torch.device("cpu")
    assert select_device("mps") == torch.device("mps")


def test_precision_is_as_set() -> None:
    assert runs_bf16(torch.device("cpu"), "bf16")
    assert not runs_bf16(torch.device("cpu"), "fp32")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_trains_the_sample(experiment) -> None:
    from sentiment_cli.workflows.train import fit

    finished = fit(experiment("train.device=cuda"))
    assert finished.scores.accuracy > 0.7


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_trains_in_fp16_and_says_so(experiment, capsys) -> None:
    from sentiment_cli.workflows.train import fit

    finished = fit(experiment("train.device=cuda", "train.precision=fp16"))
    assert "fp16" in capsys.readouterr().err
    assert finished.scores.accuracy > 0.7


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_deterministic_cuda_repeats_itself(experiment) -> None:
    from sentiment_cli.workflows.train import fit

    settings = experiment("train.device=cuda", "train.deterministic=true", "train.epochs=2")
    one, other = (fit(settings).directory / "model" / "weights.safetensors" for _ in range(2))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_run_stopped_in_mid_epoch_resumes_to_the_same_bytes(experiment, monkeypatch) -> None:
    stops_and_goes_on(experiment("train.device=cuda", "train.deterministic=true", "train.epochs=2"), monkeypatch)


def test_a_run_stopped_in_mid_epoch_resumes_to_the_same_bytes(experiment, monkeypatch) -> None:
    stops_and_goes_on(experiment("train.device=cpu", "train.max_steps=9", "train.epochs=2"), monkeypatch)


def stops_and_goes_on(settings: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentiment_cli.training.state import Agreement, TrainState
    from sentiment_cli.workflows.train import fit, resume

    agree, asked = TrainState.agree, []

    def stop_at_the_fourth(state, *, is_due: bool = False) -> Agreement:
        asked.append(state)  # each step asks once; on a GPU, losses are not read after each
        if len(asked) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return agree(state, is_due=is_due)

    whole = fit(settings).directory
    with monkeypatch.context() as patched:
        patched.setattr(TrainState, "agree", stop_at_the_fourth)
        with pytest.raises(InterruptedRun, match="after step 4"):
            fit(settings, "stopped")
    again = resume(runs_dir() / "stopped", settings, ()).directory
    one, other = ((run / "model" / "weights.safetensors").read_bytes() for run in (whole, again))
    assert one == other
    assert [json.loads(row)["train_loss"] for row in (whole / "metrics.jsonl").read_text().splitlines()] == [
        json.loads(row)["train_loss"] for row in (again / "metrics.jsonl").read_text().splitlines()
    ]


def test_fp16_is_for_cuda() -> None:
    """Robustness case B04."""
    check_precision(torch.device("cuda"), "fp16")
    assert precision_name(torch.device("cuda"), "fp16") == "fp16"
    check_precision(torch.device("cpu"), "bf16")
    with pytest.raises(UsageError, match=r"train\.precision is fp16, which needs a CUDA device, and this is cpu"):
        check_precision(torch.device("cpu"), "fp16")


def test_fp16_without_cuda_is_refused_before_any_work(experiment, tmp_path, monkeypatch) -> None:
    """Robustness case B04."""
    from sentiment_cli.workflows.train import fit

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"train\.precision is fp16") as caught:
        fit(experiment("train.device=auto", "train.precision=fp16"))
    assert caught.value.hint == "--set train.precision=auto"
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "data").exists()


def test_deterministic_algorithms_are_asked_for_on_cuda_too(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "set_deterministic_debug_mode", asked.append)
    set_up(torch.device("cuda"), None)
    assert asked == []
    set_up(torch.device("cuda"), None, deterministic=True)
    assert asked == ["error"]
