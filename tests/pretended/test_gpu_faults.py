"""Faults that only a GPU shows: each was red on the pretended device before it was mended."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from pretended_cuda import cudnn
from torch import nn

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.errors import DivergedError, InterruptedRun, UsageError
from sentiment_cli.models.cells.elman import Rnn
from sentiment_cli.models.cells.gru import Gru
from sentiment_cli.models.cells.lstm import Lstm
from sentiment_cli.models.device import set_up
from sentiment_cli.storage import failpoints
from sentiment_cli.training import gradients
from sentiment_cli.training.ema import EMA
from sentiment_cli.training.losses import labels as losses
from sentiment_cli.training.processes.distributed import ALONE, LostProcessError
from sentiment_cli.workflows.fingerprint import machine
from sentiment_cli.workflows.profile import own_shares
from sentiment_cli.workflows.train import fit, resume

CUDA = torch.device("cuda")
SMALL = ["model.embedding.width=8", "model.encoder.width=8", "train.checkpoint_minutes=null", "train.epochs=1"]


def sample(*settings: str):
    return load_experiment("sample", ["train.device=cuda", *SMALL, *settings])


def gradients_of(layer: nn.Module, input_BLD: torch.Tensor, dtype: torch.dtype | None) -> tuple[torch.dtype, list]:
    """Return the dtype of the states, and the gradients under a mean over all of them, as mean pooling gives."""
    layer.zero_grad()
    with torch.autocast("cuda", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        states_BLD, _ = layer(input_BLD if dtype is None else input_BLD.to(dtype))
    states_BLD.float().square().mean(2).sum().div(input_BLD.shape[0] * input_BLD.shape[1] * 100).backward()
    return states_BLD.dtype, [p.grad.double() for p in layer.parameters()]


@pytest.mark.parametrize("version", [92000, 90500])
@pytest.mark.parametrize("cell", [Lstm, Gru, Rnn])
def test_cudnn_cells_compute_in_the_dtype_of_autocast(cell, version: int, monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: version)
    torch.manual_seed(0)
    layer, input_BLD = cell(16, 16).cuda(), torch.randn(16, 50, 16, device=CUDA)
    _, exact = gradients_of(layer, input_BLD, None)
    cudnn.calls.clear()
    dtype, found = gradients_of(layer, input_BLD, torch.bfloat16)
    computed = torch.bfloat16 if version >= 91300 else torch.float32
    assert {kind for _, kind in cudnn.calls} == {computed}
    assert dtype == torch.bfloat16
    for one, other in zip(found, exact, strict=True):
        assert float((one - other).norm() / other.norm()) < 0.15
    cudnn.calls.clear()
    assert gradients_of(layer, input_BLD, torch.float16)[0] == torch.float16  # where the loss is scaled
    assert {kind for _, kind in cudnn.calls} == {torch.float16}


def test_a_step_that_is_not_finite_is_found_before_the_batch_is_split(tmp_path, monkeypatch) -> None:
    accumulate = gradients._accumulate

    def failing(model, objective, batch, slices, own, seed, step, dtype):
        if step == 5 and slices == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        loss = accumulate(model, objective, batch, slices, own, seed, step, dtype)
        return loss * float("nan") if step == 3 else loss

    monkeypatch.setattr(gradients, "_accumulate", failing)
    with pytest.raises(DivergedError, match="step 4 gives loss nan"):
        fit(sample("train.on_memory_error=split", "train.max_steps=10"), "bad")
    assert json.loads((tmp_path / "runs" / "bad" / "diverged.json").read_text())["step"] == 4


def test_the_memory_of_a_failed_step_is_free_before_the_cache_is_emptied(monkeypatch) -> None:
    """The frames of the failed step hold its activations as long as the error is handled."""
    accumulate, alive = gradients._accumulate, []

    class Activations:
        n = 0

        def __init__(self) -> None:
            Activations.n += 1

        def __del__(self) -> None:
            Activations.n -= 1

    def failing(model, objective, batch, slices, *others):
        if slices == 1:
            held = Activations()
            raise torch.OutOfMemoryError(f"CUDA out of memory with {held}")
        return accumulate(model, objective, batch, slices, *others)

    monkeypatch.setattr(gradients, "_accumulate", failing)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(Activations.n))
    fit(sample("train.on_memory_error=split", "train.max_steps=2"))
    assert alive == [0]


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_the_first_step_allocates_no_moments(begun, optimizer: str) -> None:
    """Memory that runs out there would leave half of an update behind."""
    started = begun("lstm-bi", [f"train.optimizer={optimizer}", "train.lazy_embeddings=true"])
    state = started.state.optimizer.state
    before = {p: {key: value.data_ptr() for key, value in state[p].items()} for p in started.state.model.parameters()}
    next(started.steps())
    assert all(before.values())
    assert {p: {key: value.data_ptr() for key, value in state[p].items()} for p in before} == before


@pytest.mark.parametrize("lazy", ["false", "true"])
def test_fp16_with_sgd_starts_from_zero_momentum_after_a_skipped_step(begun, lazy: str) -> None:
    set_up(CUDA, None, deterministic=True)
    torch.utils.deterministic.fill_uninitialized_memory = True  # with NaN, where memory would hold anything
    started = begun("lstm-bi", ["train.precision=fp16", "train.optimizer=sgd", f"train.lazy_embeddings={lazy}"])
    started.state.scaler.state_2 = torch.tensor([2.0**60, 0.0], device=CUDA)
    steps = started.steps()
    assert float(next(steps).grad_norm) == 0  # skipped
    started.state.scaler.state_2.copy_(torch.tensor([256.0, 0.0]))
    next(steps)
    assert all(parameter.isfinite().all() for parameter in started.state.model.parameters())


def test_sums_of_losses_are_not_rounded_to_half_precision(begun) -> None:
    many = ["train.batch_tokens=16384", "train.lazy_embeddings=false"]
    found = {}
    for precision in ("fp32", "bf16", "fp16"):
        started = begun("imdb-vectors", [*many, f"train.precision={precision}"], length=512)
        found[precision] = float(next(started.steps()).loss.detach())
    assert found["bf16"] == pytest.approx(found["fp32"], rel=2e-4)
    assert found["fp16"] == pytest.approx(found["fp32"], rel=2e-4)


def test_the_mean_over_steps_is_computed_in_float32(begun) -> None:
    started = begun("lstm-bi", ["model.head=steps", "model.pooling=last"])
    batch = next(started.loader.batches(0))
    model = started.state.model.eval()
    wide = model.step_logits
    model.step_logits = lambda *given: wide(*given)[..., None].expand(-1, -1, 3) * torch.arange(3, device=CUDA)
    exact = losses.steps_loss(model, batch)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        logits_BLC = model.step_logits(batch.ids_BL, batch.length_B).float()
        model.step_logits = lambda *given: logits_BLC
        found = losses.steps_loss(model, batch)
    assert found.dtype == torch.float32
    assert float(found.detach()) == pytest.approx(float(exact.detach()), rel=5e-3)


def test_the_average_of_a_cudnn_layer_is_one_piece_of_memory(monkeypatch) -> None:
    flattened = []
    monkeypatch.setattr(nn.RNNBase, "flatten_parameters", lambda layer: flattened.append(type(layer).__name__))
    model = nn.Sequential(Lstm(4, 4), Gru(4, 4)).cuda()
    flattened.clear()
    assert copy.deepcopy(model) is not None
    assert flattened == []  # torch leaves the weights of a copy apart
    EMA(model, 0.9)
    assert flattened == ["Lstm", "Gru"]


def test_the_fingerprint_names_the_gpu_and_its_libraries() -> None:
    found = machine(sample(), CUDA)
    assert found["gpu"] == "Pretended GPU"
    assert (found["cudnn"], found["cuda"]) == ("9.20.0", "13.0")
    assert not {"gpu", "cudnn", "cuda"} & machine(sample(), torch.device("cpu")).keys()


def test_a_run_resumes_on_another_gpu_only_where_that_is_allowed(monkeypatch) -> None:
    experiment = sample("train.max_steps=4", "train.checkpoint_steps=1")
    failpoints.arm("validate:1:int")
    with pytest.raises(InterruptedRun):
        fit(experiment, "moved")
    failpoints.arm(None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Another GPU")
    with pytest.raises(UsageError, match=r"machine\.gpu"):
        resume(runs_dir() / "moved", experiment, ())
    assert resume(runs_dir() / "moved", experiment, ("machine.gpu",)).directory.exists()


def test_a_profile_counts_the_time_of_a_kernel_once() -> None:
    """torch lists the operator with its kernels' time, and the kernels again."""
    kinds = torch.profiler.DeviceType
    events = [
        SimpleNamespace(key="aten::mm", device_type=kinds.CPU, self_device_time_total=30.0, count=2),
        SimpleNamespace(key="aten::add", device_type=kinds.CPU, self_device_time_total=10.0, count=1),
        SimpleNamespace(key="gemm_kernel", device_type=kinds.CUDA, self_device_time_total=30.0, count=2),
        SimpleNamespace(key="add_kernel", device_type=kinds.CUDA, self_device_time_total=10.0, count=1),
    ]
    shares = own_shares(events, CUDA, n_steps=1)
    assert [(share.operator, share.share) for share in shares] == [("aten::mm", 0.75), ("aten::add", 0.25)]
    assert sum(share.ms_per_step for share in shares) == pytest.approx(0.04)


def test_an_error_of_the_gpu_is_not_taken_for_a_lost_process() -> None:
    def failing() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    def lost() -> None:
        raise RuntimeError("NCCL communicator was aborted. Last error: CUDA error: unknown")

    with pytest.raises(RuntimeError, match="device-side assert"):
        ALONE._reach(failing)
    with pytest.raises(LostProcessError, match="NCCL"):
        ALONE._reach(lost)


def test_deterministic_training_does_not_fill_memory() -> None:
    torch.utils.deterministic.fill_uninitialized_memory = True
    set_up(CUDA, None, deterministic=True)
    assert not torch.utils.deterministic.fill_uninitialized_memory
