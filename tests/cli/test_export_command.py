"""`sentiment export`: the table, the JSON, and what it says when it refuses."""

import json
from pathlib import Path

import pytest

from sentiment_cli.cli.export import Choice, export
from sentiment_cli.errors import Change, DataError, UsageError
from sentiment_cli.evaluation import export_quality
from sentiment_cli.onnx.builder import NoGraphError


@pytest.fixture
def run(quick_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SENTIMENT_DATA", str(quick_run.parents[1] / "data"))
    monkeypatch.setenv("SENTIMENT_RUNS", str(quick_run.parent))
    monkeypatch.chdir(tmp_path)
    return quick_run.name


def test_all_precisions_are_the_default(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    export(run)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == "bytes load ms one text ms tokens/s accuracy 95 % interval same label apart".split()
    names = [f"{run}-{name}.onnx" for name in ("fp32", "int8", "fp16")]
    assert [row.split()[0] for row in rows] == ["fp32", "int8", "fp16", *names]
    assert sorted(path.name for path in Path().iterdir()) == sorted(names)


def test_json_is_one_object(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    export(run, [Choice.fp16, Choice.fp16], out=Path("small.onnx"), pack=Path("packed"), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (list(found), found["pack"], list(found["exports"])) == (["run", "exports", "pack"], "packed", ["fp16"])
    fp16 = found["exports"]["fp16"]
    assert (
        list(fp16)
        == (
            "path bytes load_s one_text_s tokens_per_second outputs_apart n accuracy accuracy_ci95 agreement apart kept"
            " refused"
        ).split()
    )
    assert (fp16["path"], fp16["bytes"], fp16["refused"]) == ("small.onnx", Path("small.onnx").stat().st_size, None)
    assert Path("packed").read_bytes()[:2] == b"PK"


def test_packing_writes_one_file(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    export(run, pack=Path("packed"))
    assert [path.name for path in Path().iterdir()] == ["packed"]
    assert capsys.readouterr().out.splitlines()[-1] == "packed"


@pytest.mark.parametrize(
    "options",
    [{"precision": [Choice.all], "out": Path("one.onnx")}, {"precision": [Choice.all], "pack": Path("packed")}],
)
def test_one_file_holds_one_precision(options, run: str) -> None:
    with pytest.raises(UsageError, match="holds one precision, and fp32, int8, fp16 are asked for"):
        export(run, **options)
    assert not list(Path().iterdir())


def test_one_file_is_fp32_where_no_precision_is_asked_for(run: str) -> None:
    export(run, out=Path("one.onnx"))
    assert [path.name for path in Path().iterdir()] == ["one.onnx"]


def test_what_has_no_graph_is_packed_with_its_weights_unless_a_graph_was_asked_for(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NoGraphError("no operator computes a Moog")

    monkeypatch.setattr(export_quality, "export_run", refuse)
    for asked in (
        {"precision": [Choice.int8]},
        {"out": Path("graphs")},
        {"precision": [Choice.fp32], "out": Path("a.onnx")},
    ):
        with pytest.raises(DataError, match="has no graph: no operator computes a Moog") as error:
            export(run, pack=Path("packed"), **asked)
        assert str(error.value.hint).endswith(f"/{run} --pack {run}.model")
        assert not list(Path().iterdir())
    export(run, pack=Path("packed"))
    assert [path.name for path in Path().iterdir()] == ["packed"]


def test_a_directory_is_no_place_to_pack_in(run: str) -> None:
    Path("m m").mkdir()
    for place, hint in (("m m", "--pack 'm m/my.model'"), ("", "--pack my.model")):
        with pytest.raises(UsageError, match="is a directory; --pack needs the name of a file") as error:
            export(run, pack=Path(place))
        assert error.value.hint == hint
    with pytest.raises(UsageError, match="holds one precision") as error:
        export("m m", [Choice.int8, Choice.fp16], pack=Path("packed"))
    assert error.value.hint == Change("--precision", "int8", without=["--precision"])


def test_a_refusal_says_what_to_do_instead(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export_quality, "LEAST_AGREEMENT", 1.1)
    with pytest.raises(DataError, match=r"int8 is refused: 100\.00% of validation") as error:
        export(run, [Choice.int8], pack=Path("packed"), as_json=True)
    assert str(error.value.hint).endswith(f"/{run} --precision fp32")
    found = json.loads(capsys.readouterr().out)
    assert (found["pack"], found["exports"]["int8"]["path"]) == (None, None)
    assert not list(Path().iterdir())


def test_a_hub_folder_has_a_card_that_hubs_read_and_a_model_that_answers(
    run: str, typed, quick_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from sentiment_cli.inference.predictor import open_predictor
    from sentiment_cli.runs.directory import runs_dir
    from sentiment_cli.runs.saved_model import open_artefact

    repocard = pytest.importorskip("huggingface_hub", reason="reads the card as a hub does")
    shutil.copytree(quick_run, Path("runs") / "tiny")
    monkeypatch.setenv("SENTIMENT_RUNS", str(Path("runs").resolve()))
    assert runs_dir().name == "runs"
    assert typed("eval", "tiny").code == 0
    assert typed("export", "tiny", "--hub", "hub").out == "hub\n"
    names = ["README.md", "config.json", "manifest.json", "model.safetensors", "tiny.model", "tokenizer.json"]
    assert sorted(path.name for path in Path("hub").iterdir()) == names
    card = repocard.ModelCard.load("hub/README.md")
    about = card.data.to_dict()
    assert (about["pipeline_tag"], about["language"]) == ("text-classification", ["en"])
    result = card.data.eval_results[0]
    scores = json.loads(Path("runs/tiny/evaluation/test.json").read_text())
    assert (result.dataset_split, result.metric_type) == ("test", "accuracy")
    assert result.metric_value == scores["accuracy"]
    assert "Most confident mistakes" not in card.text
    config = json.loads(Path("hub/config.json").read_text())
    assert config["id2label"] == {"0": "neg", "1": "pos"}
    weights = Path("runs/tiny/model/weights.safetensors").read_bytes()
    assert Path("hub/model.safetensors").read_bytes() == weights
    texts = ["The plot was good.", "dull"]
    ours = open_predictor(Path("hub/tiny.model")).predict(texts)
    assert ours == open_predictor(open_artefact(Path("runs/tiny")).path).predict(texts)
    again = typed("export", "tiny", "--hub", "hub")
    assert (again.code, again.hint) == (2, "sentiment export tiny --hub hub-2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hub", "hub", "--pack", "x.model"], "--hub and --pack are both given"),
        (["--mlflow", "folder", "--page", "x.html"], "--mlflow and --page are both given"),
        (["--hub", "hub", "--mlflow", "folder"], "--hub and --mlflow are both given"),
        (["--hub", "hub", "--precision", "int8"], "--hub and --precision are both given"),
    ],
)
def test_a_folder_is_written_by_itself(run: str, typed, words: list[str], said: str) -> None:
    done = typed("export", run, *words)
    assert (done.code, Path("hub").exists()) == (2, False)
    assert said in done.error
    assert done.hint == f"sentiment export {run} {words[0]} {words[1]}"


def test_a_model_without_its_run_is_no_hub_folder(typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = typed("export", "pocket", "--hub", "hub")
    assert done.code == 2
    assert "is a model without its run" in done.error
