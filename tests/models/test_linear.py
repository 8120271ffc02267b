from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_cli.config import schema
from sentiment_cli.models.layers.ngrams import Counted, count_ngrams
from sentiment_cli.models.linear import LinearClassifier

N_ENTRIES, UNKNOWN = 6, 1
Ngram = tuple[int, ...]
texts = st.lists(st.lists(st.integers(0, N_ENTRIES - 1), max_size=8), min_size=1, max_size=8)


def ngrams_of(row: list[int], longest: int, unknown_id: int = UNKNOWN) -> set[Ngram]:
    """The definition."""
    found = {tuple(row[i : i + n]) for n in range(1, longest + 1) for i in range(len(row) - n + 1)}
    return {ngram for ngram in found if 0 not in ngram and unknown_id not in ngram}


def counted_plainly(rows: list[list[int]], longest: int, min_count: int) -> dict[Ngram, list[int]]:
    standing = defaultdict(list)
    for i, row in enumerate(rows):
        for ngram in ngrams_of(row, longest):
            standing[ngram].append(i)
    return {ngram: where for ngram, where in standing.items() if len(where) >= min_count}


def count(rows: list[list[int]], longest: int, min_count: int, n_entries: int = N_ENTRIES) -> Counted:
    ids_T = np.array([token for row in rows for token in [*row, 0]], dtype=np.int64)
    row_T = np.repeat(np.arange(len(rows), dtype=np.int32), [len(row) + 1 for row in rows])
    return count_ngrams(ids_T, row_T, n_entries, UNKNOWN, longest=longest, min_count=min_count)


def ngram_of(feature: int, key_K: np.ndarray, n_entries: int) -> Ngram:
    """The n-gram with a number."""
    if feature < n_entries:
        return (feature,)
    shorter, last = divmod(int(key_K[feature - n_entries]), n_entries)
    return (*ngram_of(shorter, key_K, n_entries), last)


def decoded(counted: Counted, n_entries: int = N_ENTRIES) -> dict[Ngram, list[int]]:
    bounds = zip(counted.start_F1[:-1], counted.start_F1[1:], strict=True)
    rows = [counted.row_P[start:end].tolist() for start, end in bounds]
    names = [ngram_of(feature, counted.key_K, n_entries) for feature in range(len(rows))]
    assert len(set(names)) == len(names)
    return {name: where for name, where in zip(names, rows, strict=True) if where}


def model_of(counted: Counted, longest: int, n_labels: int = 2, n_entries: int = N_ENTRIES) -> LinearClassifier:
    """A model with these n-grams and random weights."""
    model = LinearClassifier(schema.Linear(ngrams=longest), n_entries, UNKNOWN, n_labels)
    generator = torch.Generator().manual_seed(0)
    model.keys = torch.from_numpy(counted.key_K)
    model.weight = torch.randn(len(counted.start_F1) - 1, model.n_logits, generator=generator)
    model.bias = torch.randn(model.n_logits, generator=generator)
    return model


def padded(rows: list[list[int]], width: int = 0, filling: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch in which an empty row is one padding token."""
    rows = [row or [0] for row in rows]
    width = max(width, *map(len, rows))
    ids_BL = torch.tensor([row + [filling] * (width - len(row)) for row in rows])
    return ids_BL, torch.tensor([len(row) for row in rows])


@settings(max_examples=100, deadline=None)
@given(texts, st.integers(1, 5), st.integers(1, 3))
def test_counting_finds_the_ngrams_and_their_rows(rows: list[list[int]], longest: int, min_count: int) -> None:
    counted = count(rows, longest, min_count)
    assert decoded(counted) == counted_plainly(rows, longest, min_count)
    assert (np.diff(counted.key_K) > 0).all()


@settings(max_examples=100, deadline=None)
@given(texts, texts, st.integers(1, 5), st.integers(1, 2), st.sampled_from([2, 3]))
def test_a_logit_is_the_sum_over_the_rows_own_ngrams(known, rows, longest: int, min_count: int, n_labels: int) -> None:
    counted = count(known, longest, min_count)
    model = model_of(counted, longest, n_labels)
    names = {ngram_of(f, counted.key_K, N_ENTRIES): f for f in range(len(model.weight))}
    expected_BC = torch.stack(
        [
            model.bias + model.weight[[names[ngram] for ngram in ngrams_of(row, longest) if ngram in names]].sum(0)
            for row in rows
        ]
    )
    found = model(*padded(rows))
    torch.testing.assert_close(found if n_labels > 2 else found[:, None], expected_BC, atol=1e-5, rtol=0)


def test_ngrams_of_any_length_share_no_number() -> None:
    """Two entries beside padding and unknown words: every text of up to five of them, each twice."""
    every = [[2 + (code >> i) % 2 for i in range(n)] for n in range(1, 6) for code in range(2**n)]
    found = decoded(count(every + every, 5, 1, n_entries=4), n_entries=4)
    assert len(found) == len(every)
    assert found == counted_plainly(every + every, 5, 1)


def test_large_vocabularies_are_exact_too() -> None:
    """A five-gram of such ids does not fit in 63 bits; the number of the four-gram before it and its last id do."""
    n_entries = 2**18
    rows = [[n_entries - 1 - i for i in range(5)], [n_entries - 1] * 5, [n_entries - 1 - i for i in range(5)]]
    counted = count(rows, 5, 1, n_entries)
    found = [ngram_of(n_entries + k, counted.key_K, n_entries) for k in range(len(counted.key_K))]
    assert sorted(ngram for ngram in found if len(ngram) == 5) == sorted({tuple(row) for row in rows})


def test_an_unknown_word_is_in_no_feature() -> None:
    counted = count([[2, UNKNOWN, 3], [2, UNKNOWN, 3]], 3, 1)
    assert decoded(counted) == {(2,): [0, 1], (3,): [0, 1]}
    model = model_of(counted, 3)
    torch.testing.assert_close(model(*padded([[UNKNOWN, UNKNOWN]])), model.bias)


def test_neighbours_and_padding_change_nothing() -> None:
    """Invariant 11."""
    rows = [[2, 3, 4, 5, 2, 3], [], [4], [5, 5, 5, 5, 5, 5, 5, 5], [2, 3]]
    model = model_of(count(rows, 3, 1), 3, 3)
    together_BC = model(*padded(rows))
    assert together_BC.std() > 1e-3
    wider_BC = model(*padded(rows, 30, filling=3))
    alone_BC = torch.cat([model(*padded([row])) for row in rows])
    torch.testing.assert_close(wider_BC, together_BC, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone_BC, together_BC, atol=1e-5, rtol=0)


def test_a_row_without_words_has_the_biases_logit() -> None:
    model = model_of(count([[2, 3]], 3, 1), 3)
    torch.testing.assert_close(model(*padded([[], [0, 0, 0]])), model.bias.expand(2))


@pytest.mark.parametrize("assign", [False, True])
def test_a_model_loads_ngrams_it_did_not_have(assign: bool) -> None:
    rows = [[2, 3, 4], [2, 3, 5]]
    trained = model_of(count(rows, 3, 1), 3)
    with torch.device("meta" if assign else "cpu"):
        fresh = LinearClassifier(schema.Linear(), N_ENTRIES, UNKNOWN, 2)
    fresh.load_state_dict(trained.state_dict(), strict=True, assign=assign)
    assert torch.equal(fresh(*padded(rows)), trained(*padded(rows)))
    with pytest.raises(RuntimeError, match="Missing key"):
        fresh.load_state_dict({"weight": trained.weight, "bias": trained.bias})
