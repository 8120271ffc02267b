import pytest
import torch

from sentiment_cli.models.layers.context import Context
from sentiment_cli.models.layers.encoders import Encoded

LENGTHS = torch.tensor([5, 1, 9, 3])
WINDOWS = [None, 1, 2, 3, 4, 9, 40]


@pytest.mark.parametrize("window", WINDOWS)
def test_each_step_attends_to_the_states_up_to_it(window: int | None) -> None:
    torch.manual_seed(0)
    context = Context(6, window).double()
    states_BLD, last_BD = torch.randn(4, 9, 6).double(), torch.randn(4, 6).double()
    states_BLD[torch.arange(9) >= LENGTHS[:, None]] = 1e6
    joined = context(Encoded(states_BLD, last_BD), LENGTHS)
    weight_BLL = context.weights(states_BLD)
    assert joined.states_BLD.shape == (4, 9, context.width)
    for i, length in enumerate(LENGTHS):
        for step in range(length):
            seen_SD = states_BLD[i, max(0, step + 1 - (window or 99)) : step + 1]
            score_S = seen_SD @ (context.query.weight @ states_BLD[i, step]) / 6**0.5
            weight_S = score_S.exp() / score_S.exp().sum()
            expected_D = torch.cat([states_BLD[i, step], weight_S @ seen_SD])
            torch.testing.assert_close(joined.states_BLD[i, step], expected_D, atol=1e-10, rtol=0)
            found_L = weight_BLL[i, step]
            assert found_L.sum().item() == pytest.approx(1, abs=1e-6)
            torch.testing.assert_close(found_L[step + 1 - len(seen_SD) : step + 1], weight_S.float())
        torch.testing.assert_close(joined.last_BD[i], torch.cat([last_BD[i], expected_D[6:]]))


@pytest.mark.parametrize("window", [None, 2, 40])
def test_gradients_are_right(window: int | None) -> None:
    torch.manual_seed(0)
    context = Context(3, window).double()
    states_BLD, length_B = torch.randn(2, 5, 3).double().requires_grad_(), torch.tensor([5, 2])
    weight = context.query.weight

    def joined(states_BLD: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(context(Encoded(states_BLD, states_BLD[:, 0]), length_B))

    assert torch.autograd.gradcheck(joined, (states_BLD, weight))
