"""The warning where much of the validation rows is unknown, at train, data info and data check."""

import shlex
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from sentiment_cli.config.commands import command_with
from sentiment_cli.config.loader import differences, load_experiment
from sentiment_cli.data.checks.coverage import unknown_findings, unknown_share, warn_of_unknown
from sentiment_cli.data.corpus.prepare import prepare

LABELS = ("neg", "pos")


def table(text_of: Callable[[int], str], n: int = 60) -> str:
    return "\n".join(["text,label", *(f'"{text_of(i)}",{LABELS[i % 2]}' for i in range(n))]) + "\n"


UNKNOWN = {
    # Case T6 and what has the same cause: each word of a row stands in no other.
    "words that all differ": lambda i: f"zz{i}q yy{i}w",
    "clauses without a space": lambda i: "".join(chr(0x4E00 + (7 * i + k * k) % 900) for k in range(6)),
    "identifiers in the column of texts": lambda i: f"{i:08x} {i * 7919:08x}",
    "long compounds": lambda i: f"spiel{i}film{i}abend {i}filmabend",
}


@pytest.mark.parametrize("cause", UNKNOWN)
def test_much_that_is_unknown_is_warned_of_with_the_command_to_type(
    own, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = own("my own.csv", table(UNKNOWN[cause]), "text.characters=raw")
    corpus = prepare(raw, ("train", "valid"))
    share = unknown_share(corpus.split("valid"), corpus.vocabulary)
    assert share > 0.2
    capsys.readouterr()
    warn_of_unknown(share, raw)
    said = capsys.readouterr().err
    assert f"warning: {share:.0%} of the validation tokens are unknown" in said
    command = shlex.split(said.partition("try: ")[2])
    assert command[:2] == ["sentiment", "train"]
    again = load_experiment(*_arguments(command[2:]))
    changed = {key: new for key, _, new in differences(raw, again) if key != "name"}
    assert changed == {"text.tokenizer": "bpe", "vocabulary.size": None}
    corpus = prepare(again, ("train", "valid"))
    assert unknown_share(corpus.split("valid"), corpus.vocabulary) == 0
    (finding,) = unknown_findings(raw)
    assert finding.severity == "warning"
    assert "try: sentiment train" in finding.what
    assert unknown_findings(again) == []


def _arguments(words: list[str]) -> tuple[str | None, list[str]]:
    overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    return (None if words[0] == "--set" else words[0]), overrides


def test_little_that_is_unknown_is_nothing_to_say_of(own, small_csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = own("x.csv", small_csv)
    assert unknown_findings(experiment) == []
    capsys.readouterr()
    warn_of_unknown(0.2, experiment)
    assert capsys.readouterr().err == ""


def test_where_the_vocabulary_is_given_the_command_shows_the_data(own, small_csv: str, capsys) -> None:
    for settings in (["text.tokenizer=bpe", "vocabulary.size=600"], ["vocabulary.vectors=v.txt"]):
        warn_of_unknown(0.5, own("x.csv", small_csv, *settings))
        assert "try: sentiment data info" in capsys.readouterr().err


def test_rows_that_cannot_be_divided_are_a_finding(own) -> None:
    (finding,) = unknown_findings(own("x.csv", "text,label\na,pos\nb,neg\n"))
    assert finding.what.startswith("the rows cannot be divided: ")


@pytest.mark.parametrize("command", [["train"], ["data", "info"], ["data", "check"]])
def test_the_commands_warn(command: list[str], own, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    from sentiment_cli.cli import main

    experiment = own("x.csv", table(UNKNOWN["words that all differ"]))
    settings = ["linear", "--set", f"data.source={experiment.data.source}", "--set", "vocabulary.min_count=1"]
    settings += ["--set", "model.linear.min_count=1"]
    monkeypatch.setattr("sys.argv", ["sentiment", *command, *settings])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (0, None)
    said = SimpleNamespace(**dict(zip(("out", "err"), capsys.readouterr(), strict=True)))
    assert "of the validation tokens are unknown" in (said.out if command[-1] == "check" else said.err)
    assert "sentiment train linear --set" in said.out + said.err


def test_a_command_starts_from_the_shipped_experiment_that_differs_least() -> None:
    linear = load_experiment("linear", ["data.source=my file.csv", "data.label_map=[a b=c]", "model.linear.ngrams=2"])
    said = shlex.split(command_with("sentiment train", linear, {"seed": 3}))
    assert said[:3] == ["sentiment", "train", "linear"]
    again = load_experiment(*_arguments(said[2:]))
    assert [key for key, _, _ in differences(linear, again)] == ["seed"]
    assert command_with("sentiment train", load_experiment(None), {}) == "sentiment train"
