"""Streams of rows against plain loops: what stands in them, in which order, and what a step reads of them."""

import itertools

import numpy as np
import pytest
import torch

from sentiment_cli.config.schema import Experiment, Language, Model, Text, Train
from sentiment_cli.data.corpus import Packed
from sentiment_cli.data.reading import START_ID
from sentiment_cli.errors import DataError
from sentiment_cli.training.material import join_rows, lay_out, read_streams, select_rows, thin_out

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


def stream_of(rows: list[list[int]], order: list[int], language: Language) -> list[int]:
    """Return one stream, token by token."""
    found = []
    for row in order:
        found += [START_ID, *(rows[row][::-1] if language.reverse else rows[row])]
    return found


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("seed", range(3))
def test_rows_are_laid_out_one_after_the_other(language: Language, seed: int) -> None:
    packed, rows, labels = draw_rows(seed)
    order = [row for row in np.random.default_rng(seed).permutation(40).tolist() if rows[row]]
    whole = stream_of(rows, order, language)
    told = [labels[row] + 1 if language.label else 0 for row in order for _ in [0, *rows[row]]]
    for n_streams in (1, 3, 8):
        length = (len(whole) - 1) // n_streams
        ids_SL, label_SL = lay_out(packed, np.array(order), n_streams, length, language)
        assert ids_SL.shape == (n_streams, length + 1)
        for tokens_SL, of in ((ids_SL, whole), (label_SL, told)):
            assert tokens_SL.tolist() == [of[i * length : (i + 1) * length + 1] for i in range(n_streams)]
        assert (ids_SL[:-1, -1] == ids_SL[1:, 0]).all()  # a stream's last token is the next one's first


def experiment_of(**train: object) -> Experiment:
    settings = {"window": 5, "batch_tokens": 20, "epochs": 3, **train}
    return Experiment(
        name="x",
        task="language-model",
        text=Text(start=True),
        model=Model(language=Language(label=True)),
        train=Train(**settings),
    )


def test_a_step_reads_the_next_window_of_every_stream() -> None:
    packed, rows, labels = draw_rows(0)
    ids = [str(row) for row in range(40)]
    material = read_streams(packed, ids, CPU, experiment_of())
    batches = list(material.batches(0))
    assert len(batches) == material.n_steps
    epochs = [batches[a:b] for a, b in itertools.pairwise([0, *material.epoch_ends])]
    n_tokens = sum(len(row) + 1 for row in rows if row)
    orders = []
    for epoch, steps in enumerate(epochs):
        for one, other in itertools.pairwise(steps):
            assert torch.equal(one.ids_BL[:, -1], other.ids_BL[:, 0])  # predicted last, then read first
        assert all(batch.stream_B.tolist() == [0, 1, 2, 3] for batch in steps)
        assert [batch.ids_BL.shape for batch in steps[:-1]] == [(4, 6)] * (len(steps) - 1)
        streams_SL = torch.cat([batch.ids_BL[:, :-1] for batch in steps], dim=1)
        read = streams_SL.flatten().tolist()
        assert n_tokens - 4 <= len(read) <= n_tokens
        order = np.random.default_rng((0, epoch)).permutation(np.flatnonzero([bool(row) for row in rows])).tolist()
        assert read == stream_of(rows, order, Language(label=True))[: len(read)]
        told = torch.cat([batch.label_BL[:, :-1] for batch in steps], dim=1).flatten().tolist()
        assert told == [labels[row] + 1 for row in order for _ in [0, *rows[row]]][: len(read)]
        start = ([0, *material.epoch_ends])[epoch]
        assert sum(material.tokens(start + i) for i in range(len(steps))) == len(read)
        assert material.names(start) == [ids[order[0]]]
        orders.append(order)
    assert orders[0] != orders[1] != orders[2]
    for start in (1, material.epoch_ends[0], material.n_steps - 1):  # from any step on
        again = material.batches(start)
        assert all(torch.equal(a, b) for a, b in zip(next(again), batches[start], strict=True))
    short = read_streams(packed, ids, CPU, experiment_of(max_steps=7))
    assert (short.n_steps, len(list(short.batches(0)))) == (7, 7)


def test_too_few_tokens_for_the_streams_are_refused() -> None:
    with pytest.raises(DataError, match="the rows have 5 tokens, too few for 20 streams") as caught:
        read_streams(packed_of([[3, 4], [], [5]]), ["a", "b", "c"], CPU, experiment_of(batch_tokens=100))
    assert caught.value.hint == "--set train.batch_tokens=5"


def test_words_are_thinned_out_by_their_chance() -> None:
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


def test_words_that_are_thinned_out_follow_each_other_without_start_tokens() -> None:
    packed, rows, _ = draw_rows(0)
    material = read_streams(packed, [""] * 40, CPU, experiment_of(epochs=1), np.ones(30))
    order = np.random.default_rng((0, 0)).permutation(np.flatnonzero([bool(row) for row in rows])).tolist()
    whole = list(itertools.chain.from_iterable(rows[row] for row in order))
    read = torch.cat([batch.ids_BL[:, :-1] for batch in material.batches(0)], dim=1).flatten().tolist()
    assert read == whole[: len(read)]
    assert len(read) >= len(whole) - 4


def test_streams_of_thinned_rows_are_other_ones_each_epoch() -> None:
    packed, _, _ = draw_rows(0)
    chance_V = np.full(30, 0.7)
    material = read_streams(packed, [""] * 40, CPU, experiment_of(), chance_V)
    batches = list(material.batches(0))
    sizes = [
        sum(batch.ids_BL[:, :-1].numel() for batch in batches[a:b])
        for a, b in itertools.pairwise([0, *material.epoch_ends])
    ]
    assert len(set(sizes)) > 1
    assert max(sizes) < 0.85 * len(packed.ids_T)
    again = list(material.batches(material.epoch_ends[1]))
    assert all(torch.equal(a.ids_BL, b.ids_BL) for a, b in zip(again, batches[material.epoch_ends[1] :], strict=True))


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
