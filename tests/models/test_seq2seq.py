"""The encoder-decoder against its equations, row by row, against its own steps, with other rows and padding."""

import itertools

import equations
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.data.batching.batches import START_ID
from sentiment_cli.data.batching.pair_batches import PairBatch
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.models.layers.encoders import build_layer
from sentiment_cli.models.seq2seq import EncoderDecoder, read_to_ends

CELLS = [cell for cell in schema.Encoder.model_fields["cell"].annotation.__args__ if cell != "lstm-2d"]
EQUATIONS = {"rnn": equations.rnn, "gru": equations.gru, "lstm": equations.lstm}
ATTENTIONS = ["none", "bahdanau", "luong"]
SHAPES = [(False, 1, True), (True, 2, False)]  # bidirectional, layers, and whether the table is the softmax's, too
EVERY_CELL = [*itertools.product(CELLS, SHAPES[1:]), *itertools.product(["gru", "lstm", "sru"], SHAPES[:1])]
N_ENTRIES, WORD_WIDTH, WIDTH = 9, 3, 4
every_attention = pytest.mark.parametrize("attention", ATTENTIONS)


class Softmax(nn.Linear):
    def __init__(self, n_entries: int, width: int, *, tied: nn.Embedding | None) -> None:
        super().__init__(width, n_entries)
        if tied is not None:
            self.weight = tied.weight

    def log_probabilities(self, hidden_TD: Tensor) -> Tensor:
        return self(hidden_TD).log_softmax(dim=1)

    def loss(self, hidden_TD: Tensor, target_T: Tensor) -> Tensor:
        return F.nll_loss(self.log_probabilities(hidden_TD), target_T)


def model_of(cell: str, attention: str, bidirectional: bool, layers: int, tied: bool, **options) -> EncoderDecoder:
    torch.manual_seed(0)
    encoder = schema.Encoder(cell=cell, width=WIDTH, bidirectional=bidirectional, layers=layers, **options)
    embedding = schema.Embedding(width=WORD_WIDTH)
    options = {"softmax": Softmax, "attention": attention, "tied": tied}
    return EncoderDecoder(embedding, encoder, N_ENTRIES, 2, **options).double()


def batch_of(*lengths: tuple[int, int]) -> PairBatch:
    """Draw pairs of these lengths, the target's with its end."""
    source_B, target_B = torch.tensor(lengths).unbind(1)
    source_BL = torch.randint(2, N_ENTRIES, (len(lengths), int(source_B.max())))
    target_BM = torch.randint(2, N_ENTRIES, (len(lengths), int(target_B.max())))
    for row, (source, target) in enumerate(lengths):
        source_BL[row, source:] = 0
        target_BM[row, target - 1 :] = torch.tensor([START_ID] + [0] * (target_BM.shape[1] - target))
    mean_B, host_B2 = target_B.double().mean().expand(len(lengths)), torch.tensor(lengths)
    return PairBatch(source_BL, source_B, target_BM, target_B, mean_B, host_B2)


def rows_of(batch: PairBatch, rows: slice) -> PairBatch:
    return PairBatch(*(column[rows] for column in batch))


def alone(batch: PairBatch, row: int) -> PairBatch:
    source_BL, source_B, target_BM, target_B, *others = rows_of(batch, slice(row, row + 1))
    return PairBatch(source_BL[:, : int(source_B)], source_B, target_BM[:, : int(target_B)], target_B, *others)


LENGTHS = [(4, 3), (1, 5), (6, 2), (4, 1), (3, 4)]


def written_out(model: EncoderDecoder, cell: str, attention: str, source_L: Tensor, target_M: Tensor) -> Tensor:
    """Return log_probability_M of one target, word by word from the equations."""
    read, n_tensors, ones_1D = EQUATIONS[cell], 2 if cell == "lstm" else 1, torch.ones(1, WIDTH).double()
    zeros = (torch.zeros(1, WIDTH).double(),) * n_tensors
    states_1LD, starts = model.embedding.weight[source_L][None], []
    encoder, decoder = model.encoder, model.decoder
    for i, to_starts in enumerate(model.starts):
        outputs, ends = [], []
        for layers, is_turned in ((encoder.forward_layers, False), (encoder.backward_layers, True)):
            if len(layers):
                weights = dict(layers[i].named_parameters())
                input_1LD = states_1LD.flip(1) if is_turned else states_1LD
                states, end = read(weights, input_1LD, zeros, ones_1D)
                outputs.append(states.flip(1) if is_turned else states)
                ends.append(end)
        states_1LD = torch.cat(outputs, 2)
        joined = [torch.cat(tensors, 1) for tensors in zip(*ends, strict=True)]
        starts.append([to(end) for to, end in zip(to_starts, joined, strict=True)])
    h_LD, found = states_1LD[0], []
    table = model.embedding.weight
    for before, word in zip([START_ID, *target_M.tolist()], target_M.tolist(), strict=False):
        y = table[before]
        if attention == "bahdanau":
            part, s = decoder.attention, starts[0][0][0]
            scores = [part.score.weight[0] @ torch.tanh(part.query.weight @ s + part.key(h)) for h in h_LD]
            c = torch.stack(scores).softmax(0) @ h_LD
        seen = torch.cat([y, c]) if attention == "bahdanau" else y
        for i, layer in enumerate(decoder.layers):
            states, starts[i] = read(dict(layer.named_parameters()), seen[None, None], tuple(starts[i]), ones_1D)
            seen = s = states[0, 0]
        if attention == "luong":
            c = torch.stack([(decoder.attention.query.weight @ s) @ h for h in h_LD]).softmax(0) @ h_LD
        if attention == "none":
            hidden = decoder.readout(s)
        else:
            hidden = torch.tanh(decoder.readout(torch.cat([c, s, y] if attention == "bahdanau" else [c, s])))
        found.append((model.output.weight @ hidden + model.output.bias).log_softmax(0)[word])
    return torch.stack(found)


@pytest.mark.parametrize("cell", EQUATIONS)
@every_attention
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_the_equations(cell, attention, shape) -> None:
    model, batch = model_of(cell, attention, *shape), batch_of(*LENGTHS)
    rows = [alone(batch, row) for row in range(len(LENGTHS))]
    expected_T = torch.cat([written_out(model, cell, attention, row.source_BL[0], row.target_BM[0]) for row in rows])
    torch.testing.assert_close(model.judge(batch)[0], expected_T, atol=1e-10, rtol=0)
    found = [torch.autograd.grad(loss, list(model.parameters())) for loss in (model(batch), -expected_T.mean())]
    torch.testing.assert_close(model(batch), -expected_T.mean(), atol=1e-10, rtol=0)
    for (name, _), own, expected in zip(model.named_parameters(), *found, strict=True):
        torch.testing.assert_close(own, expected, atol=1e-10, rtol=0)
        assert own.abs().max() > 1e-8, name


@pytest.mark.parametrize(("cell", "shape"), EVERY_CELL)
@every_attention
def test_a_row_does_not_depend_on_padding_or_its_neighbours(cell, attention, shape) -> None:
    model, batch = model_of(cell, attention, *shape).eval(), batch_of(*LENGTHS)
    together = model.judge(batch)[0].split([target for _, target in LENGTHS])
    for row, own_T in enumerate(together):
        expected_T = model.judge(alone(batch, row))[0]
        torch.testing.assert_close(own_T, expected_T, atol=1e-12, rtol=0)
    padded_BL = F.pad(batch.source_BL, (0, 2))
    padded_BL[torch.arange(8) >= batch.source_length_B[:, None]] = 5
    again_T = model.judge(batch._replace(source_BL=padded_BL, target_BM=F.pad(batch.target_BM, (0, 3))))[0]
    torch.testing.assert_close(again_T, torch.cat(together), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("cell", "shape"), EVERY_CELL)
@every_attention
def test_reading_step_by_step_equals_reading_at_once(cell, attention, shape) -> None:
    model, batch = model_of(cell, attention, *shape).eval(), batch_of(*LENGTHS)
    expected = model.judge(batch)[0].split([target for _, target in LENGTHS])
    token_B, state = model.start((batch.source_BL, batch.source_length_B))
    twice_N = torch.arange(len(LENGTHS)).repeat_interleave(2)  # as a beam of two
    token_N, state = token_B[twice_N], model.select(state, twice_N)
    for step in range(batch.target_BM.shape[1]):
        log_probability_NV, state, weight_NL = model.step(token_N, state)
        token_N = batch.target_BM[twice_N, step]
        for place, row in enumerate(twice_N.tolist()):
            if step < LENGTHS[row][1]:
                own = log_probability_NV[place, token_N[place]]
                torch.testing.assert_close(own, expected[row][step], atol=1e-12, rtol=0)
            if weight_NL is not None:
                source = LENGTHS[row][0]
                assert weight_NL[place, :source].sum().item() == pytest.approx(1)
                assert (weight_NL[place, source:] == 0).all()
    assert (weight_NL is None) == (attention == "none")


@every_attention
def test_the_losses_of_micro_batches_average_to_that_of_the_batch(attention) -> None:
    model, batch = model_of("gru", attention, True, 1, True), batch_of(*LENGTHS, (2, 2))
    cuts = [slice(0, 2), slice(2, 4), slice(4, 6)]
    whole = model(batch)
    torch.testing.assert_close(sum(model(rows_of(batch, cut)) for cut in cuts) / 3, whole, atol=1e-12, rtol=0)
    torch.testing.assert_close(whole, -model.judge(batch)[0].mean(), atol=1e-12, rtol=0)


def test_it_marks_the_most_probable_tokens() -> None:
    model, batch = model_of("gru", "none", False, 1, True).eval(), batch_of(*LENGTHS)
    log_probability_T, is_likeliest_T = model.judge(batch)
    assert 0 < is_likeliest_T.sum() < len(is_likeliest_T)
    place = 0
    for row, (_, length) in enumerate(LENGTHS):
        token_N, state = model.start((batch.source_BL[row : row + 1], batch.source_length_B[row : row + 1]))
        for step in range(length):
            log_probability_NV, state, _ = model.step(token_N, state)
            token_N = batch.target_BM[row, step : step + 1]
            assert is_likeliest_T[place] == (log_probability_NV.argmax() == token_N[0])
            torch.testing.assert_close(log_probability_T[place], log_probability_NV[0, token_N[0]])
            place += 1


def test_rows_are_read_to_their_ends_by_right_gradients() -> None:
    torch.manual_seed(0)
    layer = build_layer(schema.Encoder(cell="lstm", width=2), 2).double()
    input_BLD = torch.randn(4, 4, 2).double().requires_grad_()

    def read(input_BLD: Tensor) -> tuple[Tensor, ...]:
        states_BLD, last = read_to_ends(layer, input_BLD, [2, 4, 1, 2])
        return states_BLD, *last

    assert torch.autograd.gradcheck(read, (input_BLD,))


@every_attention
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gradients_are_right(cell, attention) -> None:
    model, batch = model_of(cell, attention, False, 1, False), batch_of((2, 3), (3, 1))
    names, values = zip(*model.named_parameters(), strict=True)

    def loss(*values: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (batch,))

    assert torch.autograd.gradcheck(loss, values, fast_mode=True)


def test_a_classifier_copies_embedding_and_encoder() -> None:
    for bidirectional, layers in itertools.product([False, True], [1, 2]):
        encoder = schema.Encoder(width=WIDTH, bidirectional=bidirectional, layers=layers, skip="highway")
        settings = schema.Model(embedding=schema.Embedding(width=WORD_WIDTH), encoder=encoder)
        weights = EncoderDecoder(settings.embedding, encoder, N_ENTRIES, 2, softmax=Softmax).state_dict()
        classifier = Classifier(settings, N_ENTRIES, 2, 2, pad_is_input=False)
        taken = {name: value for name, value in weights.items() if name.startswith(("embedding.", "encoder."))}
        missing, unexpected = classifier.load_state_dict(taken, strict=False)
        assert (missing, unexpected) == (["output.weight", "output.bias"], [])


def test_dropout_acts_between_layers_and_before_the_softmax_in_training_only() -> None:
    model, batch = model_of("gru", "luong", False, 2, True), batch_of(*LENGTHS)
    for part in (model.encoder, model.decoder, model):
        assert model(batch) == model(batch)
        part.dropout = 0.5
        assert model(batch) != model(batch)
        part.dropout = 0.0
    model.dropout = model.encoder.dropout = model.decoder.dropout = 0.5
    model.eval()
    assert model(batch) == model(batch)


def test_a_decoder_starts_from_the_last_state_where_shapes_match() -> None:
    for cell in CELLS:
        model, batch = model_of(cell, "luong", False, 2, True), batch_of(*LENGTHS)
        assert not list(model.starts.parameters())
        _, state = model.start((batch.source_BL[2:3], batch.source_length_B[2:3]))
        _, expected = model.encoder.forward_layers[0](model.embedding(batch.source_BL[2:3]))
        torch.testing.assert_close(state.layers[0], expected)


def test_bf16_is_near() -> None:
    for cell, attention in itertools.product(["lstm", "gru", "mingru"], ATTENTIONS):
        model, batch = model_of(cell, attention, True, 2, True).float().eval(), batch_of(*LENGTHS)
        expected_T, dtypes = model.judge(batch)[0], []
        model.decoder.layers[0].register_forward_pre_hook(lambda _, args, seen=dtypes: seen.append(args[0].dtype))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, found_T = model(batch), model.judge(batch)[0]
        assert (found_T - expected_T).abs().max() < 0.05
        assert dtypes[0] == torch.bfloat16
        loss.backward()
