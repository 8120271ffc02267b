import pytest
import torch

from sentiment_cli.config import schema
from sentiment_cli.models.layers.embedding import WordEmbedding, ngram_rows

N_ENTRIES, BUCKETS = 30, 97
IDS_BL = torch.tensor(
    [
        [0, 0, 5, 6, 7, 5, 6],  # padded on the left
        [9, 8, 5, 6, 0, 0, 0],  # padded on the right
        [3, 0, 0, 0, 0, 0, 0],
    ]
)


def embedding_of(**settings) -> WordEmbedding:
    torch.manual_seed(0)
    values = schema.Embedding(width=4, buckets=BUCKETS, **settings)
    embedding = WordEmbedding(values, N_ENTRIES, 1, pad_is_input=False)
    if embedding.ngrams is not None:
        torch.nn.init.normal_(embedding.ngrams.weight[1:])
    return embedding.double()


def row_of(ngram: list[int]) -> int:
    """The hash in Python's whole numbers: from the last word to the first, add and multiply modulo 2^64."""
    value = 0
    for word in reversed(ngram):
        value = (value + word) * 0x9E3779B97F4A7C15 % 2**64
    signed = value - 2**64 if value >= 2**63 else value
    return 1 + (signed >> 33) % BUCKETS


@pytest.mark.parametrize("longest", [1, 2, 3, 5])
@pytest.mark.parametrize("width", [1, 2, 7])
def test_to_each_word_the_ngrams_that_end_with_it_are_added(longest: int, width: int) -> None:
    embedding, ids_BL = embedding_of(ngrams=longest), IDS_BL[:, :width]
    embedded_BLD = embedding(ids_BL)
    for ids_L, embedded_LD in zip(ids_BL.tolist(), embedded_BLD, strict=True):
        for last, embedded_D in enumerate(embedded_LD):
            expected_D = embedding.weight[ids_L[last]]
            for n in range(2, longest + 1):
                ngram = ids_L[last - n + 1 : last + 1] if last + 1 >= n else [0]
                if 0 not in ngram:
                    expected_D = expected_D + embedding.ngrams.weight[row_of(ngram)]
            torch.testing.assert_close(embedded_D, expected_D, atol=1e-12, rtol=0)


def test_new_ngrams_add_nothing_and_row_0_is_never_trained() -> None:
    embedding = WordEmbedding(schema.Embedding(width=4, ngrams=3), N_ENTRIES, 1, pad_is_input=False)
    assert torch.equal(embedding(IDS_BL), torch.nn.functional.embedding(IDS_BL, embedding.weight))
    embedding(IDS_BL).sum().backward()
    gradient_V = embedding.ngrams.weight.grad.abs().sum(1)
    assert gradient_V[0] == 0
    assert (gradient_V > 0).sum() == 10  # 5-6 stands in both rows


def test_buckets_fill_as_evenly_as_by_chance() -> None:
    first_B, second_B = torch.cartesian_prod(torch.arange(1, 301), torch.arange(1, 301)).T
    (row_BL,) = ngram_rows(torch.stack([first_B, second_B], dim=1), 2, 50_000)
    count_V = torch.bincount(row_BL[:, 1], minlength=50_001)
    assert count_V[0] == 0
    assert len(count_V) == 50_001
    assert (count_V[1:] == 0).float().mean().item() == pytest.approx(torch.exp(torch.tensor(-1.8)).item(), abs=0.02)
    assert count_V.max() < 14


def test_initial_vectors_have_the_set_standard_deviation() -> None:
    def drawn(**settings) -> torch.Tensor:
        torch.manual_seed(0)
        return WordEmbedding(schema.Embedding(**settings), 1000, 1, pad_is_input=True).weight.detach()

    normal = drawn(std=0.5)
    torch.manual_seed(0)
    assert torch.equal(normal, torch.randn(1000, 128) * 0.5)
    even = drawn(uniform=0.05)
    assert 0.0499 < even.abs().max() <= 0.05
    assert even.std().item() == pytest.approx(0.05 / 3**0.5, rel=0.02)


def test_words_are_dropped_before_ngrams_are_formed() -> None:
    embedding = embedding_of(ngrams=3, word_dropout=0.9999).train()
    ids_BL = torch.randint(2, N_ENTRIES, (3, 5))
    torch.testing.assert_close(embedding(ids_BL), embedding.eval()(torch.ones_like(ids_BL)))


@pytest.mark.parametrize("ngrams", [1, 3])
def test_sparse_gradients_are_the_dense_ones(ngrams: int) -> None:
    embedding, factor_BLD = embedding_of(ngrams=ngrams), torch.randn(*IDS_BL.shape, 4).double()
    found = []
    for sparse in (False, True):
        for module in embedding.modules():
            module.sparse = sparse
        (embedding(IDS_BL) * factor_BLD).sum().backward()
        assert all(weight.grad.is_sparse == sparse for weight in embedding.parameters())
        found.append([weight.grad.to_dense() for weight in embedding.parameters()])
        embedding.zero_grad()
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one)
