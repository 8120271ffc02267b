"""`sentiment train`."""

import json
from typing import Annotated

from typer import Argument, Option

from sentiment_cli import console

Config = Annotated[str | None, Argument(help="Experiment file or shipped experiment; without one, the default.")]
Override = Annotated[list[str] | None, Option("--set", "-s", metavar="KEY=VALUE", help="Change a setting; repeatable.")]


def train(
    config: Config = None,
    override: Override = None,
    name: Annotated[str | None, Option(help="Name of the run, instead of the experiment's.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of the run directory.")] = False,
) -> None:
    """Train what an experiment describes; the last line is the run's directory.

    \b
    Examples:
      sentiment train
      sentiment train configs/sample.yaml
      sentiment train --set train.lr=3e-4
    """
    from sentiment_cli.config.loader import load_experiment

    experiment = load_experiment(config, override or [])  # every mistake is reported here, before torch is imported
    from sentiment_cli.training.fit import fit

    finished = fit(experiment, name)
    if as_json:
        report = {
            "run": str(finished.directory),
            "valid": finished.scores.to_json(),
            "seconds": finished.seconds,
            "tokens_per_second": finished.tokens_per_second,
        }
        console.result(json.dumps(report))
    else:
        console.result(str(finished.directory))
