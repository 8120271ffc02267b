"""What an experiment has of the files that it names: settings taken over, and where names are meant from."""

from pathlib import Path

import pytest

from sentiment_cli.config.loader import load_experiment, load_settings
from sentiment_cli.errors import UsageError


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "own.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_experiment(path, overrides)
    return str(caught.value)


ORIGIN = """name: lm
task: language-model
text: {start: true, max_tokens: 99}
vocabulary: {size: 77}
model:
  dropout: 0.3
  embedding: {width: 7, dropout: 0.2}
  encoder: {cell: gru, width: 9, skip: highway}
"""


def test_what_is_taken_over_is_said_to_be_the_origin_s_and_nothing_else_is(write, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(ORIGIN, "lm.yaml")
    own = write("name: own\nmodel:\n  encoder: {width: 8}\ninit_from: lm.yaml\n", "own.yaml")
    of = {setting.key: (setting.value, setting.origin) for setting in load_settings(own)}
    assert of["vocabulary.size"] == (77, "lm.yaml:4")
    assert of["model.embedding.width"] == (7, "lm.yaml:7")
    assert of["model.encoder.skip"] == ("highway", "lm.yaml:8")
    assert of["model.encoder.width"] == (8, "own.yaml:3")
    for key in ("model.embedding.dropout", "model.dropout", "text.max_tokens", "task"):
        assert of[key][1] == "default"
    said = refusal(own, "model.kind=linear")
    assert "and model.kind is linear; init_from brings model.embedding.width" in said
    assert "init_from brings model.encoder.width" not in said


def test_the_last_word_on_init_from_decides_what_is_taken_over(write) -> None:
    write(ORIGIN, "lm.yaml")
    write(ORIGIN.replace("size: 77", "size: 78"), "other.yaml")
    own, without = write("name: own\ninit_from: lm.yaml\n", "own.yaml"), write("name: own\n", "without.yaml")
    assert load_experiment(own, ["init_from=null"]) == load_experiment(without)
    assert load_experiment(own, ["init_from=null", f"init_from={own.parent / 'other.yaml'}"]).vocabulary.size == 78


def test_experiments_that_a_file_names_are_those_beside_it(write, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write(ORIGIN, "lm.yaml")
    own = write(
        "name: own\ninit_from: lm.yaml\ninit_backward: imdb-lm\nteacher: {run: lm.yaml}\n"
        "model: {encoder: {bidirectional: true}}\n"
    )
    experiment = load_experiment(own)
    assert (experiment.init_from,) == experiment.teacher.run == (str(tmp_path / "lm.yaml"),)
    assert experiment.init_backward == "imdb-lm"
    assert experiment.vocabulary.size == 77
    assert load_experiment(own, ["init_from=lm.yaml"]).init_from == "lm.yaml"  # which is meant from here


def test_b04_init_backward_is_for_both_directions(write) -> None:
    own = write("name: own\ninit_backward: lm\n")
    said = "init_backward is for layers that read backward, and model.encoder.bidirectional is false"
    assert said in refusal(own)
    assert load_experiment(own, ["model.encoder.bidirectional=true"])


def test_word_vectors_take_the_width_of_a_language_model_s_alone(write, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(ORIGIN, "lm.yaml")
    experiment = load_experiment(write("name: own\ntask: vectors\ninit_from: lm.yaml\n"), [])
    assert experiment.model.embedding.width == 7
    assert experiment.vocabulary.size == 77
