"""Batches of token ids: which rows, as a pure function of settings and seed, and cut by one gather on the device."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sentiment_cli.config.schema import Experiment, Text, Train
from sentiment_cli.data.batching.truncation import cut_batches
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.data.corpus.targets import TargetName, codes_of
from sentiment_cli.data.tokens.vocabulary import PAD_ID, START_ID
from sentiment_cli.errors import DataError

# Rows of similar length share a batch; among this many batches' worth of rows the order stays random.
_BATCHES_SORTED_TOGETHER = 50


class Batch(NamedTuple):
    """ids_BL int64, padded with 0; length_B int64, at least 1; label_B int64, what is learnt: labels or stars.

    Where a teacher's answers are learnt, label_B is float32: the probability of the second of two labels, or label_BC.
    Of the targets multilabel and ordinal it is label_BC, the yes and no of each output as float32.
    fold_B, of a model with a wide part, says which of its linear models a row reads (`models.wide`).

    Terms beside the loss of the labels (`training.losses`) read the rest: stars_B the star ratings, 0 where a row has
    none, ramp_B the share of the terms' weights that counts at this step, the same for all rows, and unlabelled_BL the
    ids of as many unlabelled rows, of lengths unlabelled_length_B.
    """

    ids_BL: Tensor
    length_B: Tensor
    label_B: Tensor
    fold_B: Tensor | None = None
    stars_B: Tensor | None = None
    ramp_B: Tensor | None = None
    unlabelled_BL: Tensor | None = None
    unlabelled_length_B: Tensor | None = None


class DeviceRows(NamedTuple):
    """A split's rows on the device, ready to be cut: ids_T int32, starts_N1 int64, label_N and fold_N as in a batch."""

    ids_T: Tensor
    starts_N1: Tensor
    label_N: Tensor
    code_KC: Tensor | None = None  # what a batch has in place of the number of a label, or of a set of labels
    fold_N: Tensor | None = None
    stars_N: Tensor | None = None


def rows_on(device: torch.device, packed: Packed, target: TargetName = "label", n_labels: int = 0) -> DeviceRows:
    """Put a split on the device, once, with one padding token behind it for empty rows to point at.

    `target` says what label_N is to hold: the star ratings or, in each batch, the labels as that target has them.
    """
    ids_T = torch.from_numpy(np.append(packed.ids_T, np.int32(PAD_ID))).to(device)
    label_N = torch.from_numpy(packed.stars_N if target == "stars" else packed.label_N).to(device)
    rows = DeviceRows(ids_T, torch.from_numpy(packed.starts_N1).to(device), label_N)
    code_KC = codes_of(target, n_labels, packed.sets_KC)
    if code_KC is None:
        return rows
    return rows._replace(code_KC=torch.from_numpy(code_KC.astype(np.float32)).to(device))


def gather(rows: DeviceRows, row_B: Tensor, width: int, text: Text) -> Batch:
    """Cut rows out of the flat token array into a rectangle `width` tokens wide.

    With `text.start` a row begins with that token. Longer rows than `text.max_tokens` then lose their end, start or
    middle (`text.truncate`); the start token goes with the start. With `text.pad: left` the padding is on the left and
    belongs to the row; otherwise it is on the right and belongs to nobody.
    """
    start_B, end_B = rows.starts_N1[row_B] - int(text.start), rows.starts_N1[row_B + 1]
    full_B = end_B - start_B
    kept_B = full_B if text.max_tokens is None else full_B.clamp(max=text.max_tokens)
    column_L = torch.arange(width, device=row_B.device)
    if text.pad_to is None:
        length_B, column_BL = kept_B.clamp(min=1), column_L.expand(len(row_B), width)
    else:
        length_B, column_BL = torch.full_like(kept_B, width), column_L - (width - kept_B)[:, None]
    inside_BL = (column_BL >= 0) & (column_BL < kept_B[:, None])
    position_BL = start_B[:, None] + column_BL
    if text.max_tokens is not None and text.truncate != "head":
        head = 0 if text.truncate == "tail" else text.max_tokens // 4
        position_BL = position_BL + (column_BL >= head) * (full_B - kept_B)[:, None]
    ids_BL = rows.ids_T[torch.where(inside_BL, position_BL, -1)].masked_fill(~inside_BL, PAD_ID)
    if text.start:  # in the packed rows its place holds the last token of the row before
        ids_BL = ids_BL.masked_fill(inside_BL & (position_BL == start_B[:, None]), START_ID)
    label_B, fold_B = rows.label_N[row_B], None if rows.fold_N is None else rows.fold_N[row_B]
    stars_B = None if rows.stars_N is None else rows.stars_N[row_B]
    return Batch(ids_BL.long(), length_B, label_B if rows.code_KC is None else rows.code_KC[label_B], fold_B, stars_B)


def plan_batches(length_N: NDArray[np.int64], batch_tokens: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return the rows of each batch of an epoch: every row once, at most `batch_tokens` = rows × longest row each.

    A pure function of its arguments. Rows are shuffled, sorted by length within large pieces, cut, and the batches
    shuffled again.
    """
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(length_N))
    piece = max(1, _BATCHES_SORTED_TOGETHER * batch_tokens * len(length_N) // max(1, int(length_N.sum())))
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), piece):
        rows = order[start : start + piece]
        batches += cut_batches(rows[np.argsort(length_N[rows], kind="stable")], length_N, batch_tokens)
    return [batches[i] for i in generator.permutation(len(batches))]


@dataclass(frozen=True)
class Plan:
    """The epochs' batches one after the other, cut off at train.max_steps."""

    rows: list[NDArray[np.int64]]
    epoch_ends: list[int]

    @property
    def n_steps(self) -> int:
        return len(self.rows)

    def rows_on(self, device: torch.device, start: int = 0) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Yield the rows of each step from `start` on, also on the device, to which an epoch's are copied at once.

        A copy for each step would wait each time until the GPU has taken the step before.
        """
        begin = 0
        for end in self.epoch_ends:
            steps = self.rows[max(begin, start) : end]
            begin = end
            if steps:
                row_N = torch.from_numpy(np.concatenate(steps)).to(device)
                yield from zip(steps, torch.split(row_N, [len(row_B) for row_B in steps]), strict=True)


def plan_steps(length_N: NDArray[np.int64], settings: Train, seed: int) -> Plan:
    """Plan every step of the run. Rows without a token (length 0) are left out of training.

    Raises DataError where no row is left.
    """
    assert settings.epochs is not None  # where they follow from the data, `fit_settings` has set both
    assert settings.batch_tokens is not None
    row_N = np.flatnonzero(length_N)
    if not len(row_N):
        raise DataError("no row of training has a token, so there is nothing to learn from")
    rows: list[NDArray[np.int64]] = []
    epoch_ends = []
    for epoch in range(settings.epochs):
        rows += [row_N[batch] for batch in plan_batches(length_N[row_N], settings.batch_tokens, seed, epoch)]
        epoch_ends.append(len(rows))
        if settings.max_steps is not None and len(rows) >= settings.max_steps:
            epoch_ends[-1] = settings.max_steps
            return Plan(rows[: settings.max_steps], epoch_ends)
    return Plan(rows, epoch_ends)


def cut(
    plan: Plan, rows: DeviceRows, read_N: NDArray[np.int64], experiment: Experiment, start: int = 0
) -> Iterator[Batch]:
    """Cut the planned batches, from step `start` on, out of the rows on their device."""
    for row_B, on_device_B in plan.rows_on(rows.starts_N1.device, start):
        yield gather(rows, on_device_B, int(read_N[row_B].max()), experiment.text)
