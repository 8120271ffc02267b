"""A run that is there already, finished or stopped, in place of one more of the same."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sentiment_cli import console, store
from sentiment_cli.config.loader import differences, load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.recipes import find_config
from sentiment_cli.config.schema import Experiment
from sentiment_cli.errors import DataError, SentimentError, UsageError
from sentiment_cli.inference.ensembles import refuse_ensemble
from sentiment_cli.inference.runs import SUMMARY, find_experiment, is_model
from sentiment_cli.training.checkpoints import newest_path
from sentiment_cli.training.fit import fit, resume
from sentiment_cli.training.sitting import load_finished
from sentiment_cli.training.tasks import prepare_for


class _Known(NamedTuple):
    """A run on disk; `data` is the rows_key of what it is trained on, None for one stopped before its first checkpoint."""

    directory: Path
    experiment: Experiment
    is_finished: bool
    data: str | None


def with_origins(experiment: Experiment, above: tuple[Path, ...] = ()) -> Experiment:
    """Return the experiment with the runs that it starts and learns from in place of the experiments that it names.

    A finished run of such an experiment serves; without one it is trained first. Raises UsageError for the name of
    neither, and for an experiment that is named, by way of others or not, by itself.
    """
    teacher = experiment.teacher
    names = {"init_from": experiment.init_from, "init_backward": experiment.init_backward, "teacher.run": teacher.run}
    found = {}
    for key, name in names.items():
        is_config = name is not None and Path(name).suffix in (".yaml", ".yml")
        if name is None or find_experiment(name) is not None or (is_model(Path(name)) and not is_config):
            continue
        path = find_config(name)
        if path in above:
            raise UsageError(f"{key}: {name} needs itself first", f"sentiment config show {path}")
        origin = load_experiment(path)
        console.say(f"{key}: {name}, an experiment of task {origin.task}")
        found[key] = str(find_or_fit(with_origins(origin, (*above, path)), origin.name))
    taught_by = teacher.model_copy(update={"run": found.pop("teacher.run", teacher.run)})
    return experiment.model_copy(update={**found, "teacher": taught_by})


def find_or_fit(experiment: Experiment, name: str) -> Path:
    """Return a finished run of an experiment on the data at hand, called `name`, or `name`-2, -3 …

    It is one that is finished already; else one that was stopped, gone on with to its end; else a new one. Raises what
    `fit` raises.
    """
    same = [run for run in _runs_called(name) if not differences(run.experiment, experiment)]
    if not same:
        return fit(experiment, name).directory
    key = prepare_for(experiment).rows_key  # to go on with a run would take its own data, old ones too
    for run in same:
        if run.is_finished and run.data == key:
            console.say(f"{run.directory} is of the same experiment and data, and finished: it is not trained again")
            return run.directory
    for run in same:
        if not run.is_finished and run.data in (key, None):
            try:
                return resume(run.directory, experiment, ()).directory
            except (UsageError, DataError) as error:  # of another version, in another process's hands, damaged
                console.say(f"{error}; a new run is trained")
    return fit(experiment, name).directory


def _runs_called(name: str) -> Iterator[_Known]:
    """Yield the runs whose names store.claim_directory makes of `name`, the last first; what is damaged is left out."""
    pattern = re.compile(rf"{re.escape(name)}(?:-(\d+))?")
    found = [(int(match[1] or 1), path) for path in runs_dir().glob("*") if (match := pattern.fullmatch(path.name))]
    for _, path in sorted(found, reverse=True):
        try:
            yield _look_at(path)
        except SentimentError:
            continue


def _look_at(run: Path) -> _Known:
    refuse_ensemble(run, "what is trained is one model")
    experiment = load_experiment(run / "experiment.yaml")
    if load_finished(run) is not None:
        return _Known(run, experiment, True, store.read_json(run / SUMMARY)["fingerprint"]["data"])
    checkpoint = newest_path(run)
    data = None if checkpoint is None else store.read_json(checkpoint / "state.json")["data"]
    return _Known(run, experiment, False, data)
