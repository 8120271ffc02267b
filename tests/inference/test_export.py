"""Models out of the tool: what is written, what is measured, and what is refused."""

import copy
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sentiment_cli.errors import DataError, MachineError, UsageError
from sentiment_cli.evaluation import export_quality
from sentiment_cli.evaluation.export_quality import export_run
from sentiment_cli.inference.export import graphs_of
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.inference.torch_model import load_model
from sentiment_cli.onnx.builder import NoGraphError
from sentiment_cli.onnx.classifier import build_graph
from sentiment_cli.onnx.runtime import open_graph
from sentiment_cli.runs.saved_model import GRAPH, Artefact, open_artefact
from sentiment_cli.storage import failpoints

TEXTS = ["I loved it", "the plot was not good", "", "bad " * 300]


@pytest.fixture
def with_data(quick_run: Path, monkeypatch: pytest.MonkeyPatch) -> Artefact:
    """A trained model beside the data it was trained on."""
    monkeypatch.setenv("SENTIMENT_DATA", str(quick_run.parents[1] / "data"))
    return open_artefact(quick_run)


@pytest.fixture
def with_graph(quick_run: Path, tmp_path: Path) -> Callable[[bytes | None], Path]:
    """A copy of a run with another graph, or none, as older versions wrote it."""

    def copied(graph: bytes | None) -> Path:
        from sentiment_cli.storage import store

        shutil.copytree(quick_run / "model", tmp_path / "old")
        about = store.read_json(tmp_path / "old" / "model.json") | {"format": 2}
        names = [name for name in open_artefact(quick_run).files.entries if name not in (GRAPH, "model.json")]
        with store.new_directory(tmp_path / "copy" / "model") as draft:
            for name in names:
                draft.write(name, (quick_run / "model" / name).read_bytes())
            draft.write("model.json", store.dump_json(about))
            if graph is not None:
                draft.write(GRAPH, graph)
        return tmp_path / "copy"

    return copied


def outputs(graph: bytes, artefact: Artefact) -> NDArray[np.float32]:
    predictor = open_predictor(artefact.path)
    rows = [row if len(row) else np.zeros(1, np.int32) for row in predictor.members[0].encode(TEXTS)]
    answers, _ = open_graph(graph)
    return np.concatenate([answers(row[None].astype(np.int64), np.array([len(row)])) for row in rows])


def test_each_precision_is_written_and_tried_on_validation(with_data: Artefact, tmp_path: Path) -> None:
    paths = {name: tmp_path / "out" / f"{name}.onnx" for name in ("fp32", "int8", "fp16")}
    found = export_run(with_data, paths)
    assert [one.path for one in found.values()] == list(paths.values())
    assert {one.worth.n for one in found.values()} == {204}
    fp32 = found["fp32"].worth
    assert (fp32.agreement, fp32.bytes) == (1.0, paths["fp32"].stat().st_size)
    assert fp32.apart < 1e-5 < found["int8"].worth.apart
    assert fp32.accuracy_ci95[0] < fp32.accuracy < fp32.accuracy_ci95[1]
    assert min(fp32.load_s, fp32.one_text_s, fp32.tokens_per_second) > 0
    exact = outputs(paths["fp32"].read_bytes(), with_data)
    for path in paths.values():
        np.testing.assert_allclose(outputs(path.read_bytes(), with_data), exact, atol=0.01)


def test_a_run_without_a_graph_gets_one_from_its_weights(
    with_graph: Callable[[bytes | None], Path], quick_run: Path
) -> None:
    graph = graphs_of(open_artefact(with_graph(None)), ["fp32"])["fp32"].data
    assert graph == open_artefact(quick_run).read(GRAPH)


def test_a_model_that_no_graph_can_be_built_of_says_so(
    with_graph: Callable[[bytes | None], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: torch.nn.Module) -> bytes:
        raise NoGraphError("no operator computes a Moog")

    monkeypatch.setattr("sentiment_cli.inference.parity.build_graph", refuse)
    with pytest.raises(NoGraphError, match="a Moog"):
        graphs_of(open_artefact(with_graph(None)), ["int8"])


def test_a_graph_that_answers_otherwise_than_the_weights_is_refused(
    with_graph: Callable[[bytes | None], Path], quick_run: Path, with_data: Artefact, tmp_path: Path
) -> None:
    model = load_model(with_data)
    with torch.no_grad():
        model.output.bias += 3e-4
    other = open_artefact(with_graph(build_graph(model)))
    found = export_run(other, {"fp32": tmp_path / "fp32.onnx"}, tmp_path / "packed")["fp32"]
    assert found.refused == "its outputs lie up to 3.0e-04 from the model's, where 1e-04 is allowed"
    assert (found.path, sorted(path.name for path in tmp_path.iterdir())) == (None, ["copy", "old"])


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16"])
def test_a_graph_that_is_built_anew_is_held_against_the_weights_whatever_precision_is_asked_for(
    precision, with_graph: Callable[[bytes | None], Path], with_data: Artefact, tmp_path: Path, monkeypatch
) -> None:
    def build_other(model: torch.nn.Module) -> bytes:
        with torch.no_grad():
            other = copy.deepcopy(model)
            other.output.bias += 0.05
        return build_graph(other)

    monkeypatch.setattr("sentiment_cli.inference.parity.build_graph", build_other)
    with pytest.raises(NoGraphError, match=r"up to 5\.0e-02 from torch's on 256 texts"):
        export_run(open_artefact(with_graph(None)), {precision: tmp_path / "out.onnx"}, tmp_path / "packed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "old"]


def test_too_many_other_labels_are_refused_and_the_rest_is_written(
    with_data: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(answers, artefact: Artefact, rows_ids, what: str) -> NDArray[np.float64]:
        output = ask(answers, artefact, rows_ids, what)
        output[:2] -= 9.0 * np.sign(output[:2]) * (what == "trying int8")
        return output

    ask = export_quality._ask
    monkeypatch.setattr(export_quality, "_ask", shifted)
    found = export_run(with_data, {name: tmp_path / f"{name}.onnx" for name in ("int8", "fp16")})
    assert found["int8"].refused == "99.02% of validation get the model's label from it, where 99.5% have to"
    assert [path.name for path in tmp_path.iterdir()] == ["fp16.onnx"]


def test_without_the_data_there_are_times_and_no_accuracy(quick_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worth = export_run(open_artefact(quick_run), {"fp32": None})["fp32"].worth
    assert (worth.n, worth.accuracy, worth.accuracy_ci95, worth.agreement, worth.apart) == (None,) * 5
    assert worth.outputs_apart < 1e-4
    assert "is not prepared here" in capsys.readouterr().err


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_and_the_rest_is_written(
    number: float, with_data: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(answers, artefact: Artefact, rows_ids, what: str) -> NDArray[np.float64]:
        output = ask(answers, artefact, rows_ids, what)
        output[3] = number if what == "trying fp16" else output[3]
        return output

    ask = export_quality._ask
    monkeypatch.setattr(export_quality, "_ask", spoilt)
    found = export_run(with_data, {name: tmp_path / f"{name}.onnx" for name in ("fp16", "fp32")})
    assert found["fp16"].refused == "it, or the model itself, answers with numbers that are not finite"
    assert json.loads(json.dumps(found["fp16"].to_json(), allow_nan=False))["outputs_apart"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["fp32.onnx"]


def test_of_validation_rows_that_were_learnt_there_is_no_accuracy(with_data: Artefact, capsys) -> None:
    settings = {**with_data.settings, "train": {**with_data.settings["train"], "refit": True}}
    found = export_run(dataclasses.replace(with_data, settings=settings), {"fp32": None})
    worth = found["fp32"].worth
    assert (worth.n, worth.accuracy, worth.accuracy_ci95, worth.agreement) == (204, None, None, 1.0)
    assert "was trained on its validation rows, too (train.refit)" in capsys.readouterr().err
    export_quality.print_exports(found)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("fp32"))
    assert line.split()[-2:] == ["100.00%", f"{worth.apart:.1e}"]
    assert line.count("%") == 1


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16"])
def test_a_packed_model_answers_as_its_graph_does(precision, with_data: Artefact, tmp_path: Path) -> None:
    export_run(with_data, {precision: None}, tmp_path / "packed")
    packed = open_artefact(tmp_path / "packed")
    expected = outputs(graphs_of(with_data, [precision])[precision].data, with_data)
    predictor = open_predictor(packed.path)
    np.testing.assert_allclose(predictor.outputs(predictor.encode(TEXTS)), expected, atol=1e-6)
    again = export_run(packed, {precision: tmp_path / "again.onnx"})[precision]
    assert (again.worth.agreement, again.worth.outputs_apart) == (1.0, 0.0)


def test_what_was_rounded_cannot_be_exported_in_another_precision(with_data: Artefact, tmp_path: Path) -> None:
    export_run(with_data, {"int8": None}, tmp_path / "packed")
    with pytest.raises(DataError, match="in int8 alone, of which no fp32 can be made") as error:
        export_run(open_artefact(tmp_path / "packed"), {"int8": None, "fp32": None})
    assert error.value.hint == f"sentiment export {tmp_path / 'packed'} --precision int8"


@pytest.mark.parametrize("place", ["graph", "pack"])
def test_nothing_is_overwritten(place: str, with_data: Artefact, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="mine exists already"):
        export_run(with_data, {"fp32": tmp_path / "mine" if place == "graph" else None}, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"


def test_m08_a_graph_is_checked_before_it_is_parsed(
    with_graph: Callable[[bytes | None], Path], quick_run: Path
) -> None:
    graph = open_artefact(quick_run).read(GRAPH)
    with pytest.raises(DataError, match="has an operator"):
        graphs_of(open_artefact(with_graph(graph.replace(b"LSTM", b"Loop"))), ["int8"])


def test_a10_what_a_failed_export_wrote_is_taken_back(with_data: Artefact, tmp_path: Path) -> None:
    """A10: the second call was refused because of the first one's file."""
    paths = {name: tmp_path / "out" / f"{name}.onnx" for name in ("fp32", "int8", "fp16")}
    for place in ("create:2:nospace", "write:3:nospace", "rename:2:ioerror"):
        failpoints.arm(place)
        with pytest.raises(MachineError):
            export_run(with_data, paths)
        failpoints.arm(None)
        assert not list((tmp_path / "out").iterdir()), place
    assert all(one.path.exists() for one in export_run(with_data, paths).values())


@pytest.mark.parametrize("fail", ["rename:1:kill", "rename:2:kill", "create:2:kill", "flush_directory:2:kill"])
def test_a23_the_same_export_after_a_kill_works(fail: str, with_data: Artefact, tmp_path: Path, forked) -> None:
    """A23: export and --pack refused what a killed one had written."""
    paths = {name: tmp_path / f"{name}.onnx" for name in ("fp32", "int8")}
    assert forked(lambda: export_run(with_data, paths), fail) == -9
    export_run(with_data, paths)
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == ["fp32.onnx", "int8.onnx"]
    assert not list(tmp_path.glob(".*.tmp"))


def test_a23_a_packed_model_may_be_packed_again_and_another_not(with_data: Artefact, tmp_path: Path) -> None:
    export_run(with_data, {"fp32": None}, tmp_path / "packed")
    before = (tmp_path / "packed").read_bytes()
    export_run(with_data, {"fp32": None}, tmp_path / "packed")
    with pytest.raises(UsageError, match="is there already, with another model"):
        export_run(with_data, {"int8": None}, tmp_path / "packed")
    assert (tmp_path / "packed").read_bytes() == before


def test_another_graph_of_ours_is_not_overwritten(with_data: Artefact, tmp_path: Path) -> None:
    export_run(with_data, {"int8": tmp_path / "graph.onnx"})
    before = (tmp_path / "graph.onnx").read_bytes()
    with pytest.raises(UsageError, match="with other content, and is not overwritten"):
        export_run(with_data, {"fp32": tmp_path / "graph.onnx"})
    assert (tmp_path / "graph.onnx").read_bytes() == before
