"""Adversarial and virtual adversarial training on normalized word vectors (Miyato, Dai & Goodfellow 2017).

The paper normalizes the vectors: over the words of the training text each component has mean 0 and deviation 1.
Otherwise the network learns larger vectors, compared to which a perturbation of fixed length is small. Here the
perturbation is multiplied by the standard deviations instead. To move a normalized vector by r is to move the vector
that it was made from by r times the standard deviations, so the network itself stays as it is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sentiment_cli.data.batching.batches import Batch
from sentiment_cli.data.corpus.targets import TargetName, is_binary
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.training.losses.labels import LogitLoss
from sentiment_cli.training.losses.passes import Pass, read_perturbed

# Loss scaling of the gradients that give a direction, whose length does not matter: fp16 would round small ones to 0.
_SCALE = 1024.0


def adversarial_loss(
    model: Classifier, first: Pass, batch: Batch, loss: LogitLoss, *, epsilon: float, spread_E: Tensor
) -> Tensor:
    """Return the loss of the labels where the word vectors of each row are moved by epsilon up its gradient.

    `spread_E` are the standard deviations of the vectors' components.
    """
    total = loss(first.logits, batch) * len(batch.length_B) * _SCALE
    (grad_BLD,) = torch.autograd.grad(total, first.inputs_BLD, retain_graph=True)
    moved_BLE = _of_length(grad_BLD[..., : len(spread_E)] * spread_E, epsilon)
    return loss(read_perturbed(model, first, moved_BLE * spread_E), batch)


def virtual_adversarial_loss(
    model: Classifier, first: Pass, target: TargetName, *, epsilon: float, spread_E: Tensor
) -> Tensor:
    """Return the mean divergence of a row's answer from the first one, where its vectors are moved most harmfully.

    The direction is one step of power iteration towards the first eigenvector of the divergence's curvature. This is
    J' F J with the logits' Jacobian J and their Fisher information F, so that a random direction d becomes J' F a with
    a = J d. Here a is what is drawn: one backward pass, where the paper takes finite differences of a pass at a small
    step, in which half precision leaves nothing. Of two labels J' F J has one eigenvector of an eigenvalue above 0, and
    it is found. The first answer is a constant.
    """
    answer = first.logits.detach()
    drawn = _through_fisher(answer, torch.randn_like(answer), target)
    (grad_BLD,) = torch.autograd.grad((first.logits * drawn).sum() * _SCALE, first.inputs_BLD, retain_graph=True)
    moved_BLE = _of_length(grad_BLD[..., : len(spread_E)] * spread_E, epsilon)
    return divergence(answer, read_perturbed(model, first, moved_BLE * spread_E), target).mean()


def _through_fisher(logits: Tensor, values: Tensor, target: TargetName) -> Tensor:
    """Return the Fisher information of the logits times the values, each row divided by its greatest."""
    if target != "stars":
        if logits.dim() == 1 or is_binary(target):
            values = torch.sigmoid(logits) * torch.sigmoid(-logits) * values
        else:
            share_BC = logits.softmax(dim=1)
            values = share_BC * (values - (share_BC * values).sum(dim=1, keepdim=True))
    greatest = values.abs() if values.dim() == 1 else values.abs().amax(dim=1, keepdim=True)
    return values / greatest.clamp(min=torch.finfo(torch.float32).tiny)


def divergence(logits: Tensor, other: Tensor, target: TargetName) -> Tensor:
    """Return for each row the Kullback-Leibler divergence of the other answer from the first, in nats.

    Of several yes and no (targets multilabel and ordinal) it is the mean over them, as their loss is. Of star ratings
    it is the squared difference: twice the divergence of normal distributions of variance 1 around them.
    """
    if target == "stars":
        return (logits - other).square()
    if logits.dim() == 1 or is_binary(target):
        yes, no = (torch.sigmoid(way) * (F.logsigmoid(way) - F.logsigmoid(to)) for way, to in _both(logits, other))
        return yes + no if logits.dim() == 1 else (yes + no).mean(dim=1)
    log_BC, other_BC = logits.log_softmax(dim=1), other.log_softmax(dim=1)
    return (log_BC.exp() * (log_BC - other_BC)).sum(dim=1)


def spread_of(vectors_VE: Tensor, share_V: Tensor) -> Tensor:
    """Return the standard deviation of each component of the word vectors, over words that make up these shares."""
    vectors_VE = vectors_VE.detach()
    with torch.autocast(vectors_VE.device.type, enabled=False):
        mean_E = share_V @ vectors_VE
        return (share_V @ vectors_VE.square() - mean_E.square()).clamp(min=0).sqrt()


def _both(logits: Tensor, other: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return (logits, other), (-logits, -other)


def _of_length(grad_BLE: Tensor, norm: float) -> Tensor:
    """Scale each row's gradient, which is zero at padding, to this L2 norm; a row without a gradient stays zero."""
    grad_BLE, tiny = grad_BLE.float(), torch.finfo(torch.float32).tiny
    grad_BLE = grad_BLE / grad_BLE.abs().amax(dim=(1, 2), keepdim=True).clamp(min=tiny)  # its squares do not vanish
    moved_BLE: Tensor = norm * grad_BLE / grad_BLE.flatten(1).norm(dim=1)[:, None, None].clamp(min=tiny)
    return moved_BLE
