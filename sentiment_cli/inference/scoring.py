"""Rows of token ids through a model, those of like length together."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.batching.truncation import TextLimits, concatenate_rows, cut_batches, gather_rows, read_lengths
from sentiment_cli.onnx.runtime import ScoreFn
from sentiment_cli.storage.store import IntegrityError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

# Rows times width of one batch. With 16,384 the default LSTM takes a tenth to a third longer a row on one core, where
# its values leave the caches, and about as long on two; linear models take up to a seventh less. At 64 texts of 250
# tokens a batch of 16,384 takes 100 MB, this one 10 MB.
_BATCH_TOKENS = 2_048
_MOST_THREADS = 8  # each computes a batch of its own; beyond, Python's lock and `predict --workers` decide


def score_ids(
    answers: ScoreFn,
    rows_ids: Sequence[NDArray[np.int32]],
    text: TextLimits,
    n_logits: int,
    *,
    n_threads: int = 1,
    is_urgent: bool = False,
) -> NDArray[np.float64]:
    """Return the outputs of rows of all their token ids, in their order: logit_N, logit_NC, or stars on their scale.

    Truncation, start token and padding are as the settings have it. Up to `n_threads` batches are computed at the same
    time; `answers` must then be thread-safe. With `is_urgent` the rows are divided among the threads. Otherwise the
    batches do not depend on the number of threads, so that every machine computes the same. Raises IntegrityError for
    answers of other shapes.
    """
    rows = concatenate_rows(rows_ids)
    read_N = read_lengths(rows.length_N, text)
    outputs = np.zeros(len(read_N) if n_logits == 1 else (len(read_N), n_logits))

    def next_batch() -> NDArray[np.int64] | None:
        try:
            return batches.pop()
        except IndexError:
            return None

    def score_all() -> None:
        try:
            while (row_B := next_batch()) is not None:
                found = answers(*gather_rows(rows, row_B, int(read_N[row_B].max()), text))
                if found.shape != (wanted := (len(row_B), *outputs.shape[1:])):
                    said = f"the model answers with numbers of the shape {found.shape}, where {wanted} is meant"
                    raise IntegrityError(said)
                outputs[row_B] = found
        except BaseException:
            batches.clear()  # after an error or a signal, nobody begins another one
            raise

    n_threads = min(n_threads, _MOST_THREADS)
    batch_tokens = _BATCH_TOKENS
    if is_urgent and len(read_N):
        batch_tokens = min(batch_tokens, -(-len(read_N) // n_threads) * int(read_N.max()))
    batches = list(cut_batches(np.argsort(read_N, kind="stable"), read_N, batch_tokens))
    helpers = [_pool(n_threads - 1).submit(score_all) for _ in range(min(n_threads, len(batches)) - 1)]
    score_all()
    for helper in helpers:
        helper.result()
    return outputs


@functools.cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # a single batch needs none

    return ThreadPoolExecutor(n_threads, "score")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork has the pool without its threads
