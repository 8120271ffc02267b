"""`sentiment init` and `config show`: what they write is an experiment that `config check` accepts."""

from pathlib import Path

import pytest

from sentiment_cli.config.loader import flat_values, load_experiment
from sentiment_cli.config.recipes import recipe_names


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.csv").write_text("text,label\ngood,pos\nbad,neg\n")
    return tmp_path


@pytest.mark.parametrize("recipe", recipe_names())
def test_what_config_show_prints_is_the_same_experiment(typed, recipe: str) -> None:
    Path("full.yaml").write_text(typed("config", "show", recipe).out)
    assert typed("config", "check", "full.yaml").out == "full.yaml: no mistakes\n"
    assert flat_values(load_experiment("full.yaml")) == flat_values(load_experiment(recipe))


@pytest.mark.parametrize(
    "setting",
    [
        "data.label_map=[1=neg, 'a=b: c']",
        "data.label_map={2: pos, 'a, b': neg}",
        "data.text_column=[title, body]",
        "data.source='1e3'",
        "data.text_column='#text'",
        "data.delimiter=tab",
        "train.lr=1e-7",
        "train.max_grad_norm=null",
        "data.encoding=latin-1",
        "data.text_column='yes'",
    ],
)
def test_values_that_yaml_would_read_otherwise_are_quoted(typed, setting: str) -> None:
    settings = ["data.source=my.csv", setting]
    said = typed("config", "show", "sample", *(word for one in settings for word in ("--set", one)))
    assert said.code == 0, said.error
    Path("full.yaml").write_text(said.out)
    assert flat_values(load_experiment("full.yaml")) == flat_values(load_experiment("sample", settings))


def test_init_writes_what_check_accepts_and_people_can_read(typed) -> None:
    said = typed("init", "my.yaml", "--data", "my.csv")
    assert (said.code, said.out) == (0, "my.yaml\n")
    text = Path("my.yaml").read_text()
    assert typed("config", "check", "my.yaml").code == 0
    assert load_experiment("my.yaml").data.source == str(Path("my.csv").absolute())
    assert "name: my" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    assert all("#" in line or line.endswith(":") or not line or "extends" in line for line in text.splitlines())


@pytest.mark.parametrize("recipe", [name for name in recipe_names() if "lm" not in name])
def test_init_starts_from_any_recipe(typed, recipe: str) -> None:
    assert typed("init", "own-file.yaml", "--from", recipe).code == 0
    made = flat_values(load_experiment("own-file.yaml"))
    assert made == {**flat_values(load_experiment(recipe)), "name": "own-file"}


@pytest.mark.parametrize(
    ("file", "name"), [("a b.yaml", "a-b"), ("été.yaml", "t-"), ("x" * 90 + ".yaml", "x" * 64), ("…", "experiment")]
)
def test_the_name_of_the_file_becomes_a_run_name(typed, file: str, name: str) -> None:
    typed("init", file)
    assert load_experiment(str(Path(file).absolute())).name == name


def test_a_data_path_is_meant_from_here_though_the_file_lies_elsewhere(typed, here: Path) -> None:
    (here / "experiments").mkdir()
    typed("init", "experiments/my.yaml", "--data", "my.csv")
    assert load_experiment("experiments/my.yaml").data.source == str(here / "my.csv")


def test_a_file_that_exists_is_not_overwritten(typed) -> None:
    Path("my.yaml").write_text("name: mine\n")
    said = typed("init", "my.yaml", "--data", "my.csv")
    assert (said.code, said.error, said.hint) == (
        2,
        "my.yaml exists already",
        "sentiment init my-2.yaml --data my.csv",
    )
    assert Path("my.yaml").read_text() == "name: mine\n"


def test_at_most_ten_problems_are_printed_and_all_are_counted(typed) -> None:
    Path("bad.yaml").write_text("name: x\n" + "".join(f"zzz{i}: 1\n" for i in range(40)))
    error = typed("config", "check", "bad.yaml").error
    assert error.count("is not a setting") == 10
    assert "… and 30 more" in error
    assert "40 problems in bad.yaml" in error
