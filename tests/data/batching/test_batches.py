import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sentiment_cli.config.schema import Text, Train
from sentiment_cli.data.batching.batches import gather, plan_batches, plan_steps, rows_on
from sentiment_cli.data.batching.truncation import read_lengths
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.inference.torch_model import rows_of

ROWS = [np.arange(1, n + 1, dtype=np.int32) for n in (3, 10, 0, 1)]


def cut(text: Text, ids: list[NDArray[np.int32]] = ROWS) -> list[list[int]]:
    rows, length_N = rows_of(ids)
    read_N = read_lengths(length_N, text)
    batch = gather(rows, torch.arange(len(ids)), int(read_N.max()), text)
    assert batch.length_B.tolist() == read_N.tolist()
    assert batch.ids_BL.dtype == torch.long
    assert all(not batch.ids_BL[i, length:].any() for i, length in enumerate(read_N))  # padding behind every row
    return [batch.ids_BL[i, :length].tolist() for i, length in enumerate(read_N)]


@pytest.mark.parametrize(
    ("truncate", "long_row"),
    [("head", [1, 2, 3, 4, 5, 6, 7, 8]), ("tail", [3, 4, 5, 6, 7, 8, 9, 10]), ("ends", [1, 2, 5, 6, 7, 8, 9, 10])],
)
def test_gather_cuts_long_rows_and_leaves_short_ones(truncate, long_row) -> None:
    assert cut(Text(max_tokens=8, truncate=truncate)) == [[1, 2, 3], long_row, [0], [1]]


def test_gather_without_a_limit_reads_whole_rows() -> None:
    assert cut(Text(max_tokens=None)) == [[1, 2, 3], list(range(1, 11)), [0], [1]]


def test_left_padding_is_part_of_the_row() -> None:
    text = Text(max_tokens=5, truncate="head", pad="left", pad_to=5)
    assert cut(text) == [[0, 0, 1, 2, 3], [1, 2, 3, 4, 5], [0] * 5, [0, 0, 0, 0, 1]]


def test_plan_is_a_pure_function_of_seed_and_epoch() -> None:
    length_N = np.random.default_rng(0).integers(1, 400, 3000)

    def plan(seed: int, epoch: int) -> list[list[int]]:
        return [rows.tolist() for rows in plan_batches(length_N, 4096, seed, epoch)]

    torch.manual_seed(1)
    np.random.seed(1)
    first = plan(0, 0)
    torch.manual_seed(2)
    np.random.seed(2)
    assert plan(0, 0) == first
    assert plan(0, 1) != first
    assert plan(1, 0) != first


@pytest.mark.parametrize("batch_tokens", [400, 4096, 10**9])
def test_plan_reads_every_row_once_within_the_budget(batch_tokens: int) -> None:
    length_N = np.random.default_rng(0).integers(1, 401, 3000)
    batches = plan_batches(length_N, batch_tokens, 0, 0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(3000))
    assert max(len(rows) * length_N[rows].max() for rows in batches) <= batch_tokens
    padded = sum(len(rows) * int(length_N[rows].max()) for rows in batches)
    if batch_tokens == 4096:
        assert length_N.sum() / padded > 0.9  # bucketing keeps padding under a tenth


def test_a_row_longer_than_the_budget_is_a_batch_by_itself() -> None:
    assert [rows.tolist() for rows in plan_batches(np.array([9]), 4, 0, 0)] == [[0]]
    assert plan_batches(np.array([], dtype=np.int64), 4, 0, 0) == []


def test_rows_of_equal_length_make_batches_of_equal_size() -> None:
    sizes = sorted(len(rows) for rows in plan_batches(np.full(100, 512), 16_384, 0, 0))
    assert sizes == [4, 32, 32, 32]


def test_the_plan_leaves_out_empty_rows_and_stops_at_max_steps() -> None:
    length_N = np.array([5, 0, 7, 3])
    whole = plan_steps(length_N, Train(epochs=3, batch_tokens=7, max_steps=None), 0)
    assert sorted(np.concatenate(whole.rows[: whole.epoch_ends[0]]).tolist()) == [0, 2, 3]
    assert len(whole.epoch_ends) == 3
    short = plan_steps(length_N, Train(epochs=3, batch_tokens=7, max_steps=4), 0)
    assert short.n_steps == 4
    assert short.epoch_ends == [whole.epoch_ends[0], 4]


@pytest.mark.parametrize(
    ("truncate", "max_tokens", "long_row"),
    [
        ("head", 4, [1, 10, 20, 30]),
        ("tail", 4, [70, 80, 90, 100]),
        ("ends", 4, [1, 80, 90, 100]),
        ("ends", 8, [1, 10, 50, 60, 70, 80, 90, 100]),
        ("tail", 10, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
        ("tail", 11, [1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
    ],
)
def test_the_start_token_comes_first_and_is_cut_off_with_the_start(truncate, max_tokens, long_row) -> None:
    text = Text(max_tokens=max_tokens, truncate=truncate, start=True)
    rows = [row * 10 for row in ROWS]
    assert cut(text, rows) == [[1, 10, 20, 30], long_row, [1], [1, 10]]


def test_rows_that_begin_with_a_start_token_are_read_whole_without_a_limit() -> None:
    assert cut(Text(max_tokens=None, start=True), [row * 10 for row in ROWS[:1]]) == [[1, 10, 20, 30]]


def keras_pad_sequences(sequences: list[list[int]], maxlen: int) -> list[list[int]]:
    """Keep the last `maxlen` of each and pad on the left, as keras.utils.pad_sequences does unless told otherwise."""
    return [[0] * (maxlen - len(row[-maxlen:])) + row[-maxlen:] for row in sequences]


def test_rows_are_those_of_keras() -> None:
    """load_data puts start_char 1 before each review, and pad_sequences then cuts it off the long ones."""
    reviews = [[14, 22, 16], list(range(10, 20)), [], [7], [5, 6, 7, 8], [5, 6, 7, 8, 9]]
    text = Text(max_tokens=5, truncate="tail", pad="left", pad_to=5, start=True)
    expected = keras_pad_sequences([[1, *review] for review in reviews], 5)
    assert expected[:2] == [[0, 1, 14, 22, 16], [15, 16, 17, 18, 19]]
    assert cut(text, [np.array(review, dtype=np.int32) for review in reviews]) == expected


@pytest.mark.parametrize("target", ["label", "stars"])
def test_rows_carry_what_is_learnt(target: str) -> None:
    column = np.zeros(2, dtype=np.int64)
    packed = Packed(np.array([5, 6, 7], np.int32), np.array([0, 2, 3]), column + 1, column + 9, column, column > 0)
    batch = gather(rows_on(torch.device("cpu"), packed, target), torch.tensor([1, 0]), 2, Text())
    assert batch.label_B.tolist() == ([1, 1] if target == "label" else [9, 9])
    assert batch.ids_BL.tolist() == [[7, 0], [5, 6]]
