import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.data.batching.batches import Batch, DeviceRows
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.evaluation.metrics import score
from sentiment_cli.evaluation.target_scores import score_stars
from sentiment_cli.inference.predictor import class_probabilities
from sentiment_cli.inference.torch_model import score_rows
from sentiment_cli.models.classifier import Classifier, build_classifier
from sentiment_cli.training.loop import train_steps
from sentiment_cli.training.losses.labels import classification_loss, stars_loss, steps_loss
from sentiment_cli.training.losses.objective import build_objective

LOGITS = [[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 1.0, 4.0], [9.0, -9.0, 0.0]]
LABELS = torch.tensor([1, 0, 1, 0])


class Said(nn.Module):
    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, ids_BL: Tensor, length_B: Tensor) -> Tensor:
        return self.logits


@pytest.mark.parametrize("two", [False, True])
def test_the_loss_is_the_cross_entropy(two: bool) -> None:
    logits = torch.tensor(LOGITS)[:, 0] if two else torch.tensor(LOGITS)
    batch = Batch(torch.ones(4, 1), torch.ones(4), LABELS)
    rows = [[0.0, row[0]] if two else row for row in LOGITS]
    own = [math.log(sum(math.exp(x - row[y]) for x in row)) for row, y in zip(rows, LABELS.tolist(), strict=True)]
    assert float(classification_loss(Said(logits), batch)) == pytest.approx(sum(own) / 4)
    probability_NC = class_probabilities(logits.double().numpy())
    assert score(LABELS.numpy(), probability_NC, tuple("abc")[: probability_NC.shape[1]]).loss == pytest.approx(
        sum(own) / 4, abs=1e-6
    )


def test_the_loss_of_two_labels_is_binary_cross_entropy() -> None:
    logit_B = torch.randn(100, generator=torch.Generator().manual_seed(0)) * 5
    label_B = torch.arange(100) % 2
    expected = nn.functional.binary_cross_entropy_with_logits(logit_B, label_B.float())
    assert torch.equal(
        classification_loss(Said(logit_B), Batch(torch.ones(100, 1), torch.ones(100), label_B)), expected
    )


@pytest.mark.parametrize("n_labels", [2, 3, 5])
def test_a_toy_problem_with_several_labels_is_learnt(n_labels: int) -> None:
    """A row's label is the one of the first words that it contains; the rest is noise of varying length."""
    torch.manual_seed(0)
    settings = schema.Model(
        embedding=schema.Embedding(width=16), encoder=schema.Encoder(width=16), pooling="max", dropout=0.1
    )
    model = Classifier(settings, 30, 1, n_labels, pad_is_input=False)

    def draw(n_rows: int) -> Batch:
        label_B, length_B = torch.randint(n_labels, (n_rows,)), torch.randint(1, 9, (n_rows,))
        ids_BL = torch.randint(10, 30, (n_rows, 8))
        place_B = (torch.rand(n_rows) * length_B).long()
        ids_BL[torch.arange(n_rows), place_B] = label_B + 2
        return Batch(ids_BL * (torch.arange(8) < length_B[:, None]), length_B, label_B)

    steps = train_steps(
        model, classification_loss, [draw(64) for _ in range(120)], torch.optim.Adam(model.parameters()),
        lambda step: 0.02, seed=0, bf16=False, max_grad_norm=1.0,
    )  # fmt: skip
    losses = [float(step.loss) for step in steps]
    assert losses[0] == pytest.approx(math.log(n_labels), rel=0.2)
    fresh = draw(300)
    length_N = fresh.length_B.numpy()
    ids_T = torch.cat([ids_L[:length] for ids_L, length in zip(fresh.ids_BL, length_N, strict=True)])
    starts_N1 = torch.from_numpy(np.concatenate([[0], np.cumsum(length_N)]))
    rows = DeviceRows(torch.cat([ids_T, torch.zeros(1, dtype=torch.long)]).int(), starts_N1, fresh.label_B)
    logits = score_rows(model, rows, length_N, schema.Text())
    assert logits.shape == ((300,) if n_labels == 2 else (300, n_labels))
    scores = score(fresh.label_B.numpy(), class_probabilities(logits), tuple("abcde")[:n_labels])
    assert scores.accuracy > 0.98
    assert scores.auc is not None
    assert scores.auc > 0.99


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_torchs_cross_entropy_of_both_labels(smoothing: float) -> None:
    logit_B = torch.tensor([2.0, -1.0, 0.3])
    batch = Batch(torch.zeros(3, 1), torch.ones(3), torch.tensor([1, 0, 0]))
    loss = classification_loss(lambda ids_BL, length_B: logit_B, batch, smoothing=smoothing)
    logit_BC = torch.stack([torch.zeros(3), logit_B], dim=1)
    expected = nn.functional.cross_entropy(logit_BC, batch.label_B, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected)
    loss = classification_loss(lambda ids_BL, length_B: logit_BC, batch, smoothing=smoothing)
    torch.testing.assert_close(loss, expected)


def test_star_ratings_have_squared_error_on_a_scale_from_minus_1_to_1() -> None:
    batch = Batch(torch.ones(4, 1), torch.ones(4), torch.tensor([1, 10, 7, 4]))
    exact = torch.tensor([-1.0, 1.0, 1.5 / 4.5, -1.5 / 4.5])
    assert float(stars_loss(Said(exact), batch)) == pytest.approx(0, abs=1e-12)
    assert float(stars_loss(Said(exact + torch.tensor([2.0, 0, 0, 0])), batch)) == pytest.approx(1)
    output_N = np.array([-1.0, 0.3, -0.2, 1.4])
    scores = score_stars(output_N, np.array([0, 1, 1, 0]), batch.label_B.numpy(), ("neg", "pos"))
    assert scores.loss == pytest.approx(float(stars_loss(Said(torch.tensor(output_N)), batch)))


def test_the_loss_follows_from_the_experiment(experiment) -> None:
    assert build_objective(experiment("data.target=stars")) is stars_loss
    assert build_objective(experiment()) is classification_loss
    assert build_objective(experiment("model.head=steps", "model.pooling=last")) is steps_loss
    smoothed = build_objective(experiment("train.label_smoothing=0.2"))
    assert (smoothed.func, smoothed.keywords) == (classification_loss, {"smoothing": 0.2, "weight_C": None})


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("n_labels", [2, 3])
def test_each_token_is_classified_and_rows_have_equal_weight(n_labels: int, smoothing: float) -> None:
    torch.manual_seed(0)
    settings = schema.Model(embedding=schema.Embedding(width=8), encoder=schema.Encoder(width=8), head="steps")
    model = Classifier(settings, 30, 1, n_labels, pad_is_input=False)
    length_B, label_B = torch.tensor([5, 1, 3]), torch.tensor([1, 0, 1])
    ids_BL = torch.randint(2, 30, (3, 5)) * (torch.arange(5) < length_B[:, None])
    rows = []
    for ids_L, length, label in zip(ids_BL, length_B, label_B, strict=True):
        logits = model.step_logits(ids_L[None, :length], length[None])[0]
        logit_LC = torch.stack([torch.zeros_like(logits), logits], dim=1) if n_labels == 2 else logits
        loss = nn.functional.cross_entropy(logit_LC, label.expand(len(logit_LC)), label_smoothing=smoothing)
        rows.append(loss)
    for width in (5, 9):
        wider_BL = nn.functional.pad(ids_BL, (0, width - 5))
        loss = steps_loss(model, Batch(wider_BL, length_B, label_B), smoothing=smoothing)
        torch.testing.assert_close(loss, torch.stack(rows).mean())


@pytest.mark.parametrize("head", ["pooled", "steps"])
@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_soft_labels_is_the_mean_of_the_labels_losses(
    experiment, head: str, n_labels: int, smoothing: float
) -> None:
    """Cross-entropy is linear in the target, so a soft label equals each label weighted by its probability."""
    shape = ("model.encoder.width=4", f"model.head={head}", "model.pooling=last", "model.dropout=0")
    settings = experiment(*shape, f"train.label_smoothing={smoothing}")
    model = build_classifier(settings, Vocabulary(tuple("<pad> <unk> a b c".split()), 1), n_labels).eval()
    objective = build_objective(settings)
    ids_BL, length_B = torch.tensor([[2, 3, 4, 0], [4, 2, 3, 3]]), torch.tensor([3, 4])
    soft_BC = torch.softmax(torch.randn(2, n_labels, generator=torch.Generator().manual_seed(0)), dim=1)
    found = objective(model, Batch(ids_BL, length_B, soft_BC[:, 1] if n_labels == 2 else soft_BC))
    expected = sum(
        float(p * q) * objective(model, Batch(ids_BL, length_B, torch.tensor([one, other])))
        for one, p in enumerate(soft_BC[0])
        for other, q in enumerate(soft_BC[1])
    )
    torch.testing.assert_close(found, expected)
