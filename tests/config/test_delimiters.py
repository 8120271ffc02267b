"""`data.delimiter` on the command line and in a file: the sign itself, although YAML has a use for it, or its name."""

from pathlib import Path

import pytest

from sentiment_cli.config.loader import load_experiment


@pytest.mark.parametrize("sign", [",", ";", "|", "\t", ":", "#", "&", "%", " ", "tab", "auto", "\\t"])
def test_a_delimiter_is_typed_as_it_is(sign: str) -> None:
    assert load_experiment("linear", ["data.source=x.csv", f"data.delimiter={sign}"]).data.delimiter == sign


@pytest.mark.parametrize("written", ['"|"', "'|'"])
def test_a_delimiter_may_be_quoted_as_yaml_quotes(written: str) -> None:
    assert load_experiment("linear", ["data.source=x.csv", f"data.delimiter={written}"]).data.delimiter == "|"


@pytest.mark.parametrize(("word", "sign"), [("comma", ","), ("Semicolon", ";"), ("pipe", "|"), ("tab", "tab")])
def test_a_delimiter_has_a_name(tmp_path: Path, word: str, sign: str) -> None:
    (tmp_path / "x.yaml").write_text(f"name: x\ndata:\n  source: x.csv\n  delimiter: {word}\n")
    assert load_experiment(tmp_path / "x.yaml").data.delimiter == sign
    assert load_experiment("linear", ["data.source=x.csv", f"data.delimiter={word}"]).data.delimiter == sign
