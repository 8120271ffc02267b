"""BPTT streams against plain loops: their tokens, their order, and the windows of each step."""

import itertools

import numpy as np
import pytest
import torch

from sentiment_cli.config.schema import Experiment, Language, Model, Text, Train
from sentiment_cli.data.corpus.packed import Packed, join_rows, select_rows
from sentiment_cli.data.tokens.vocabulary import START_ID
from sentiment_cli.errors import DataError
from sentiment_cli.training.loader import BatchLoader
from sentiment_cli.training.tasks.bptt_streams import (
    Streams,
    check_enough,
    count_windows,
    count_word_windows,
    lay_out_reviews,
    lay_out_words,
    read_streams,
    streams_of,
    thin_out,
    tokens_of,
)

LANGUAGES = [Language(reverse=reverse, label=label) for reverse, label in itertools.product((False, True), repeat=2)]
CPU = torch.device("cpu")


def packed_of(rows: list[list[int]], labels: list[int] | None = None) -> Packed:
    n = len(rows)
    column_N = np.arange(n)
    return Packed(
        ids_T=np.array(list(itertools.chain(*rows)), np.int32),
        starts_N1=np.cumsum([0, *map(len, rows)]),
        label_N=np.array(labels if labels is not None else [-1] * n),
        stars_N=column_N,
        group_N=column_N + 100,
        in_train_N=column_N % 2 == 0,
    )


def draw_rows(seed: int, n: int = 40) -> tuple[Packed, list[list[int]], list[int]]:
    generator = np.random.default_rng(seed)
    rows = [generator.integers(3, 30, size).tolist() for size in generator.integers(0, 12, n)]
    labels = generator.integers(-1, 3, n).tolist()
    return packed_of(rows, labels), rows, labels


def blocks_of(rows: list[list[int]], order: list[int], window: int, language: Language) -> list[list[int]]:
    """Return the windows of a row: a start token, the row's tokens, and the start token that ends it."""
    found = []
    for row in order:
        tokens = [START_ID, *(rows[row][::-1] if language.reverse else rows[row]), START_ID]
        found += [tokens[first : first + window + 1] for first in range(0, len(tokens) - 1, window)]
    return found


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("window", [1, 4, 7, 50])
def test_each_row_begins_in_a_window_of_its_own(language: Language, window: int) -> None:
    packed, rows, labels = draw_rows(window)
    order = [row for row in np.random.default_rng(window).permutation(40).tolist() if rows[row]]
    blocks = blocks_of(rows, order, window, language)
    told = [labels[row] + 1 if language.label else 0 for row in order for _ in range(0, len(rows[row]) + 1, window)]
    assert count_windows(packed, window) == len(blocks)
    for n_streams in (1, 3, 8):
        for n_windows in (len(blocks) // n_streams, -(-len(blocks) // n_streams)):
            streams = lay_out_reviews(packed, np.array(order), n_streams, n_windows, window, language)
            assert streams.ids_SL.shape == streams.label_SL.shape == (n_streams, n_windows * window + 1)
            for s, w in itertools.product(range(n_streams), range(n_windows)):
                i = s * n_windows + w
                length = len(blocks[i]) - 1 if i < len(blocks) else 0
                assert streams.length_SW[s, w] == length
                first = w * window
                assert not streams.ids_SL[s, first + length + 1 : first + window].any()  # padding
                if length:
                    assert streams.ids_SL[s, first : first + length + 1].tolist() == blocks[i]
                    assert set(streams.label_SL[s, first : first + length].tolist()) == {told[i]}


def experiment_of(**train: object) -> Experiment:
    settings = {"window": 5, "batch_tokens": 20, "epochs": 3, **train}
    return Experiment(
        name="x",
        task="language-model",
        text=Text(start=True),
        model=Model(language=Language(label=True)),
        train=Train(**settings),
    )


def read(packed: Packed, **train: object) -> BatchLoader:
    """Build a language model's data loader of rows without held-out ones."""
    settings = experiment_of(**train).train
    n_streams, window = streams_of(settings)
    n_windows = count_windows(packed, window) // n_streams
    row_N = np.flatnonzero(packed.length_N)

    def lay_out(epoch: int) -> Streams:
        order_N = np.random.default_rng(epoch).permutation(row_N)
        return lay_out_reviews(packed, order_N, n_streams, n_windows, window, Language(label=True))

    return read_streams(lay_out, [n_windows] * settings.epochs, CPU, settings)


def test_a_step_reads_the_next_window_of_every_stream() -> None:
    packed, rows, _ = draw_rows(0)
    material = read(packed)
    batches = list(material.batches(0))
    assert len(batches) == material.n_steps == material.epoch_ends[-1]
    epochs = [batches[a:b] for a, b in itertools.pairwise([0, *material.epoch_ends])]
    for epoch, steps in enumerate(epochs):
        order = np.random.default_rng(epoch).permutation(np.flatnonzero([bool(row) for row in rows])).tolist()
        blocks = blocks_of(rows, order, 5, Language(label=True))
        for i, batch in enumerate(steps):
            assert batch.stream_B.tolist() == [0, 1, 2, 3]
            found = [ids[: length + 1] for ids, length in zip(batch.ids_BL.tolist(), batch.length_B, strict=True)]
            assert found == [blocks[s * len(steps) + i] for s in range(4)]
            assert batch.is_fresh_B.tolist() == [i == 0 or ids[0] == START_ID for ids in found]
            assert batch.mean_length_B.tolist() == [float(batch.length_B.float().mean())] * 4
            step = ([0, *material.epoch_ends])[epoch] + i
            assert material.tokens(step) == int(batch.length_B.sum())
            assert material.names(step) == []  # parts of many rows
    for start in (1, material.epoch_ends[0], material.n_steps - 1):  # from any step on
        again = material.batches(start)
        assert all(torch.equal(a, b) for a, b in zip(next(again), batches[start], strict=True))
    for most, n_steps in ((7, 7), (10**6, len(batches)), (material.epoch_ends[0], material.epoch_ends[0])):
        short = read(packed, max_steps=most)
        assert short.n_steps == len(list(short.batches(0))) == n_steps
        assert short.epoch_ends == sorted(set(short.epoch_ends))


def test_too_few_tokens_for_the_streams_are_refused() -> None:
    settings = experiment_of(batch_tokens=100).train
    check_enough(99, 20, settings)
    with pytest.raises(DataError, match="the rows have 99 tokens, too few for 20 streams") as caught:
        check_enough(99, 19, settings)
    assert caught.value.hint == "--set train.batch_tokens=5"


def test_frequent_words_are_subsampled_by_their_probability() -> None:
    generator = np.random.default_rng(0)
    rows = [generator.integers(0, 4, size).tolist() for size in generator.integers(0, 400, 50)]
    packed, chance_V = packed_of(rows), np.array([0.0, 1.0, 0.25, 0.5])
    thinned = thin_out(packed, chance_V, np.random.default_rng(1))
    draws, kept = np.random.default_rng(1), []
    for row in rows:
        kept.append([token for token in row if draws.random(dtype=np.float32) < chance_V[token]])
    assert thinned.ids_T.tolist() == list(itertools.chain(*kept))
    assert thinned.length_N.tolist() == list(map(len, kept))
    assert (thinned.group_N == packed.group_N).all()
    shares = np.bincount(thinned.ids_T, minlength=4) / np.bincount(packed.ids_T, minlength=4)
    assert shares == pytest.approx(chance_V, abs=0.03)


def test_words_follow_each_other_without_start_tokens() -> None:
    packed, rows, _ = draw_rows(0)
    order = np.random.default_rng(0).permutation(40)
    whole = list(itertools.chain.from_iterable(rows[row] for row in order))
    assert tokens_of(packed, order).tolist() == whole
    assert tokens_of(packed, order, reverse=True).tolist() == [token for row in order for token in reversed(rows[row])]
    for window in (5, 7, 1000):
        settings = experiment_of(window=window, batch_tokens=4 * window).train
        streams = lay_out_words(np.array(whole, np.int32), settings)
        width = int(streams.length_SW[0, 0])
        assert width <= window
        assert (streams.length_SW == width).all()
        read = streams.ids_SL[:, :-1].flatten().tolist()
        assert read == whole[: len(read)]
        assert len(read) == streams.length_SW.sum() > len(whole) - streams.length_SW.size
        assert streams.length_SW.shape == (4, count_word_windows(len(whole), settings))


def test_rows_are_joined_and_selected() -> None:
    one, first, _ = draw_rows(0, 10)
    other, second, _ = draw_rows(1, 15)
    both = join_rows(one, other)
    is_wanted_N = np.random.default_rng(0).random(25) < 0.5
    some = select_rows(both, is_wanted_N)
    wanted = list(itertools.compress([*first, *second], is_wanted_N))
    assert [both.ids_T[a:b].tolist() for a, b in itertools.pairwise(both.starts_N1)] == [*first, *second]
    assert [some.ids_T[a:b].tolist() for a, b in itertools.pairwise(some.starts_N1)] == wanted
    for name in ("label_N", "stars_N", "group_N", "in_train_N"):
        joined = [*getattr(one, name).tolist(), *getattr(other, name).tolist()]
        assert getattr(some, name).tolist() == list(itertools.compress(joined, is_wanted_N))
