"""A run that is there already, finished or stopped, in place of one more of the same."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sentiment_cli import console
from sentiment_cli.config.loader import differences, load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.recipes import find_config, recipe_names
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.fit_settings import settle
from sentiment_cli.errors import DataError, SentimentError, UsageError
from sentiment_cli.runs.directory import SUMMARY, find_experiment, is_model
from sentiment_cli.runs.ensemble_model import refuse_ensemble
from sentiment_cli.storage import store
from sentiment_cli.training.checkpoints import newest_path
from sentiment_cli.training.init_from import PretrainedRun, load_pretrained, pretrained_names
from sentiment_cli.training.processes.launching import check_shared, n_launched
from sentiment_cli.training.tasks.distillation import check_rows, check_teaches, open_teacher
from sentiment_cli.training.tasks.table import prepare_for
from sentiment_cli.training.weights_init import check_vectors, dry_run_pretrained
from sentiment_cli.workflows.finish import load_finished
from sentiment_cli.workflows.setup import check_machine
from sentiment_cli.workflows.train import fit, resume

_TEACHER = "teacher.run"


class _Known(NamedTuple):
    """A run on disk; `data` is the rows_key of its data, None for one stopped before its first checkpoint."""

    directory: Path
    experiment: Experiment
    is_finished: bool
    data: str | None


def resolve_dependencies(experiment: Experiment, name: str | None = None) -> Experiment:
    """Return the experiment with the runs that it starts and learns from in place of the experiments that it names.

    A finished run of such an experiment serves; without one it is trained first, and before that all is looked for that
    would have this one, or another of them, refused when its turn comes. Raises UsageError for the name of neither, and
    for an experiment that is named, by way of others or not, by itself.
    """
    store.check_name(name or experiment.name)
    if any(_config_of(name) for _, name in _named(experiment)):
        _dry_run("", Path(), experiment, ())
    return _with_runs(experiment)


def _with_runs(experiment: Experiment) -> Experiment:
    origins = {key: _run_of(key, name) for key, name in pretrained_names(experiment).items()}
    teachers = tuple(_run_of(_TEACHER, name) for name in experiment.teacher.run)
    teacher = experiment.teacher.model_copy(update={"run": teachers})
    return experiment.model_copy(update={**origins, "teacher": teacher})


def _run_of(key: str, name: str) -> str:
    """Return the run that is named, or a finished one of the experiment that is."""
    path = _config_of(name)
    if path is None:
        _say_shadowed(key, name)
        run = find_experiment(name)
        return name if run is None else str(run.parent)  # as it will be named where the experiment itself is named
    origin = load_experiment(path)
    console.say(f"{key}: {name}, an experiment of task {origin.task}")
    return str(find_or_train(_with_runs(origin), origin.name, name))


def _named(experiment: Experiment) -> list[tuple[str, str]]:
    return [*pretrained_names(experiment).items(), *((_TEACHER, name) for name in experiment.teacher.run)]


def _config_of(name: str) -> Path | None:
    """Return the file of the experiment of that name; None for a run, which comes first, and for a model by itself."""
    is_config = Path(name).suffix in (".yaml", ".yml")
    if find_experiment(name) is not None or (is_model(Path(name)) and not is_config):
        return None
    return find_config(name)


def _say_shadowed(key: str, name: str) -> None:
    run = find_experiment(name)
    if run is not None and name in recipe_names() and differences(load_experiment(run), load_experiment(name)):
        console.say(f"{key}: {run.parent}, a run, whose settings are not those of the shipped experiment {name}")


def _dry_run(key: str, path: Path, experiment: Experiment, above: tuple[Path, ...]) -> PretrainedRun:
    """Return what training an experiment will leave, with fresh weights. Raises what training would at its begin."""
    experiment = settle(experiment)
    check_machine(experiment)
    check_vectors(experiment)
    origins = []
    for inner, name in _named(experiment):
        config = _config_of(name)
        if config is not None:
            if config in above:
                raise UsageError(f"{inner}: {name} needs itself first", f"sentiment config show {config}")
            origins.append(_dry_run(inner, config, load_experiment(config), (*above, config)))
        elif inner != _TEACHER:
            origins.append(load_pretrained(inner, name))
        else:
            open_teacher(name)
    corpus = prepare_for(experiment)
    for origin in origins:
        if origin.key == _TEACHER:
            check_teaches(origin.run, origin.experiment, origin.labels, corpus)
    check_rows(experiment, corpus)
    return dry_run_pretrained(key, path, experiment, corpus, [one for one in origins if one.key != _TEACHER])


def find_or_train(experiment: Experiment, name: str, config: str | None = None) -> Path:
    """Return a finished run of an experiment on the data at hand, called `name`, or `name`-2, -3 …

    It is one that is finished already; else one that was stopped, gone on with to its end; else a new one. Raises what
    `fit` raises, and UsageError where these processes cannot share it, but one can train its `config` before.
    """
    experiment = settle(experiment)
    same = [run for run in _runs_called(name) if not differences(run.experiment, experiment)]
    if not same:
        return _train(experiment, name, config)
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
    return _train(experiment, name, config)


def _train(experiment: Experiment, name: str, config: str | None) -> Path:
    check_shared(n_launched(), experiment, None if config is None else f"{experiment.command} {config}")
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
