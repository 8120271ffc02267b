import pytest

from sentiment_cli.cli.hints import whole_command


@pytest.mark.parametrize(
    ("hint", "typed", "expected"),
    [
        ("--set a.b=1", "train", "sentiment train --set a.b=1"),
        (
            "--set a.b=1 --set c=2",
            "train --set a.b=3 -s c=4 --set=d=5",
            "sentiment train --set=d=5 --set a.b=1 --set c=2",
        ),
        ("--set 'a=[b c]'", "data check x", "sentiment data check x --set 'a=[b c]'"),
        ("--label-map a=b", "eval run --data x.csv --label-map a=c", "sentiment eval run --data x.csv --label-map a=b"),
        ("--data x.csv", "eval --data=y.csv", "sentiment eval --data x.csv"),
        ("sentiment runs list", "train", "sentiment runs list"),
        ("--set a=1 leaves such rows out", "train", "--set a=1 leaves such rows out"),
        ("--set a=1 or --set b=2", "train", "--set a=1 or --set b=2"),
        ("don't", "train", "don't"),
        (None, "train", None),
    ],
)
def test_options_become_the_command_that_was_typed_with_them(hint, typed: str, expected) -> None:
    assert whole_command(hint, typed.split()) == expected
