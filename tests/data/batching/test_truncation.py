import numpy as np
import pytest
import torch

from sentiment_cli.config.schema import Text
from sentiment_cli.data.batching.batches import gather
from sentiment_cli.data.batching.truncation import (
    SavedTextLimits,
    concatenate_rows,
    cut_batches,
    gather_rows,
    kept_positions,
    read_lengths,
)
from sentiment_cli.inference.torch_model import rows_of

SETTINGS = [
    Text(max_tokens=most, truncate=truncate, start=start)
    for most in (None, 1, 2, 5, 8)
    for truncate in ("head", "tail", "ends")
    for start in (False, True)
] + [Text(max_tokens=6, truncate=truncate, pad="left", pad_to=8) for truncate in ("head", "tail", "ends")]


@pytest.mark.parametrize("text", SETTINGS, ids=str)
def test_rows_are_gathered_in_numpy_as_in_torch(text: Text) -> None:
    generator = np.random.default_rng(0)
    rows_ids = [generator.integers(2, 99, n).astype(np.int32) for n in (0, 1, 2, 4, 5, 6, 7, 8, 9, 17, 0)]
    rows, length_N = rows_of(rows_ids)
    read_N = read_lengths(length_N, text)
    reading = SavedTextLimits.from_json(text.model_dump())
    for row_B in cut_batches(np.argsort(read_N, kind="stable"), read_N, 20):
        width = int(read_N[row_B].max())
        expected = gather(rows, torch.from_numpy(row_B), width, text)
        ids_BL, length_B = gather_rows(concatenate_rows(rows_ids), row_B, width, reading)
        assert (ids_BL.dtype, length_B.dtype) == (np.int64, np.int64)
        np.testing.assert_array_equal(ids_BL, expected.ids_BL)
        np.testing.assert_array_equal(length_B, expected.length_B)


@pytest.mark.parametrize("text", SETTINGS, ids=str)
def test_the_places_kept_are_of_the_tokens_that_are_gathered(text: Text) -> None:
    for n in (0, 1, 2, 4, 5, 6, 7, 8, 9, 17):
        ids_L = np.arange(2, 2 + n, dtype=np.int32)
        width = int(read_lengths(np.array([n]), text)[0])
        ids_BL, _ = gather_rows(concatenate_rows([ids_L]), np.array([0]), width, text)
        assert ids_L[kept_positions(n, text)].tolist() == [token for token in ids_BL[0].tolist() if token > 1]
