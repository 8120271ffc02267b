"""`sentiment pretrain` and `sentiment generate`: what they print, and what they refuse."""

import json
from pathlib import Path

import pytest

from sentiment_cli.cli.generate import generate
from sentiment_cli.cli.pretrain import pretrain
from sentiment_cli.cli.train import train
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.errors import UsageError

LM = """
name: tiny-lm
task: language-model
text: {start: true, max_tokens: null}
vocabulary: {min_count: 1}
model: {embedding: {width: 16}, encoder: {cell: mingru, width: 16}, language: {softmax: full, label: true}}
train: {window: 16, batch_tokens: 512, epochs: 1, lr: 3e-2, device: cpu, threads: 1}
"""


@pytest.fixture
def experiment_path(tmp_path: Path) -> Path:
    rows = [f"the {'plot' if i % 3 else 'cast'} was {'good' if i % 2 else 'bad'} .,{'np'[i % 2]}" for i in range(100)]
    (tmp_path / "my.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (tmp_path / "lm.yaml").write_text(f"{LM}data: {{source: my.csv}}\n")
    return tmp_path / "lm.yaml"


def test_a_language_model_is_pretrained_and_writes(cli, experiment_path: Path, capsys) -> None:
    done = cli("pretrain", str(experiment_path), "--json", "--set", "train.batch_tokens=64")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report) == ["run", "valid", "seconds", "tokens_per_second"]
    assert report["run"] == str(runs_dir() / "tiny-lm")
    assert report["valid"]["n"] > 0
    assert 1 < report["valid"]["perplexity"] < 9
    assert {"prepare", "train"} < report["seconds"].keys()

    one = cli("generate", "tiny-lm", "The \x1b[2Jplot", "--seed", "1", "--tokens", "5")
    assert one.returncode == 0, one.stderr
    assert one.stdout.startswith("The \\x1b[2Jplot ")
    assert one.stdout.count("\n") == 1
    assert one.stderr == f"run: {runs_dir() / 'tiny-lm'}\n"

    pretrain(resume="tiny-lm")
    again = capsys.readouterr()
    assert again.out == f"{runs_dir() / 'tiny-lm'}\n"
    assert "is finished; there is nothing left to train" in again.err
    choices = {"seed": 1, "label": "p", "n": 2, "top_k": 3, "temperature": 0.5}
    generate("tiny-lm", "The plot", **choices, as_json=True)
    two = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(row) for row in two] == [["prompt", "seed", "label", "text", "tokens", "ended"]] * 2
    assert all(row["text"].startswith("The plot") and row["label"] == "p" for row in two)
    generate("tiny-lm", "The plot", **choices)
    assert capsys.readouterr().out == f"{two[0]['text']}\n\n{two[1]['text']}\n"
    generate("tiny-lm", tokens=2)
    assert "seed: " in capsys.readouterr().err
    for option in ({"beam": 2}, {"label": "good"}, {"prompt": "zzz"}):
        with pytest.raises(UsageError, match=r"does not apply to|the labels are n, p|knows no word of 'zzz'"):
            generate("tiny-lm", **option)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--temperature", "inf"), ("--temperature", "nan"), ("--top-p", "nan"), ("--seed", "99999999999999999999")],
)
def test_b04_choices_that_are_out_of_range(cli, option: str, value: str) -> None:
    done = cli("generate", "any", option, value)
    assert done.returncode == 2
    assert f"error: invalid value for '{option}'" in done.stderr


WRONG = [
    (lambda: pretrain(), "there is no experiment to pretrain", "sentiment pretrain imdb-lm"),
    (
        lambda: pretrain("sample"),
        "the task of sample is classify, which `sentiment train` trains",
        "sentiment train sample",
    ),
    (
        lambda: train("lm.yaml", override=["seed=1"]),
        "the task of tiny-lm is language-model",
        "sentiment pretrain lm.yaml --set seed=1",
    ),
    (lambda: train("lm.yaml", seeds=2), "which `sentiment pretrain` trains", "sentiment pretrain lm.yaml"),
    (lambda: train("lm.yaml", folds=2), "which `sentiment pretrain` trains", "sentiment pretrain lm.yaml"),
    (lambda: train("lm.yaml", nproc=2), "which `sentiment pretrain` trains", "sentiment pretrain lm.yaml"),
    (lambda: train(resume="half"), "which `sentiment pretrain` trains", "sentiment pretrain --resume half"),
    (lambda: pretrain(resume="half", name="x"), "a resumed run keeps its name", "without --name"),
    (lambda: pretrain("lm.yaml", allow=["train.lr"]), "goes with --resume", "without --allow-change"),
    (lambda: generate("nosuch", "x"), "there is no run 'nosuch'", "sentiment runs list"),
    (lambda: generate("half", "x"), "half holds no trained model", "sentiment pretrain --resume"),
]


@pytest.mark.parametrize(("act", "said", "hint"), WRONG)
def test_what_goes_wrong_names_the_command_that_goes_right(experiment_path, monkeypatch, act, said, hint) -> None:
    monkeypatch.chdir(experiment_path.parent)
    (runs_dir() / "half").mkdir(parents=True)
    (runs_dir() / "half" / "experiment.yaml").write_text(LM)
    with pytest.raises(UsageError) as caught:
        act()
    assert said in str(caught.value)
    assert caught.value.hint.startswith(hint)
