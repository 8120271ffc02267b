"""Perturbed word vectors: their direction against finite differences and brute force, their length, what they leave."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sentiment_cli.config import schema
from sentiment_cli.data.batching.batches import Batch
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.models.layers.encoders import CELLS
from sentiment_cli.training.losses import adversarial as module
from sentiment_cli.training.losses.adversarial import (
    adversarial_loss,
    divergence,
    spread_of,
    virtual_adversarial_loss,
)
from sentiment_cli.training.losses.labels import cross_entropy
from sentiment_cli.training.losses.passes import Pass, read_batch, read_perturbed

IDS_BL = torch.tensor([[3, 5, 4, 6], [4, 3, 0, 0], [6, 0, 0, 0]])
LENGTH_B = torch.tensor([4, 2, 1])
BATCH = Batch(IDS_BL, LENGTH_B, torch.tensor([1, 0, 1]))


def build(n_labels: int, *, kind: str = "recurrent", width: int = 3, dropout: float = 0.0, cell: str = "lstm", **more):
    torch.manual_seed(0)
    settings = schema.Model(
        kind=kind,  # type: ignore[arg-type]
        embedding=schema.Embedding(width=width, dropout=dropout),
        encoder=schema.Encoder(width=4, bidirectional=True, cell=cell),  # type: ignore[arg-type]
        pooling="mean",
        dropout=dropout,
        **more,
    )
    marks = {"is_mark_V": torch.zeros(9, dtype=torch.bool)} if cell == "lstm-2d" else {}
    return Classifier(settings, 9, 1, n_labels, pad_is_input=False, **marks).train()


def read(model: Classifier, batch: Batch = BATCH) -> Pass:
    return read_batch(model, batch.ids_BL, batch.length_B, batch.fold_B, seed=7)


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Note every perturbation that is read, as it is added to the word vectors."""
    found: list[Tensor] = []

    def noting(model: Classifier, first: Pass, moved_BLE: Tensor) -> Tensor:
        found.append(moved_BLE.detach().clone())
        return read_perturbed(model, first, moved_BLE)

    monkeypatch.setattr(module, "read_perturbed", noting)
    return found


@pytest.mark.parametrize("n_labels", [2, 3])
def test_an_adversarial_step_goes_up_the_gradient_of_each_row(moves: list[Tensor], n_labels: int) -> None:
    """By finite differences of the loss, for vectors measured in their standard deviations, with the same dropout."""
    model, spread_E, epsilon = build(n_labels, dropout=0.3), torch.tensor([0.5, 2.0, 1.0]), 0.7
    first = read(model)
    found = adversarial_loss(model, first, BATCH, cross_entropy, epsilon=epsilon, spread_E=spread_E)
    slope_BLE, size = torch.zeros(3, 4, 3), 0.02
    for place in np.ndindex(3, 4, 3):
        one_BLE = torch.zeros(3, 4, 3)
        one_BLE[place] = size
        up, down = (
            cross_entropy(read_perturbed(model, first, way * one_BLE * spread_E), BATCH).item() for way in (1, -1)
        )
        slope_BLE[place] = (up - down) / (2 * size)
    norm_B11 = slope_BLE.flatten(1).norm(dim=1)[:, None, None]
    expected_BLE = epsilon * slope_BLE / norm_B11 * spread_E
    torch.testing.assert_close(moves[0], expected_BLE, rtol=0.03, atol=0.01)
    assert (moves[0][1, 2:] == 0).all()  # padding
    assert found.item() == pytest.approx(
        cross_entropy(read_perturbed(model, first, expected_BLE), BATCH).item(), abs=1e-3
    )
    assert found > cross_entropy(first.logits, BATCH) * 1.02


@pytest.mark.parametrize("is_virtual", [False, True])
def test_the_gradient_of_a_term_by_finite_differences(moves: list[Tensor], is_virtual: bool) -> None:
    """The perturbation is a constant, and so is the first answer of virtual adversarial training."""
    model, spread_E = build(3), torch.ones(3)
    first = read(model)
    answer = first.logits.detach()
    if is_virtual:
        term = virtual_adversarial_loss(model, first, "label", epsilon=1, spread_E=spread_E)
    else:
        term = adversarial_loss(model, first, BATCH, cross_entropy, epsilon=1, spread_E=spread_E)
    term.backward()
    fixed_BLE = moves[-1]

    def value() -> float:
        logits = read_perturbed(model, read(model), fixed_BLE)
        return (divergence(answer, logits, "label").mean() if is_virtual else cross_entropy(logits, BATCH)).item()

    for weight, place in ((model.output.weight, (1, 2)), (model.embedding.weight, (3, 1))):
        assert weight.grad is not None
        with torch.no_grad():
            before, found = weight[place].item(), []
            for way in (0.05, -0.05):
                weight[place] = before + way
                found.append(value())
            weight[place] = before
        assert weight.grad[place].item() == pytest.approx((found[0] - found[1]) / 0.1, rel=0.05, abs=2e-5)


@pytest.mark.parametrize(("n_labels", "least"), [(2, 0.95), (3, 0.95), (4, 0.9)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_virtual_adversarial_direction_is_the_best_of_many(
    moves: list[Tensor], n_labels: int, least: float, seed: int
) -> None:
    """Against brute force over the directions in a plane.

    The answer of two labels bends along one direction alone. Of the three labels one is so unlikely that what changes
    its logit changes no answer.
    """
    model, spread_E, epsilon = build(n_labels, kind="bag", width=2), torch.tensor([1.0, 0.4]), 0.05
    if n_labels == 3:
        with torch.no_grad():
            model.output.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 9.0]]))
            model.output.bias.copy_(torch.tensor([0.0, 0.0, -25.0]))
    first = read_batch(model, torch.tensor([[4]]), torch.tensor([1]), None, seed=0)
    angles = [2 * math.pi * i / 360 for i in range(360)]
    tried = [
        divergence(
            first.logits,
            read_perturbed(model, first, epsilon * torch.tensor([[[math.cos(angle), math.sin(angle)]]]) * spread_E),
            "label",
        ).item()
        for angle in angles
    ]
    torch.manual_seed(seed)
    found = virtual_adversarial_loss(model, first, "label", epsilon=epsilon, spread_E=spread_E).item()
    assert (moves[-1] / spread_E).norm().item() == pytest.approx(epsilon, rel=1e-5)
    assert least * max(tried) <= found <= 1.02 * max(tried)
    assert sorted(tried)[180] < 0.7 * max(tried)  # a random direction does worse


def test_a_divergence_is_that_of_the_formula() -> None:
    draw = np.random.default_rng(0)
    p_NC, q_NC = (draw.normal(size=(5, 3)) for _ in range(2))

    def of(target: str, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return divergence(torch.tensor(p), torch.tensor(q), target).numpy()  # type: ignore[arg-type]

    soft_p, soft_q = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in (p_NC, q_NC))
    np.testing.assert_allclose(of("label", p_NC, q_NC), (soft_p * np.log(soft_p / soft_q)).sum(axis=1))
    yes_p, yes_q = (1 / (1 + np.exp(-z)) for z in (p_NC, q_NC))
    binary = yes_p * np.log(yes_p / yes_q) + (1 - yes_p) * np.log((1 - yes_p) / (1 - yes_q))
    np.testing.assert_allclose(of("label", p_NC[:, 0], q_NC[:, 0]), binary[:, 0])
    np.testing.assert_allclose(of("multilabel", p_NC, q_NC), binary.mean(axis=1))
    np.testing.assert_allclose(of("stars", p_NC[:, 0], q_NC[:, 0]), (p_NC[:, 0] - q_NC[:, 0]) ** 2)


def test_the_spread_is_the_standard_deviation_over_the_words_of_the_text() -> None:
    vectors_VE, words_T = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), [2, 3, 3, 1, 3, 2]
    share_V = torch.bincount(torch.tensor(words_T), minlength=4) / len(words_T)
    torch.testing.assert_close(spread_of(vectors_VE, share_V), vectors_VE[words_T].std(dim=0, correction=0))


def test_larger_vectors_do_not_make_a_perturbation_smaller() -> None:
    """What the paper normalizes the vectors for."""
    model, share_V = build(2, kind="bag"), torch.full((9,), 1 / 9)
    losses = []
    for factor in (1.0, 10.0):
        with torch.no_grad():
            model.embedding.weight.mul_(factor)
            model.output.weight.div_(factor)
        spread_E = spread_of(model.embedding.weight, share_V)
        losses.append(adversarial_loss(model, read(model), BATCH, cross_entropy, epsilon=1, spread_E=spread_E).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_the_same_dropout_answers_the_same_without_a_perturbation() -> None:
    model = build(3, dropout=0.5)
    first = read(model)
    assert torch.equal(read_perturbed(model, first, torch.zeros(3, 4, 3)), first.logits)
    assert not torch.equal(read_batch(model, IDS_BL, LENGTH_B, None, seed=8).logits, first.logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_directions_in_half_precision_are_those_of_single_precision(
    moves: list[Tensor], cell: str, dtype: torch.dtype
) -> None:
    """Of long rows, to whose answer each word adds little: as many reviews have. A virtual one
    has a random sign."""
    model = build(2, cell=cell, width=16)
    length_B = torch.tensor([300, 250, 200, 300])
    ids_BL = torch.randint(2, 9, (4, 300)) * (torch.arange(300) < length_B[:, None])
    batch, spread_E = Batch(ids_BL, length_B, torch.tensor([1, 0, 1, 0])), torch.ones(16)
    for half in (False, True):
        with torch.autocast("cpu", dtype=dtype, enabled=half):
            first = read(model, batch)
            adversarial_loss(model, first, batch, cross_entropy, epsilon=5, spread_E=spread_E)
            torch.manual_seed(1)
            virtual_adversarial_loss(model, first, "label", epsilon=5, spread_E=spread_E)
    whole, virtual, half_whole, half_virtual = (moved_BLE.flatten(1) for moved_BLE in moves)
    assert (torch.cosine_similarity(whole, half_whole) > 0.98).all()
    assert (torch.cosine_similarity(virtual, half_virtual).abs() > 0.98).all()


def test_channels_and_region_embeddings_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"wide": schema.Wide(use="channel", width=2), "regions": schema.Regions(use="tuned", width=5)}
    model, inputs = build(2, **parts), list[Tensor]()
    pool = Classifier.pool
    monkeypatch.setattr(Classifier, "pool", lambda *args: inputs.append(args[3].detach()) or pool(*args))
    spread_E = torch.ones(3)
    adversarial_loss(model, read(model), BATCH, cross_entropy, epsilon=1, spread_E=spread_E).backward()
    assert inputs[0].shape[2] == 3 + 2 + 5
    moved_BLD = inputs[1] - inputs[0]
    assert moved_BLD[..., :3].any()
    assert not moved_BLD[..., 3:].any()
    assert model.regions is not None
    assert model.regions.map.weight.grad is not None


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_every_cell_can_be_asked_for_its_gradient_twice(cell: str, dtype: torch.dtype | None) -> None:
    """The gradient of the inputs comes first; what a cell keeps for its own must be left as it was."""
    model, grads = build(2, cell=cell), []
    for is_first_asked in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            first = read(model)
            loss = cross_entropy(first.logits, BATCH)
        if is_first_asked:
            torch.autograd.grad(loss, first.inputs_BLD, retain_graph=True)
        loss.backward()
        grads.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))
    assert any(grad.any() for grad in grads[0])
