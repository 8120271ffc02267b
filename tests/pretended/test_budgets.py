"""Budgets: what each recipe launches and waits for in a step may not grow beyond the table of docs/gpu.md."""

import re
from pathlib import Path

import pytest
from pretended_cuda.budgets import TABLE, Cost, measure, table_of

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.recipes import recipe_names

PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"
RECIPES = [name for name in recipe_names() if load_experiment(name).model.kind != "linear"]


def budgets() -> dict[str, Cost]:
    return table_of(PAGE.read_text("utf-8"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_launches_and_waits_no_more_than_the_page_says(name: str) -> None:
    budget, found = budgets()[name], measure(name)
    assert found.launches <= budget.launches
    assert found.per_token <= budget.per_token
    assert found.waits <= budget.waits
    assert found == budget, f"{name} costs less now: run `python -m pretended_cuda.budgets`"


def test_the_page_has_every_recipe_and_no_other() -> None:
    assert list(budgets()) == RECIPES
    assert re.search(TABLE, PAGE.read_text("utf-8"))
