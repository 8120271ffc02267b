import pytest

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.models.cost import parts_of


def test_a_bidirectional_lstm_is_counted() -> None:
    parts = {part.name: part for part in parts_of(load_experiment("lstm-bi", []), 10_000)}
    weights = 2 * (4 * 128 * 128 + 4 * 128 * 128)
    assert parts["embedding"][1:] == (10_000 * 128, 0)
    assert parts["encoder"][1:] == (weights + 2 * 2 * 4 * 128, weights)
    assert parts["output"][1:] == (2 * 2 * 128 + 1, 0)


@pytest.mark.parametrize(
    ("softmax", "n_compared"), [("full", 30_000), ("sampled", 1024), ("adaptive", 2_000 + 2)], ids=str
)
def test_a_language_model_is_counted_with_its_softmax(softmax: str, n_compared: int) -> None:
    experiment = load_experiment("imdb-lm", [f"model.language.softmax={softmax}"])
    parts = {part.name: part for part in parts_of(experiment, 30_000)}
    assert parts["softmax"].products == n_compared * 256
    assert parts["layers"].products == 2 * (2 * 256 * 256)
    assert parts["embedding"][1:] == (30_000 * 256, 0)


def test_word_vectors_and_autoencoders_are_counted() -> None:
    vectors = load_experiment("imdb-vectors", [])
    assert [part.parameters for part in parts_of(vectors, 30_000)] == [30_000 * 128] * 2
    assert sum(part.products for part in parts_of(vectors, 30_000)) == vectors.model.language.samples * 128
    regions = load_experiment("imdb-regions", [])
    embedding, context = parts_of(regions, 30_000)
    assert embedding.parameters == 30_000 * 128 + 5 * 128 * 128 + 128
    assert (embedding.products, context.products) == (5 * 128 * 128, regions.model.language.samples * 128)
    parts = {part.name: part for part in parts_of(load_experiment("imdb-autoencoder", []), 30_000)}
    assert parts["encoder"].products == parts["decoder"].products == 2 * (2 * 256 * 256)
