import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from sentiment_cli.config.schema import Train
from sentiment_cli.training.optimizer import build_optimizer, learning_rate_at


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


def test_weight_decay_spares_biases_and_embeddings() -> None:
    model = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2))
    decayed, spared = build_optimizer(model, Train(weight_decay=0.1)).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 2)]
    assert sorted(tuple(p.shape) for p in spared["params"]) == [(2,), (3, 2)]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_steps_are_those_of_torchs_own_optimizer(name: str, kind: type[torch.optim.Optimizer]) -> None:
    torch.manual_seed(0)
    ours = nn.Linear(3, 3)
    theirs = copy.deepcopy(ours)
    reference = kind([{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}])
    optimizer = build_optimizer(ours, Train(optimizer=name, lr=1e-3, weight_decay=0.1))
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
        "from sentiment_cli.training.fit import fit;"
        "fit(load_experiment('sample', ['train.max_steps=1'])); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
