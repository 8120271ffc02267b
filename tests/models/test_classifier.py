"""Every encoder setting and pooling against its plain definition, its neighbours and padding."""

import itertools

import pytest
import torch
from torch import nn

from sentiment_cli.config import schema
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.models.encoders import Encoded, RecurrentEncoder, drop_columns
from sentiment_cli.models.pooling import Pooling

SETTINGS = list(itertools.product(["lstm", "rnn"], [1, 2], [False, True]))
POOLINGS = ["last", "mean", "max", "both", "attention"]
LENGTHS = torch.tensor([5, 1, 9, 3])


def encoder_of(cell: str, layers: int, bidirectional: bool) -> RecurrentEncoder:
    torch.manual_seed(0)
    settings = schema.Encoder(cell=cell, width=6, layers=layers, bidirectional=bidirectional, dropout=0.5)
    return RecurrentEncoder(settings, 4).eval()


def rows(length: int = 9) -> torch.Tensor:
    return torch.randn(len(LENGTHS), length, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("cell", "layers", "bidirectional"), SETTINGS)
def test_encoder_is_torchs_own_on_each_row_alone(cell: str, layers: int, bidirectional: bool) -> None:
    encoder, input_BLD = encoder_of(cell, layers, bidirectional), rows()
    reference = {"lstm": nn.LSTM, "rnn": nn.RNN}[cell](4, 6, layers, batch_first=True, bidirectional=bidirectional)
    for name, weight in reference.named_parameters():  # weight_ih_l0, weight_ih_l0_reverse
        kind, _, place = name.rpartition("_l")
        place, _, reverse = place.partition("_")
        own = (encoder.backward_layers if reverse else encoder.forward_layers)[int(place)]
        weight.data.copy_(getattr(own, f"{kind}_l0"))
    encoded = encoder(input_BLD, LENGTHS)
    for i, length in enumerate(LENGTHS):
        states, last = reference(input_BLD[i : i + 1, :length])
        final = last[0] if cell == "lstm" else last
        torch.testing.assert_close(encoded.states_BLD[i, :length], states[0], atol=1e-6, rtol=0)
        expected = final[-2:].flatten() if bidirectional else final[-1, 0]
        torch.testing.assert_close(encoded.last_BD[i], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("cell", "layers", "bidirectional"), SETTINGS)
def test_gradients_of_the_reversal_are_right(cell: str, layers: int, bidirectional: bool) -> None:
    encoder = encoder_of(cell, layers, bidirectional).double()
    input_BLD = rows(4).double()[:3].requires_grad_()
    length_B = torch.tensor([3, 1, 4])
    assert torch.autograd.gradcheck(lambda x: tuple(encoder(x, length_B)), input_BLD)


def pool_plainly(kind: str, pooling: Pooling, states_LD: torch.Tensor, last_D: torch.Tensor) -> torch.Tensor:
    """The definition on one row without padding."""
    if kind == "attention":
        weight_L = torch.softmax(pooling.query(torch.tanh(pooling.key(states_LD)))[:, 0], 0)
        return weight_L @ states_LD
    mean, most = states_LD.mean(0), states_LD.amax(0)
    return {"last": last_D, "mean": mean, "max": most, "both": torch.cat([mean, most])}[kind]


@pytest.mark.parametrize("kind", POOLINGS)
def test_pooling_ignores_padding(kind: str) -> None:
    torch.manual_seed(0)
    pooling = Pooling(kind, 4)
    states_BLD, last_BD = rows(), torch.randn(len(LENGTHS), 4)
    states_BLD[torch.arange(9) >= LENGTHS[:, None]] = 1e6
    pooled_BD = pooling(Encoded(states_BLD, last_BD), LENGTHS)
    assert pooled_BD.shape == (len(LENGTHS), pooling.width)
    for i, length in enumerate(LENGTHS):
        expected_D = pool_plainly(kind, pooling, states_BLD[i, :length], last_BD[i])
        torch.testing.assert_close(pooled_BD[i], expected_D, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("cell", "layers", "bidirectional"), SETTINGS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_invariant_11_neighbours_and_padding_change_nothing(cell, layers, bidirectional, pooling) -> None:
    torch.manual_seed(0)
    settings = schema.Model(
        embedding=schema.Embedding(width=4, dropout=0.5, word_dropout=0.5),
        encoder=schema.Encoder(cell=cell, width=6, layers=layers, bidirectional=bidirectional, dropout=0.5),
        pooling=pooling,
        dropout=0.5,
    )
    model = Classifier(settings, 20, 1, 2, pad_is_input=False).eval()
    ids_BL = torch.randint(1, 20, (4, 9)) * (torch.arange(9) < LENGTHS[:, None])
    together_B = model(ids_BL, LENGTHS)
    wider_B = model(nn.functional.pad(ids_BL, (0, 13)), LENGTHS)
    alone_B = torch.cat([model(ids_BL[i : i + 1, :length], length[None]) for i, length in enumerate(LENGTHS)])
    assert together_B.std() > 1e-3
    torch.testing.assert_close(wider_B, together_B, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone_B, together_B, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_of_two_labels_the_second_has_the_only_logit_drawn_as_ever(pooling: str) -> None:
    settings = schema.Model(embedding=schema.Embedding(width=4, std=0.5), pooling=pooling)
    torch.manual_seed(3)
    model = Classifier(settings, 20, 1, 2, pad_is_input=False)
    torch.manual_seed(3)
    embedding, encoder = nn.Embedding(20, 4), RecurrentEncoder(settings.encoder, 4)
    pool = Pooling(pooling, encoder.width)
    output = nn.Linear(pool.width, 1)
    with torch.no_grad():
        embedding.weight.mul_(0.5)
        embedding.weight[0].zero_()
    parts = {"embedding": embedding, "encoder": encoder, "pooling": pool, "output": output}
    expected = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in expected.items())
    ids_BL = torch.randint(1, 20, (4, 9)) * (torch.arange(9) < LENGTHS[:, None])
    logit_B = output(pool(encoder(embedding(ids_BL), LENGTHS), LENGTHS)).squeeze(1).float()
    assert torch.equal(model(ids_BL, LENGTHS), logit_B)


@pytest.mark.parametrize("n_labels", [2, 3, 7])
def test_every_weight_has_a_gradient_for_any_number_of_labels(n_labels: int) -> None:
    torch.manual_seed(0)
    settings = schema.Model(encoder=schema.Encoder(width=6, bidirectional=True), pooling="attention")
    model = Classifier(settings, 20, 1, n_labels, pad_is_input=True)
    logits = model(torch.randint(1, 20, (4, 9)), LENGTHS)
    assert logits.shape == ((4,) if n_labels == 2 else (4, n_labels))
    assert logits.dtype == torch.float32
    assert (
        model(torch.ones(1, 1, dtype=torch.long), torch.ones(1, dtype=torch.long)).shape
        == (1, n_labels)[: logits.dim()]
    )
    (logits * torch.randn_like(logits)).sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_an_empty_row_reads_nothing() -> None:
    model = Classifier(schema.Model(), 20, 1, 2, pad_is_input=False)
    assert not model.embedding.weight[0].any()
    assert Classifier(schema.Model(), 20, 0, 2, pad_is_input=True).embedding.weight[0].any()


def test_dropped_columns_stay_dropped_through_time_and_keep_the_mean() -> None:
    torch.manual_seed(0)
    values = drop_columns(torch.ones(500, 3, 8), 0.3, training=True)
    assert torch.equal(values[:, 0], values[:, 2])
    assert values.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert values.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop_columns(torch.ones(2, 3, 4), 0.3, training=False), torch.ones(2, 3, 4))


def test_dropped_words_read_as_unknown() -> None:
    settings = schema.Model(embedding=schema.Embedding(word_dropout=0.999), pooling="mean")
    model = Classifier(settings, 20, 1, 2, pad_is_input=False).train()
    ids_BL, length_B = torch.randint(2, 20, (3, 5)), torch.full((3,), 5)
    torch.testing.assert_close(model(ids_BL, length_B), model(torch.ones_like(ids_BL), length_B))
