"""Batches of pairs of sequences: a source, and the target that is written from it."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sentiment_cli.config.schema import Text
from sentiment_cli.data.batching.batches import Batch, DeviceRows, gather
from sentiment_cli.data.batching.truncation import read_lengths
from sentiment_cli.data.corpus.pairs import END_ID, PackedPairs
from sentiment_cli.data.tokens.vocabulary import PAD_ID


class PairBatch(NamedTuple):
    """Sources and their targets: ids int64, padded with 0; lengths int64, at least 1; a target ends with the end token.

    mean_length_B, at each row, is the mean of target_length_B over the whole batch, so that a slice of rows knows it.
    The lengths in host_B2, of source and target, lie on the CPU, where they are read without waiting for a GPU.
    """

    source_BL: Tensor
    source_length_B: Tensor
    target_BM: Tensor
    target_length_B: Tensor
    mean_length_B: Tensor
    host_B2: Tensor


def pair_rows_on(device: torch.device, packed: PackedPairs) -> tuple[DeviceRows, DeviceRows]:
    """Put sources and targets on the device, once; their rows have no label, which is 0."""

    def rows(ids_T: NDArray[np.int32], starts_N1: NDArray[np.int64]) -> DeviceRows:
        ids_T = np.append(ids_T, np.int32(PAD_ID))  # for empty rows to point at
        arrays = (ids_T, starts_N1, np.zeros(len(starts_N1) - 1, np.int64))
        return DeviceRows(*(torch.from_numpy(array).to(device) for array in arrays))

    return rows(packed.source_T, packed.source_starts_N1), rows(packed.target_T, packed.target_starts_N1)


def lengths_read(packed: PackedPairs, text: Text) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many tokens a model reads of each source and, its end included, of each target."""
    source_N = read_lengths(np.diff(packed.source_starts_N1), text)
    return source_N, np.clip(np.diff(packed.target_starts_N1), 1, text.max_tokens)


def gather_pairs(
    sides: tuple[DeviceRows, DeviceRows],
    row_B: Tensor,
    widths: tuple[int, int],
    text: Text,
    *,
    reverse: bool = False,
    host_B2: Tensor | None = None,
) -> PairBatch:
    """Cut pairs into two rectangles of these widths; a source as `text` says, of a target its first max_tokens.

    A truncated target has no end token, so that the model does not learn to stop early. `reverse` reverses its words.
    """
    source = gather(sides[0], row_B, widths[0], text)
    plain = text.model_copy(update={"start": False, "truncate": "head", "pad": "none", "pad_to": None})
    target_BM, target_length_B = gather(sides[1], row_B, widths[1], plain)[:2]
    if reverse:
        has_end_B = target_BM.gather(1, target_length_B[:, None] - 1).squeeze(1) == END_ID
        target_BM = _turned(target_BM, target_length_B - has_end_B.long())
    return _pair(source, target_BM, target_length_B, host_B2)


def reconstruction(batch: Batch, *, reverse: bool = False, host_B: Tensor | None = None) -> PairBatch:
    """Make each row, which begins with the start token, its own target: the other tokens, then the end token.

    `reverse` reverses the target's words, but not its end token. `host_B` is length_B on the CPU, where it is known.
    """
    n_words_B = batch.length_B - 1
    target_BM = F.pad(batch.ids_BL[:, 1:], (0, 1), value=PAD_ID)
    if reverse:
        target_BM = _turned(target_BM, n_words_B)
    host_B2 = None if host_B is None else torch.stack([host_B, host_B], dim=1)
    return _pair(batch, target_BM.scatter(1, n_words_B[:, None], END_ID), batch.length_B, host_B2)


def _turned(ids_BM: Tensor, n_words_B: Tensor) -> Tensor:
    """Return rows with the given number of first words reversed."""
    column_M, n_words_B1 = torch.arange(ids_BM.shape[1], device=ids_BM.device), n_words_B[:, None]
    return ids_BM.gather(1, torch.where(column_M < n_words_B1, n_words_B1 - 1 - column_M, column_M))


def _pair(source: Batch, target_BM: Tensor, target_length_B: Tensor, host_B2: Tensor | None) -> PairBatch:
    mean_length_B = target_length_B.float().mean().expand(len(target_BM))
    if host_B2 is None:
        host_B2 = torch.stack([source.length_B, target_length_B], dim=1).cpu()
    return PairBatch(source.ids_BL, source.length_B, target_BM, target_length_B, mean_length_B, host_B2)
