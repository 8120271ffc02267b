"""Every kind of model with every pooling, context and head: its neighbours, padding, gradients, bits."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from sentiment_cli.config import schema
from sentiment_cli.data.batching.batches import Batch
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.models.classifier import Classifier, build_classifier
from sentiment_cli.models.layers.encoders import Encoded, RecurrentEncoder
from sentiment_cli.models.layers.pooling import Pooling
from sentiment_cli.training.loop import train_steps
from sentiment_cli.training.losses.labels import classification_loss, steps_loss

POOLINGS = ["last", "mean", "max", "both", "attention"]
CONTEXTS = ["none", "global", "local"]
LENGTHS = torch.tensor([5, 1, 9, 3])
ENCODERS = {
    "bag": schema.Encoder(),
    "transformer": schema.Encoder(width=8, layers=2, heads=2),
    "plain": schema.Encoder(width=6),
    "both ways": schema.Encoder(width=6, bidirectional=True),
    "Elman": schema.Encoder(cell="rnn", width=6, layers=2, bidirectional=True),
    "residual": schema.Encoder(width=4, layers=2, skip="residual"),
    "highway": schema.Encoder(width=3, layers=2, bidirectional=True, skip="highway", direction_maps=True),
    "chopped": schema.Encoder(width=3, layers=2, bidirectional=True, skip="highway", chop=2),
}


def settings_of(name: str, **settings) -> schema.Model:
    """Describe a small model around the named encoder."""
    kind = name if name in ("bag", "transformer") else "recurrent"
    ngrams = 3 if name in ("bag", "chopped") else 1
    embedding = schema.Embedding(width=4, ngrams=ngrams, buckets=50)
    values = {"embedding": embedding, "encoder": ENCODERS[name], "context_window": 2, **settings}
    return schema.Model(kind=kind, **values)


def model_of(settings: schema.Model, n_labels: int = 2) -> Classifier:
    torch.manual_seed(0)
    model = Classifier(settings, 20, 1, n_labels, pad_is_input=False)
    if model.embedding.ngrams is not None:
        nn.init.normal_(model.embedding.ngrams.weight[1:])
    return model


def batch_of(lengths: torch.Tensor = LENGTHS) -> tuple[torch.Tensor, torch.Tensor]:
    width = int(lengths.max())
    generator = torch.Generator().manual_seed(1)
    ids_BL = torch.randint(1, 20, (len(lengths), width), generator=generator)
    return ids_BL * (torch.arange(width) < lengths[:, None]), lengths


HEADS = [*({"pooling": pooling} for pooling in POOLINGS), {"head": "steps"}]
NAMES = [str(*head.values()) for head in HEADS]
# All pairs of encoder and context, encoder and head, and context and head, in 48 of the 144 combinations.
PAIRS = [
    pytest.param(
        name, CONTEXTS[(i + j) % len(CONTEXTS)], head, id=f"{name}-{CONTEXTS[(i + j) % len(CONTEXTS)]}-{NAMES[j]}"
    )
    for i, name in enumerate(ENCODERS)
    for j, head in enumerate(HEADS)
]


@pytest.mark.parametrize(("name", "context", "head"), PAIRS)
def test_neighbours_and_padding_change_nothing(name: str, context: str, head: dict[str, str]) -> None:
    """Invariant 11."""
    dropouts = {"dropout": 0.5, "word_dropout": 0.5, "element_dropout": 0.5}
    settings = settings_of(name, context=context, dropout=0.5, **head)
    embedding = settings.embedding.model_copy(update=dropouts)
    encoder = settings.encoder.model_copy(update={"dropout": 0.5})
    model = model_of(settings.model_copy(update={"embedding": embedding, "encoder": encoder})).eval()
    ids_BL, _ = batch_of()
    together_B = model(ids_BL, LENGTHS)
    wider_B = model(nn.functional.pad(ids_BL, (0, 13)), LENGTHS)
    alone_B = torch.cat([model(ids_BL[i : i + 1, :length], length[None]) for i, length in enumerate(LENGTHS)])
    assert together_B.std() > 1e-3
    torch.testing.assert_close(wider_B, together_B, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone_B, together_B, atol=1e-5, rtol=0)
    if settings.head == "steps":
        step_BL = model.step_logits(ids_BL, LENGTHS)
        for i, length in enumerate(LENGTHS):
            alone_L = model.step_logits(ids_BL[i : i + 1, :length], length[None])[0]
            torch.testing.assert_close(step_BL[i, :length], alone_L, atol=1e-5, rtol=0)
            torch.testing.assert_close(alone_L[-1], together_B[i], atol=1e-5, rtol=0)


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep float64 where the model converts bf16 to float32."""
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(("name", "context", "head"), PAIRS)
def test_gradients_are_right(name: str, context: str, head: dict[str, str]) -> None:
    model = model_of(settings_of(name, context=context, **head), n_labels=3)
    ids_BL, length_B = batch_of(torch.tensor([4, 1, 3]))
    weights = {key: value.detach().requires_grad_() for key, value in model.named_parameters()}
    batch = Batch(ids_BL, length_B, torch.tensor([0, 2, 1]))

    def loss(*values: torch.Tensor) -> torch.Tensor:
        for key, value in zip(weights, values, strict=True):
            owner, _, last = key.rpartition(".")
            module = model.get_submodule(owner)
            if key == "embedding.ngrams.weight":  # row 0 stays what it is, whatever the loss makes of it
                value = torch.cat([torch.zeros_like(value[:1]), value[1:]])
            module._parameters[last] = value  # type: ignore[assignment]
            if isinstance(module, nn.RNNBase):
                module._flat_weights = [module._parameters[name] for name in module._flat_weights_names]
        return (steps_loss if "head" in head else classification_loss)(model, batch)

    assert torch.autograd.gradcheck(loss, tuple(weights.values()), fast_mode=True)


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
    ids_BL, length_B = batch_of()
    logit_B = output(pool(encoder(embedding(ids_BL), length_B), length_B)).squeeze(1).float()
    assert torch.equal(model(ids_BL, length_B), logit_B)


@pytest.mark.parametrize("n_labels", [2, 3, 7])
@pytest.mark.parametrize("name", ENCODERS)
def test_every_weight_has_a_gradient_for_any_number_of_labels(name: str, n_labels: int) -> None:
    model = model_of(settings_of(name, pooling="attention", context="global"), n_labels)
    logits = model(*batch_of())
    assert logits.shape == ((4,) if n_labels == 2 else (4, n_labels))
    assert logits.dtype == torch.float32
    one = model(torch.ones(1, 1, dtype=torch.long), torch.ones(1, dtype=torch.long))
    assert one.shape == (1, n_labels)[: logits.dim()]
    (logits * torch.randn_like(logits)).sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("name", ENCODERS)
def test_weights_load_into_an_empty_model(name: str) -> None:
    settings = settings_of(name, context="local")
    model = model_of(settings).eval()
    with torch.device("meta"):
        empty = Classifier(settings, 20, 1, 2, pad_is_input=False).eval()
    empty.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(empty(*batch_of()), model(*batch_of()))


def test_empty_models_of_every_kind_import_nothing_more() -> None:
    """Every training ends with one, to make the graph: sympy and torch._dynamo take a second of CPU to import."""
    program = """
import sys
from typing import get_args
import torch
from test_classifier import ENCODERS, schema, settings_of
from sentiment_cli.models.classifier import Classifier
cells = get_args(schema.Encoder.model_fields["cell"].annotation)
assert len(cells) > 10
ENCODERS |= {f"cell {cell}": schema.Encoder(cell=cell, width=4) for cell in cells}
before = {name.partition(".")[0] for name in sys.modules} | {"sentiment_cli"}
with torch.device("meta"):
    for name in ENCODERS:
        Classifier(settings_of(name, context="local", pooling="attention"), 20, 1, 2, pad_is_input=False)
print({name.partition(".")[0] for name in sys.modules} - before, "torch._dynamo" in sys.modules)
"""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout == "set() False\n", done.stderr


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("context", CONTEXTS)
def test_bf16_is_nearly_float32(name: str, context: str) -> None:
    model = model_of(settings_of(name, context=context, pooling="both"))
    exact_B = model(*batch_of())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logit_B = model(*batch_of())
    assert logit_B.dtype == torch.float32
    torch.testing.assert_close(logit_B, exact_B, atol=0.05, rtol=0)
    logit_B.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def train(settings: schema.Model, batch: Batch, n_steps: int) -> Iterator[Classifier]:
    torch.manual_seed(0)
    model = Classifier(settings, 50, 1, 2, pad_is_input=False)
    objective = steps_loss if settings.head == "steps" else classification_loss
    steps = train_steps(
        model, objective, [batch] * n_steps, torch.optim.Adam(model.parameters()), lambda step: 0.02,
        seed=0, bf16=False, max_grad_norm=1.0,
    )  # fmt: skip
    for _ in steps:
        yield model


def reviews(n_rows: int, width: int) -> Batch:
    torch.manual_seed(4)
    length_B = torch.randint(3, width + 1, (n_rows,))
    ids_BL = torch.randint(2, 50, (n_rows, width)) * (torch.arange(width) < length_B[:, None])
    return Batch(ids_BL, length_B, torch.arange(n_rows) % 2)


@pytest.mark.parametrize("head", [{"pooling": "mean"}, {"context": "global"}, {"context": "local"}, {"head": "steps"}])
@pytest.mark.parametrize("name", ["bag", "transformer", "residual", "highway", "chopped"])
def test_it_overfits_32_reviews(name: str, head: dict[str, str]) -> None:
    settings = settings_of(name, **{"pooling": "attention"} if "context" in head else {}, **head)
    settings = settings.model_copy(
        update={
            "embedding": schema.Embedding(width=16, ngrams=settings.embedding.ngrams, buckets=2000),
            "encoder": settings.encoder.model_copy(update={"width": 16}),
        }
    )
    batch = reviews(32, 12)
    models = train(settings, batch, 150)
    assert any(((model(batch.ids_BL, batch.length_B) > 0) == batch.label_B.bool()).all() for model in models)


@pytest.mark.slow  # two threads, on cores that other tests have
@pytest.mark.parametrize("head", [{"pooling": "both", "context": "global"}, {"context": "local", "head": "steps"}])
@pytest.mark.parametrize("name", ENCODERS)
def test_the_same_seed_gives_the_same_bits_with_two_threads(name: str, head: dict[str, str]) -> None:
    settings = settings_of(name, dropout=0.3, **head)
    dropouts = {"width": 32, "dropout": 0.2, "word_dropout": 0.1, "element_dropout": 0.1}
    settings = settings.model_copy(
        update={
            "embedding": settings.embedding.model_copy(update=dropouts),
            "encoder": settings.encoder.model_copy(update={"width": 32, "dropout": 0.3}),
        }
    )
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.set_deterministic_debug_mode("error")
    try:
        one, other = (list(train(settings, reviews(64, 40), 3))[-1].state_dict() for _ in range(2))
    finally:
        torch.set_num_threads(n_threads)
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_an_empty_row_has_zero_states() -> None:
    model = Classifier(schema.Model(), 20, 1, 2, pad_is_input=False)
    assert not model.embedding.weight[0].any()
    assert Classifier(schema.Model(), 20, 0, 2, pad_is_input=True).embedding.weight[0].any()


def test_dropped_words_become_unknown() -> None:
    settings = schema.Model(embedding=schema.Embedding(word_dropout=0.999), pooling="mean")
    model = Classifier(settings, 20, 1, 2, pad_is_input=False).train()
    ids_BL, length_B = torch.randint(2, 20, (3, 5)), torch.full((3,), 5)
    torch.testing.assert_close(model(ids_BL, length_B), model(torch.ones_like(ids_BL), length_B))


@pytest.mark.parametrize("marks", [(), (4,), (4, 7)])
def test_an_encoder_that_needs_sentence_ends_gets_them(marks: tuple[int, ...]) -> None:
    class Asking(nn.Module):
        needs_ends, width = True, 4

        def forward(self, input_BLD: torch.Tensor, length_B: torch.Tensor, ends_BL: torch.Tensor) -> Encoded:
            self.ends_BL = ends_BL
            return Encoded(input_BLD, input_BLD[:, 0])

    model = Classifier(settings_of("bag"), 20, 1, 2, pad_is_input=False)
    model.encoder, model.is_mark_V = Asking(), torch.isin(torch.arange(20), torch.tensor(marks))
    rows = [[4, 3, 7], [5, 4, 0]]
    model(torch.tensor(rows), torch.tensor([3, 2]))
    assert model.encoder.ends_BL.tolist() == [[word in marks for word in row] for row in rows]


def test_an_lstm_2d_gets_sentence_ends_from_the_vocabulary() -> None:
    entries = ("<pad>", "<unk>", "so", ".", "good", "!")
    chosen = schema.Experiment(name="x", model=schema.Model(encoder=schema.Encoder(cell="lstm-2d", width=4)))
    model = build_classifier(chosen, Vocabulary(entries, 1), 2).eval()
    ids_BL, length_B = torch.tensor([[2, 3, 4, 5, 2, 4]]), torch.tensor([6])
    states_BLD = model.encoder.forward_layers[0](
        model.embedding(ids_BL), length_B, torch.isin(ids_BL, torch.tensor([3, 5]))
    )[0]
    torch.testing.assert_close(model(ids_BL, length_B), model.output(states_BLD[:, -1]).squeeze(1))
    assert "is_mark_V" not in model.state_dict()
