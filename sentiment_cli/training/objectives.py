"""Losses: what a training step makes smaller."""

import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.data.batches import Batch


def classification_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of the batch's logits, in natural-log units; of one logit a row, the binary one."""
    logits = model(batch.ids_BL, batch.length_B)
    if logits.dim() == 1:
        return F.binary_cross_entropy_with_logits(logits, batch.label_B.to(logits.dtype))
    return F.cross_entropy(logits, batch.label_B)
