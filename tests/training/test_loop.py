import copy

import pytest
import torch

from sentiment_cli.config import schema
from sentiment_cli.data.batching.batches import Batch
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.training.ema import EMA
from sentiment_cli.training.gradients import slice_seed
from sentiment_cli.training.loop import train_steps
from sentiment_cli.training.losses.labels import classification_loss
from sentiment_cli.training.optimizer import build_optimizer
from sentiment_cli.training.precision import GradScaler


# All pairs of the three settings, in half of the combinations.
@pytest.mark.parametrize(
    ("cell", "bidirectional", "pooling"),
    [
        ("lstm" if (i + bidirectional) % 2 else "rnn", bidirectional, pooling)
        for i, pooling in enumerate(["last", "mean", "max", "both", "attention"])
        for bidirectional in (False, True)
    ],
)
def test_it_overfits_32_reviews(cell: str, bidirectional: bool, pooling: str) -> None:
    torch.manual_seed(0)
    settings = schema.Model(
        embedding=schema.Embedding(width=16),
        encoder=schema.Encoder(cell=cell, width=16, bidirectional=bidirectional),
        pooling=pooling,
    )
    model = Classifier(settings, 50, 1, 2, pad_is_input=False)
    batch = _batch(32)
    optimizer = torch.optim.Adam(model.parameters())
    steps = train_steps(
        model, classification_loss, [batch] * 150, optimizer, lambda step: 0.02, seed=0, bf16=False, max_grad_norm=1.0
    )
    assert any(((model(batch.ids_BL, batch.length_B) > 0) == batch.label_B.bool()).all() for _ in steps)


def test_random_draws_follow_from_seed_step_and_micro_batch() -> None:
    assert len({slice_seed(0, 1, 0), slice_seed(1, 0, 0), slice_seed(0, 0, 1)}) == 3
    assert slice_seed(3, 4, 5) == slice_seed(3, 4, 5)
    model = Classifier(schema.Model(dropout=0.5), 9, 1, 2, pad_is_input=False)
    batch = Batch(torch.ones(2, 3, dtype=torch.long), torch.tensor([3, 3]), torch.tensor([0, 1]))

    def losses(start: int, noise: int) -> list[float]:
        torch.manual_seed(noise)
        still = torch.optim.SGD(model.parameters(), lr=0.0)
        steps = train_steps(
            model, classification_loss, [batch] * (4 - start), still, lambda _: 0.0,
            seed=7, bf16=False, max_grad_norm=None, slices=2, start=start,
        )  # fmt: skip
        return [float(step.loss) for step in steps]

    assert losses(2, noise=2) == losses(0, noise=1)[2:]
    assert len(set(losses(0, noise=1))) == 4


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("slices", [2, 4, 7, 40])
def test_micro_batches_add_up_to_the_batch(slices: int, lazy: bool) -> None:
    """Invariant 7."""
    torch.manual_seed(0)
    whole = Classifier(schema.Model(encoder=schema.Encoder(bidirectional=True)), 50, 1, 2, pad_is_input=False)
    sliced = copy.deepcopy(whole)
    batches = [_batch(n) for n in (32, 31, 30)]
    both = [
        list(_steps(model, batches, slices=n, max_grad_norm=0.5, lazy=lazy))
        for model, n in ((whole, 1), (sliced, slices))
    ]
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(other.loss, one.loss, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(other.grad_norm, one.grad_norm, atol=1e-6, rtol=1e-6)
    for one, other in zip(whole.parameters(), sliced.parameters(), strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-6)


def test_ema_matches_its_equation() -> None:
    torch.manual_seed(0)
    model = Classifier(schema.Model(), 50, 1, 2, pad_is_input=False)
    ema = EMA(model, 0.3)
    expected = model.output.weight.detach().clone()
    for step, _ in enumerate(_steps(model, [_batch(8)] * 4, ema=ema)):
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.output.weight.detach()
        torch.testing.assert_close(ema.model.output.weight, expected)
    assert not ema.model.output.weight.requires_grad


@pytest.mark.parametrize("lazy", [False, True])
def test_after_a_bad_step_the_weights_stay_as_they_were(lazy: bool) -> None:
    """Robustness case F21."""
    torch.manual_seed(0)
    model = Classifier(schema.Model(), 50, 1, 2, pad_is_input=False)
    before = []

    def spoilt(model, batch):
        before.append([p.detach().clone() for p in model.parameters()])
        return classification_loss(model, batch) * (float("inf") if len(before) == 2 else 1)

    steps = list(_steps(model, [_batch(8)] * 4, objective=spoilt, lazy=lazy))
    assert [step.loss.isfinite().item() for step in steps] == [True, False, True, True]
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before[1], strict=True))
    assert any(not torch.equal(p, old) for p, old in zip(model.parameters(), before[0], strict=True))


def _batch(n_rows: int) -> Batch:
    length_B = torch.randint(3, 12, (n_rows,))
    ids_BL = torch.randint(2, 50, (n_rows, 12)) * (torch.arange(12) < length_B[:, None])
    return Batch(ids_BL, length_B, torch.arange(n_rows) % 2)


def _steps(model, batches, *, slices=1, max_grad_norm=None, ema=None, objective=classification_loss, lazy=False):
    optimizer = build_optimizer(model, schema.Train(optimizer="sgd", momentum=0.5, lazy_embeddings=lazy))
    return train_steps(
        model, objective, batches, optimizer, lambda _: 0.1,
        seed=0, bf16=False, max_grad_norm=max_grad_norm, slices=slices, ema=ema,
    )  # fmt: skip


def test_fp16_skips_overflowing_steps_and_resumes_from_the_saved_scale() -> None:
    """A gradient of 40 fits into fp16 only below a scaler of 2,048."""

    def train(n_steps: int, scaler: GradScaler | None, model: torch.nn.Linear) -> list[tuple[float, float]]:
        optimizer = build_optimizer(model, schema.Train(optimizer="sgd", momentum=0.0))
        steps = train_steps(
            model, lambda model, batch: 40 * model(torch.ones(1, 4)).float().mean(), [_batch(1)] * n_steps, optimizer,
            lambda _: 0.01, seed=0, bf16=False, max_grad_norm=None, scaler=scaler,
        )  # fmt: skip
        return [(float(step.loss), float(step.grad_norm)) for step in steps]

    def fresh() -> torch.nn.Linear:
        torch.manual_seed(0)
        return torch.nn.Linear(4, 1)

    model, scaler = fresh(), GradScaler(torch.device("cpu"))
    before = model.weight.clone()
    left_out = train(6, scaler, model)
    assert [grad_norm for _, grad_norm in left_out] == [0, 0, 0, 0, 0, 0]
    torch.testing.assert_close(model.weight, before, rtol=0, atol=0)
    assert scaler.state_2.tolist() == [2.0**10, 0.0]
    found = train(3, scaler, model)
    assert scaler.state_2.tolist() == [2.0**10, 3.0]
    single = fresh()
    torch.testing.assert_close(found, train(3, None, single), rtol=1e-2, atol=0.05)
    torch.testing.assert_close(model.weight, single.weight, rtol=1e-2, atol=0.01)


def test_the_scale_doubles_after_2000_good_steps_and_does_not_fall_below_1() -> None:
    scaler = GradScaler(torch.device("cpu"))
    for _ in range(2000):
        scaler.update(torch.tensor(False))
    assert scaler.state_2.tolist() == [2.0**17, 0.0]
    for _ in range(20):
        scaler.update(torch.tensor(True))
    assert scaler.state_2.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("factor", [1.0, 2.0**16])
def test_fp16_does_not_hide_what_is_not_finite(factor: float) -> None:
    """Robustness case F20."""
    model, scaler = torch.nn.Linear(4, 1), GradScaler(torch.device("cpu"))
    scaler.state_2[0] = factor
    before = model.weight.clone()
    bad = float("nan") if factor > 1 else 1e6  # a loss that is none, or a gradient that no scaler brings into range
    steps = train_steps(
        model, lambda model, batch: bad * model(torch.ones(1, 4)).float().mean(), [_batch(1)] * 2,
        build_optimizer(model, schema.Train()), lambda _: 0.01, seed=0, bf16=False, max_grad_norm=None, scaler=scaler,
    )  # fmt: skip
    assert [bool((step.loss + step.grad_norm).isfinite()) for step in steps] == [False, False]
    torch.testing.assert_close(model.weight, before, rtol=0, atol=0)
