"""Graphs in onnxruntime, and the gate that they pass at the end of training."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from sentiment_cli.data.batching.truncation import SavedTextLimits
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.inference import parity
from sentiment_cli.inference.parity import checked_graph, rows_to_compare
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.inference.scoring import score_ids
from sentiment_cli.inference.torch_model import load_model
from sentiment_cli.models.classifier import AnyClassifier, build_classifier
from sentiment_cli.onnx.builder import Graph, NoGraphError
from sentiment_cli.onnx.runtime import open_graph
from sentiment_cli.runs.saved_model import GRAPH, open_artefact
from sentiment_cli.storage import store
from sentiment_cli.workflows.train import fit

TINY = ("model.encoder.width=4", "model.embedding.width=4", "train.epochs=1", "model.encoder.bidirectional=true")


@pytest.fixture
def model(experiment) -> AnyClassifier:
    settings = experiment(*TINY)
    torch.manual_seed(0)
    return build_classifier(settings, prepare(settings, ("train", "valid")).vocabulary, 2).eval()


def count_of(table: np.ndarray) -> bytes:
    """Return a graph that looks a number up for each token and adds them all, padding's with them."""
    graph = Graph()
    looked_up_BL = graph.node("Gather", graph.constant(table.astype(np.float32)), "ids_BL")
    length_B = graph.node("Mul", graph.node("Cast", "length_B", to=1), graph.constant(0.0))
    sum_B = graph.node("ReduceSum", looked_up_BL, graph.constant([1]), keepdims=0)
    inputs = {"ids_BL": ["B", "L"], "length_B": ["B"]}
    return graph.finish(inputs, graph.node("Add", sum_B, length_B), "logits", ["B"])


def test_a_graph_is_computed_and_says_how_many_numbers_a_row_it_gives(three_labels: Path) -> None:
    answers, n_logits = open_graph(count_of(np.array([0.0, 1.0, 0.5])))
    assert n_logits == 1
    np.testing.assert_array_equal(answers(np.array([[1, 2, 0], [1, 1, 1]]), np.array([2, 3])), [1.5, 3])
    assert open_graph(open_artefact(three_labels).read(GRAPH))[1] == 3


def test_m08_what_is_no_graph_is_refused_before_and_what_cannot_be_computed_after(three_labels: Path) -> None:
    data = open_artefact(three_labels).read(GRAPH)
    for damaged in (b"", b"\x80\x04.", data[:-9], data + b"\x00"):
        with pytest.raises(store.IntegrityError):
            open_graph(damaged)
    foreign = Graph()
    foreign_B = foreign.node("Acos", foreign.node("Cast", "length_B", to=1))  # onnxruntime has it, and no model does
    with pytest.raises(store.IntegrityError, match="Acos"):
        open_graph(foreign.finish({"ids_BL": ["B", "L"], "length_B": ["B"]}, foreign_B, "logits", ["B"]))
    answers, _ = open_graph(count_of(np.zeros(2)))
    with pytest.raises(store.IntegrityError, match="cannot be computed"):
        answers(np.array([[7]]), np.array([1]))


INPUTS = {"ids_BL": ["B", "L"], "length_B": ["B"]}


@pytest.mark.parametrize(
    ("inputs", "output", "shape", "said"),
    [
        ({"ids_BL": ["B", "L"], "lengths": ["B"]}, "B", ["B"], "the graph reads .*'lengths'"),
        ({**INPUTS, "more": ["B"]}, "B", ["B"], "the graph reads .*'more'"),
        ({"ids_BL": ["B", "L"]}, "B", ["B"], "the graph reads"),
        (INPUTS, "whole", ["B"], r"gives .*int64"),
        (INPUTS, "", [], r"logits are of the shape \[\]"),
        (INPUTS, "B1", ["B", 1], r"logits are of the shape \['B', 1\]"),
        (INPUTS, "BL", ["B", "L"], r"logits are of the shape \['B', 'L'\]"),
        (INPUTS, "BB", ["B"], r"numbers of the shape \(4,\), where \(2,\) is meant"),
    ],
)
def test_m08_a_graph_that_reads_or_gives_something_else_is_refused(inputs, output: str, shape, said: str) -> None:
    graph = Graph()
    whole_B = graph.node("ReduceSum", "ids_BL", graph.constant([1]), keepdims=0)
    made_B = graph.node("Cast", whole_B, to=1)
    made = {
        "B": lambda: made_B,
        "whole": lambda: whole_B,
        "": lambda: graph.node("ReduceSum", made_B, keepdims=0),
        "BL": lambda: graph.node("Cast", "ids_BL", to=1),
        "B1": lambda: graph.node("Unsqueeze", made_B, graph.constant([1])),
        "BB": lambda: graph.node("Concat", made_B, made_B, axis=0),
    }[output]()
    data = onnx.load_from_string(graph.finish(inputs, made, "logits", shape))
    data.graph.output[0].type.tensor_type.elem_type = 7 if output == "whole" else 1
    with pytest.raises(store.IntegrityError, match=said):
        answers, n_logits = open_graph(data.SerializeToString())
        score_ids(answers, [np.ones(1, np.int32)] * 2, SavedTextLimits(None, "head", False, None), n_logits)


def test_a_model_that_answers_with_no_number_is_refused(three_labels: Path, monkeypatch) -> None:
    predictor = open_predictor(three_labels)
    monkeypatch.setattr(predictor.members[0], "_answers", lambda ids_BL, length_B: np.full((len(ids_BL), 3), np.nan))
    with pytest.raises(store.IntegrityError, match="not finite"):
        predictor.predict(["good"])


def test_the_gate_passes_a_graph_that_answers_as_torch_does_and_no_other(experiment, model, monkeypatch) -> None:
    settings = experiment(*TINY)
    rows = rows_to_compare(prepare(settings, ("train", "valid")))
    lengths = [len(row) for row in rows]
    assert (len(rows), lengths[:2]) == (256, [0, 1])
    assert max(lengths) > 1.5 * np.median(lengths)
    graph = checked_graph(model, rows, settings.text)
    reading = SavedTextLimits.from_json(settings.text.model_dump())
    assert parity.largest_difference(model, graph, rows, reading) < 1e-5
    with torch.no_grad():
        model.output.bias += 2e-4  # what is built now is not the model any more
    assert parity.largest_difference(model, graph, rows, reading) == pytest.approx(2e-4, rel=0.05)
    monkeypatch.setattr(parity, "build_graph", lambda model: graph)
    with pytest.raises(NoGraphError, match=r"its logits are up to 2\.0e-04 from torch's on 256 texts"):
        checked_graph(model, rows, settings.text)
    monkeypatch.setattr(parity, "build_graph", lambda model: graph[:-1])
    with pytest.raises(NoGraphError):
        checked_graph(model, rows, settings.text)
    monkeypatch.setattr(parity, "_MOST_BYTES", 1000)
    with pytest.raises(NoGraphError, match=r"its weights take .* GB, and an ONNX file holds no more than 2"):
        checked_graph(model, rows, settings.text)


def test_the_gate_sees_a_graph_that_minds_padding(model, monkeypatch, experiment) -> None:
    """Alone each row is answered as torch does; beside a longer one, padding adds to it."""
    settings = experiment(*TINY)
    rows = [np.full(n, 2, dtype=np.int32) for n in (1, 3)]
    table = np.zeros(len(model.embedding.weight))
    table[0] = 1.0
    monkeypatch.setattr(parity, "build_graph", lambda model: count_of(table))
    monkeypatch.setattr(parity, "answers_of", lambda model: lambda ids_BL, length_B: np.zeros(len(ids_BL), np.float32))
    for row in rows:
        assert checked_graph(model, [row], settings.text)
    with pytest.raises(NoGraphError, match=r"up to 2\.0e\+00 from torch's"):
        checked_graph(model, rows, settings.text)


@pytest.mark.parametrize("apart", [1e-3, np.nan])
def test_a_run_whose_graph_does_not_pass_predicts_through_torch_and_says_why(experiment, monkeypatch, apart, capsys):
    monkeypatch.setattr(parity, "largest_difference", lambda *_: apart)
    run = fit(experiment(*TINY)).directory
    why = f"its logits are up to {apart:.1e} from torch's on 256 texts"
    assert f"graph: none, so prediction will load torch: {why}" in capsys.readouterr().err
    assert json.loads((run / "model" / "model.json").read_text())["graph"] == why
    assert not (run / "model" / GRAPH).exists()
    artefact = open_artefact(run)
    predictor = open_predictor(artefact.path)
    assert capsys.readouterr().err == f"loading torch: {why}\n"
    (ids,) = predictor.encode(["The plot was good."])
    expected = load_model(artefact)(torch.from_numpy(np.stack(ids)), torch.tensor([len(ids[0])]))
    np.testing.assert_allclose(predictor.outputs([ids]), expected.detach().numpy(), atol=1e-6)


def test_invariant_11_a_run_ends_with_a_graph_that_answers_for_any_neighbours(experiment) -> None:
    artefact = open_artefact(fit(experiment(*TINY)).directory)
    assert artefact.no_graph is None
    predictor = open_predictor(artefact.path)
    (rows,) = predictor.encode(
        ["The plot was good.", "", "dull", "The music was dull and the ending was not lovely. " * 9]
    )
    alone = np.concatenate([predictor.outputs([[row]]) for row in rows])
    np.testing.assert_allclose(predictor.outputs([rows]), alone, atol=1e-6)
    assert predictor.outputs([[]]).shape == (0,)
