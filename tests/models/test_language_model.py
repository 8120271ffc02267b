import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.models.language_model import (
    LanguageModel,
    activation_penalty,
    build_language_model,
    put_rows,
    temporal_penalty,
    vocabulary_rows,
)
from sentiment_cli.models.layers.embedding import WordEmbedding, drop_types
from sentiment_cli.models.layers.encoders import CELLS, RecurrentEncoder
from sentiment_cli.models.layers.softmax import AdaptiveSoftmax, FullSoftmax, SampledSoftmax

CARRYING = [cell for cell in CELLS if cell != "lstm-2d"]
EVERY_CELL = pytest.mark.parametrize("cell", CARRYING)


def _model(cell: str = "mingru", width: int = 6, *, tied: bool = True, **options) -> LanguageModel:
    torch.manual_seed(0)
    embedding = WordEmbedding(schema.Embedding(width=6), 30, 1, pad_is_input=False)
    softmax = FullSoftmax(30, 6 if tied else width, tied=embedding if tied else None)
    return LanguageModel(embedding, softmax, cell=cell, widths=[width, width], **options)


@EVERY_CELL
def test_carrying_the_state_equals_one_long_sequence(cell: str) -> None:
    model = _model(cell, width=8, skip="residual").double()
    ids_BL = torch.randint(30, (5, 11))
    whole_BLD, whole_state = model(ids_BL)
    stored, parts = model.zero_state(5, ids_BL.device), []
    row_B = torch.tensor([3, 0, 4, 1, 2])  # each window's batch has the streams in an order of its own
    for first, last in ((0, 1), (1, 5), (5, 11)):
        row_B = row_B.roll(1)
        hidden_BLD, state = model(ids_BL[row_B, first:last], vocabulary_rows(stored, row_B))
        put_rows(stored, row_B, state)
        parts.append(hidden_BLD[row_B.argsort()])
    torch.testing.assert_close(torch.cat(parts, dim=1), whole_BLD, rtol=1e-10, atol=1e-10)
    for layer, whole_layer in zip(stored, whole_state, strict=True):
        for tensor_BD, whole_BD in zip(layer, whole_layer, strict=True):
            assert not tensor_BD.requires_grad
            assert not whole_BD.requires_grad
            torch.testing.assert_close(tensor_BD, whole_BD, rtol=1e-10, atol=1e-10)


@EVERY_CELL
def test_rows_begin_with_zeros(cell: str) -> None:
    model = _model(cell, state_dropout=0.5 if cell == "lstm" else 0.0)
    before = torch.get_rng_state()
    state = model.zero_state(2, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in model.modules())
    model.eval()
    ids_BL = torch.randint(30, (2, 4))
    torch.testing.assert_close(model(ids_BL, state)[0], model(ids_BL)[0], rtol=0, atol=0)


@EVERY_CELL
@pytest.mark.parametrize("skip", ["none", "highway"])
def test_a_classifiers_encoder_copies_the_layers(cell: str, skip: str) -> None:
    model = _model(cell, width=8, skip=skip, dropout=0.3).eval()
    settings = schema.Encoder(cell=cell, width=8, layers=2, dropout=0.3, skip=skip)
    encoder = RecurrentEncoder(settings, 6).eval()
    encoder.forward_layers.load_state_dict(model.layers.state_dict())
    encoder.skips.load_state_dict(model.skips.state_dict())
    ids_BL = torch.randint(30, (3, 5))
    encoded = encoder(model.embedding(ids_BL), torch.full((3,), 5))
    torch.testing.assert_close(encoded.states_BLD, model(ids_BL)[0])


def _softmaxes(embedding: nn.Embedding) -> list[nn.Module]:
    return [
        FullSoftmax(30, 6, tied=embedding),
        SampledSoftmax(30, 6, samples=30, tied=embedding),  # all of them: exact
        AdaptiveSoftmax(30, 6, cutoffs=[4, 15], tied=embedding),
    ]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("is_sparse", [False, True])
def test_the_tied_gradient_is_that_of_autograd(which: int, is_sparse: bool) -> None:
    torch.manual_seed(0)
    embedding = nn.Embedding(30, 6, sparse=is_sparse)
    model = LanguageModel(embedding, _softmaxes(embedding)[which], cell="mingru", widths=[8]).double()
    ids_BL = torch.randint(30, (4, 8))
    model.loss(model(ids_BL[:, :-1])[0], ids_BL[:, 1:]).backward()
    found_VD = embedding.weight.grad.to_dense()
    hidden_BLD, _ = model.layers[0](F.embedding(ids_BL[:, :-1], embedding.weight))
    log_probability_TV = model.log_probabilities(hidden_BLD.flatten(0, 1))
    (expected_VD,) = torch.autograd.grad(F.nll_loss(log_probability_TV, ids_BL[:, 1:].flatten()), embedding.weight)
    torch.testing.assert_close(found_VD, expected_VD)


@pytest.mark.parametrize("which", range(3))
def test_it_overfits_32_sentences(which: int) -> None:
    torch.set_deterministic_debug_mode("error")
    torch.manual_seed(0)
    embedding = nn.Embedding(50, 24)
    softmax = (
        FullSoftmax(50, 24, tied=embedding),
        SampledSoftmax(50, 24, samples=25, tied=embedding),
        AdaptiveSoftmax(50, 24, cutoffs=[10, 30], tied=embedding),
    )[which]
    embedding.weight.data.uniform_(-0.1, 0.1)
    model = LanguageModel(embedding, softmax, cell="mingru", widths=[48, 48])
    ids_BL = torch.cat([torch.arange(32)[:, None], torch.randint(50, (32, 10))], dim=1)  # the first word says which
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(250):
        loss = model.loss(model(ids_BL[:, :-1])[0], ids_BL[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        log_probability_BLV = model.log_probabilities(model(ids_BL[:, :-1])[0].flatten(0, 1)).view(32, 10, 50)
    assert (log_probability_BLV.argmax(2) == ids_BL[:, 1:]).float().mean() > 0.98


def test_a_last_layer_of_another_width_is_mapped_to_the_tied_table() -> None:
    assert isinstance(_model(width=6).map, nn.Identity)
    assert isinstance(_model(width=8, tied=False).map, nn.Identity)
    model = _model(width=8)
    assert model.map.weight.shape == (6, 8)
    assert model.log_probabilities(torch.randn(3, 8)).shape == (3, 30)


def test_a_label_adds_its_vector_to_every_word_and_label_0_adds_nothing() -> None:
    model = _model(n_labels=2).eval()
    ids_BL, label_B = torch.randint(30, (3, 5)), torch.tensor([0, 1, 2])
    plain_BLD, _ = model(ids_BL)
    assert torch.equal(model(ids_BL, None, label_B)[0], plain_BLD)  # fresh vectors are zero
    model.label.weight.data[1:].normal_()
    labelled_BLD, _ = model(ids_BL, None, label_B)
    assert (labelled_BLD != plain_BLD).any((1, 2)).tolist() == [False, True, True]
    assert torch.equal(model(ids_BL, None, label_B[:, None].expand(3, 5))[0], labelled_BLD)
    model(ids_BL, None, label_B)[0].sum().backward()
    assert model.label.weight.grad.any(1).tolist() == [False, True, True]


def test_word_types_are_dropped_at_all_positions() -> None:
    torch.manual_seed(0)
    ids_BL, ones_BLD = torch.randint(1000, (50, 80)), torch.ones(50, 80, 2)
    dropped_BLD = drop_types(ones_BLD, ids_BL, 1000, 0.25)
    assert dropped_BLD.unique().tolist() == [0, pytest.approx(4 / 3)]
    by_type = {(int(i), float(x)) for i, x in zip(ids_BL.flatten(), dropped_BLD[..., 1].flatten(), strict=True)}
    assert len(by_type) == len(ids_BL.unique())
    assert dropped_BLD.mean() == pytest.approx(1, abs=0.05)
    assert drop_types(ones_BLD, ids_BL, 1000, 0.0) is ones_BLD


def test_a_built_model_drops_types_by_its_embedding() -> None:
    model = schema.Model(embedding=schema.Embedding(width=4, type_dropout=0.5), encoder=schema.Encoder(width=4))
    experiment = schema.Experiment(name="x", task="language-model", model=model)
    torch.manual_seed(0)
    built = build_language_model(experiment, Vocabulary(tuple(map(str, range(200))), 2, 1), 2)
    ids_BL = torch.arange(3, 200)[None]
    is_zero_L = (built.embedding(ids_BL) == 0).all(dim=2)[0]
    assert 0.3 < is_zero_L.float().mean() < 0.7
    torch.manual_seed(0)
    first_BLD = built(ids_BL)[0]
    assert not torch.equal(built(ids_BL)[0], first_BLD)
    assert (built.eval().embedding(ids_BL) != 0).all()


def test_dropout_acts_in_training_only() -> None:
    model = _model("lstm", dropout=0.5, output_dropout=0.5, weight_dropout=0.5)
    ids_BL = torch.randint(30, (4, 6))
    with torch.no_grad():
        drawn = []
        for rates in ((0.5, 0), (0, 0.5)):
            model.dropout, model.output_dropout = rates
            for layer in model.layers:
                layer.weight_dropout = 0.0
            drawn += [model.drop(model(ids_BL)[0]) for _ in range(2)]
            assert not torch.equal(drawn[-1], drawn[-2])
        is_zero_BD = (drawn[-1] == 0).any(1)
        assert torch.equal(is_zero_BD, (drawn[-1] == 0).all(1))  # the same at every step
        model.eval()
        assert torch.equal(model.drop(model(ids_BL)[0]), model(ids_BL)[0])


def test_penalties_match_the_papers() -> None:
    torch.manual_seed(0)
    hidden_BLD = torch.randn(2, 3, 4)
    expected = sum(float((hidden_BLD[:, t] - hidden_BLD[:, t - 1]).square().sum()) for t in (1, 2)) / (2 * 2 * 4)
    is_read_BL = torch.ones(2, 3, dtype=torch.bool)
    later_T = is_read_BL[:, 1:].flatten().nonzero().squeeze(1)
    assert float(temporal_penalty(hidden_BLD, later_T)) == pytest.approx(expected)
    padded_BLD, is_read_BL = F.pad(hidden_BLD, (0, 0, 0, 2), value=7.0), F.pad(is_read_BL, (0, 2))
    later_T = is_read_BL[:, 1:].flatten().nonzero().squeeze(1)
    assert float(temporal_penalty(padded_BLD, later_T)) == pytest.approx(expected)
    assert float(activation_penalty(hidden_BLD)) == pytest.approx(float(hidden_BLD.square().sum()) / 24)
    assert float(temporal_penalty(hidden_BLD[:, :1], later_T[:0])) == 0


@EVERY_CELL
def test_windows_under_autocast_are_close_to_full_precision(cell: str) -> None:
    model, ids_BL = _model(cell), torch.randint(30, (4, 12))

    def loss() -> Tensor:
        hidden_BLD, state = model(ids_BL[:, :5])
        stored = model.zero_state(4, ids_BL.device)
        put_rows(stored, torch.arange(4), state)
        first = model.loss(hidden_BLD, ids_BL[:, 1:6])
        return first + model.loss(model(ids_BL[:, 5:-1], stored)[0], ids_BL[:, 6:])

    with torch.autocast("cpu", dtype=torch.bfloat16):
        lower = loss()
    lower.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    torch.testing.assert_close(lower, loss(), rtol=0.02, atol=0)
