"""What `sentiment train` is asked to train: one experiment, or the candidates that suit the user's own data."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sentiment_cli import console
from sentiment_cli.cli.closing import say_done
from sentiment_cli.cli.typed_data import is_data, label_settings, refuse_missing_data
from sentiment_cli.errors import Change, UsageError

if TYPE_CHECKING:
    from sentiment_cli.config.schema import Experiment

_AUTO, _OWN, _LINEAR = "auto", "own", "linear"
_CELL = "model.encoder.cell"


class Candidates(NamedTuple):
    """Experiments by the name of their model, and the name of the run that they make; one alone if it was named."""

    experiments: "dict[str, Experiment]"
    name: str
    is_alone: bool


def choose_candidates(
    config: str | None,
    data: str | None,
    override: list[str],
    model: str | None,
    time_s: float | None,
    asked: Sequence[str],
) -> Candidates | tuple[str | None, list[str]]:
    """Return the candidates for the user's own data, or the CONFIG and the settings of one experiment.

    `asked` are the options for one experiment, such as --seeds. Raises UsageError for what does not go together.
    """
    if config is not None:
        refuse_missing_data(config)
    source = config if is_data(config) else None
    if source is not None and data is not None:
        raise UsageError(f"{config} and --data {data} both name the data", Change(words={source: None}))
    if source is not None:
        override = [*override, *_source_of(source, override)]
    elif config != _AUTO and (config is not None or data is None):
        return _one_experiment(config, override, model, time_s)
    if "--resume" in asked:
        words = {} if config is None else {config: None}
        raise UsageError(
            "--resume continues a run, which has its own data",
            Change(words=words, without=["--data", "--test", "--model", "--time"]),
        )
    if asked and model is None:
        raise UsageError(
            f"{asked[0]} is for one model, and data without --model are tried with several",
            Change("--model", "gru", without=["--time"]),
        )
    if asked and time_s is not None:
        raise UsageError(f"{asked[0]} and --time do not go together", Change(without=["--time"]))
    if model is None:
        from sentiment_cli.training.processes.launching import has_launcher, n_launched

        if n_launched() > 1 and has_launcher():
            raise UsageError("processes of a launcher share one experiment", "sentiment train own --help")
    override = [*override, *_of_labels(override)]
    settings = {_LINEAR: _of_linear(override, is_alone=model == _LINEAR), _OWN: _of_network(override)}
    if model is not None:
        recipe, own = (_LINEAR, settings[_LINEAR]) if model == _LINEAR else (_OWN, settings[_OWN])
        settings = {recipe: own if model == _LINEAR else [*own, f"{_CELL}={_cell(model)}"]}
        if asked:
            return recipe, settings[recipe]
    experiments = {recipe: _load(recipe, own) for recipe, own in settings.items()}
    named = {
        recipe if recipe == _LINEAR else experiment.model.encoder.cell: experiment
        for recipe, experiment in experiments.items()
    }
    return Candidates(named, _run_name(named, model), model is not None)


def train_candidates(chosen: Candidates, name: str | None, time_s: float | None, as_json: bool) -> None:
    """Train what suits the data, say what was kept and what to type next, and print the run."""
    from sentiment_cli.workflows.auto import train_auto, train_one_model

    if chosen.is_alone:
        ((model, experiment),) = chosen.experiments.items()
        made = train_one_model(model, experiment, name or chosen.name, time_s)
    else:
        made = train_auto(chosen.experiments, name or chosen.name, time_s)
    if as_json:
        console.result(json.dumps(made.to_json()))
        return
    say_done(made.directory, made.seconds, made.kept, made.scores)
    console.result(str(made.directory))


def _one_experiment(
    config: str | None, override: list[str], model: str | None, time_s: float | None
) -> tuple[str | None, list[str]]:
    given = [option for option, value in (("--model", model), ("--time", time_s)) if value is not None]
    if given:
        what = f"{config} is an experiment" if config is not None else "there is none here"
        raise UsageError(f"{given[0]} is for your own data, and {what}", Change(without=["--model", "--time"]))
    return config, override


def _source_of(source: str, override: Sequence[str]) -> list[str]:
    twice = next((one for one in override if one.partition("=")[0] == "data.source"), None)
    if twice is not None:
        raise UsageError(f"{source} and --set {twice} both name the data", Change(words={twice: None}))
    return [f"data.source={json.dumps(source, ensure_ascii=False)}"]


def _of_labels(override: Sequence[str]) -> list[str]:
    """Return the settings that read several labels a row and are not set, where the data have them."""
    of_data = [one for one in override if one.startswith("data.")]
    found = label_settings(override, lambda further: _load(_LINEAR, [*of_data, *further]).data)
    if not found and "data.target=multilabel" not in override:
        return []
    # Few rows have all labels right at first, and accuracy counts these alone: it would choose the first epochs.
    monitor = [] if any(one.startswith("train.monitor=") for one in override) else ["train.monitor=loss"]
    return [*found, *monitor]


def _of_linear(override: Sequence[str], *, is_alone: bool) -> list[str]:
    """Leave out the settings of networks; what only a network starts from is refused where there is none."""
    others = ("model.", "train.batch", *(() if is_alone else ("init_from", "init_backward")))
    return [one for one in override if one.startswith("model.linear.") or not one.startswith(others)]


def _of_network(override: Sequence[str]) -> list[str]:
    return [one for one in override if not one.startswith("model.linear.")]


def _cell(model: str) -> str:
    """Return a recurrent cell's name. Raises UsageError that suggests the nearest."""
    from sentiment_cli.config.catalogue import CELLS
    from sentiment_cli.config.nearest import nearest

    if model in CELLS:
        return model
    known = [_LINEAR, *CELLS]
    near = nearest(model, known)
    said = f"--model {model} is none of {', '.join(known)}{f'. Did you mean {near}?' if near else ''}"
    raise UsageError(said, Change("--model", near or _LINEAR))


def _load(recipe: str, override: list[str]) -> "Experiment":
    from sentiment_cli.config.loader import load_experiment

    experiment = load_experiment(recipe, override)
    if experiment.task != "classify":
        words = [word for one in override for word in ("--set", one)]
        raise UsageError(
            f"task {experiment.task} is pretraining, which `{experiment.command}` does",
            f"{experiment.command} imdb-lm {shlex.join(words)}",
        )
    return experiment


def _run_name(experiments: "dict[str, Experiment]", model: str | None) -> str:
    from sentiment_cli.data.sources.source import name_of_source

    first = next(iter(experiments.values()))
    if first.name not in (_OWN, _LINEAR):  # by --set name=…
        return first.name
    name = name_of_source(Path(first.data.source))
    return name if model is None else f"{name}-{model}"
