"""What the steps of a training read: batches as a pure function of the step, from rows or from streams of rows."""

import bisect
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sentiment_cli.config.schema import Experiment, Language
from sentiment_cli.data.batches import Plan
from sentiment_cli.data.corpus import Packed
from sentiment_cli.data.reading import START_ID
from sentiment_cli.errors import DataError

Batches = Callable[[int], Iterator[Any]]  # from a step on; each a NamedTuple of tensors with a row for each of its rows


class Window(NamedTuple):
    """The next tokens of streams: ids_BL, one wider than what is read, and which stream each row is.

    label_BL says of each token what is told of its review: its label, from 1 on, or 0.
    """

    ids_BL: Tensor
    label_BL: Tensor
    stream_B: Tensor


class Material(NamedTuple):
    """The steps of all epochs; `batches` starts at any of them, `tokens` counts those that a step reads.

    `names` says which rows a step reads, for who looks into one that went wrong; `most_rows` is of the largest batch.
    """

    epoch_ends: list[int]
    batches: Batches
    tokens: Callable[[int], int]
    names: Callable[[int], list[str]]
    most_rows: int

    @property
    def n_steps(self) -> int:
        return self.epoch_ends[-1]

    def tokens_between(self, start: int, end: int) -> int:
        return sum(map(self.tokens, range(start, end)))


def read_rows(plan: Plan, batches: Batches, read_N: NDArray[np.int64], ids: list[str]) -> Material:
    """Return the planned batches of rows; `read_N` is how much of each a model reads, `ids` their names."""
    return Material(
        plan.epoch_ends,
        batches,
        lambda step: int(read_N[plan.rows[step]].sum()),
        lambda step: [ids[row] for row in plan.rows[step]],
        max(len(row_B) for row_B in plan.rows),
    )


def read_streams(
    packed: Packed,
    ids: list[str],
    device: torch.device,
    experiment: Experiment,
    chance_V: NDArray[np.float64] | None = None,
) -> Material:
    """Return windows of streams: an epoch's rows one after the other, cut into as many streams as a batch has rows.

    Each epoch has an order of its own, and each row a start token before it. A step reads the next train.window tokens
    of every stream and, behind them, the one that is to be predicted last. What an epoch's tokens leave over, fewer
    than there are streams, is not read. With `chance_V` a token is kept in an epoch by the chance of its word, and no
    start token is read.
    """
    settings, seed, language = experiment.train, experiment.seed, experiment.model.language
    window, n_streams = settings.window, settings.batch_tokens // settings.window
    has_starts = chance_V is None
    row_N = np.flatnonzero(packed.length_N)

    def order_of(epoch: int) -> tuple[NDArray[np.int64], np.random.Generator]:
        generator = np.random.default_rng((seed, epoch))
        return generator.permutation(row_N), generator

    def epoch_of(epoch: int) -> tuple[Packed, NDArray[np.int64]]:
        order_N, generator = order_of(epoch)
        return (packed if chance_V is None else thin_out(packed, chance_V, generator)), order_N

    lengths, epoch_ends = list[int](), list[int]()
    for epoch in range(settings.epochs):
        n_tokens = len((epoch_of(epoch)[0] if chance_V is not None else packed).ids_T) + has_starts * len(row_N)
        if n_tokens <= n_streams:
            raise DataError(
                f"the rows have {n_tokens:,} tokens, too few for {n_streams:,} streams of train.window {window}",
                f"--set train.batch_tokens={max(window, n_tokens // 10 // window * window)}",
            )
        lengths.append((n_tokens - 1) // n_streams)
        epoch_ends.append((epoch_ends[-1] if epoch else 0) - -lengths[-1] // window)
        if settings.max_steps is not None and epoch_ends[-1] >= settings.max_steps:
            epoch_ends[-1] = settings.max_steps
            break
    starts = [0, *epoch_ends]

    def width(step: int) -> int:
        epoch = bisect.bisect_right(epoch_ends, step)
        return min(window, lengths[epoch] - (step - starts[epoch]) * window)

    def batches(start: int) -> Iterator[Window]:
        stream_B, laid_out = torch.arange(n_streams, device=device), -1
        for step in range(start, epoch_ends[-1]):
            epoch = bisect.bisect_right(epoch_ends, step)
            if epoch != laid_out:
                laid_out, (kept, order_N) = epoch, epoch_of(epoch)
                streams = lay_out(kept, order_N, n_streams, lengths[epoch], language, has_starts=has_starts)
            first = (step - starts[epoch]) * window
            parts = (tokens_SL[:, first : first + width(step) + 1] for tokens_SL in streams)
            ids_BL, label_BL = (torch.from_numpy(part_BL).to(device).long() for part_BL in parts)
            yield Window(ids_BL, label_BL, stream_B)

    def names(step: int) -> list[str]:
        return [ids[row] for row in order_of(bisect.bisect_right(epoch_ends, step))[0][:1]]  # the first of the epoch

    return Material(epoch_ends, batches, lambda step: n_streams * width(step), names, n_streams)


def thin_out(packed: Packed, chance_V: NDArray[np.float64], generator: np.random.Generator) -> Packed:
    """Return the rows with each token kept by the chance of its word."""
    is_kept_T = generator.random(len(packed.ids_T), dtype=np.float32) < chance_V[packed.ids_T]
    kept_T1 = np.concatenate([[0], np.cumsum(is_kept_T)])
    return dataclasses.replace(packed, ids_T=packed.ids_T[is_kept_T], starts_N1=kept_T1[packed.starts_N1])


def lay_out(
    packed: Packed,
    order_N: NDArray[np.int64],
    n_streams: int,
    length: int,
    language: Language,
    *,
    has_starts: bool = True,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return ids_SL, `length` + 1 tokens of each stream: the rows in that order, a start token before each, if wanted.

    A stream's last token is the next one's first. With language.reverse each row stands from its end to its start.
    Beside them label_SL, what a Window says of each token; 0 everywhere without language.label.
    """
    length_N = packed.length_N[order_N]
    taken_N = length_N + has_starts
    end_N = np.cumsum(taken_N)
    # Where each token comes from, its place within its row; that of the start token is -1.
    place_T = np.arange(end_N[-1]) - np.repeat(end_N - length_N, taken_N)
    ids_T = np.full(len(place_T), START_ID, dtype=np.int32)
    is_token_T = place_T >= 0
    if language.reverse:
        place_T = np.repeat(length_N, taken_N) - 1 - place_T
    source_T = np.repeat(packed.starts_N1[order_N], taken_N) + place_T
    ids_T[is_token_T] = packed.ids_T[source_T[is_token_T]]
    label_T = np.repeat((packed.label_N[order_N].astype(np.int32) + 1) * language.label, taken_N)
    return _cut(ids_T, n_streams, length), _cut(label_T, n_streams, length)


def _cut(tokens_T: NDArray[np.int32], n_streams: int, length: int) -> NDArray[np.int32]:
    step = tokens_T.itemsize
    return np.lib.stride_tricks.as_strided(tokens_T, (n_streams, length + 1), (length * step, step)).copy()


def join_rows(one: Packed, other: Packed) -> Packed:
    """Return the rows of both."""
    fields = [field.name for field in dataclasses.fields(one)]
    joined = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in fields}
    joined["starts_N1"] = np.concatenate([one.starts_N1, one.starts_N1[-1] + other.starts_N1[1:]])
    return Packed(**joined)


def select_rows(packed: Packed, is_wanted_N: NDArray[np.bool_]) -> Packed:
    """Return the rows that are wanted."""
    fields = [field.name for field in dataclasses.fields(packed) if field.name not in ("ids_T", "starts_N1")]
    rows = {name: getattr(packed, name)[is_wanted_N] for name in fields}
    is_wanted_T = np.repeat(is_wanted_N, packed.length_N)
    starts_N1 = np.concatenate([[0], np.cumsum(packed.length_N[is_wanted_N])])
    return Packed(ids_T=packed.ids_T[is_wanted_T], starts_N1=starts_N1, **rows)
