"""Skip-gram against its definition, pair by pair, and the vectors of words that occur together."""

import math

import pytest
import torch
import torch.nn.functional as F

from sentiment_cli.models.skip_gram import SkipGram


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def test_the_loss_is_that_of_its_pairs() -> None:
    torch.manual_seed(0)
    count_V = torch.tensor([0, 0, 5, 1, 9, 3, 2])
    model = SkipGram(count_V, 4, samples=6, reach=3, negatives=2).double()
    model.context.weight.data.normal_()
    model.embedding.weight.data.normal_()
    ids_BL = torch.randint(2, 7, (3, 8))
    torch.manual_seed(1)
    found = model.loss(ids_BL).item()
    torch.manual_seed(1)  # the same draws: how far each token looks, then the words to be told from
    reach_BL = torch.randint(1, 4, ids_BL.shape).tolist()
    edges = torch.tensor([0.0, *(count**0.75 for count in count_V.tolist())], dtype=torch.float64).cumsum(0)
    points = (torch.rand(6, dtype=torch.float64) * edges[-1]).tolist()
    drawn = [next(v for v in range(7) if point < edges[v + 1]) for point in points]
    assert set(drawn) <= {2, 3, 4, 5, 6}
    word, context = model.embedding.weight.tolist(), model.context.weight.tolist()

    def score(one: int, other: int) -> float:
        return sum(a * b for a, b in zip(word[one], context[other], strict=True))

    total = 0.0
    for row, reaches in zip(ids_BL.tolist(), reach_BL, strict=True):
        for i, reach in enumerate(reaches):
            for j in range(max(0, i - reach), min(len(row), i + reach + 1)):
                if i != j:
                    total += softplus(-score(row[i], row[j]))  # -log sigmoid(w . c)
                    total += sum(softplus(score(row[i], k)) for k in drawn) * 2 / 6
    assert found == pytest.approx(total / ids_BL.numel(), rel=1e-6)


def test_negative_samples_follow_their_counts() -> None:
    count_V = torch.tensor([0, 16, 1, 81])
    model = SkipGram(count_V, 2, samples=100_000)
    chance_V = model.context.chance_V
    assert chance_V.tolist() == pytest.approx([0, 8, 9, 36])
    torch.manual_seed(0)
    drawn_K = torch.searchsorted(chance_V, torch.rand(100_000, dtype=torch.float64) * chance_V[-1])
    shares = torch.bincount(drawn_K, minlength=4) / 100_000
    assert shares.tolist() == pytest.approx([0, 8 / 36, 1 / 36, 27 / 36], abs=0.01)


def test_words_that_occur_together_get_similar_vectors() -> None:
    torch.manual_seed(0)
    topic_B1 = torch.randint(2, (400, 1))
    ids_BL = 2 + 10 * topic_B1 + torch.randint(10, (400, 20))  # rows of words 2 to 11, and of words 12 to 21
    model = SkipGram(torch.bincount(ids_BL.flatten(), minlength=22), 16, samples=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(3):
        for part_BL in ids_BL.split(20):
            model.loss(part_BL).backward()
            optimizer.step()
            optimizer.zero_grad()
    unit_VD = F.normalize(model.embedding.weight[2:], dim=1)
    cosine_VV = unit_VD @ unit_VD.t()
    within = torch.cat([cosine_VV[:10, :10][~torch.eye(10).bool()], cosine_VV[10:, 10:][~torch.eye(10).bool()]])
    assert within.min() > cosine_VV[:10, 10:].max() + 0.3
