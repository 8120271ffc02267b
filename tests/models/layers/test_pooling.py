import pytest
import torch

from sentiment_cli.models.layers.encoders import Encoded
from sentiment_cli.models.layers.pooling import Pooling

LENGTHS = torch.tensor([5, 1, 9, 3])


def pool_plainly(kind: str, pooling: Pooling, states_LD: torch.Tensor, last_D: torch.Tensor) -> torch.Tensor:
    """The definition on one row without padding."""
    if kind == "attention":
        weight_L = torch.softmax(pooling.query(torch.tanh(pooling.key(states_LD)))[:, 0], 0)
        return weight_L @ states_LD
    mean, most = states_LD.mean(0), states_LD.amax(0)
    return {
        "last": last_D,
        "mean": mean,
        "max": most,
        "both": torch.cat([mean, most]),
        "concat": torch.cat([last_D, mean, most]),
    }[kind]


@pytest.mark.parametrize("kind", ["last", "mean", "max", "both", "concat", "attention"])
def test_pooling_ignores_padding(kind: str) -> None:
    torch.manual_seed(0)
    pooling = Pooling(kind, 4)
    states_BLD, last_BD = torch.randn(4, 9, 4), torch.randn(4, 4)
    states_BLD[torch.arange(9) >= LENGTHS[:, None]] = 1e6
    pooled_BD = pooling(Encoded(states_BLD, last_BD), LENGTHS)
    assert pooled_BD.shape == (len(LENGTHS), pooling.width)
    for i, length in enumerate(LENGTHS):
        expected_D = pool_plainly(kind, pooling, states_BLD[i, :length], last_BD[i])
        torch.testing.assert_close(pooled_BD[i], expected_D, atol=1e-6, rtol=1e-6)


def test_attention_returns_its_weights() -> None:
    torch.manual_seed(0)
    pooling, states_BLD = Pooling("attention", 4), torch.randn(4, 9, 4)
    weight_BL = pooling.weights(states_BLD, LENGTHS)
    torch.testing.assert_close(weight_BL.sum(1), torch.ones(4))
    assert ((weight_BL > 0) == (torch.arange(9) < LENGTHS[:, None])).all()
    pooled_BD = pooling(Encoded(states_BLD, states_BLD[:, 0]), LENGTHS)
    torch.testing.assert_close(torch.einsum("bl,bld->bd", weight_BL, states_BLD), pooled_BD)
