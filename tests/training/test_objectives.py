import pytest
import torch
import torch.nn.functional as F

from sentiment_cli.data.batches import Batch
from sentiment_cli.training.objectives import classification_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_torchs_cross_entropy_of_both_labels(smoothing: float) -> None:
    logit_B = torch.tensor([2.0, -1.0, 0.3])
    batch = Batch(torch.zeros(3, 1), torch.ones(3), torch.tensor([1, 0, 0]))
    loss = classification_loss(lambda ids_BL, length_B: logit_B, batch, smoothing=smoothing)
    logit_BC = torch.stack([torch.zeros(3), logit_B], dim=1)
    torch.testing.assert_close(loss, F.cross_entropy(logit_BC, batch.label_B, label_smoothing=smoothing))
