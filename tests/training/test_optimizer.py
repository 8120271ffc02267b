import copy
import functools
import subprocess
import sys

import pytest
import torch
from torch import nn

from sentiment_cli.config.schema import Train
from sentiment_cli.models.layers.lookup import look_up
from sentiment_cli.training.optimizer import build_optimizer, count_plateaus, learning_rate_at


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0.0, [1, 1, 1, 1, 1]),
        ("linear", 0.0, [1, 0.8, 0.6, 0.4, 0.2]),
        ("cosine", 0.0, [1, 0.9045, 0.6545, 0.3455, 0.0955]),
        ("linear", 0.4, [0.5, 1, 1, 2 / 3, 1 / 3]),
    ],
)
def test_learning_rate_is_a_function_of_the_step(schedule, warmup, expected) -> None:
    settings = Train(lr=1.0, schedule=schedule, warmup=warmup)
    assert [learning_rate_at(step, 5, settings) for step in range(5)] == pytest.approx(expected, abs=1e-4)


def test_weight_decay_does_not_apply_to_biases_and_embeddings() -> None:
    model = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2))
    decayed, spared = build_optimizer(model, Train(weight_decay=0.1)).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 2)]
    assert sorted(tuple(p.shape) for p in spared["params"]) == [(2,), (3, 2)]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def _tables(settings: Train, n_steps: int = 4) -> list[torch.Tensor]:
    """Return the vectors after each of some steps that read words 1 and 2, then 2 and 3, and so on."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(8, 4))
    optimizer, tables = build_optimizer(model, settings), []
    for step in range(n_steps):
        look_up(torch.tensor([[1 + step, 2 + step, 2 + step]]), model[0]).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        tables.append(model[0].weight.detach().clone())
    return tables


def test_lazy_adam_is_torchs_sparse_adam() -> None:
    torch.manual_seed(0)
    table = nn.Embedding(8, 4, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.1)
    for step, found in enumerate(_tables(Train(optimizer="adam", lr=0.1, lazy_embeddings=True))):
        table(torch.tensor([[1 + step, 2 + step, 2 + step]])).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.testing.assert_close(found, table.weight)


def test_lazy_sgd_without_momentum_is_dense_sgd_and_with_it_leaves_the_other_rows() -> None:
    exact, lazy = (
        _tables(Train(optimizer="sgd", lr=0.1, momentum=0.0, lazy_embeddings=is_lazy)) for is_lazy in (False, True)
    )
    torch.testing.assert_close(lazy, exact)
    first, *_, last = _tables(Train(optimizer="sgd", lr=0.1, momentum=0.9, lazy_embeddings=True))
    still = [0, 1, 6, 7]
    torch.testing.assert_close(last[still], first[still], rtol=0, atol=0)
    moved = _tables(Train(optimizer="sgd", lr=0.1, momentum=0.9))[-1]
    assert not torch.equal(moved[1], last[1])


@pytest.mark.parametrize(("warmup", "n_steps"), [(0.3, 20), (0.2, 10), (0.5, 7)])
def test_one_cycle_is_torchs(warmup: float, n_steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.5, total_steps=n_steps, pct_start=round(warmup * n_steps) / n_steps, cycle_momentum=False
    )
    settings = Train(lr=0.5, schedule="one-cycle", warmup=warmup)
    for step in range(n_steps):
        assert learning_rate_at(step, n_steps, settings) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        if step + 1 < n_steps:
            reference.step()


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateaus_are_torchs(patience: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", factor=0.5, patience=patience, threshold=0.0
    )
    settings = Train(lr=1.0, schedule="plateau", plateau_patience=patience)
    gains = [0.1, 0.3, 0.2, 0.3, 0.2, 0.2, 0.4, 0.4, 0.4, 0.4, 0.1, 0.1, 0.1, 0.5]
    for i, gain in enumerate(gains, 1):
        reference.step(gain)
        n_reductions = count_plateaus(gains[:i], patience)
        assert learning_rate_at(5, 9, settings, n_reductions) == pytest.approx(reference.get_last_lr()[0])


SGD = functools.partial(torch.optim.SGD, momentum=0.9)


ADAM, ADAMW = (functools.partial(kind, eps=0.1) for kind in (torch.optim.Adam, torch.optim.AdamW))


@pytest.mark.parametrize(("name", "kind"), [("adamw", ADAMW), ("adam", ADAM), ("sgd", SGD)])
def test_steps_are_those_of_torchs_own_optimizer(name: str, kind) -> None:
    torch.manual_seed(0)
    ours = nn.Linear(3, 3)
    theirs = copy.deepcopy(ours)
    groups = [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}]
    reference = kind(groups, lr=1e-3)
    optimizer = build_optimizer(ours, Train(optimizer=name, lr=1e-3, weight_decay=0.1, eps=0.1))
    for _ in range(3):
        for model, one in ((ours, optimizer), (theirs, reference)):
            model(torch.ones(2, 3)).square().sum().backward()
            one.step()
            one.zero_grad()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_training_never_imports_dynamo(tmp_path) -> None:
    """Its import costs as much as torch's own."""
    program = (
        "import sys; from sentiment_cli.config.loader import load_experiment;"
        "from sentiment_cli.workflows.train import fit;"
        "fit(load_experiment('sample', ['train.max_steps=1', 'model.encoder.width=8']));"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "one-cycle"])
def test_other_schedules_ignore_plateaus(schedule: str) -> None:
    settings = Train(lr=1.0, schedule=schedule)
    assert learning_rate_at(5, 10, settings, 3) == learning_rate_at(5, 10, settings, 0)
