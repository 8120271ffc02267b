"""Passes of a classifier over a batch, repeated with the same dropout and with perturbed word vectors."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sentiment_cli.models.classifier import Classifier
from sentiment_cli.training.gradients import seed_generators


class Pass(NamedTuple):
    """What a pass computed: the inputs of the encoder, what is added to the logits, pooled states and logits.

    `seed` is that of the dropout behind the inputs.
    """

    ids_BL: Tensor
    length_B: Tensor
    inputs_BLD: Tensor
    added: Tensor | None
    seed: int
    pooled_BD: Tensor
    logits: Tensor


def draw_seeds(n: int) -> list[int]:
    """Draw seeds from the generator of the CPU, which has its state from the step and the micro-batch."""
    seeds: list[int] = torch.randint(2**62, (n,)).tolist()
    return seeds


def read_batch(model: Classifier, ids_BL: Tensor, length_B: Tensor, fold_B: Tensor | None, seed: int) -> Pass:
    """Read a batch."""
    seed_generators(ids_BL.device, seed)
    inputs_BLD, added = model.inputs(ids_BL, length_B, fold_B)
    if not inputs_BLD.requires_grad:  # frozen vectors
        inputs_BLD = inputs_BLD.requires_grad_()
    (inner,) = draw_seeds(1)
    seed_generators(ids_BL.device, inner)
    pooled_BD = model.pool(ids_BL, length_B, inputs_BLD)
    return Pass(ids_BL, length_B, inputs_BLD, added, inner, pooled_BD, model.judge(pooled_BD, added))


def read_perturbed(model: Classifier, first: Pass, moved_BLE: Tensor) -> Tensor:
    """Return the logits of a batch with `moved_BLE` added to its word vectors, under the dropout of the first pass.

    The word vectors are the first columns of the inputs; the channels and region embeddings beside them stay.
    """
    beside = first.inputs_BLD.shape[2] - moved_BLE.shape[2]
    seed_generators(first.ids_BL.device, first.seed)
    moved_BLD = F.pad(moved_BLE.to(first.inputs_BLD.dtype), (0, beside))
    return model.judge(model.pool(first.ids_BL, first.length_B, first.inputs_BLD + moved_BLD), first.added)
