"""Beam search against exhaustive search, its probabilities against teacher forcing, and models that learn to write."""

import itertools
import math
import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.data.batching.batches import PAD_ID, START_ID, Batch
from sentiment_cli.data.batching.pair_batches import PairBatch, reconstruction
from sentiment_cli.data.sources.sample import generate_reviews
from sentiment_cli.inference.generate.search import Hypothesis, beam_search, greedy
from sentiment_cli.models.seq2seq import EncoderDecoder

END, LONGEST = 0, 4


class Table:
    """A model that has drawn, for each input and each beginning, how likely three tokens are; 0 is the end.

    Of `levels` equally likely draws few differ, so that many sequences are equally likely.
    """

    def __init__(self, seed: int, levels: int | None, n_entries: int = 3) -> None:
        self.seed, self.levels, self.n_entries = seed, levels, n_entries

    def next(self, source: int, history: tuple[int, ...]) -> list[float]:
        draw = random.Random(f"{self.seed} {source} {history}")
        odds = [draw.random() if self.levels is None else 2.0 ** draw.randrange(self.levels) for _ in range(8)]
        return [math.log(odd / sum(odds[: self.n_entries])) for odd in odds[: self.n_entries]]

    def start(self, source: list[int]) -> tuple[Tensor, Tensor]:
        return torch.full((len(source),), START_ID), torch.tensor(source)[:, None]

    def step(self, token_N: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state = torch.cat([state, token_N[:, None]], dim=1)  # the input, the start token, and what was written
        rows = [self.next(source, tuple(written)) for source, _, *written in state.tolist()]
        return torch.tensor(rows, dtype=torch.float64), state, state[:, -1:].double()

    def select(self, state: Tensor, row_N: Tensor) -> Tensor:
        return state[row_N]


def exhaustive(model: Table, source: int) -> list[tuple[float, tuple[int, ...], bool]]:
    """Return (minus log probability, tokens, has ended) of every sequence, in order."""
    found, open_ = [], [((), 0.0)]
    for length in range(1, LONGEST + 1):
        begun = []
        for history, total in open_:
            for token, log_probability in enumerate(model.next(source, history)):
                after = total + log_probability
                if token == END:
                    found.append((-after, history, True))
                elif length == LONGEST:
                    found.append((-after, (*history, token), False))
                else:
                    begun.append(((*history, token), after))
        open_ = begun
    return sorted(found)


def plain(found: list[Hypothesis]) -> list[tuple[float, tuple[int, ...], bool]]:
    return [(-one.log_probability, one.tokens, one.has_ended) for one in found]


@pytest.mark.parametrize("levels", [None, 2, 1], ids=["distinct", "ties", "all-equal"])
def test_a_beam_as_wide_as_all_sequences_is_exhaustive_search(levels: int | None) -> None:
    model, sources = Table(0, levels), [0, 1, 2, 3, 4]
    expected = [exhaustive(model, source) for source in sources]
    for n_best in (1, 3, 99):
        found = beam_search(model, sources, end_id=END, max_length=LONGEST, width=81, n_best=n_best)
        for own, all_of in zip(found, expected, strict=True):
            if levels is None:
                assert len(own) == min(n_best, len(all_of))
                assert [row[1:] for row in plain(own)] == [row[1:] for row in all_of[:n_best]]
            for one, best in zip(plain(own), all_of, strict=False):
                assert one[0] == pytest.approx(best[0])
            assert plain(own) == sorted(plain(own))
            known = {(*tokens, ended): -nats for nats, tokens, ended in all_of}
            assert all(one.log_probability == pytest.approx(known[(*one.tokens, one.has_ended)]) for one in own)
            assert len({(*one.tokens, one.has_ended) for one in own}) == min(n_best, len(all_of))


@pytest.mark.parametrize("levels", [None, 2, 1])
def test_greedy_is_the_first_likeliest_token_each_time_and_a_beam_of_one(levels: int | None) -> None:
    for seed in range(10):
        model, sources = Table(seed, levels, 5), [0, 1, 2]
        found = greedy(model, sources, end_id=END, max_length=6)
        one = beam_search(model, sources, end_id=END, max_length=6, width=1)
        assert [(row[0].tokens, row[0].log_probability) for row in one] == [row[:2] for row in found]
        for source, own in zip(sources, found, strict=True):
            history, total = (), 0.0
            while len(history) < 6 and history[-1:] != (END,):
                odds = model.next(source, history)
                total += max(odds)
                history = (*history, odds.index(max(odds)))
            has_ended = history[-1] == END
            assert own[:3] == (history[: len(history) - has_ended], pytest.approx(total), has_ended)


def test_a_beam_widens_towards_the_best_and_reads_each_input_as_if_alone() -> None:
    for seed in range(10):
        model, sources = Table(seed, None, 4), [0, 1, 2, 3]
        together = beam_search(model, sources, end_id=END, max_length=LONGEST, width=3, n_best=3)
        for source, own in zip(sources, together, strict=True):
            (single,) = beam_search(model, [source], end_id=END, max_length=LONGEST, width=3, n_best=3)
            assert plain(single) == plain(own)
            assert own[0].log_probability <= -exhaustive(model, source)[0][0] + 1e-12
            assert plain(own) == sorted(plain(own))
            for one in own:  # this model attends to the token that it has just read
                assert one.weight_ML.flatten().tolist() == [START_ID, *one.tokens][: len(one.tokens)]


def test_what_is_impossible_is_not_found() -> None:
    class Certain(Table):
        def next(self, source: int, history: tuple[int, ...]) -> list[float]:
            return [0.0, -math.inf, -math.inf] if len(history) == 2 else [-math.inf, -math.inf, 0.0]

    ((only,),) = beam_search(Certain(0, None), [0], end_id=END, max_length=9, width=3, n_best=3)
    assert only[:3] == ((2, 2), 0.0, True)


class Softmax(nn.Linear):
    def __init__(self, n_entries: int, width: int, *, tied: nn.Embedding | None) -> None:
        super().__init__(width, n_entries)
        if tied is not None:
            self.weight = tied.weight

    def log_probabilities(self, hidden_TD: Tensor) -> Tensor:
        return self(hidden_TD).log_softmax(dim=1)

    def loss(self, hidden_TD: Tensor, target_T: Tensor) -> Tensor:
        return F.nll_loss(self.log_probabilities(hidden_TD), target_T)


def model_of(attention: str, n_entries: int, cell: str = "gru", width: int = 24) -> EncoderDecoder:
    torch.manual_seed(0)
    encoder = schema.Encoder(cell=cell, width=width, bidirectional=attention != "none")
    embedding = schema.Embedding(width=width, std=0.3)
    return EncoderDecoder(embedding, encoder, n_entries, 2, softmax=Softmax, attention=attention)


def source_batch(rows: list[list[int]]) -> Batch:
    """Return rows after a start token."""
    length_B = torch.tensor([len(row) + 1 for row in rows])
    ids_BL = torch.zeros(len(rows), int(length_B.max()), dtype=torch.long)
    for i, row in enumerate(rows):
        ids_BL[i, : len(row) + 1] = torch.tensor([START_ID, *row])
    return Batch(ids_BL, length_B, torch.zeros(len(rows), dtype=torch.long))


def learn(model: EncoderDecoder, batches: list[PairBatch], lr: float = 1e-2) -> None:
    optimizer = torch.optim.Adam(model.parameters())
    for step, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = lr * min(1, 2 - 2 * step / len(batches))
        model(batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def share_right(model: EncoderDecoder, batch: PairBatch) -> float:
    """Return the share of the target's tokens that greedy decoding writes in their places."""
    source = batch.source_BL, batch.source_length_B
    found = greedy(model, source, end_id=START_ID, max_length=batch.target_BM.shape[1])
    n_right = n_all = 0
    for own, target_M, length in zip(found, batch.target_BM.tolist(), batch.target_length_B.tolist(), strict=True):
        written = [*own.tokens, *([START_ID] if own.has_ended else [])]
        n_all += length
        n_right += sum(a == b for a, b in zip(written, target_M[:length], strict=False))
    return n_right / n_all


@pytest.mark.parametrize("attention", ["none", "bahdanau", "luong"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_decoded_sequence_has_the_probability_of_teacher_forcing(cell: str, attention: str) -> None:
    model = model_of(attention, 9, cell, 8).double().eval()
    sources = source_batch([[3, 4, 5, 6], [7], [8, 3], [4, 4, 4, 4, 4, 4]])
    found = beam_search(model, sources[:2], end_id=START_ID, max_length=5, width=4, n_best=4)
    for row, hypotheses in enumerate(found):
        assert len(hypotheses) == 4
        for one in hypotheses:
            written = [*one.tokens, *([START_ID] if one.has_ended else [])]
            target_1M, length_1 = torch.tensor([written]), torch.tensor([len(written)])
            source_1L, source_1 = sources.ids_BL[row : row + 1], sources.length_B[row : row + 1]
            both_12 = torch.stack([source_1, length_1], dim=1)
            pair = PairBatch(source_1L, source_1, target_1M, length_1, length_1, both_12)
            expected = model.judge(pair)[0].sum().item()
            assert one.log_probability == pytest.approx(expected, abs=1e-10)
            if attention != "none":
                assert one.weight_ML.shape == (len(one.tokens), 7)
                assert one.weight_ML.sum(dim=1).tolist() == pytest.approx([1] * len(one.tokens))
                assert (one.weight_ML[:, int(sources.length_B[row]) :] == 0).all()
            else:
                assert one.weight_ML is None


@pytest.mark.parametrize(
    ("cell", "attention", "n_steps"),
    [("gru", "luong", 200), pytest.param("lstm", "bahdanau", 150, marks=pytest.mark.slow)],
)
def test_reversing_a_sequence_is_learnt(cell: str, attention: str, n_steps: int) -> None:
    draw = random.Random(0)

    def batch(n: int) -> PairBatch:
        rows = [[draw.randrange(3, 13) for _ in range(draw.randint(1, 8))] for _ in range(n)]
        return reconstruction(source_batch(rows), reverse=True)

    model = model_of(attention, 13, cell)
    learn(model, [batch(64) for _ in range(n_steps)])
    assert share_right(model, batch(300)) >= 0.99


def test_sentences_of_ten_words_are_reconstructed() -> None:
    words = (text.lower().split() for _, (_, text, *_) in itertools.islice(generate_reviews(), 60))
    sentences = [row[i : i + 10] for row in words for i in range(0, len(row) - 9, 10)]
    entries = ["", "<start>", "<unk>", *sorted({word for row in sentences for word in row})]
    place = {word: i for i, word in enumerate(entries)}
    batch = reconstruction(source_batch([[place[word] for word in row] for row in sentences]))
    assert batch.target_BM.shape == (94, 11)
    assert (batch.target_BM != PAD_ID).all()
    model = model_of("none", len(entries), "lstm", 64)
    learn(model, [batch] * 80)
    assert share_right(model, batch) >= 0.95
