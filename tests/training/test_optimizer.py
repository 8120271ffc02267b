import pytest
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
