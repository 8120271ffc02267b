"""Faults put into the program's own functions: each turns a check of this folder red."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_gpu_faults
import test_settings
import torch
from test_budgets import test_a_step_launches_and_waits_no_more_than_the_page_says as keeps_its_budget
from test_parity import test_a_gpu_takes_the_steps_of_the_cpu as takes_the_steps_of_the_cpu
from test_scans import test_a_gpu_gives_the_numbers_and_gradients_of_the_cpu as gives_the_numbers_of_the_cpu
from torch import Tensor

from sentiment_cli.data.batching import batches
from sentiment_cli.models.cells import elementwise, fused, lstm, recurrence
from sentiment_cli.models.layers import encoders
from sentiment_cli.training import epochs, loop
from sentiment_cli.training.losses import labels

LONE, BOTH_WAYS = "lstm", "lstm-bi"  # recipes


class Check:
    """A test of this folder to run with a fault in place."""

    def __init__(self, begun: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._begun, self._tmp_path, self._monkeypatch = begun, tmp_path, monkeypatch

    def budget(self, name: str) -> None:
        keeps_its_budget(name)

    def steps(self, *settings: str) -> None:
        takes_the_steps_of_the_cpu(self._begun, LONE, list(settings))

    def scan(self, cell: str) -> None:
        gives_the_numbers_of_the_cpu(cell, 0.3, True, self._monkeypatch)

    def settings(self, name: str) -> None:
        test_settings.test_it_trains_validates_saves_and_restores(self._begun, name, [])

    def divergence(self) -> None:
        test_gpu_faults.test_a_step_that_is_not_finite_is_found_before_the_batch_is_split(
            self._tmp_path, self._monkeypatch
        )


def copied_for_each_batch(gather: Any, rows: Any, row_B: Tensor, *others: Any) -> Any:
    return gather(rows, torch.arange(len(row_B)).to(row_B.device), *others)


def with_an_index_of_the_host(last_of: Any, values_BLD: Tensor, length_B: Tensor) -> Tensor:
    last_B = torch.arange(len(values_BLD)) * values_BLD.shape[1]
    return values_BLD.flatten(0, 1).index_select(0, last_B)


def by_a_mask(last_of: Any, values_BLD: Tensor, length_B: Tensor) -> Tensor:
    column_L = torch.arange(values_BLD.shape[1], device=length_B.device)
    return values_BLD[column_L == length_B[:, None] - 1]


def read_under_autocast(read: Any, kernel: Any, layer: Any, input_BLD: Tensor, start: Any, state_weight: Tensor) -> Any:
    start_1BD = [tensor_BD[None] for tensor_BD in start]
    weights = [layer.weight_ih_l0, state_weight, layer.bias_ih_l0, layer.bias_hh_l0]
    states_BLD, *last = kernel(input_BLD, start_1BD, weights, True, 1, 0.0, layer.training, False, True)
    return states_BLD, tuple(tensor_1BD[0] for tensor_1BD in last)


def onto_the_host(restore: Any, checkpoint: Any, model: Any, optimizer: Any, *others: Any) -> None:
    restore(checkpoint, model, optimizer, *others)
    for values in optimizer.state.values():
        values.update({key: value.cpu() for key, value in values.items()})


def forgetting_the_mask(reference: Any, plain: Any, *given: Any) -> None:
    reference(plain, *(None if i == 3 and plain.__name__ == "lstm_steps" else one for i, one in enumerate(given)))


# What is wrong; the function it is wrong in, with what it does instead; and the check that sees it.
Fault = tuple[Any, str, Callable[..., Any], Callable[[Check], None]]
FAULTS: dict[str, Fault] = {
    "the host reads each loss": (
        labels,
        "classification_loss",
        lambda loss, *given, **options: (value := loss(*given, **options)) + 0 * float(value.detach()),
        lambda check: check.budget(LONE),
    ),
    "rows are copied for each batch": (
        batches,
        "gather",
        copied_for_each_batch,
        lambda check: check.budget(LONE),
    ),
    "last states are taken by a mask": (encoders, "last_of", by_a_mask, lambda check: check.budget(LONE)),
    "one launch more a step": (
        loop,
        "get_total_norm",
        lambda norm, grads: norm(grads) * 1,
        lambda check: check.budget(LONE),
    ),
    "one launch more a layer": (
        encoders,
        "lower_layer",
        lambda lower, values: lower(values).clone(),
        lambda check: check.budget(BOTH_WAYS),
    ),
    "a scan takes its steps one by one": (
        fused,
        "why_no_kernels",
        lambda why_no_kernels: "it is switched off",
        lambda check: check.budget("keras-lstm"),
    ),
    "an index lies on the host": (encoders, "last_of", with_an_index_of_the_host, lambda check: check.steps()),
    "the places of reversed rows lie on the host": (
        encoders,
        "flipped_places",
        lambda places, *given: places(*given).cpu(),
        lambda check: check.settings(BOTH_WAYS),
    ),
    "moments are restored to the host": (
        test_settings,
        "restore",
        onto_the_host,
        lambda check: check.settings(BOTH_WAYS),
    ),
    "cuDNN is called under autocast": (lstm, "read_fused", read_under_autocast, lambda check: check.settings(LONE)),
    "a scan as a tree is wrong in the second digit": (
        elementwise,
        "_scan_as_tree",
        lambda scan, keep_LBD, inflow_LBD, start_BD: scan(keep_LBD, inflow_LBD * 1.01, start_BD),
        lambda check: check.steps("model.encoder.cell=mingru"),
    ),
    "the forget gate of lstm-1997 comes last": (
        lstm.Lstm1997,
        "_with_forget_gate",
        lambda put, layer, values, fill: put(layer, values, fill).roll(layer.width, 0),
        lambda check: check.steps("model.encoder.cell=lstm-1997"),
    ),
    "a kernel forgets the mask of state dropout": (
        fused,
        "_take_plainly",
        forgetting_the_mask,
        lambda check: check.scan("lstm-peephole"),
    ),
    "the grid's LSTM along time has torch's biases twice": (
        recurrence,
        "_in_one_piece",
        lambda lay, weights, dtype: lay([*weights[:3], weights[2]], dtype),
        lambda check: check.steps("model.encoder.cell=lstm-grid"),
    ),
    "a loss is not looked at before the batch is split": (
        epochs,
        "check_finite",
        lambda look, *given: None,
        lambda check: check.divergence(),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(fault: str, begun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, change, see = FAULTS[fault]
    function, reached = getattr(owner, name), []

    def changed(*args: Any, **options: Any) -> Any:
        reached.append(name)
        return change(function, *args, **options)

    monkeypatch.setattr(owner, name, changed)
    with pytest.raises((AssertionError, RuntimeError, ValueError, pytest.fail.Exception)):
        see(Check(begun, tmp_path, monkeypatch))
    assert reached
