"""BPTT streams: reviews laid out one after the other and read window by window (truncated back-propagation)."""

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sentiment_cli.config.schema import Language, Train
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.data.tokens.vocabulary import START_ID
from sentiment_cli.errors import Change, DataError
from sentiment_cli.training.loader import BatchLoader


class Window(NamedTuple):
    """The next window of each stream: ids_BL, one token wider than the input, padded with 0 at the end.

    label_BL holds the label of each token's review, from 1 on, or 0 for none. length_B is the number of tokens that are
    read, and predicted, in each row. stream_B is the number of a row's stream; rows of is_fresh_B start from zeros,
    because a review or the epoch begins there. mean_length_B, the same in each row, is the mean of length_B over the
    whole batch, for the loss of a micro-batch. host_length_B is length_B on the CPU, where it is read without waiting.
    """

    ids_BL: Tensor
    label_BL: Tensor
    length_B: Tensor
    stream_B: Tensor
    is_fresh_B: Tensor
    mean_length_B: Tensor
    host_length_B: Tensor


class Streams(NamedTuple):
    """Streams of whole windows: ids_SL and label_SL, one token longer than the input, and the lengths length_SW.

    The last token of a stream is the first one of the next.
    """

    ids_SL: NDArray[np.int32]
    label_SL: NDArray[np.int32]
    length_SW: NDArray[np.int64]


LayOut = Callable[[int], Streams]  # of an epoch


def read_streams(lay_out: LayOut, n_windows: Iterable[int], device: torch.device, settings: Train) -> BatchLoader:
    """Return the data loader of BPTT windows: each step reads the next window of every stream.

    `n_windows` is the number of windows of each epoch.
    """
    n_streams, _ = streams_of(settings)
    epoch_ends = list[int]()
    for end in itertools.accumulate(n_windows):
        epoch_ends.append(end if settings.max_steps is None else min(end, settings.max_steps))
        if epoch_ends[-1] == settings.max_steps:
            break
    starts = [0, *epoch_ends]
    laid_out = functools.lru_cache(maxsize=1)(lay_out)
    on_device = functools.lru_cache(maxsize=1)(lambda epoch: streams_on(device, laid_out(epoch)))

    def place_of(step: int) -> tuple[int, int]:
        epoch = bisect.bisect_right(epoch_ends, step)
        return epoch, step - starts[epoch]

    def batches(start: int) -> Iterator[Window]:
        for step in range(start, epoch_ends[-1]):
            epoch, i = place_of(step)
            yield window_of(on_device(epoch), laid_out(epoch).length_SW, i)

    def tokens(step: int) -> int:
        epoch, i = place_of(step)
        return int(laid_out(epoch).length_SW[:, i].sum())

    return BatchLoader(epoch_ends, batches, tokens, lambda step: [], n_streams)


def streams_of(settings: Train) -> tuple[int, int]:
    """Return the number of streams that a training reads, and the BPTT length (train.window)."""
    assert settings.batch_tokens is not None  # null is for classifiers alone
    return settings.batch_tokens // settings.window, settings.window


class DeviceStreams(NamedTuple):
    """Streams on the device, to which those of an epoch are copied at once."""

    ids_SL: Tensor
    label_SL: Tensor
    length_SW: Tensor


def streams_on(device: torch.device, streams: Streams) -> DeviceStreams:
    """Put streams on the device."""
    return DeviceStreams(*(torch.from_numpy(array).to(device) for array in streams))


def window_of(streams: DeviceStreams, host_length_SW: NDArray[np.int64], i: int) -> Window:
    """Return the i-th window of every stream."""
    window = (streams.ids_SL.shape[1] - 1) // streams.length_SW.shape[1]
    parts = (tokens_SL[:, i * window : (i + 1) * window + 1] for tokens_SL in (streams.ids_SL, streams.label_SL))
    ids_BL, label_BL = (part_BL.long() for part_BL in parts)
    length_B, host_length_B = streams.length_SW[:, i], torch.from_numpy(host_length_SW[:, i])
    stream_B = torch.arange(len(ids_BL), device=ids_BL.device)
    is_fresh_B = torch.ones_like(stream_B, dtype=torch.bool) if i == 0 else ids_BL[:, 0] == START_ID
    mean_length_B = length_B.float().mean().expand(len(ids_BL))
    return Window(ids_BL, label_BL, length_B, stream_B, is_fresh_B, mean_length_B, host_length_B)


def count_windows(packed: Packed, window: int) -> int:
    """Return the number of windows of all rows, each of which begins a window of its own."""
    return int(-(-(packed.length_N + 1) // window)[packed.length_N > 0].sum())


def lay_out_reviews(
    packed: Packed, order_N: NDArray[np.int64], n_streams: int, n_windows: int, window: int, language: Language
) -> Streams:
    """Concatenate the rows in this order and cut them into streams of `n_windows` windows; drop the remainder.

    Each row begins a window of its own with a start token, which is also its last target; padding fills its last
    window. With language.reverse each row is reversed.
    """
    length_N = packed.length_N[order_N]
    n_windows_N = -(-(length_N + 1) // window)
    start_N = (np.cumsum(n_windows_N) - n_windows_N) * window
    ids_T = np.zeros((max(int(n_windows_N.sum()), n_streams * n_windows)) * window + 1, dtype=np.int32)
    ids_T[start_N] = ids_T[start_N + length_N + 1] = START_ID
    position_T = np.repeat(start_N + 1, length_N) + _positions(length_N)
    ids_T[position_T] = tokens_of(packed, order_N, reverse=language.reverse)
    label_T = np.zeros_like(ids_T)
    own_label_N = (packed.label_N[order_N].astype(np.int32) + 1) * language.label
    label_T[: int(n_windows_N.sum()) * window] = np.repeat(own_label_N, n_windows_N * window)
    length_W = np.zeros(len(ids_T) // window, dtype=np.int64)
    length_W[: int(n_windows_N.sum())] = np.minimum(
        np.repeat(length_N + 1, n_windows_N) - _positions(n_windows_N) * window, window
    )
    length_SW = length_W[: n_streams * n_windows].reshape(n_streams, n_windows)
    ids_SL, label_SL = (_cut(tokens_T, n_streams, n_windows * window) for tokens_T in (ids_T, label_T))
    return Streams(ids_SL, label_SL, length_SW)


def tokens_of(packed: Packed, order_N: NDArray[np.int64], *, reverse: bool = False) -> NDArray[np.int32]:
    """Return the tokens of the rows in this order, each row reversed with `reverse`."""
    length_N = packed.length_N[order_N]
    position_T = _positions(length_N)
    if reverse:
        position_T = np.repeat(length_N, length_N) - 1 - position_T
    ids_T: NDArray[np.int32] = packed.ids_T[np.repeat(packed.starts_N1[order_N], length_N) + position_T]
    return ids_T


def _positions(count_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the concatenated ranges 0, 1, … below each count."""
    return np.arange(int(count_N.sum())) - np.repeat(np.cumsum(count_N) - count_N, count_N)


def lay_out_words(ids_T: NDArray[np.int32], settings: Train) -> Streams:
    """Cut words into streams of equal windows, without regard to where a row begins.

    The width is train.window or a little less, so that hardly a word is dropped.
    """
    n_streams, _ = streams_of(settings)
    n_windows = count_word_windows(len(ids_T), settings)
    width = len(ids_T) // (n_streams * n_windows)
    ids_SL = _cut(np.append(ids_T, ids_T[-1:]), n_streams, n_windows * width)
    return Streams(ids_SL, np.zeros_like(ids_SL), np.full((n_streams, n_windows), width))


def count_word_windows(n_words: int, settings: Train) -> int:
    """Return the number of windows of each stream. Raises DataError where there are too few words."""
    n_streams, window = streams_of(settings)
    check_enough(n_words, n_words, settings)
    return -(-n_words // (n_streams * window))


def _cut(tokens_T: NDArray[np.int32], n_streams: int, length: int) -> NDArray[np.int32]:
    step = tokens_T.itemsize
    return np.lib.stride_tricks.as_strided(tokens_T, (n_streams, length + 1), (length * step, step)).copy()


def check_enough(n_tokens: int, n_parts: int, settings: Train) -> None:
    """Raise DataError where there are fewer parts (windows or words) than streams."""
    n_streams, window = streams_of(settings)
    if n_parts < n_streams:
        raise DataError(
            f"the rows have {n_tokens:,} tokens, too few for {n_streams:,} streams of train.window {window}",
            Change("--set", f"train.batch_tokens={max(1, n_parts // 10) * window}"),
        )


def thin_out(packed: Packed, chance_V: NDArray[np.float64], generator: np.random.Generator) -> Packed:
    """Return the rows with each token kept by the probability of its word (subsampling of frequent words)."""
    is_kept_T = generator.random(len(packed.ids_T), dtype=np.float32) < chance_V[packed.ids_T]
    kept_T1 = np.concatenate([[0], np.cumsum(is_kept_T)])
    return dataclasses.replace(packed, ids_T=packed.ids_T[is_kept_T], starts_N1=kept_T1[packed.starts_N1])
