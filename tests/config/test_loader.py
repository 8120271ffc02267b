from pathlib import Path

import pytest
import yaml

from sentiment_cli.config.loader import experiment_yaml, find_config, load_experiment
from sentiment_cli.config.paths import recipes_dir
from sentiment_cli.errors import UsageError


@pytest.mark.parametrize("name", sorted(path.stem for path in recipes_dir().glob("*.yaml")))
def test_shipped_experiments_load_and_come_back_the_same(name: str, tmp_path: Path) -> None:
    experiment = load_experiment(name)
    (tmp_path / "again.yaml").write_bytes(experiment_yaml(experiment))
    assert load_experiment(tmp_path / "again.yaml") == experiment


def test_every_mistake_is_reported_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "exp.yaml"
    path.write_text(
        "name: x\nmodel:\n  encoder:\n    widht: 256\n  pooling: lst\ntrain:\n  lr: 1e-3\n  lr: 2\n  epochs: no\n"
    )
    with pytest.raises(UsageError) as caught:
        load_experiment(path)
    message = str(caught.value)
    assert f"{path}:4:5: model.encoder.widht is not a setting" in message
    assert "    4 |     widht: 256\n      |     ^^^^^ did you mean width?" in message
    assert f"{path}:5:12: model.pooling is 'lst': it should be 'last', 'mean'," in message
    assert f"{path}:8:3: train.lr is set twice, first in line 7" in message
    assert f"{path}:9:11: train.epochs is 'no'" in message
    assert message.endswith(f"4 problems in {path}. Nothing was downloaded or written.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x 1\nb: *x\n", "anchors and aliases are not read"),
        ("name: !!python/object:os.system x\n", "is not read"),
        ("- 1\n", "an experiment is a mapping"),
        ("name: [\n", "not YAML"),
        ("name:\tx\n\ty: 1\n", "not YAML"),
        ("name: x\n---\nname: y\n", "not YAML"),
        ("name: a\x00b\n", "U+0000"),
        ("x: " + "[" * 30 + "]" * 30, "deeper than 20 levels"),
        ("", "name is missing"),
    ],
)
def test_yaml_that_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(UsageError, match=said.replace("+", r"\+")):
        load_experiment(tmp_path / "e.yaml")


@pytest.mark.parametrize(
    ("data", "said"), [(b"\xff\xfea", "UTF-16"), (b"a: \xe9\n", ":1:4: byte 0xe9"), (b"#" * 300_000, "at most")]
)
def test_bytes_that_are_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "e.yaml").write_bytes(data)
    with pytest.raises(UsageError, match=said):
        load_experiment(tmp_path / "e.yaml")


def test_set_is_validated_as_the_file_is() -> None:
    experiment = load_experiment("default", ["train.lr=1e-4", "vocabulary.from=[train, valid]", "train.patience=null"])
    assert (experiment.train.lr, experiment.vocabulary.from_, experiment.train.patience) == (
        1e-4,
        ("train", "valid"),
        None,
    )
    for override, said in [
        ("train.lr", "is not KEY=VALUE"),
        ("train.lrr=1", r"train.lrr is not a setting \(did you mean lr\?\)"),
        ("train.lr=-1", "train.lr is -1: it should be greater than 0"),
        ("train.epochs=1.5", "train.epochs is 1.5"),
        ("name.x=1", "name is a value, not a section"),
    ]:
        with pytest.raises(UsageError, match=said):
            load_experiment("default", [override])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["text.pad=left"], "text.pad: left and text.pad_to go together"),
        (["text.pad=left", "text.pad_to=100"], "text.max_tokens is 400, which does not fit in text.pad_to 100"),
        (["train.batch_tokens=10"], "train.batch_tokens is 10, less than one row of 400 tokens"),
        (["train.patience=99"], "train.patience 99 is not less than train.epochs"),
        (["model.embedding.word_dropout=0.1", "vocabulary.unknown=padding"], "needs vocabulary.unknown: own"),
    ],
)
def test_contradictions_name_both_keys(settings: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_experiment("default", settings)


def test_an_unknown_config_names_the_shipped_ones() -> None:
    assert find_config("sample") == recipes_dir() / "sample.yaml"
    with pytest.raises(UsageError, match="default, sample, tutorial-rnn") as caught:
        find_config("sampel")
    assert caught.value.hint == "sentiment train sample"


def test_the_resolved_experiment_spells_out_every_default() -> None:
    values = yaml.safe_load(experiment_yaml(load_experiment("sample")))
    assert values["text"]["tokenizer"] == "words"
    assert values["vocabulary"]["from"] == ["train"]
