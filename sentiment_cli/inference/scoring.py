"""Rows of token ids through a model, those of like length together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.batching.truncation import TextLimits, concatenate_rows, cut_batches, gather_rows, read_lengths
from sentiment_cli.onnx.runtime import ScoreFn
from sentiment_cli.storage.store import IntegrityError

# Rows times width of one batch. With 16,384 the default LSTM takes a tenth to a third longer a row on one core, where
# its values leave the caches, and about as long on two; linear models take up to a seventh less. At 64 texts of 250
# tokens a batch of 16,384 takes 100 MB, this one 10 MB.
_BATCH_TOKENS = 2_048


def score_ids(
    answers: ScoreFn, rows_ids: Sequence[NDArray[np.int32]], text: TextLimits, n_logits: int
) -> NDArray[np.float64]:
    """Return the outputs of rows of all their token ids, in their order: logit_N, logit_NC, or stars on their scale.

    Truncation, start token and padding are as the settings have it. Raises IntegrityError for answers of other shapes.
    """
    rows = concatenate_rows(rows_ids)
    read_N = read_lengths(rows.length_N, text)
    outputs = np.zeros(len(read_N) if n_logits == 1 else (len(read_N), n_logits))
    for row_B in cut_batches(np.argsort(read_N, kind="stable"), read_N, _BATCH_TOKENS):
        found = answers(*gather_rows(rows, row_B, int(read_N[row_B].max()), text))
        if found.shape != (wanted := (len(row_B), *outputs.shape[1:])):
            raise IntegrityError(f"the model answers with numbers of the shape {found.shape}, where {wanted} is meant")
        outputs[row_B] = found
    return outputs
