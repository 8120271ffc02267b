"""Losses: what a training step makes smaller."""

import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.data.batches import Batch


def classification_loss(model: nn.Module, batch: Batch, *, smoothing: float = 0.0) -> Tensor:
    """Return the mean binary cross-entropy of the batch's logits, in natural-log units.

    With label smoothing (Szegedy et al. 2016) that share of the truth is spread evenly over both labels.
    """
    logit_B = model(batch.ids_BL, batch.length_B)
    truth_B = batch.label_B.to(logit_B.dtype) * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logit_B, truth_B)
