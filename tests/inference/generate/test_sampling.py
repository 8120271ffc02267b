import math

import pytest
import torch
from torch import Tensor, nn

from sentiment_cli.inference.generate.sampling import choose, forbid, generate_tokens, keep_top_k, keep_top_p
from sentiment_cli.models.language_model import LanguageModel
from sentiment_cli.models.layers.softmax import FullSoftmax

SHARES = (0.4, 0.3, 0.2, 0.07, 0.03)


def _logs(*shares: float) -> Tensor:
    return torch.tensor([shares]).log()


def _draw(n: int, **options) -> Tensor:
    """Return how often each word is chosen of n times."""
    generator = torch.Generator().manual_seed(0)
    return torch.bincount(choose(_logs(*SHARES).expand(n, -1), generator=generator, **options), minlength=5)


def _kept(log_probability_BV: Tensor) -> list[int]:
    return log_probability_BV[0].isfinite().nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, SHARES),
        ({"temperature": 0.5}, [share**2 for share in SHARES]),
        ({"temperature": 2.0}, [share**0.5 for share in SHARES]),
        ({"top_k": 3}, (0.4, 0.3, 0.2, 0, 0)),
        ({"top_p": 0.65}, (0.4, 0.3, 0, 0, 0)),
        ({"top_k": 2, "top_p": 0.5}, (0.4, 0, 0, 0, 0)),  # 0.4 / 0.7 is more than half already
        ({"temperature": 0.5, "top_p": 0.8}, (0.16, 0.09, 0, 0, 0)),  # of 0.3058
    ],
)
def test_words_are_chosen_with_their_probability(options, weights) -> None:
    n, weight_V = 20_000, torch.tensor(weights)
    expected_V, found_V = n * weight_V / weight_V.sum(), _draw(n, **options)
    assert (found_V[weight_V == 0] == 0).all()
    is_possible_V = weight_V > 0
    chi_square = ((found_V - expected_V).square() / expected_V)[is_possible_V].sum()
    assert chi_square < 18.5  # 4 degrees of freedom pass it once in a thousand seeds, fewer more rarely


def test_temperature_0_takes_the_most_probable() -> None:
    assert _draw(100, temperature=0).tolist() == [100, 0, 0, 0, 0]
    assert _draw(100, temperature=0, top_k=2, top_p=0.1).tolist() == [100, 0, 0, 0, 0]


@pytest.mark.parametrize("temperature", [1e-39, 1e-200])
def test_the_coldest_take_the_most_probable_too(temperature: float) -> None:
    assert _draw(100, temperature=temperature).tolist() == [100, 0, 0, 0, 0]
    left_BV = forbid(_logs(*SHARES), [0])
    assert choose(left_BV, temperature=temperature).tolist() == [1]


@pytest.mark.parametrize(("k", "kept"), [(1, [1]), (2, [1, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])])
def test_top_k(k: int, kept: list[int]) -> None:
    assert _kept(keep_top_k(_logs(0.1, 0.4, 0.2, 0.3), k)) == kept


def test_of_equals_no_more_than_k_are_kept() -> None:
    assert len(_kept(keep_top_k(torch.zeros(1, 10), 3))) == 3


@pytest.mark.parametrize(
    ("p", "kept"),
    [
        (0.0, [1]),
        (0.3, [1]),
        (0.45, [1, 3]),
        (0.69, [1, 3]),
        (0.75, [1, 2, 3]),
        (0.95, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3]),
    ],
)
def test_top_p(p: float, kept: list[int]) -> None:
    log_probability_BV = _logs(0.1, 0.4, 0.2, 0.3)
    assert _kept(keep_top_p(log_probability_BV, p)) == kept
    assert _kept(keep_top_p(log_probability_BV + 5, p)) == kept  # whatever they add up to
    both_BV = keep_top_p(torch.cat([log_probability_BV, _logs(0.97, 0.01, 0.01, 0.01)]), p)
    assert _kept(both_BV[:1]) == kept
    torch.testing.assert_close(both_BV[0, kept], log_probability_BV[0, kept])


def test_top_p_and_k_of_what_is_left_of_the_forbidden() -> None:
    left_BV = forbid(_logs(0.1, 0.4, 0.2, 0.3), [1, 3])
    assert _kept(left_BV) == [0, 2]
    assert _kept(keep_top_p(left_BV, 0.65)) == [2]
    assert _kept(keep_top_p(left_BV, 0.7)) == [0, 2]
    assert _kept(keep_top_p(left_BV, 1.0)) == [0, 2]
    assert _kept(keep_top_k(left_BV, 3)) == [0, 2]
    assert _kept(forbid(left_BV, [])) == [0, 2]


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(0)
    embedding = nn.Embedding(30, 8)
    return LanguageModel(embedding, FullSoftmax(30, 8, tied=embedding), cell="lstm", widths=[8, 8], n_labels=2).eval()


def _generate(model: LanguageModel, **options) -> list[list[int]]:
    prompt_ids = options.pop("prompt_ids", [1, 5, 7])
    return torch.stack(list(generate_tokens(model, prompt_ids, **options)), dim=1).tolist()


def test_greedy_words_are_those_of_reading_the_text_anew(model) -> None:
    (found,) = _generate(model, n_tokens=10, temperature=0, label=2, forbidden=[0])
    model.label.weight.data[2] = 3.0
    (with_label,) = _generate(model, n_tokens=10, temperature=0, label=2, forbidden=[0])
    read = [1, 5, 7]
    for _ in range(10):
        hidden_BLD, _ = model(torch.tensor([read]), None, torch.tensor([2]))
        log_probability_V = model.log_probabilities(hidden_BLD[:, -1])[0]
        read.append(int(log_probability_V[1:].argmax()) + 1)
    assert with_label == read[3:] != found


def test_several_texts_differ_and_follow_the_seed(model) -> None:
    def generate(seed: int) -> list[list[int]]:
        return _generate(model, n_tokens=20, n_rows=3, generator=torch.Generator().manual_seed(seed))

    texts = generate(0)
    assert len({tuple(text) for text in texts}) == 3
    assert generate(0) == texts != generate(1)


def test_forbidden_words_never_come(model) -> None:
    texts = _generate(model, n_tokens=50, n_rows=4, temperature=5.0, forbidden=list(range(20)))
    assert {word for text in texts for word in text} <= set(range(20, 30))


def test_a_text_that_ended_goes_on_with_its_end_until_all_have(model) -> None:
    torch.manual_seed(0)
    texts = _generate(model, n_tokens=1000, n_rows=3, end_id=4)
    lengths = [text.index(4) + 1 for text in texts]
    assert max(lengths) == len(texts[0]) < 1000
    assert min(lengths) < max(lengths)
    for text, length in zip(texts, lengths, strict=True):
        assert set(text[length:]) <= {4}


def test_words_come_one_by_one(model) -> None:
    words = generate_tokens(model, [1], n_tokens=10**9)
    assert next(words).shape == (1,)
    assert next(words).shape == (1,)


@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("p", [0.0, 0.5, 0.9, 0.999, 1.0])
def test_top_p_of_many_words_is_that_of_its_definition(spread: float, p: float) -> None:
    torch.manual_seed(0)
    log_probability_BV = (spread * torch.randn(3, 3000)).double().log_softmax(dim=1)
    if spread == 0:
        log_probability_BV = (torch.arange(3000.0) * 1e-6).double().expand(3, -1).log_softmax(dim=1)
    for row, kept in zip(
        log_probability_BV.tolist(), keep_top_p(log_probability_BV, p).isfinite().tolist(), strict=True
    ):
        total, expected = 0.0, set()
        for word in sorted(range(3000), key=lambda word: -row[word]):
            if expected and total >= p:
                break
            expected.add(word)
            total += math.exp(row[word])
        found = {word for word, is_kept in enumerate(kept) if is_kept}
        assert len(found ^ expected) <= 1  # which sums that differ in the last place decide
        assert found <= expected or expected <= found
