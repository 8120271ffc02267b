"""R-Drop, mixup of pooled states, and the ordinal loss of star ratings."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sentiment_cli.data.batching.batches import Batch
from sentiment_cli.data.corpus.ratings import LEAST, MOST
from sentiment_cli.data.corpus.targets import TargetName
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.training.losses.adversarial import divergence
from sentiment_cli.training.losses.labels import LogitLoss
from sentiment_cli.training.losses.passes import Pass


def symmetric_divergence(logits: Tensor, other: Tensor, target: TargetName) -> Tensor:
    """Return the mean of both KL divergences between two answers, over the rows (R-Drop: Liang et al. 2021)."""
    return (divergence(logits, other, target) + divergence(other, logits, target)).mean() / 2


def mixup_loss(model: Classifier, first: Pass, batch: Batch, loss: LogitLoss, *, alpha: float) -> Tensor:
    """Return the loss of mixtures of the batch's rows with each other (Zhang et al. 2018).

    As in manifold mixup (Verma et al. 2019), hidden states are mixed. Pooled states, what is added to the logits, and
    labels are mixed in the same share, drawn once for the batch.
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    other_B = torch.randperm(len(batch.length_B)).to(batch.length_B.device)

    def mixed(values: Tensor) -> Tensor:
        return share * values + (1 - share) * values[other_B]

    logits = model.judge(mixed(first.pooled_BD), None if first.added is None else mixed(first.added))
    return share * loss(logits, batch) + (1 - share) * loss(logits, batch._replace(label_B=batch.label_B[other_B]))


def ratings_loss(logit_BJ: Tensor, stars_B: Tensor) -> Tensor:
    """Return the ordinal loss: the binary cross-entropy of "at least k stars", averaged over k and the rows.

    A row without a rating counts as one without a loss.
    """
    at_least_J = torch.arange(LEAST + 1, MOST + 1, device=stars_B.device)
    is_more_BJ = (stars_B[:, None] >= at_least_J).to(logit_BJ.dtype)
    weight_BJ = (stars_B > 0).to(logit_BJ.dtype)[:, None].expand_as(logit_BJ)
    return F.binary_cross_entropy_with_logits(logit_BJ, is_more_BJ, weight_BJ)
