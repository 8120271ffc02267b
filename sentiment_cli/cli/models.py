"""`sentiment models`."""

import json
from typing import Annotated

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.cli import completion
from sentiment_cli.cli.train import Override
from sentiment_cli.config.catalogue import CELLS, KINDS, POOLINGS
from sentiment_cli.config.recipes import recipe_names
from sentiment_cli.errors import Change, UsageError


def models(
    config: Annotated[
        str | None,
        Argument(
            help="Experiment file or built-in experiment; without one, a list.", autocompletion=completion.experiments
        ),
    ] = None,
    override: Override = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List model types, or count a model's parameters.

    \b
    Examples:
      sentiment models
      sentiment models default
      sentiment models default --set model.encoder.cell=gru --json
    """
    if config is None and not override:
        if as_json:
            console.result(
                json.dumps({"kinds": KINDS, "cells": CELLS, "poolings": POOLINGS, "recipes": recipe_names()})
            )
        else:
            _list()
        return
    from sentiment_cli.config.loader import load_experiment

    experiment = load_experiment(config, override or [])
    size = experiment.vocabulary.size
    if experiment.model.kind == "linear":
        raise UsageError(
            "the linear model has one weight per n-gram of the training rows; their number is known after training",
            "sentiment train linear",
        )
    if size is None:
        raise UsageError(
            "vocabulary.size is null: the number of words is known once the data are prepared",
            Change("--set", "vocabulary.size=30000"),
        )
    from sentiment_cli.models.cost import parts_of

    parts = parts_of(experiment, size)
    parameters, products = (sum(getattr(part, field) for part in parts) for field in ("parameters", "products"))
    if as_json:
        found = {"parameters": parameters, "products_per_token": products}
        console.result(json.dumps({**found, "parts": [part._asdict() for part in parts]}))
        return
    console.result(f"{'part':<12}{'parameters':>12}  multiply-adds a token, forward")
    for part in parts:
        console.result(f"{part.name:<12}{part.parameters:>12,}  {part.products:>30,}")
    console.result(f"{'all':<12}{parameters:>12,}  {products:>30,}")


def _list() -> None:
    for key, choices in (("model.kind", KINDS), ("model.encoder.cell", CELLS), ("model.pooling", POOLINGS)):
        console.result(key)
        width = max(map(len, choices))
        for name, what in choices.items():
            console.result(f"  {name:<{width}}  {what}")
    console.result(f"built-in experiments: {', '.join(recipe_names())}")
