"""The loss functions of the targets: single labels, several labels, ranks and star ratings."""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batching.batches import Batch
from sentiment_cli.data.corpus.ratings import MIDDLE, REACH
from sentiment_cli.data.corpus.targets import is_binary
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.training.gradients import Objective

# The mean loss of a batch's logits.
LogitLoss = Callable[[Tensor, Batch], Tensor]


def build_logit_loss(experiment: Experiment, weight_CJ: Tensor | None = None) -> LogitLoss:
    """Return the loss of a batch's logits for the experiment's target, with class weights where they are given."""
    if experiment.data.target == "stars":
        return stars_error
    if is_binary(experiment.data.target):
        return functools.partial(binary_cross_entropy, weight_CJ=weight_CJ)
    weight_C = None if weight_CJ is None else weight_CJ[:, 0]
    return functools.partial(cross_entropy, smoothing=experiment.train.label_smoothing, weight_C=weight_C)


def build_label_objective(experiment: Experiment, weight_CJ: Tensor | None = None) -> Objective:
    """Return the loss function for the experiment's target and head, with class weights where they are given."""
    if experiment.data.target == "stars":
        return stars_loss
    if is_binary(experiment.data.target):
        return binary_loss if weight_CJ is None else functools.partial(binary_loss, weight_CJ=weight_CJ)
    loss = steps_loss if experiment.model.head == "steps" else classification_loss
    smoothing = experiment.train.label_smoothing
    weight_C = None if weight_CJ is None else weight_CJ[:, 0]
    return (
        functools.partial(loss, smoothing=smoothing, weight_C=weight_C) if smoothing or weight_C is not None else loss
    )


def classification_loss(
    model: nn.Module, batch: Batch, *, smoothing: float = 0.0, weight_C: Tensor | None = None
) -> Tensor:
    """Return the mean cross-entropy of the batch's logits in nats; binary cross-entropy where a row has one logit.

    Label smoothing (Szegedy et al. 2016) spreads that share of the target evenly over all labels. With `weight_C` each
    row's loss is multiplied by the weight of its label; the mean is still over the rows.
    """
    return cross_entropy(_answers(model, batch), batch, smoothing=smoothing, weight_C=weight_C)


def cross_entropy(logits: Tensor, batch: Batch, *, smoothing: float = 0.0, weight_C: Tensor | None = None) -> Tensor:
    """Return what `classification_loss` does, of logits."""
    weight_B = None if weight_C is None else weight_C[batch.label_B]
    if logits.dim() == 1:
        truth_B = batch.label_B.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, truth_B, weight_B)
    if weight_B is None:
        return F.cross_entropy(logits, _truth(batch, logits), label_smoothing=smoothing)
    loss_B = F.cross_entropy(logits, batch.label_B, label_smoothing=smoothing, reduction="none")
    return (loss_B * weight_B).mean()


def binary_loss(model: nn.Module, batch: Batch, *, weight_CJ: Tensor | None = None) -> Tensor:
    """Return the mean binary cross-entropy of the yes or no of each output; label_B holds label_BC.

    weight_C2 weighs the no and the yes of each label, and weight_C1 the rows of each rank.
    """
    return binary_cross_entropy(_answers(model, batch), batch, weight_CJ=weight_CJ)


def binary_cross_entropy(logits: Tensor, batch: Batch, *, weight_CJ: Tensor | None = None) -> Tensor:
    """Return what `binary_loss` does, of logits."""
    weight_BJ = None
    if weight_CJ is not None and weight_CJ.shape[1] == 2:
        weight_BJ = torch.where(batch.label_B > 0, weight_CJ[:, 1], weight_CJ[:, 0])
    elif weight_CJ is not None:
        weight_BJ = weight_CJ[batch.label_B.sum(dim=1).long()]
    return F.binary_cross_entropy_with_logits(logits, batch.label_B, weight_BJ)


def stars_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean squared error of the model's one output against (stars - 5.5) / 4.5; label_B holds the stars."""
    return stars_error(_answers(model, batch), batch)


def stars_error(logits: Tensor, batch: Batch) -> Tensor:
    """Return what `stars_loss` does, of outputs."""
    return F.mse_loss(logits, (batch.label_B - MIDDLE) / REACH)


def steps_loss(model: nn.Module, batch: Batch, *, smoothing: float = 0.0, weight_C: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of a row's label at each of its tokens, averaged over tokens and then over rows.

    For a model with `head: steps`; every row has the same weight, whatever its length, or that of its label.
    """
    assert isinstance(model, Classifier)
    logits = model.step_logits(batch.ids_BL, batch.length_B, batch.fold_B)
    n_rows, length = batch.ids_BL.shape
    is_token_BL = torch.arange(length, device=batch.length_B.device) < batch.length_B[:, None]
    weight_BL = is_token_BL / (batch.length_B[:, None] * n_rows)
    if weight_C is not None:
        weight_BL = weight_BL * weight_C[batch.label_B][:, None]
    label_BL = _truth(batch, logits)[:, None].expand(n_rows, length, *batch.label_B.shape[1:])
    if logits.dim() == 2:
        truth_BL = label_BL.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, truth_BL, weight_BL, reduction="sum")
    label_T = label_BL.flatten(0, 1)
    loss_T = F.cross_entropy(logits.flatten(0, 1), label_T, reduction="none", label_smoothing=smoothing)
    return torch.dot(loss_T, weight_BL.flatten().to(loss_T.dtype))  # @ would be rounded to autocast's dtype


def _answers(model: nn.Module, batch: Batch) -> Tensor:
    logits: Tensor = model(batch.ids_BL, batch.length_B, **({} if batch.fold_B is None else {"fold_B": batch.fold_B}))
    return logits


def _truth(batch: Batch, logits: Tensor) -> Tensor:
    """Return label_B; soft labels in the dtype of the logits, as cross-entropy needs them."""
    return batch.label_B.to(logits.dtype) if batch.label_B.is_floating_point() else batch.label_B
