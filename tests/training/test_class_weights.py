"""Class weights: rows that count more, in networks and in the linear model, against scikit-learn."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.batching.batches import Batch
from sentiment_cli.errors import UsageError
from sentiment_cli.training.class_weights import class_weights
from sentiment_cli.training.losses.objective import build_objective
from sentiment_cli.training.tasks.newton import Link, solve
from sentiment_cli.training.tasks.presence import Presence


def weights(setting: str, label_N: list[int], labels: tuple[str, ...] = ("no", "yes"), sets: Any = None) -> Any:
    corpus: Any = SimpleNamespace(labels=labels, sets_KC=sets)
    target = ["data.target=multilabel"] if sets is not None else []
    experiment = load_experiment("sample", [f"train.class_weight={setting}", *target])
    return class_weights(experiment, corpus, np.array(label_N))


def test_balanced_labels_weigh_the_same_in_all() -> None:
    weight_C1 = weights("balanced", [0] * 9 + [1])
    assert weight_C1[:, 0] == pytest.approx([10 / 18, 10 / 2])
    assert weights("none", [0, 1]) is None


def test_named_labels_weigh_so_much_more_with_a_mean_of_one() -> None:
    weight_C1 = weights("{yes: 3}", [0, 0, 0, 1])
    assert weight_C1[1, 0] / weight_C1[0, 0] == pytest.approx(3)
    assert 3 * weight_C1[0, 0] + weight_C1[1, 0] == pytest.approx(4)
    with pytest.raises(UsageError, match="names 'maybe'"):
        weights("{maybe: 3, yes: 2}", [0, 1])


def test_yes_and_no_of_each_of_several_labels_are_balanced() -> None:
    sets = np.array([[True, False], [True, True]])
    weight_C2 = weights("balanced", [0, 0, 0, 1], sets=sets)
    assert weight_C2[1] == pytest.approx([4 / 6, 4 / 2])


class Fixed(torch.nn.Module):
    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, ids_BL: torch.Tensor, length_B: torch.Tensor) -> torch.Tensor:
        return self.logits


@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_row_of_weight_three_has_the_loss_of_three_rows(n_labels: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4) if n_labels == 2 else torch.randn(4, 3)
    label_B, of = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 1, 1, 2, 2, 2, 3])
    experiment = load_experiment("sample", [])
    weight_C1 = torch.tensor([[1.0], [3.0], [1.0]])[:n_labels]
    length_B = torch.ones(4, dtype=torch.long)
    ids_BL = torch.zeros(4, 1, dtype=torch.long)
    weighed = build_objective(experiment, weight_C1)(Fixed(logits), Batch(ids_BL, length_B, label_B))
    repeated = build_objective(experiment)(Fixed(logits[of]), Batch(ids_BL[:1], length_B[:1], label_B[of]))
    assert float(weighed) * 4 == pytest.approx(float(repeated) * 8, rel=1e-6)


def sparse(dense: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(dense).to_sparse_csr()


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_the_linear_model_with_weights_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    dense = (draw.random((200, 6)) < 0.4).astype(np.float64)
    label_N = (dense[:, 0] + 0.7 * draw.normal(size=200) > 1.1).astype(np.int64)
    with_bias = np.concatenate([dense, np.ones((200, 1))], axis=1)
    presence = Presence(sparse(with_bias), sparse(with_bias.T.copy()))
    weight_N = np.where(label_N == 1, 4.0, 1.0)
    label_N1 = torch.from_numpy(label_N[:, None].astype(np.float64))
    scale_G1 = torch.ones(7, 1, dtype=torch.float64)
    link = Link(is_softmax=False, weight_NC=torch.from_numpy(weight_N[:, None]))
    found = solve(presence, scale_G1, label_N1, penalty=0.5, tolerance=1e-9, link=link).weight_GC[:, 0].numpy()
    wanted = LogisticRegression(C=2.0, tol=1e-10, max_iter=1000).fit(dense, label_N, sample_weight=weight_N)
    assert found[:-1] == pytest.approx(wanted.coef_[0], abs=1e-4)
    assert found[-1] == pytest.approx(wanted.intercept_[0], abs=1e-4)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_several_labels_are_each_a_logistic_regression_of_its_own() -> None:
    draw = np.random.default_rng(1)
    dense = (draw.random((200, 6)) < 0.4).astype(np.float64)
    truth_NC = dense[:, :3] + 0.7 * draw.normal(size=(200, 3)) > 0.9
    with_bias = np.concatenate([dense, np.ones((200, 1))], axis=1)
    presence = Presence(sparse(with_bias), sparse(with_bias.T.copy()))
    label_NC = torch.from_numpy(truth_NC.astype(np.float64))
    scale_GC = torch.ones(7, 3, dtype=torch.float64)
    found = solve(presence, scale_GC, label_NC, penalty=0.5, tolerance=1e-9, link=Link(is_softmax=False))
    for c in range(3):
        wanted = LogisticRegression(C=2.0, tol=1e-10, max_iter=1000).fit(dense, truth_NC[:, c])
        assert found.weight_GC[:-1, c].numpy() == pytest.approx(wanted.coef_[0], abs=1e-4)
