from pathlib import Path

import jsonschema
import pytest
import yaml

from sentiment_cli.config.loader import experiment_values, load_experiment
from sentiment_cli.config.recipes import recipe_names, recipe_path
from sentiment_cli.config.reference import json_schema, markdown
from sentiment_cli.config.schema import Experiment
from sentiment_cli.config.values import Section


def test_the_page_is_what_the_schema_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert page.read_text("utf-8") == markdown(), "run: sentiment config schema --markdown > docs/configuration.md"


def test_every_key_is_described() -> None:
    def check(section: type[Section]) -> None:
        for name, field in section.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                assert field.annotation.__doc__
                check(field.annotation)
            else:
                assert field.description, name

    check(Experiment)


@pytest.mark.parametrize("name", recipe_names())
def test_the_json_schema_takes_the_shipped_experiments(name: str) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.validate(experiment_values(load_experiment(name)))
    assert validator.is_valid({"extends": "default"})
    assert all(
        validator.is_valid({"name": "x", "teacher": {"run": run}}) for run in (None, "linear", ["linear", "bag"])
    )
    for wrong in ({"name": "x", "trian": {}}, {"seed": 1}, {"name": "x", "train": {"lr": 0}}):
        assert not validator.is_valid(wrong)
    assert "name" in yaml.safe_load(recipe_path(name).read_text("utf-8"))
