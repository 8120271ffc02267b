"""Graphs in onnxruntime against the torch models that they are written from."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.models.classifier import AnyClassifier, Classifier, build_classifier
from sentiment_cli.models.layers import encoders
from sentiment_cli.models.layers.ngrams import count_ngrams
from sentiment_cli.models.linear import LinearClassifier
from sentiment_cli.onnx.builder import NoGraphError
from sentiment_cli.onnx.classifier import build_graph
from sentiment_cli.onnx.verify import check_graph

N_ENTRIES = 40
LENGTHS = [9, 1, 23, 4, 16, 2, 17, 23]
CELLS = tuple(encoders.CELLS)
PARTS = ("lstm", "rnn", "qrnn", "goru")  # an operator, a loop, one that reads the token before, one on turned rows
BATCHES = ((1, 1), (1, 2), (2, 1), (1, 40_000), (16_384, 1), (64, 256), (5, 3_000))
TOLERANCE = 1e-5  # the largest difference seen is 4e-6 of 1 + the logit

Run = Callable[[Tensor, Tensor], NDArray[np.float32]]


def model_of(n_labels: int = 2, n_entries: int = N_ENTRIES, **settings: object) -> Classifier:
    """Build a small model whose every weight counts, that of padding and fresh n-grams, too."""
    settings = {**settings, "embedding": {"width": 6, **settings.get("embedding", {})}}
    settings["encoder"] = {"width": 8, **settings.get("encoder", {})}
    experiment = schema.Experiment(name="x", model=schema.Model.model_validate(settings))
    entries = (f"{i}." if i % 5 == 3 else str(i) for i in range(n_entries))
    torch.manual_seed(0)
    model = build_classifier(experiment, Vocabulary(tuple(entries), 1), n_labels)
    with torch.no_grad():
        model.embedding.weight[0] = 1.0
        if model.embedding.ngrams is not None:
            model.embedding.ngrams.weight[1:].normal_()
        for name, weight in model.encoder.named_parameters():
            if "relu" not in experiment.model.encoder.cell and "weight" in name:
                weight.mul_(1.5)
    return model.eval()


def rows(lengths: Sequence[int] = LENGTHS, padding: int = 0, fill: int = 0) -> tuple[Tensor, Tensor]:
    """Return ids_BL and length_B: a length is always the same row, whatever stands beside and behind it."""
    ids_BL = torch.full((len(lengths), max(lengths) + padding), fill)
    for i, length in enumerate(lengths):
        ids_BL[i, :length] = torch.randint(N_ENTRIES, (length,), generator=torch.Generator().manual_seed(length))
    return ids_BL, torch.tensor(lengths)


def session_of(model: AnyClassifier) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = build_graph(model)
    checked = check_graph(data)
    for n_rows, n_tokens in BATCHES:
        checked.check_batch(n_rows, n_tokens)
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(ids_BL: Tensor, length_B: Tensor) -> NDArray[np.float32]:
        checked.check_batch(*ids_BL.shape)
        (logits,) = session.run(["logits"], {"ids_BL": ids_BL.numpy(), "length_B": length_B.numpy()})
        return logits

    return run


@torch.inference_mode()
def assert_graph_is(model: AnyClassifier) -> None:
    """Say that the graph gives what the model does, in any batch, with any padding."""
    run, expected = session_of(model), model(*rows()).numpy()
    assert expected.std(axis=0).min() > 1e-3
    logits = run(*rows())
    assert logits.dtype == np.float32
    assert logits.shape == expected.shape
    close = {"atol": TOLERANCE, "rtol": TOLERANCE}
    np.testing.assert_allclose(logits, expected, **close)
    np.testing.assert_allclose(run(*rows(padding=14, fill=7)), expected, **close)
    for i, length in enumerate(LENGTHS):
        np.testing.assert_allclose(run(*rows([length])), expected[i : i + 1], **close)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_invariant_11_every_cell_has_a_graph(cell: str, layers: int, bidirectional: bool) -> None:
    encoder = {"cell": cell, "layers": layers, "bidirectional": bidirectional}
    assert_graph_is(model_of(encoder=encoder, pooling="both" if layers == 1 else "last"))


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "both", "concat", "attention"])
@pytest.mark.parametrize("context", ["none", "global", "local"])
def test_graphs_of_poolings_and_contexts(pooling: str, context: str) -> None:
    encoder = {"cell": "gru", "bidirectional": True}
    for window in (1, 5, 99) if context == "local" else (5,):
        assert_graph_is(model_of(encoder=encoder, pooling=pooling, context=context, context_window=window))


@pytest.mark.parametrize("skip", ["none", "residual", "highway"])
@pytest.mark.parametrize("cell", PARTS)
def test_graphs_of_skips_maps_and_pieces(cell: str, skip: str) -> None:
    for bidirectional, chop in itertools.product([False, True], [None, 5, 99]):
        encoder = {"cell": cell, "bidirectional": bidirectional, "layers": 2, "skip": skip, "chop": chop}
        assert_graph_is(model_of(encoder={**encoder, "direction_maps": bidirectional or chop is None}))


@pytest.mark.parametrize("cell", PARTS)
@pytest.mark.parametrize("context", ["none", "local"])
def test_graphs_of_three_labels_and_of_a_logit_at_each_step(cell: str, context: str) -> None:
    encoder = {"cell": cell, "bidirectional": True}
    for head in ("pooled", "steps"):
        assert_graph_is(model_of(3, encoder=encoder, head=head, context=context))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_graphs_of_transformers(pooling: str, layers: int) -> None:
    for width in (6, 8):
        encoder = {"heads": 2, "layers": layers, "width": width}
        assert_graph_is(model_of(kind="transformer", pooling=pooling, encoder=encoder))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("n_labels", [2, 3])
def test_graphs_of_linear_models(n_labels: int, normalize: bool) -> None:
    model = LinearClassifier(schema.Linear(ngrams=3, normalize=normalize), N_ENTRIES, 1, n_labels)
    ids_BL, _ = rows()
    row_T = np.repeat(np.arange(len(ids_BL), dtype=np.int32), ids_BL.shape[1])
    counted = count_ngrams(ids_BL.flatten().numpy(), row_T, N_ENTRIES, 1, longest=3, min_count=1)
    model.keys = torch.from_numpy(counted.key_K)
    model.weight = torch.randn(len(counted.start_F1) - 1, model.n_logits, generator=torch.Generator().manual_seed(0))
    if normalize:
        model.size = torch.randint(0, 30, (len(model.weight),), generator=torch.Generator().manual_seed(0)).float()
    assert_graph_is(model)


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("use", ["channel", "skip", "both"])
@pytest.mark.parametrize("normalize", [False, True])
def test_graphs_of_networks_with_a_linear_model_beside_them(use: str, n_labels: int, normalize: bool) -> None:
    kinds: list[dict[str, object]] = [
        {"encoder": {"bidirectional": True}, "pooling": "both"},
        {"kind": "bag", "pooling": "both"},
        {"kind": "transformer", "pooling": "mean", "encoder": {"heads": 2}},
    ]
    for kind in kinds:
        model = model_of(n_labels, **kind, wide={"use": use}, linear={"normalize": normalize})
        ids_BL = rows()[0]
        ids_T = torch.cat([torch.cat([row, torch.zeros(1, dtype=torch.long)]) for row in ids_BL]).numpy()
        row_T = np.repeat(np.arange(len(ids_BL), dtype=np.int32), ids_BL.shape[1] + 1)
        counted = count_ngrams(ids_T, row_T, N_ENTRIES, 1, longest=3, min_count=1)
        n_features, generator = N_ENTRIES + len(counted.key_K), torch.Generator().manual_seed(1)
        weight_KFC = torch.randn(1, n_features, model.n_logits, generator=generator)
        size_F = torch.randint(1, 9, (n_features,), generator=generator).float() if normalize else None
        model.wide.fit(torch.from_numpy(counted.key_K), weight_KFC, torch.ones(1, model.n_logits), 0.7, size_F)
        with torch.no_grad():
            for parameter in model.wide.parameters():
                parameter.mul_(0.5)
        assert_graph_is(model)


@pytest.mark.parametrize("kind", ["recurrent", "bag", "transformer"])
def test_graphs_of_networks_with_region_embeddings(kind: str) -> None:
    assert_graph_is(model_of(kind=kind, pooling="both", regions={"use": "frozen", "width": 6, "window": 7}))


@pytest.mark.parametrize("ngrams", [1, 2, 5])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_graphs_of_bags(ngrams: int, pooling: str) -> None:
    embedding = {"ngrams": ngrams, "buckets": 101}
    assert_graph_is(model_of(kind="bag", pooling=pooling, embedding=embedding))


@torch.inference_mode()
def test_graphs_hash_ngrams_as_torch_does() -> None:
    """A row looked up wrongly changes a mean of 250 vectors by a hundredth and more."""
    model = model_of(
        n_entries=30_000, kind="bag", pooling="mean", embedding={"width": 2, "ngrams": 5, "buckets": 100_003}
    )
    ids_BL = torch.randint(1, 30_000, (400, 50), generator=torch.Generator().manual_seed(0))
    length_B = torch.full((400,), 50)
    np.testing.assert_allclose(session_of(model)(ids_BL, length_B), model(ids_BL, length_B), atol=TOLERANCE)


@pytest.mark.parametrize("context", ["none", "global", "local"])
@pytest.mark.parametrize("pooling", ["mean", "max", "attention", "last"])
@torch.inference_mode()
def test_graphs_keep_what_overflows_in_padding_out(pooling: str, context: str) -> None:
    model = model_of(encoder={"cell": "rnn-relu", "bidirectional": True}, pooling=pooling, context=context)
    for cell in (*model.encoder.forward_layers, *model.encoder.backward_layers):
        nn.init.eye_(cell.weight_hh_l0).mul_(9)  # 9^41 is no float32
    expected = model(*rows([4]))
    assert expected.isfinite().all()
    np.testing.assert_allclose(session_of(model)(*rows([4], padding=60)), expected, rtol=TOLERANCE)


def test_a_graph_is_the_same_bytes_each_time() -> None:
    model = model_of(encoder={"cell": "sru", "bidirectional": True}, context="local", pooling="both")
    assert build_graph(model) == build_graph(model)


def test_what_has_no_graph_is_named() -> None:
    model = model_of()
    model.encoder.forward_layers[0] = nn.RNN(6, 8)
    with pytest.raises(NoGraphError, match=r"\bRNN\b"):
        build_graph(model)
    model.encoder = nn.Identity()
    model.encoder.needs_ends = False
    with pytest.raises(NoGraphError, match="Identity"):
        build_graph(model)
