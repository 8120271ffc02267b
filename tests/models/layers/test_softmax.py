import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.layers import cross_entropy, softmax
from sentiment_cli.models.layers.softmax import AdaptiveSoftmax, FullSoftmax, SampledSoftmax

KINDS = pytest.mark.parametrize(
    "kind",
    [
        lambda tied: FullSoftmax(40, 8, tied=tied),
        lambda tied: SampledSoftmax(40, 8, samples=10, tied=tied).eval(),
        lambda tied: AdaptiveSoftmax(40, 8, cutoffs=[6, 20], tied=tied),
    ],
    ids=["full", "sampled", "adaptive"],
)
TIED = pytest.mark.parametrize("is_tied", [False, True])


@pytest.fixture(autouse=True)
def _few_tokens_at_once(monkeypatch) -> None:
    """Read by threes, so that every test meets several parts and one that is not full."""
    monkeypatch.setattr(
        cross_entropy, "_parts", lambda hidden_TD: (slice(i, i + 3) for i in range(0, len(hidden_TD), 3))
    )
    torch.manual_seed(0)


def _embedding() -> nn.Embedding:
    return nn.Embedding(40, 8).double()


def _double(layer: nn.Module) -> nn.Module:
    """Give a layer random biases, too, in float64."""
    for parameter in layer.double().parameters():
        parameter.data.normal_()
    return layer


@KINDS
@TIED
def test_the_loss_is_the_mean_of_log_probabilities_that_add_up_to_one(kind, is_tied: bool) -> None:
    layer = _double(kind(_embedding() if is_tied else None))
    hidden_TD, target_T = torch.randn(10, 8).double(), torch.tensor([0, 5, 6, 19, 20, 39, 7, 7, 1, 30])
    log_probability_TV = layer.log_probabilities(hidden_TD)
    assert log_probability_TV.shape == (10, 40)
    torch.testing.assert_close(log_probability_TV.exp().sum(1), torch.ones(10).double())
    torch.testing.assert_close(layer.loss(hidden_TD, target_T), F.nll_loss(log_probability_TV, target_T))


@KINDS
@TIED
@pytest.mark.parametrize("target", [[0, 5, 6, 19, 20, 39, 7], [1, 2, 3, 1, 2, 3, 1]])
def test_its_gradient_is_that_of_autograd(kind, is_tied: bool, target: list[int]) -> None:
    tied = _embedding() if is_tied else None
    layer = _double(kind(tied))
    hidden_TD, target_T = torch.randn(7, 8).double().requires_grad_(), torch.tensor(target)
    variables = [hidden_TD, *layer.parameters(), *(tied.parameters() if tied is not None else ())]
    expected = torch.autograd.grad(
        F.nll_loss(layer.log_probabilities(hidden_TD), target_T) * 3, variables, allow_unused=True
    )
    found = torch.autograd.grad(layer.loss(hidden_TD, target_T) * 3, variables, allow_unused=True)
    for found_grad, expected_grad, variable in zip(found, expected, variables, strict=True):
        zeros = torch.zeros_like(variable)
        torch.testing.assert_close(zeros if found_grad is None else found_grad, expected_grad)


def test_the_functions_pass_gradcheck() -> None:
    hidden_TD, rows_CD, bias_C = (torch.randn(*shape).double().requires_grad_() for shape in ((5, 3), (6, 3), (6,)))
    target_T = torch.tensor([0, 5, 2, 2, 1])
    assert torch.autograd.gradcheck(
        lambda *inputs: cross_entropy.full_cross_entropy(*inputs, target_T), (hidden_TD, rows_CD, bias_C)
    )
    rows_XD, bias_X = (torch.randn(*shape).double().requires_grad_() for shape in ((9, 3), (9,)))
    place_T, is_left_out_T = torch.tensor([0, 3, 2, 2, 1]), torch.tensor([True, False, True, False, True])
    assert torch.autograd.gradcheck(
        lambda *inputs: cross_entropy.sampled_cross_entropy(*inputs, place_T, is_left_out_T),
        (hidden_TD, rows_XD, bias_X),
    )


@KINDS
def test_a_tied_layer_has_no_table_of_its_own_and_stays_tied_in_a_copy(kind) -> None:
    embedding = _embedding()
    model = nn.ModuleDict({"embedding": embedding, "softmax": _double(kind(embedding))})
    assert sum(tensor.shape == (40, 8) for tensor in model.state_dict().values()) == 1
    assert sum(p.shape == (40, 8) for p in model.parameters()) == 1
    twin, hidden_TD = copy.deepcopy(model), torch.randn(4, 8).double()
    twin["embedding"].weight.data.zero_()
    twin["softmax"].load_state_dict({name: torch.zeros_like(p) for name, p in twin["softmax"].state_dict().items()})
    assert twin["softmax"].log_probabilities(hidden_TD).exp().var(dim=1).max() < 0.01
    assert model["softmax"].log_probabilities(hidden_TD).exp().var(dim=1).min() > 0.001


def test_the_adaptive_one_is_that_of_torch() -> None:
    theirs = nn.AdaptiveLogSoftmaxWithLoss(16, 40, [6, 20], div_value=4.0, head_bias=True).double()
    ours = AdaptiveSoftmax(40, 16, cutoffs=[6, 20]).double()
    with torch.no_grad():
        ours.tables[0].copy_(theirs.head.weight[:6])
        ours.cluster_weight.copy_(theirs.head.weight[6:])
        ours.bias[:6] = theirs.head.bias[:6]
        ours.cluster_bias.copy_(theirs.head.bias[6:])
        for i in range(2):
            ours.maps[i].weight.copy_(theirs.tail[i][0].weight)
            ours.tables[i + 1].copy_(theirs.tail[i][1].weight)
    hidden_TD, target_T = torch.randn(30, 16).double(), torch.randint(40, (30,))
    torch.testing.assert_close(ours.log_probabilities(hidden_TD), theirs.log_prob(hidden_TD))
    torch.testing.assert_close(ours.loss(hidden_TD, target_T), theirs(hidden_TD, target_T).loss)


# What follows enumerates all samples: a fraction of a count is one of 64, and so is the number that draws the sample.


@pytest.fixture
def _in_64ths(monkeypatch) -> None:
    monkeypatch.setattr(softmax, "ONE", 64)


def _draw_all(monkeypatch, draw) -> list:
    drawn = []
    for number in range(64):
        monkeypatch.setattr(torch, "randint", lambda _high, _size, n=number, **_: torch.tensor([n]))
        drawn.append(draw())
    return drawn


@pytest.mark.usefixtures("_in_64ths")
@pytest.mark.parametrize("samples", [2, 7, 11, 12, 100])
def test_each_word_is_sampled_as_often_as_expected(monkeypatch, samples: int) -> None:
    layer = SampledSoftmax(12, 8, samples=samples)
    samples_NS = _draw_all(monkeypatch, layer.draw)
    assert all(len(set(sample_S.tolist())) == min(samples, 12) for sample_S in samples_NS)
    assert all(sample_S.tolist() == sorted(sample_S.tolist()) for sample_S in samples_NS)
    share_V = torch.bincount(torch.cat(samples_NS), minlength=12) / 64
    torch.testing.assert_close(layer.log_count_V.exp(), share_V)
    assert share_V[0] == share_V.max()


def test_counts_follow_the_weights_up_to_one() -> None:
    count_V = softmax.expected_counts(torch.tensor([100.0, 8, 4, 2, 2]).double(), 2) / softmax.ONE
    torch.testing.assert_close(count_V, torch.tensor([1, 0.5, 0.25, 0.125, 0.125]))
    frequency_V = 1 / torch.arange(1, 30_001).double()
    assert softmax.expected_counts(frequency_V, 1024).sum() == 1024 * softmax.ONE


def _sampled(samples: int, n: int = 12, std: float = 0.4) -> tuple[SampledSoftmax, Tensor, Tensor]:
    """Return a layer whose words are about as frequent as the samples assume, and a token for each word."""
    layer = SampledSoftmax(n, 8, samples=samples).double()
    layer.words.table.weight.data.normal_(std=std)
    layer.words.bias.data = -torch.arange(1, n + 1).double().log()
    return layer, torch.randn(n, 8).double(), torch.arange(n)


@pytest.mark.usefixtures("_in_64ths")
def test_the_sampled_sum_of_exponentials_is_exact_in_expectation(monkeypatch) -> None:
    layer, hidden_TD, target_T = _sampled(5)
    logit_TV = hidden_TD @ layer.words.table.weight.t() + layer.words.bias
    for t in range(12):
        one = slice(t, t + 1)
        losses = torch.stack(_draw_all(monkeypatch, lambda one=one: layer.loss(hidden_TD[one], target_T[one])))
        sum_N = (losses + logit_TV[t, t]).exp()
        assert sum_N.std() > 0.01
        torch.testing.assert_close(sum_N.mean(), logit_TV[t].exp().sum(), rtol=1e-6, atol=0)


@pytest.mark.usefixtures("_in_64ths")
def test_the_sampled_gradient_is_that_of_the_full_one_in_expectation(monkeypatch) -> None:
    """The ratio of two sums leaves a bias, of the order of the sum's variance; nothing else may be left."""

    def error(samples: int, is_corrected: bool = True) -> float:
        torch.manual_seed(1)
        layer, hidden_TD, target_T = _sampled(samples, n=40, std=0.2)
        if not is_corrected:
            layer.log_count_V.zero_()
        variables = [hidden_TD.requires_grad_(), layer.words.table.weight, layer.words.bias]

        def gradient() -> Tensor:
            grads = torch.autograd.grad(layer.loss(hidden_TD, target_T), variables)
            return torch.cat([grad.flatten() for grad in grads])

        found = torch.stack(_draw_all(monkeypatch, gradient)).mean(0)
        layer.eval()
        return float((found - gradient()).norm() / gradient().norm())

    assert error(40) < 1e-12
    for samples, bound in ((30, 0.004), (20, 0.02), (10, 0.06)):
        assert error(samples) < bound
        assert error(samples, is_corrected=False) > 7 * bound


def test_the_true_word_is_not_a_negative_sample() -> None:
    layer, hidden_TD, target_T = _sampled(6)
    torch.manual_seed(3)
    loss = layer.loss(hidden_TD, target_T)
    torch.manual_seed(3)
    sample_S = layer.draw().tolist()
    logit_TV = hidden_TD @ layer.words.table.weight.t() + layer.words.bias
    expected = []
    for t in range(12):
        others = [logit_TV[t, v] - layer.log_count_V[v] for v in sample_S if v != t]
        expected.append(torch.stack([logit_TV[t, t], *others]).logsumexp(0) - logit_TV[t, t])
    assert len(sample_S) == 6
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_samples_follow_torchs_seed() -> None:
    layer = SampledSoftmax(1000, 8, samples=50)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(layer.draw().tolist())
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_table_with_sparse_gradients_gets_the_rows_that_were_scored(is_sparse: bool) -> None:
    table = nn.Embedding(1000, 8, sparse=is_sparse)
    layer = SampledSoftmax(1000, 8, samples=50, tied=table)
    layer.loss(torch.randn(20, 8), torch.randint(1000, (20,))).backward()
    assert table.weight.grad.is_sparse == is_sparse
    assert 0 < table.weight.grad.to_dense().any(1).sum() <= 70


@pytest.mark.parametrize("training", [False, True])
def test_autocast_lowers_the_products_alone(training: bool) -> None:
    layer = SampledSoftmax(300, 64, samples=100).train(training)
    hidden_TD, target_T = torch.randn(50, 64), torch.randint(300, (50,))
    losses, grads = [], []
    for dtype in (torch.float32, torch.bfloat16):
        own_TD = hidden_TD.to(dtype, copy=True).requires_grad_()
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = layer.loss(own_TD, target_T)
        losses.append(loss)
        grads.append(torch.autograd.grad(loss, (own_TD, layer.words.table.weight)))
    assert losses[1].dtype == torch.float32
    assert [grad.dtype for grad in grads[1]] == [torch.bfloat16, torch.float32]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=0)
    for lower, full in zip(grads[1], grads[0], strict=True):
        assert (lower.float() - full).norm() < 0.01 * full.norm()


def test_a_loss_without_gradients_is_the_same() -> None:
    layer, hidden_TD, target_T = _sampled(6)
    for _ in range(2):
        torch.manual_seed(0)
        expected = layer.loss(hidden_TD, target_T)
        torch.manual_seed(0)
        with torch.no_grad():
            torch.testing.assert_close(layer.loss(hidden_TD, target_T), expected.detach(), rtol=0, atol=0)
        layer.eval()
