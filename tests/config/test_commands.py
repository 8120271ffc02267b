"""Commands that change an experiment."""

import pytest

from sentiment_cli.config.commands import reset
from sentiment_cli.config.loader import load_experiment


@pytest.mark.parametrize("name", ["default", "best-labels"])
def test_turning_a_part_off_leaves_no_setting_that_only_the_part_has(name: str) -> None:
    change = reset(load_experiment(name), "model.wide", "model.linear")
    settings = [word for word in change.options if word != "--set"]
    assert "model.wide.use=none" in settings
    assert load_experiment(name, settings).model.wide.use == "none"
