"""Both two-dimensional LSTMs against their equations, with other rows, padding and the opposite corner."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from equations_grids import lines, read_2d, read_grid
from torch import Tensor, nn

from sentiment_cli.models.cells import recurrence
from sentiment_cli.models.cells.lstm_2d import Lstm2d, end_marks, reversed_ends, sentence_ends, skew
from sentiment_cli.models.cells.lstm_grid import LstmGrid
from sentiment_cli.models.cells.recurrence import State

# Rows by where their sentences end. Above a word may be a line that is shorter, and a long sentence has several lines.
ROWS = {
    "one": [False],
    "one ended": [True],
    "first": [True, False, False, True],
    "whole": [False] * 5 + [True],
    "none": [False] * 7,
    "every": [True] * 4,
    "ragged": [place in (2, 8, 9, 14) for place in range(17)],
    "long": [place in (3, 140) for place in range(143)],
}


def batch_of(rows: Sequence[list[bool]], extra: int = 0) -> tuple[Tensor, Tensor]:
    """Return length_B and ends_BL, with sentence ends in the padding, too."""
    width = max(map(len, rows)) + extra
    ends_BL = torch.tensor([row + [True] * (width - len(row)) for row in rows])
    return torch.tensor([len(row) for row in rows]), ends_BL


def pad(states_LD: Tensor, length: int) -> Tensor:
    return F.pad(states_LD, (0, 0, 0, length - len(states_LD)))


def gradients(outputs: Sequence[Tensor], layer: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of an arbitrary loss by the inputs and all parameters."""
    torch.manual_seed(1)
    loss = sum((output * torch.randn(output.shape).double()).sum() for output in outputs)
    by = [*inputs, *layer.parameters()]
    found = torch.autograd.grad(loss, by, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if grad is None else grad for x, grad in zip(by, found, strict=True)]


def assert_same(found: Sequence[Tensor], expected: Sequence[Tensor], atol: float = 1e-10) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=atol, rtol=0)


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The return values of dropout, call by call."""
    dropout, found = F.dropout, []

    def recorded(values: Tensor, share: float, training: bool = True) -> Tensor:
        found.append(dropout(values, share, training))
        return found[-1]

    monkeypatch.setattr("torch.nn.functional.dropout", recorded)
    return found


@pytest.mark.parametrize("rows", [[row] for row in ROWS.values()] + [[*ROWS.values()]], ids=[*ROWS, "all"])
def test_lstm_2d_is_its_equations_with_their_gradients(rows: list[list[bool]]) -> None:
    torch.manual_seed(0)
    layer = Lstm2d(3, 4).double()
    length_B, ends_BL = batch_of(rows, extra=2)
    input_BLD = torch.randn(*ends_BL.shape, 3).double().requires_grad_()
    states_BLD, (last_BD,) = layer(input_BLD, length_B, ends_BL)
    plain = [read_2d(layer, input_LD[: len(row)], row) for input_LD, row in zip(input_BLD, rows, strict=True)]
    plain_BLD = torch.stack([pad(states_LD, ends_BL.shape[1]) for states_LD in plain])
    plain_last_BD = torch.stack([states_LD[-1] for states_LD in plain])
    assert_same([states_BLD, last_BD], [plain_BLD, plain_last_BD])
    found = gradients([states_BLD, last_BD], layer, [input_BLD])
    assert_same(found, gradients([plain_BLD, plain_last_BD], layer, [input_BLD]))


def test_lstm_2d_drops_out_as_said(dropped: list[Tensor]) -> None:
    torch.manual_seed(0)
    layer = Lstm2d(3, 8, weight_dropout=0.3, state_dropout=0.4).double()
    rows = [ROWS["ragged"], ROWS["first"]]
    length_B, ends_BL = batch_of(rows)
    input_BLD = torch.randn(*ends_BL.shape, 3).double().requires_grad_()
    states_BLD, _ = layer(input_BLD, length_B, ends_BL)
    mask_BD, weight_GE = dropped
    assert (mask_BD == 0).any()
    assert (mask_BD[0] != mask_BD[1]).any()
    assert (weight_GE == 0).double().mean() == pytest.approx(0.3, abs=0.1)
    masked = SimpleNamespace(width=8, input_weight=layer.input_weight, state_weight=weight_GE, bias=layer.bias)
    plain = [read_2d(masked, input_BLD[i, : len(row)], row, mask_BD[i]) for i, row in enumerate(rows)]
    plain_BLD = torch.stack([pad(states_LD, ends_BL.shape[1]) for states_LD in plain])
    assert_same([states_BLD], [plain_BLD])
    assert_same(gradients([states_BLD], layer, [input_BLD]), gradients([plain_BLD], layer, [input_BLD]))
    layer.eval()
    whole_BLD, _ = layer(input_BLD, length_B, ends_BL)
    assert_same([whole_BLD[0]], [read_2d(layer, input_BLD[0], rows[0])])


def test_lstm_2d_passes_gradcheck() -> None:
    torch.manual_seed(0)
    layer = Lstm2d(2, 2).double()
    length_B, ends_BL = batch_of([ROWS["first"], ROWS["whole"], ROWS["one"]])
    input_BLD = torch.randn(3, 6, 2).double().requires_grad_()

    def read(input_BLD: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(dict(layer.named_parameters()), weights, strict=True))
        return torch.func.functional_call(layer, named, (input_BLD, length_B, ends_BL))[0]

    assert torch.autograd.gradcheck(read, (input_BLD, *layer.parameters()))


@pytest.mark.parametrize("extra", [0, 5])
def test_lstm_2d_reads_a_row_in_a_batch_as_alone(extra: int) -> None:
    """Invariant 11."""
    torch.manual_seed(0)
    layer, rows = Lstm2d(8, 16), list(ROWS.values())
    length_B, ends_BL = batch_of(rows, extra)
    input_BLD = torch.randn(*ends_BL.shape, 8)
    input_BLD[torch.arange(ends_BL.shape[1]) >= length_B[:, None]] = torch.nan  # padding is never read
    input_BLD.requires_grad_()
    states_BLD, (last_BD,) = layer(input_BLD, length_B, ends_BL)
    for i, row in enumerate(rows):
        alone_1LD, (alone_1D,) = layer(input_BLD[i : i + 1, : len(row)], length_B[i : i + 1], torch.tensor([row]))
        assert_same([states_BLD[i, : len(row)], last_BD[i]], [alone_1LD[0], alone_1D[0]], atol=1e-6)
        assert not states_BLD[i, len(row) :].any()
    states_BLD.square().sum().backward()
    assert not input_BLD.grad[torch.arange(ends_BL.shape[1]) >= length_B[:, None]].any()
    assert layer.input_weight.grad.isfinite().all()


def test_lstm_2d_scans_reversed_rows_from_the_other_corner() -> None:
    torch.manual_seed(0)
    layer, rows = Lstm2d(3, 4).double(), list(ROWS.values())
    length_B, ends_BL = batch_of(rows, extra=1)
    input_BLD, column_L = torch.randn(*ends_BL.shape, 3).double(), torch.arange(ends_BL.shape[1])
    flip_BL = torch.where(column_L < length_B[:, None], length_B[:, None] - 1 - column_L, column_L)
    flip_N = (flip_BL + torch.arange(len(rows))[:, None] * len(column_L)).flatten()
    turned_BLD = input_BLD.flatten(0, 1)[flip_N].view_as(input_BLD)
    states_BLD, _ = layer(turned_BLD, length_B, reversed_ends(ends_BL, flip_N))
    states_BLD = states_BLD.flatten(0, 1)[flip_N].view_as(states_BLD)
    for i, row in enumerate(rows):
        sentences: list[list[int]] = [[]]
        for place, is_end in enumerate(row):
            sentences[-1].append(place)
            sentences += [[]] if is_end else []
        backwards = [sentence[::-1] for sentence in sentences[::-1] if sentence]  # last sentence, last word first
        order = [place for sentence in backwards for place in sentence]
        ends = [place == sentence[-1] for sentence in backwards for place in sentence]
        assert_same([states_BLD[i, order]], [read_2d(layer, input_BLD[i, order], ends)])


def test_lay_out_takes_a_step_per_diagonal() -> None:
    for row in ROWS.values():
        diagonals = {s + w for s, line in enumerate(lines(row)) for w in range(len(line))}
        layout = skew(*batch_of([row]))
        assert len(layout.diagonals) == len(diagonals)
        assert layout.diagonals[-1].stop == len(row)
    assert len(skew(*batch_of([ROWS["long"]])).diagonals) == 66  # lines of 4, 64, 64, 9 and 2 words


def test_sentences_end_after_the_last_of_a_run_of_marks() -> None:
    entries = ["<pad>", "<unk>", "good", ".", "!", 'bad."', "...", "'", "mr"]
    is_mark_V = end_marks(entries)
    assert [entry for entry, is_mark in zip(entries, is_mark_V, strict=True) if is_mark] == [".", "!", 'bad."', "..."]
    ids_BL = torch.tensor([[3, 2, 3, 3, 4, 8, 2, 5], [2, 4, 0, 0, 0, 0, 0, 0]])
    ends_BL = sentence_ends(ids_BL, is_mark_V)
    assert [row.nonzero().flatten().tolist() for row in ends_BL] == [[0, 4, 7], [1]]


def start_of(batch: int, width: int, depth: int) -> State:
    return tuple(torch.randn(batch, width).double().requires_grad_() for _ in range(1 + 2 * depth))


@pytest.mark.parametrize("input_width", [4, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_lstm_grid_is_its_equations_with_their_gradients(
    input_width: int, depth: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrence, "_IN_CACHE", 4 * 3 * 8)  # blocks of four steps
    torch.manual_seed(0)
    layer = LstmGrid(input_width, 4, depth=depth).double()
    input_BLD, start = torch.randn(3, length, input_width).double().requires_grad_(), start_of(3, 4, depth)
    found = []
    for states_BLD, last in (layer(input_BLD, start), read_grid(layer, input_BLD, start, [1.0] * depth)):
        found.append([states_BLD, *last, *gradients([states_BLD, *last], layer, [input_BLD, *start])])
    assert_same(*found)
    zeros = tuple(map(torch.zeros_like, start))
    assert_same([layer(input_BLD)[0]], [read_grid(layer, input_BLD, zeros, [1.0] * depth)[0]])


def test_lstm_grid_drops_out_as_said(dropped: list[Tensor]) -> None:
    torch.manual_seed(0)
    layer = LstmGrid(3, 8, depth=2, weight_dropout=0.3, state_dropout=0.4).double()
    input_BLD, start = torch.randn(2, 6, 3).double().requires_grad_(), start_of(2, 8, 2)
    states_BLD, last = layer(input_BLD, start)
    weights, masks = dropped[::2], dropped[1::2]
    assert all((weight_GD == 0).double().mean() == pytest.approx(0.3, abs=0.1) for weight_GD in weights)
    assert all((mask_BD[0] != mask_BD[1]).any() for mask_BD in masks)
    blocks = [
        SimpleNamespace(input_weight=block.input_weight, state_weight=weight_GD, bias=block.bias)
        for block, weight_GD in zip(layer.blocks, weights, strict=True)
    ]
    plain_BLD, plain_last = read_grid(SimpleNamespace(enter=layer.enter, blocks=blocks), input_BLD, start, masks)
    assert_same([states_BLD, *last], [plain_BLD, *plain_last])
    by = [input_BLD, *start]
    assert_same(gradients([states_BLD, *last], layer, by), gradients([plain_BLD, *plain_last], layer, by))
    layer.eval()
    assert_same([layer(input_BLD, start)[0]], [read_grid(layer, input_BLD, start, [1.0, 1.0])[0]])


def test_lstm_grid_along_time_is_torchs_lstm() -> None:
    torch.manual_seed(0)
    layer, torchs = LstmGrid(4, 4, depth=1).double(), nn.LSTM(4, 4, batch_first=True).double()
    (block,) = layer.blocks
    ours = {"weight_ih_l0": block.input_weight, "weight_hh_l0": block.state_weight, "bias_ih_l0": block.bias}
    for name, parameter in ours.items():
        i, f, o, g = parameter.detach().chunk(8)[::2]
        getattr(torchs, name).data.copy_(torch.cat([i, f, g, o]))
    torchs.bias_hh_l0.data.zero_()
    input_BLD = torch.randn(3, 9, 4).double()
    assert_same(layer(input_BLD)[1][1:], [last_1BD[0] for last_1BD in torchs(input_BLD)[1]])


def test_lstm_grid_passes_gradcheck() -> None:
    torch.manual_seed(0)
    layer = LstmGrid(3, 2, depth=2).double()
    input_BLD, start = torch.randn(2, 3, 3).double().requires_grad_(), start_of(2, 2, 2)

    def read(input_BLD: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(dict(layer.named_parameters()), others[5:], strict=True))
        states_BLD, last = torch.func.functional_call(layer, named, (input_BLD, others[:5]))
        return states_BLD, *last

    assert torch.autograd.gradcheck(read, (input_BLD, *start, *layer.parameters()))


def test_lstm_grid_continues_from_a_state() -> None:
    torch.manual_seed(0)
    layer, input_BLD = LstmGrid(3, 4).double(), torch.randn(2, 9, 3).double()
    whole_BLD, whole_last = layer(input_BLD)
    first_BLD, last = layer(input_BLD[:, :4])
    second_BLD, second_last = layer(input_BLD[:, 4:], last)
    assert_same([torch.cat([first_BLD, second_BLD], dim=1), *second_last], [whole_BLD, *whole_last])
    assert torch.equal(last[0], first_BLD[:, -1])


def test_lstm_grid_reads_a_row_in_a_padded_batch_as_alone() -> None:
    """Invariant 11."""
    torch.manual_seed(0)
    layer, input_BLD = LstmGrid(8, 16), torch.randn(5, 12, 8)
    states_BLD = layer(input_BLD)[0]
    for i, length in enumerate([1, 3, 5, 7, 12]):
        assert_same([states_BLD[i, :length]], [layer(input_BLD[i : i + 1, :length])[0][0]], atol=1e-6)


class Reader(nn.Module):
    """Either layer on reviews of random words, two of which end a sentence; the maximum of its states is classified."""

    def __init__(self, kind: str, width: int = 32, state_dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, width)
        cell = {"lstm-2d": Lstm2d, "lstm-grid": LstmGrid}[kind]
        self.layer = cell(width, width, state_dropout=state_dropout)
        self.output = nn.Linear(width, 1)

    def states(self, ids_BL: Tensor, length_B: Tensor) -> Tensor:
        embedded_BLD = F.embedding(ids_BL, self.embedding.weight)
        if isinstance(self.layer, Lstm2d):
            return self.layer(embedded_BLD, length_B, sentence_ends(ids_BL, torch.arange(50) < 2))[0]
        return self.layer(embedded_BLD)[0]

    def forward(self, ids_BL: Tensor, length_B: Tensor) -> Tensor:
        padding_BL = torch.arange(ids_BL.shape[1]) >= length_B[:, None]
        bias_BL1 = torch.zeros(ids_BL.shape).masked_fill(padding_BL, -torch.inf)[:, :, None]
        return self.output((self.states(ids_BL, length_B) + bias_BL1).max(dim=1).values).squeeze(1)


def random_reviews(n: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randint(0, 50, (n, length)), torch.randint(1, length + 1, (n,)), torch.randint(0, 2, (n,)).float()


@pytest.mark.parametrize("kind", ["lstm-2d", "lstm-grid"])
def test_it_overfits_32_random_reviews(kind: str) -> None:
    ids_BL, length_B, label_B = random_reviews(32, 24)
    reader = Reader(kind)
    optimizer = torch.optim.Adam(reader.parameters(), lr=1e-2)
    for _ in range(60):
        F.binary_cross_entropy_with_logits(reader(ids_BL, length_B), label_B).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(reader(ids_BL, length_B) > 0, label_B > 0)


@pytest.mark.slow  # two threads, on cores that other tests have
@pytest.mark.parametrize("kind", ["lstm-2d", "lstm-grid"])
def test_two_threads_give_the_same_bits_each_time(kind: str) -> None:
    ids_BL, length_B, label_B = random_reviews(48, 100)
    n_threads, found = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for _ in range(3):
            torch.manual_seed(0)
            reader = Reader(kind, 64, state_dropout=0.5)
            F.binary_cross_entropy_with_logits(reader(ids_BL, length_B), label_B).backward()
            found.append([parameter.grad for parameter in reader.parameters()])
    finally:
        torch.set_num_threads(n_threads)
    assert all(torch.equal(*pair) for other in found[1:] for pair in zip(found[0], other, strict=True))


@pytest.mark.parametrize("kind", ["lstm-2d", "lstm-grid"])
def test_under_autocast_the_scan_stays_in_full_precision(kind: str) -> None:
    ids_BL, length_B, label_B = random_reviews(8, 40)
    reader, found = Reader(kind), []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            states_BLD = reader.states(ids_BL, length_B)
            loss = F.binary_cross_entropy_with_logits(reader(ids_BL, length_B).float(), label_B)
        assert states_BLD.dtype == torch.float32
        found.append([states_BLD, *torch.autograd.grad(loss, list(reader.parameters()))])
    assert_same(*found, atol=1e-2)
