"""Losses: what a training step makes smaller."""

import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.data.batches import Batch


def classification_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean binary cross-entropy of the batch's logits, in natural-log units."""
    logit_B = model(batch.ids_BL, batch.length_B)
    return F.binary_cross_entropy_with_logits(logit_B, batch.label_B.to(logit_B.dtype))
