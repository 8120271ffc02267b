"""Region embeddings against loops over their definition."""

import math

import pytest
import torch

from sentiment_cli.config.model_settings import Regions
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.models.classifier import Classifier, build_classifier
from sentiment_cli.models.regions import RegionEmbedding, RegionPretraining


@pytest.mark.parametrize("window", [3, 5])
def test_a_region_is_a_map_of_the_vectors_around_it_with_zeros_beyond_its_row(window: int) -> None:
    torch.manual_seed(0)
    regions = RegionEmbedding(Regions(width=4, window=window), 9)
    ids_BL, length_B = torch.tensor([[2, 3, 4, 5, 6, 7], [8, 1, 8, 8, 8, 8], [3, 5, 5, 5, 5, 5]]), [6, 2, 1]
    region_BLD = regions(ids_BL, torch.tensor(length_B))
    for row, length, found_LD in zip(ids_BL.tolist(), length_B, region_BLD, strict=True):
        for place in range(length):
            around = range(place - window // 2, place + window // 2 + 1)
            inside = [regions.vectors.weight[row[at]] if 0 <= at < length else torch.zeros(4) for at in around]
            expected_D = torch.tanh(regions.map.weight @ torch.cat(inside) + regions.map.bias)
            torch.testing.assert_close(found_LD[place], expected_D)


@torch.no_grad()
def test_the_loss_is_that_of_the_words_beside_a_region_each_with_its_weight() -> None:
    torch.manual_seed(0)
    count_V, weight_V = torch.tensor([0, 0, 5, 1, 9, 3, 2]), torch.tensor([0.0, 0.0, 0.3, 2.0, 0.0, 1.0, 0.7])
    model = RegionPretraining(Regions(width=4, window=3), count_V, weight_V, samples=6, reach=2, negatives=3).double()
    model.context.weight.data.normal_()
    model.bias_V.data.normal_()
    ids_BL = torch.randint(2, 7, (3, 9))
    torch.manual_seed(1)
    found = model.loss(ids_BL).item()
    torch.manual_seed(1)  # the same negative samples
    chance_V = model.context.chance_V
    drawn = torch.searchsorted(chance_V, torch.rand(6, dtype=torch.float64) * chance_V[-1]).tolist()
    total = 0.0
    for row, region_LD in zip(ids_BL.tolist(), model.regions(ids_BL), strict=True):
        for i in range(9):
            for j in range(9):
                if 1 < abs(i - j) <= 3:
                    scores = {k: float(region_LD[i] @ model.context.weight[k] + model.bias_V[k]) for k in range(7)}
                    total += weight_V[row[j]].item() * math.log1p(math.exp(-scores[row[j]]))
                    total += sum(weight_V[k].item() * math.log1p(math.exp(scores[k])) for k in drawn) * 3 / 6
    assert found == pytest.approx(total / ids_BL.numel(), rel=1e-6)


def test_regions_of_one_topic_predict_its_words() -> None:
    torch.manual_seed(0)
    topic_B1 = torch.randint(2, (300, 1))
    ids_BL = 2 + 10 * topic_B1 + torch.randint(10, (300, 20))  # rows of words 2 to 11, and of words 12 to 21
    count_V = torch.bincount(ids_BL.flatten(), minlength=22)
    model = RegionPretraining(Regions(width=8), count_V, torch.ones(22), samples=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(ids_BL).backward()
        optimizer.step()
    score_BLV = model.regions(ids_BL) @ model.context.weight.t() + model.bias_V
    of_topic = [score_BLV[..., 2 + 10 * topic : 12 + 10 * topic].mean(dim=2) for topic in (0, 1)]
    is_second_BL = of_topic[1] > of_topic[0]
    assert (is_second_BL == topic_B1.bool()).float().mean() > 0.99


@pytest.mark.parametrize(
    ("use", "learnt"), [("frozen", set()), ("tuned", {"vectors.weight", "map.weight", "map.bias"})]
)
def test_a_classifier_learns_its_regions_only_where_they_are_tuned(use: str, learnt: set[str]) -> None:
    settings = {"embedding": {"width": 5}, "encoder": {"width": 4}, "regions": {"use": use, "width": 3}}
    experiment = Experiment.model_validate({"name": "x", "model": settings})
    model = build_classifier(experiment, Vocabulary(tuple("abcdefgh"), 1), 2)
    assert isinstance(model, Classifier)
    assert model.encoder.forward_layers[0].weight_ih_l0.shape[1] == 5 + 3
    model(torch.tensor([[2, 3, 4], [5, 6, 0]]), torch.tensor([3, 2])).sum().backward()
    found = {name for name, p in model.named_parameters() if p.grad is not None and name.startswith("regions.")}
    assert found == {f"regions.{name}" for name in learnt}
