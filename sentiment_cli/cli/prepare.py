"""`sentiment prepare`."""

from sentiment_cli import console
from sentiment_cli.cli.train import Config, Override


def prepare(config: Config = None, override: Override = None) -> None:
    """Download, tokenize and pack the data of an experiment; prints where it lies.

    \b
    Examples:
      sentiment prepare
      sentiment prepare configs/tutorial-rnn.yaml
    """
    from sentiment_cli.config.loader import load_experiment

    experiment = load_experiment(config, override or [])
    from sentiment_cli.data import corpus

    console.result(str(corpus.prepare(experiment).directory))
