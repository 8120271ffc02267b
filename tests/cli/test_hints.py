"""Hints that name options become the command that was typed, so that they work when pasted."""

import shlex

import pytest

from sentiment_cli.cli.hints import whole_command
from sentiment_cli.cli.reading import OF_LABELS, OF_TEXTS, check_keys, load_data
from sentiment_cli.errors import UsageError

BOTH = """--set 'data.text_column=["a", "b"]'"""


@pytest.mark.parametrize(
    ("hint", "typed", "expected"),
    [
        ("--set data.on_error=skip", "train --set data.source=x.csv", "train --set data.source=x.csv --set {}"),
        ("--set data.source=y.csv", "train --set data.source=x.csv", "train --set data.source=y.csv"),
        ("--set data.source=y.csv", "train -s data.source=x.csv -s seed=1", "train -s seed=1 --set data.source=y.csv"),
        ("--set data.source=y.csv", "train --set=data.source=x.csv", "train --set data.source=y.csv"),
        ("--set 'data.source=a b'", "train -s data.source=x", "train --set 'data.source=a b'"),
        ("--file y.csv", "predict --file x.csv --json", "predict --json --file y.csv"),
        ("--file y.csv", "predict --file=x.csv", "predict --file y.csv"),
        ("--set data.text_column=a", "predict --file x --text-column b", "predict --file x --text-column a"),
        (BOTH, "eval --data x", f"eval --data x {BOTH}"),
        (BOTH, "predict --file x --text-column b", f"predict --file x {BOTH}"),
        ("--set data.header=false", "eval --data x", "eval --data x --set data.header=false"),
        ("--on-error skip", "predict --file x -- text", "predict --file x --on-error skip -- text"),
        ("ls /tmp", "predict --file x", None),
        ("--help me now", "predict --file x", None),
        ("--unclosed 'quote", "predict --file x", None),
        (None, "train", None),
    ],
)  # fmt: skip
def test_options_take_the_place_of_those_typed(hint: str | None, typed: str, expected: str | None) -> None:
    found = whole_command(hint, shlex.split(typed))
    if expected is None:
        assert found == hint
    else:
        assert found == "sentiment " + expected.format("data.on_error=skip")
        assert shlex.split(found) != ["sentiment", *shlex.split(typed)]


@pytest.mark.parametrize("command", ["predict", "eval"])
@pytest.mark.parametrize("setting", ["train.lr=1", "header=false", "data.source=x", "data.valid.share=0.5", "x"])
def test_only_settings_of_reading_are_taken(command: str, setting: str) -> None:
    with pytest.raises(UsageError, match=f"--set {setting}: {command} takes data.header, data.encoding"):
        check_keys([setting], OF_TEXTS if command == "predict" else OF_LABELS, command)


def test_settings_of_reading_are_read_as_an_experiment_s() -> None:
    data = load_data(["data.header=false", "data.text_column=[2, body]", "data.encoding=latin-1", "data.delimiter=tab"])
    assert (data.header, data.text_column, data.encoding) == (False, ("2", "body"), "latin-1")
    with pytest.raises(UsageError, match=r"data\.quoting is 'odd'"):
        load_data(["data.quoting=odd"])
