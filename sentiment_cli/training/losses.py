"""The loss functions of classification and of star ratings."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batching.batches import Batch
from sentiment_cli.data.corpus.ratings import MIDDLE, REACH
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.training.gradients import Objective


def build_objective(experiment: Experiment) -> Objective:
    """Return the loss function for the experiment's target and head."""
    if experiment.data.target == "stars":
        return stars_loss
    loss = steps_loss if experiment.model.head == "steps" else classification_loss
    smoothing = experiment.train.label_smoothing
    return functools.partial(loss, smoothing=smoothing) if smoothing else loss


def classification_loss(model: nn.Module, batch: Batch, *, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of the batch's logits in nats; binary cross-entropy where a row has one logit.

    Label smoothing (Szegedy et al. 2016) spreads that share of the target evenly over all labels.
    """
    logits = model(batch.ids_BL, batch.length_B, **_folds(batch))
    if logits.dim() == 1:
        truth_B = batch.label_B.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, truth_B)
    return F.cross_entropy(logits, _truth(batch, logits), label_smoothing=smoothing)


def stars_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean squared error of the model's one output against (stars - 5.5) / 4.5; label_B holds the stars."""
    return F.mse_loss(model(batch.ids_BL, batch.length_B), (batch.label_B - MIDDLE) / REACH)


def steps_loss(model: nn.Module, batch: Batch, *, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of a row's label at each of its tokens, averaged over tokens and then over rows.

    For a model with `head: steps`; every row has the same weight, whatever its length.
    """
    assert isinstance(model, Classifier)
    logits = model.step_logits(batch.ids_BL, batch.length_B, batch.fold_B)
    n_rows, length = batch.ids_BL.shape
    is_token_BL = torch.arange(length, device=batch.length_B.device) < batch.length_B[:, None]
    weight_BL = is_token_BL / (batch.length_B[:, None] * n_rows)
    label_BL = _truth(batch, logits)[:, None].expand(n_rows, length, *batch.label_B.shape[1:])
    if logits.dim() == 2:
        truth_BL = label_BL.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, truth_BL, weight_BL, reduction="sum")
    label_T = label_BL.flatten(0, 1)
    loss_T = F.cross_entropy(logits.flatten(0, 1), label_T, reduction="none", label_smoothing=smoothing)
    return loss_T @ weight_BL.flatten().to(loss_T.dtype)


def _folds(batch: Batch) -> dict[str, Tensor]:
    return {} if batch.fold_B is None else {"fold_B": batch.fold_B}


def _truth(batch: Batch, logits: Tensor) -> Tensor:
    """Return label_B; soft labels in the dtype of the logits, as cross-entropy needs them."""
    return batch.label_B.to(logits.dtype) if batch.label_B.is_floating_point() else batch.label_B
