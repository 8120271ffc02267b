"""The model that comes with the package: its bytes, when it answers, and what happens when it is damaged or gone."""

import hashlib
import json
import shutil
import zipfile
import zlib
from pathlib import Path

import pytest

import sentiment_cli as sentiment
from sentiment_cli.config import paths
from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import bundled_model, runs_dir
from sentiment_cli.evaluation.behaviour import evaluate_behaviour
from sentiment_cli.inference.export import graphs_of
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.runs.saved_model import open_artefact, pack_artefact
from sentiment_cli.storage.store import IntegrityError
from sentiment_cli.workflows.dependencies import resolve_dependencies
from sentiment_cli.workflows.train import fit

ROOT = Path(__file__).parents[1]
SHA256 = "a706dd1de7226b6b10d449d1478bdfe113d716784fbdef4f19d55f6347f170a8"
LOVED = "I just really loved the movie"


def test_the_file_is_the_one_that_was_measured_and_is_small() -> None:
    data = bundled_model().read_bytes()
    assert hashlib.sha256(data).hexdigest() == SHA256
    assert SHA256 in (ROOT / "docs" / "pocket.md").read_text("utf-8")
    assert len(data) <= 1_750_000
    assert len(zlib.compress(data, 9)) <= 700_000


def test_its_settings_are_those_of_its_experiment() -> None:
    """But for settings that were null and follow from the data."""
    saved, shipped = (
        open_artefact(bundled_model()).settings,
        load_experiment("pocket").model_dump(mode="json", by_alias=True),
    )
    assert saved["vocabulary"] == shipped["vocabulary"]
    assert saved["model"]["linear"]["min_count"] == shipped["model"]["linear"]["min_count"] == 25
    assert saved["train"]["threads"] == 1
    assert saved["data"]["source"] == "imdb"


def test_it_knows_words_and_no_reviews() -> None:
    """Entries are single tokens; n-grams are numbers of such, at most three long."""
    model = open_artefact(bundled_model())
    entries = model.vocabulary.entries
    assert len(entries) == 10_000
    assert not [entry for entry in entries if " " in entry or len(entry) > 40]
    assert model.settings["model"]["linear"]["ngrams"] == 3
    names = set(zipfile.ZipFile(bundled_model()).namelist())
    assert names == {
        "manifest.json",
        "model.json",
        "calibration.json",
        "tokenizer.json",
        "vocabulary.json",
        "graph.onnx",
    }


def test_predict_answers_with_it_where_there_is_no_run_and_says_so(typed, capsys) -> None:
    done = typed("predict", "--json", LOVED, "What a boring waste of time.")
    assert done.code == 0
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [answer["label"] for answer in answers] == ["pos", "neg"]
    assert sentiment.load().predict([LOVED])[0].label == "pos"
    said = capsys.readouterr().err
    assert said.startswith(
        "run: pocket, the model that comes with sentiment (English film reviews): there is no trained"
    )
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "command", [["predict", "--explain", "--trace", LOVED], ["eval", "--behaviour"], ["eval", "--data", "rows.csv"]]
)
def test_what_needs_no_run_of_the_users_uses_it(command: list[str], typed, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("text,label\n" + "a wonderful film,pos\na dull film,neg\n" * 20)
    assert typed(*command).code == 0
    assert (
        typed(*command[:1], *(["--run", "pocket"] if command[0] == "predict" else ["pocket"]), *command[1:]).code == 0
    )


@pytest.mark.parametrize("command", ["eval", "report", "reproduce", "export"])
def test_what_is_about_a_run_still_wants_one(command: str, typed) -> None:
    done = typed(command)
    assert (done.code, done.hint) == (2, "sentiment train")
    assert done.error.startswith("there is no trained classifier in ")


def test_a_run_of_the_users_comes_first_and_its_name_too(quick_run: Path, typed, capsys) -> None:
    shutil.copytree(quick_run, runs_dir() / "mine")
    typed("predict", LOVED)
    assert sentiment.load().path == runs_dir() / "mine"
    assert sentiment.load("pocket").path == bundled_model()
    shutil.copytree(quick_run, runs_dir() / "pocket")
    assert sentiment.load("pocket").path == runs_dir() / "pocket"


def test_without_the_file_there_is_no_fallback(typed, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(paths, "PACKAGE_DIR", tmp_path)
    for words in (["predict", LOVED], ["serve"]):
        done = typed(*words)
        assert (done.code, done.hint) == (2, "sentiment train")


@pytest.mark.parametrize("part", range(12))
def test_a_flipped_byte_is_an_error_and_no_answer(part: int, tmp_path: Path, monkeypatch, typed) -> None:
    """In headers, in each member, and in the directory at the end."""
    monkeypatch.setattr(paths, "PACKAGE_DIR", tmp_path)
    data = bytearray((ROOT / "sentiment_cli" / "pocket.model").read_bytes())
    infos = zipfile.ZipFile(ROOT / "sentiment_cli" / "pocket.model").infolist()
    places = [*(info.header_offset + 60 for info in infos), *(len(data) - 1 - 30 * i for i in range(6))]
    data[places[part]] ^= 1
    (tmp_path / "pocket.model").write_bytes(data)
    done = typed("predict", LOVED)
    assert (done.code, done.out) == (3, "")
    assert done.hint == "pip install --force-reinstall --no-deps sentiment-cli"


def test_it_keeps_what_it_passes_of_the_behavioural_tests() -> None:
    assert evaluate_behaviour(bundled_model()).passed == (141, 216)


def _packed(name: str, tmp_path: Path) -> bytes:
    small = ["data.source=sample", "vocabulary.size=200", "vocabulary.min_count=2", "model.linear.min_count=2"]
    small += ["vocabulary.from=[train]", "teacher.run=[]", "teacher.temperature=1.0"]
    run = fit(load_experiment("pocket", small), name).directory
    model = open_artefact(run)
    pack_artefact(model, tmp_path / f"{name}.model", graphs_of(model, ["fp16"])["fp16"].data)
    return (tmp_path / f"{name}.model").read_bytes()


def test_two_trainings_of_its_experiment_give_the_same_bytes(tmp_path: Path) -> None:
    assert _packed("one", tmp_path) == _packed("two", tmp_path)


@pytest.mark.slow
@pytest.mark.corpus
def test_the_corpus_gives_it_again(imdb_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much the same answers, whatever torch and processor; the very bytes are what `make pocket` compares."""
    monkeypatch.setenv("SENTIMENT_IMDB", str(imdb_path))
    run = fit(resolve_dependencies(load_experiment("pocket")), "pocket").directory
    texts = [LOVED, "What a boring waste of time.", "It starts well, but it ends badly."]
    again, ours = open_predictor(run).predict(texts), open_predictor(bundled_model()).predict(texts)
    for one, other in zip(again, ours, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=0.02)  # its teacher draws


def test_damage_is_an_error_in_python_too(tmp_path: Path) -> None:
    data = bytearray(bundled_model().read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.model").write_bytes(data)
    with pytest.raises(IntegrityError, match="is damaged"):
        sentiment.load(tmp_path / "damaged.model").predict([LOVED])
