"""`sentiment pretrain`."""

from typing import Annotated

from typer import Argument

from sentiment_cli.cli import completion
from sentiment_cli.cli.train import Allow, AsJson, Name, Nproc, Override, Resume, train_one
from sentiment_cli.errors import UsageError
from sentiment_cli.training.processes.signals import leaving_at_once

_PRETRAIN = "sentiment pretrain"


@leaving_at_once()
def pretrain(
    config: Annotated[
        str | None,
        Argument(
            help="Experiment file or built-in experiment of a pretraining task.", autocompletion=completion.experiments
        ),
    ] = None,
    override: Override = None,
    name: Name = None,
    resume: Resume = None,
    allow: Allow = None,
    nproc: Nproc = None,
    as_json: AsJson = False,
) -> None:
    """Train a language model or word vectors on unlabelled text.

    Autoencoders and models of text pairs are trained here too. A classifier
    starts from such a run, or from its experiment, by init_from (fine-tuning).

    \b
    Examples:
      sentiment pretrain imdb-lm
      sentiment pretrain imdb-lm -s data.source=my.csv -s vocabulary.from=train
      sentiment pretrain --resume imdb-lm
      sentiment train my.yaml --set init_from=imdb-lm
    """
    if config is None and resume is None:
        raise UsageError("there is no experiment to pretrain", f"{_PRETRAIN} imdb-lm")
    train_one(_PRETRAIN, config, override or [], name, resume, allow or [], nproc, as_json)
