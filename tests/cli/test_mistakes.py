"""What people type wrong in their first hour: the message, the whole command that is suggested, and the exit code."""

import shlex
from pathlib import Path

import pytest
from hints import COMMAND, complaint

from sentiment_cli.cli.again import complete
from sentiment_cli.config.nearest import setting_keys
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.errors import MachineError
from sentiment_cli.storage import store


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table, an experiment and other things that a user has."""
    folder = tmp_path / "my files"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "reviews.csv").write_text("text,label\ngood,pos\nbad,neg\n")
    (folder / "reviews.tsv").write_text("text\tlabel\ngood\tpos\n")
    (folder / "my own.yaml").write_text("name: own\n")
    (folder / "my.yaml").write_text("name: my\n")
    (folder / "taken.json").write_text("{}")
    (folder / "pictures").mkdir()
    return folder


@pytest.mark.parametrize(
    "args", [["-h"], ["--help"], ["help"], ["help", "train"], ["train", "-h"], ["help", "data", "info"], ["data", "-h"]]
)
def test_help_is_found_under_each_name(typed, args: list[str]) -> None:
    said = typed(*args)
    assert (said.code, said.error) == (0, "")
    assert said.out.startswith("Usage: sentiment")
    assert "Examples:" in said.out or "Commands:" in said.out


@pytest.mark.parametrize("args", [["version"], ["-V"], ["--version"]])
def test_the_version_is_found_under_each_name(typed, args: list[str]) -> None:
    said = typed(*args)
    assert said.code == 0
    assert said.out.startswith("sentiment 0.")


MISTAKES = {
    # commands
    "trian": ("there is no command 'trian'. Did you mean", "sentiment train"),
    "evaluate --json": ("there is no command 'evaluate'", "sentiment eval --json"),
    "recipe list": ("there is no command 'recipe'", "sentiment recipes list"),
    "runs ls": ("there is no command 'ls'", "sentiment runs list"),
    # settings as options
    "train --lr 0.1": (
        "there is no option --lr; settings are changed with --set",
        "sentiment train --set train.lr=0.1",
    ),
    "train --epochs=3 sample": ("there is no option --epochs", "sentiment train --set train.epochs=3 sample"),
    "train sample --learning-rate 0.1": ("changed with --set", "sentiment train sample --set train.lr=0.1"),
    "train --train.lr 0.1": ("settings are changed with --set", "sentiment train --set train.lr=0.1"),
    "prepare --source sample": ("settings are changed with --set", "sentiment prepare --set data.source=sample"),
    "train --epochs": ("settings are changed with --set", "sentiment train --set train.epochs=2"),
    "train --colour sample": ("Did you mean --color?", "sentiment train --color auto sample"),
    "--quite runs list": ("Did you mean --quiet?", "sentiment --quiet runs list"),
    "train sample --verbos": ("Did you mean --verbose?", "sentiment train sample --verbose"),
    # other tools' names of options
    "eval --file reviews.csv": ("Did you mean --data?", "sentiment eval --data reviews.csv"),
    "eval mine --test reviews.csv": ("Did you mean --data?", "sentiment eval mine --data reviews.csv"),
    "eval --valid reviews.csv": ("Did you mean --data?", "sentiment eval --data reviews.csv"),
    "eval reviews.csv": ("is a table, not a run", "sentiment eval --data reviews.csv"),
    "eval reviews.csv --split valid": ("is a table, not a run", "sentiment eval --data reviews.csv"),
    "eval reviews.csv --behaviour": ("is a table, not a run", "sentiment eval --behaviour"),
    "eval --labels 1=pos": ("Did you mean --label-map?", "sentiment eval --label-map 1=pos"),
    "eval --out scores.json": ("--json prints", "sentiment eval --json > scores.json"),
    "eval mine --json -o taken.json": ("--json prints", "sentiment eval mine --json > taken-2.json"),
    "eval --sep ,": ("there is no option --sep", """sentiment eval --set 'data.delimiter=","'"""),
    "predict --data reviews.csv": ("Did you mean --file?", "sentiment predict --file reviews.csv"),
    "predict --text good": ("texts go without one", "sentiment predict good"),
    "predict --delimiter ';' --file reviews.csv": (
        "settings are changed with --set",
        """sentiment predict --set 'data.delimiter=";"' --file reviews.csv""",
    ),
    "predict --top 3 good": ("there is no option --top", "sentiment predict --help"),
    "predict --lr 1 good": ("there is no option --lr", "sentiment predict --help"),
    "predict good --force": ("files that are there are not overwritten", "sentiment predict good"),
    "train reviews.csv --overwrite": ("files that are there are not overwritten", "sentiment train reviews.csv"),
    "train reviews.csv --text Text": (
        "settings are changed with --set",
        "sentiment train reviews.csv --set data.text_column=Text",
    ),
    "train reviews.csv --text-column 'text: en'": (
        "settings are changed with --set",
        """sentiment train reviews.csv --set 'data.text_column="text: en"'""",
    ),
    "train reviews.csv --label lang": (
        "settings are changed with --set",
        "sentiment train reviews.csv --set data.label_column=lang",
    ),
    "train reviews.csv --target stars_given": (
        "settings are changed with --set",
        "sentiment train reviews.csv --set data.label_column=stars_given",
    ),
    "train reviews.csv --target ordinal": ("with --set", "sentiment train reviews.csv --set data.target=ordinal"),
    "train reviews.csv --label-map 1=pos,0=neg": (
        "settings are changed with --set",
        """sentiment train reviews.csv --set 'data.label_map={"1": "pos", "0": "neg"}'""",
    ),
    "train reviews.csv --sep ';'": (
        "settings are changed with --set",
        """sentiment train reviews.csv --set 'data.delimiter=";"'""",
    ),
    "train reviews.csv --test-size 0.2": ("with --set", "sentiment train reviews.csv --set data.test_share=0.2"),
    "train reviews.csv --split 0.2": ("with --set", "sentiment train reviews.csv --set data.valid.share=0.2"),
    "train reviews.csv --val 0.2": ("with --set", "sentiment train reviews.csv --set data.valid.share=0.2"),
    "train reviews.csv --dev reviews.tsv": (
        "settings are changed with --set",
        "sentiment train reviews.csv --set data.valid.source=reviews.tsv",
    ),
    "train --train reviews.csv": ("Did you mean --data?", "sentiment train --data reviews.csv"),
    "train reviews.csv --train reviews.tsv": ("there is no option --train", "sentiment train --help"),
    "train --file reviews.csv": ("Did you mean --data?", "sentiment train --data reviews.csv"),
    "tune my.yaml --data reviews.csv": (
        "settings are changed with --set",
        "sentiment tune my.yaml --set data.source=reviews.csv",
    ),
    "train reviews.csv --lang de": ("there is no option --lang", "sentiment train --help"),
    "train reviews.csv --language de": ("there is no option --language", "sentiment train --help"),
    "train reviews.csv --config linear": (
        "the experiment goes without one",
        "sentiment train linear --data reviews.csv",
    ),
    "train --config=linear reviews.csv": (
        "the experiment goes without one",
        "sentiment train linear --data reviews.csv",
    ),
    "train reviews.csv --out mine": ("Did you mean --name?", "sentiment train reviews.csv --name mine"),
    "train --tim reviews.csv": ("there is no option --tim", "sentiment train --help"),
    "train --seeed ';'": ("there is no option --seeed", "sentiment train --help"),
    "train --epochs many": ("settings are changed with --set", "sentiment train --set train.epochs=2"),
    "init reviews.csv": ("has the name of data", "sentiment init reviews.yaml --data reviews.csv"),
    "init my.csv.gz": ("has the name of data", "sentiment init my-2.yaml --data my.csv.gz"),
    # settings that are not
    "train --set train.lrr=0.1": (
        "train.lrr is not a setting (did you mean train.lr?)",
        "sentiment train --set train.lr=0.1",
    ),
    "train --set encoder.cell=gru sample": (
        "encoder is not a setting (did you mean model.encoder.cell?)",
        "sentiment train --set model.encoder.cell=gru sample",
    ),
    "train -s lr=0.1": ("did you mean train.lr?", "sentiment train --set train.lr=0.1"),
    "train --set model.cell=gru": ("did you mean model.encoder.cell?", "sentiment train --set model.encoder.cell=gru"),
    "train --set model.encoder.cell=Gru": ("did you mean gru?", "sentiment train --set model.encoder.cell=gru"),
    "train --set model.kind=LINEAR": ("did you mean linear?", "sentiment train --set model.kind=linear"),
    "train --set Train.LR=0.1": ("did you mean train.lr?", "sentiment train --set train.lr=0.1"),
    "train --set lr=1 --set epoch=2": (
        "did you mean train.epochs?",
        "sentiment train --set train.lr=1 --set train.epochs=2",
    ),
    "train --set data=reviews.csv": ("it should be a section", "sentiment train --set data.source=reviews.csv"),
    "train --set model=linear": ("it should be a section", "sentiment train --set model.kind=linear"),
    "train --set train.lr 0.1": (
        "--set 'train.lr' is not KEY=VALUE; is 0.1 its value?",
        "sentiment train --set train.lr=0.1",
    ),
    "train my.yaml train.lr=1": (
        "train.lr=1: settings are changed with --set",
        "sentiment train my.yaml --set train.lr=1",
    ),
    "train train.lr=1": ("settings are changed with --set", "sentiment train --set train.lr=1"),
    "train --set data.label_map=Neutral=neg": (
        "it should be a mapping or a list of OLD=NEW",
        """sentiment train --set 'data.label_map={"Neutral": "neg"}'""",
    ),
    "train --set 'data.label_map=so so=neg,Good:pos'": (
        "it should be a mapping or a list of OLD=NEW",
        """sentiment train --set 'data.label_map={"so so": "neg", "Good": "pos"}'""",
    ),
    "train --set data.delimiter=::": ("'::' is not one character", "sentiment train --set data.delimiter=auto"),
    "train --set data.delimiter=": ("'' is not one character", "sentiment train --set data.delimiter=auto"),
    # experiments
    "train smaple": ("there is no experiment 'smaple'. Did you mean 'sample'?", "sentiment train sample"),
    "train Sample --json": ("there is no experiment 'Sample'. Did you mean 'sample'?", "sentiment train sample --json"),
    "train imdb": ("there is no experiment 'imdb'. Did you mean 'default'?", "sentiment train default"),
    "train nothing-like-it": ("there is no experiment 'nothing-like-it'", "sentiment recipes list"),
    "train mine.yaml": ("mine.yaml: no such file. Did you mean 'my.yaml'?", "sentiment train my.yaml"),
    "train else/other.yml": ("else/other.yml: no such file", "sentiment recipes list"),
    "train --config my.yaml": ("there is no option --config", "sentiment train my.yaml"),
    "train 'my own.yml'": ("Did you mean 'my own.yaml'?", "sentiment train 'my own.yaml'"),
    "recipes show smaple": ("there is no shipped experiment 'smaple'", "sentiment recipes show sample"),
    # data in the place of an experiment
    "data check reviews.csv": ("is data", "sentiment data check linear --data reviews.csv"),
    "prepare ./reviews.tsv": ("is data", "sentiment prepare linear --data ./reviews.tsv"),
    "data info pictures": ("pictures is a folder, not an experiment", "sentiment data info linear --data pictures"),
    "train reviews.csv --seeds 2": (
        "--seeds is for one model, and data without --model are tried with several",
        "sentiment train reviews.csv --seeds 2 --model gru",
    ),
    "train --data reviews.csv --profile": (
        "--profile is for one model",
        "sentiment train --data reviews.csv --profile --model gru",
    ),
    "train auto --folds 2": ("--folds is for one model", "sentiment train auto --folds 2 --model gru"),
    "train reviews.csv --model gru --time 1m --nproc 2": (
        "--nproc and --time do not go together",
        "sentiment train reviews.csv --model gru --nproc 2",
    ),
    "train reviews.csv --test reviews.tsv --resume x": ("--resume continues a run", "sentiment train --resume x"),
    "train reviews.csv --data reviews.tsv": ("both name the data", "sentiment train --data reviews.tsv"),
    "train reviews.csv --set data.source=other.csv": ("both name the data", "sentiment train reviews.csv"),
    "train --data a.csv --set data.source=b.csv": ("both set data.source", "sentiment train --data a.csv"),
    "prepare sample --test a.csv --set data.test=b.csv": (
        "both set data.test",
        "sentiment prepare sample --test a.csv",
    ),
    "train --test a.csv": ("--test a.csv goes with your own data", "sentiment train"),
    "train sample --model gru": ("--model is for your own data, and sample is an experiment", "sentiment train sample"),
    "train --time 5m": ("--time is for your own data, and there is none here", "sentiment train"),
    "train reviews.csv --time soon": ("--time soon is not a duration", "sentiment train reviews.csv --time 5m"),
    "train reviews.csv --time 0m": ("--time 0m is not a duration", "sentiment train reviews.csv --time 5m"),
    "train reviews.csv --model grru": ("Did you mean gru?", "sentiment train reviews.csv --model gru"),
    "train reviews.csv --model forest": (
        "--model forest is none of linear, lstm",
        "sentiment train reviews.csv --model linear",
    ),
    "train https://example.org/a.yaml": (
        "files are read from this machine, not from the web",
        "curl -fLo a.yaml https://example.org/a.yaml",
    ),
    "train --set data.source=https://example.org/r.csv": (
        "data.source is https://example.org/r.csv: files are read from this machine",
        "curl -fLo r.csv https://example.org/r.csv",
    ),
    "train --set data.test=s3://bucket/r.csv": ("files are read from this machine", "curl -fLo r.csv s3://bucket/r.csv"),
    # predicting
    "predict reviews.csv": ("reviews.csv is a file", "sentiment predict --file reviews.csv"),
    "predict reviews.csv reviews.csv": ("reviews.csv and reviews.csv are", "sentiment predict --file reviews.csv"),
    "predict --model mine great": ("no option --model. Did you mean --run?", "sentiment predict --run mine great"),
    "predict -r mine great": ("there is no option -r", "sentiment predict --run mine great"),
    "predict --input reviews.csv": ("there is no option --input", "sentiment predict --file reviews.csv"),
    "predict '-a text that begins with a dash'": (
        "begins with a dash",
        "sentiment predict -- '-a text that begins with a dash'",
    ),
    "predict --format JSONL great": ("'JSONL' is not one of", "sentiment predict --format jsonl great"),
    "predict hi --run": ("option '--run' requires an argument", "sentiment predict --help"),
    "train --set": ("option '--set' requires an argument", "sentiment train --help"),
    "predict hi --run imdb-lstm": ("which has no runs yet", "sentiment train"),
    "predict hi --run linear": ("which has no runs yet", "sentiment train linear"),
    "predict hi --run other": ("there is no run 'other' in ", "sentiment train"),
    "report pocket": ("pocket is the model that comes with sentiment", "sentiment train pocket"),
    "export": ("there is no trained classifier in ", "sentiment train"),
    # scoring
    "eval --split dev": ("'dev' is not one of 'test', 'valid', 'train'", "sentiment eval --split valid"),
    "eval --split validation": ("'validation' is not one of", "sentiment eval --split valid"),
    "eval --split TEST": ("'TEST' is not one of", "sentiment eval --split test"),
    "eval --split valid --behaviour": ("do not go together", "sentiment eval --split valid"),
    "eval --slice star": ("--slice star is none of", "sentiment eval --slice stars"),
    "report": ("there is no trained classifier in ", "sentiment train"),
    "reproduce": ("there is no trained classifier in ", "sentiment train"),
    "compare": ("missing argument 'RUN...'", "sentiment compare --help"),
    "eval one --run two": ("one and --run two are two runs", "sentiment eval one"),
    "export one --run two": ("one and --run two are two runs", "sentiment export one"),
    "reproduce one --run two": ("one and --run two are two runs", "sentiment reproduce one"),
    "train --seeds 2 --folds 2": ("do not go together", "sentiment train --folds 2"),
    "train --profile --name x sample": ("--profile does not create a run", "sentiment train --profile sample"),
    "train --name 'a b' sample": ("'a b' is not a run name", "sentiment train --name a-b sample"),
    "recipes copy default --to my.yaml": ("my.yaml exists already", "sentiment recipes copy default --to my-2.yaml"),
    "models linear": ("one weight per n-gram", "sentiment train linear"),
}  # fmt: skip


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_gets_a_sentence_and_the_command_that_was_meant(typed, line: str) -> None:
    message, hint = MISTAKES[line]
    args = shlex.split(line)
    if "--slice" in args or line == "eval --split valid --behaviour":
        _run("old", "sample")
    said = typed(*args)
    assert said.code == 2
    assert message in said.error
    assert said.hint == hint
    assert complaint(said.hint, args) is None
    assert "\n" not in said.error.replace("\n1 problem in", "").replace("\n2 problems in", "") or "--set" in line
    assert len(said.error) < 400


@pytest.mark.parametrize("line", [line for line, (_, hint) in MISTAKES.items() if hint.startswith("sentiment train ")])
def test_the_suggested_training_is_not_refused_again(typed, line: str) -> None:
    hint = shlex.split(MISTAKES[line][1])[2:]
    if {"--folds", "--profile", "--name", "--help"} & set(hint):
        return
    shown = typed("config", "show", *[word for word in hint if word != "--json"])
    assert shown.error == "" or (MISTAKES[line][0] not in shown.error and "is not a setting" not in shown.error)


@pytest.mark.parametrize("key", setting_keys())
def test_every_setting_typed_as_an_option_is_answered_with_set(typed, key: str) -> None:
    said = typed("train", f"--{key.rpartition('.')[2]}", "1")
    if key in ("name", "seed", "train.resume", "data.test"):  # options of their own
        return
    assert said.code == 2
    name = key.rpartition(".")[2]
    if said.hint.startswith("sentiment train --set "):
        column = ("data.label_column",) if name in ("target", "label") else ()  # of which 1 is the first
        assert said.hint.partition("=")[0].endswith((name, *column))
    else:  # a few names are near an option, which is then suggested
        assert said.hint.startswith("sentiment train --")


def _run(name: str, recipe: str) -> Path:
    from sentiment_cli.config.loader import experiment_yaml, load_experiment

    run = runs_dir() / name
    (run / "model").mkdir(parents=True)
    (run / "experiment.yaml").write_bytes(experiment_yaml(load_experiment(recipe)))
    (run / "summary.json").write_text('{"status": "finished", "source": "sample", "finished_at": 1, "valid": null}')
    return run


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("predict mine great", "mine is a run", "sentiment predict great --run mine"),
        ("predict mine 'not bad' good", "mine is a run", "sentiment predict 'not bad' good --run mine"),
        ("predict --run mien great", "Did you mean 'mine'?", "sentiment predict --run mine great"),
        ("eval mien --split valid", "Did you mean 'mine'?", "sentiment eval mine --split valid"),
        ("report Mine", "there is no run 'Mine'", "sentiment report mine"),
        ("runs show mie", "Did you mean 'mine'?", "sentiment runs show mine"),
        ("runs remove mine", "add --yes to delete", "sentiment runs remove mine --yes"),
        ("train RUN", "is a run, not an experiment", "sentiment train RUN/experiment.yaml"),
        ("compare mine", "two runs or more", "sentiment runs list"),
    ],
)
def test_mistakes_beside_a_run(typed, line: str, message: str, hint: str) -> None:
    run = _run("mine", "sample")
    said = typed(*shlex.split(line.replace("RUN", shlex.quote(str(run)))))
    assert said.code == 2
    assert message in said.error
    assert said.hint == hint.replace("RUN", str(run))


def test_a_run_that_was_stopped_is_named_where_there_is_no_finished_one(typed) -> None:
    run = _run("half", "sample")
    (run / "summary.json").unlink()
    said = typed("eval")
    assert "half was stopped before its end" in said.error
    assert said.hint == f"sentiment train --resume {run}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\ntrain:\n\tlr: 1\n", "indented with a tab; YAML needs spaces"),
        ("name: x\ntrain:\n  lr: 1\n epochs: 2\n", "indentation does not match the lines above"),
        ("name: x: y\n", "a colon too many"),
        ("name: x\ntrain\nseed: 1\n", "a colon is missing after the key"),
    ],
)
def test_what_is_no_yaml_is_said_in_words_of_the_author(typed, place: Path, text: str, said: str) -> None:
    (place / "my.yaml").write_text(text)
    refused = typed("config", "check", "my.yaml")
    assert refused.code == 2
    assert said in refused.error


@pytest.mark.parametrize("variable", ["SENTIMENT_DATA", "SENTIMENT_RUNS"])
def test_a_root_that_is_a_file_is_not_moved_away(typed, place: Path, monkeypatch, variable: str) -> None:
    (place / "passwd").write_text("root")
    monkeypatch.setenv(variable, str(place / "passwd"))
    monkeypatch.setenv("HOME", str(place))
    said = typed("train", "sample")
    assert said.code == 4
    assert said.hint == f"export {variable}={shlex.quote(str(place / f'sentiment-{variable[10:].lower()}'))}"
    assert complaint(said.hint) is None


def test_an_out_that_is_a_folder_is_not_moved_away(typed, place: Path) -> None:
    (place / "w6").mkdir()
    with pytest.raises(MachineError) as caught:
        store.write_file(Path("w6"), b"")
    assert complete(caught.value.hint, COMMAND, ["predict", "good", "--out", "w6"]) == (
        "sentiment predict good --out w6/w6"
    )
