"""Case T9: what `eval --label-map` takes, and hints of the data stage as options of `eval`."""

import shlex

import pytest
from hints import COMMAND

from sentiment_cli.cli.again import complete
from sentiment_cli.cli.eval import _own, _pairs_of
from sentiment_cli.data.sources.labels import map_option, map_setting, parse_label_map
from sentiment_cli.errors import Change

TYPED = ["eval", "mine", "--data", "x.csv", "--label-map", "Positive=pos"]


def read(option: str) -> dict[str, str]:
    flag, value = shlex.split(option)
    assert flag == "--label-map"
    return parse_label_map(_own("x.csv", {"label_map": _pairs_of(value)}).label_map)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--label-map Positive=pos,Negative=neg", {"Positive": "pos", "Negative": "neg"}),
        ("--label-map 'So so=fair, 2='", {"So so": "fair", "2": ""}),
        (r"--label-map 'Yes\, really=pos,X\=Y=neg'", {"Yes, really": "pos", "X=Y": "neg"}),
        ("""--label-map '{"Yes, really": "yes, so", "Don'"'"'t": null}'""", {"Yes, really": "yes, so", "Don't": ""}),
        ("--label-map 👍=good,👎=bad", {"👍": "good", "👎": "bad"}),
    ],
)
def test_a_map_keeps_blanks_and_has_an_escape_and_a_json_form(option: str, expected: dict[str, str]) -> None:
    assert read(option) == expected


@pytest.mark.parametrize(
    "renamed",
    [
        {"Good": "good"},
        {"Yes, really": "yes"},
        {"Don't": "do", "X=Y": ""},
        {"two words": "a  b"},
        {"[A]": "a", "#": "b"},
    ],
)
def test_a_hint_of_the_data_stage_becomes_an_option_that_says_the_same(renamed: dict[str, str]) -> None:
    for hint in (map_setting(renamed), map_option(renamed)):
        words = shlex.split(complete(hint, COMMAND, TYPED) or "")
        assert words[:5] == ["sentiment", *TYPED[:4]]
        assert read(shlex.join(words[5:])) == renamed


def test_other_hints_become_options_too() -> None:
    table = complete(Change("--set", "data.source=y.csv"), COMMAND, TYPED)
    assert table == "sentiment eval mine --data y.csv --label-map Positive=pos"
    gone = complete(Change("--set", "data.source=y.csv"), COMMAND, ["eval", "mine", "--split", "valid"])
    assert gone == "sentiment eval mine --data y.csv", "--data and --split are refused together"
    skipping = complete(Change("--set", "data.on_error=skip"), COMMAND, TYPED)
    assert skipping == "sentiment eval mine --data x.csv --label-map Positive=pos --on-error skip"
