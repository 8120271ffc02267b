"""The runs that an experiment depends on (init_from, init_backward, teacher.run): reuse, resume or train them."""

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
from sentiment_cli.runs.directory import find_experiment, is_model
from sentiment_cli.runs.ensemble_model import refuse_ensemble
from sentiment_cli.runs.files import EXPERIMENT, SUMMARY
from sentiment_cli.storage import store
from sentiment_cli.training.checkpoints import newest_path
from sentiment_cli.training.init_from import PretrainedRun, load_pretrained, pretrained_names
from sentiment_cli.training.processes.launching import check_shared, n_launched
from sentiment_cli.training.tasks.distillation import (
    LoadedTeacher,
    check_can_teach,
    check_rows,
    check_teacher_labels,
    open_teacher,
)
from sentiment_cli.training.tasks.table import prepare_for
from sentiment_cli.training.weights_init import check_vectors, dry_run_pretrained
from sentiment_cli.workflows.finish import load_finished
from sentiment_cli.workflows.setup import check_machine, settle_here
from sentiment_cli.workflows.train import fit, resume

_TEACHER = "teacher.run"


class KnownRun(NamedTuple):
    """A run on disk; `data` is the rows_key of its data, None if it was stopped before its first checkpoint."""

    directory: Path
    experiment: Experiment
    is_finished: bool
    data: str | None


def resolve_dependencies(experiment: Experiment, name: str | None = None) -> Experiment:
    """Return the experiment with each pretrained model and teacher that it names as an experiment replaced by a run.

    A finished run of that experiment is reused; otherwise it is trained first. Before anything is trained, a dry run
    checks whether any of the trainings would be refused. Of several generations of students (teacher.generations), all
    but the last are found or trained in the same way, as NAME-generation-1, -2 … Raises UsageError for a name that is
    neither a run nor an experiment, and for an experiment that depends on itself.
    """
    store.check_name(name or experiment.name)
    if any(_config_of(name) for _, name in _named(experiment)):
        _dry_run("", Path(), experiment, ())
    return _with_runs(experiment)


def check_dependencies(experiment: Experiment) -> list[str]:
    """Raise what training the experiment, and those that it names, would raise; return the names of these.

    They come after those that they need. They are trained first where no finished run of them is there.
    """
    if _named(experiment):
        _dry_run("", Path(), experiment, ())
    return list(dict.fromkeys(_needed(experiment)))


def _needed(experiment: Experiment) -> Iterator[str]:
    for _, name in _named(experiment):
        config = _config_of(name)
        if config is not None:
            yield from _needed(load_experiment(config))
            yield name
    for generation in range(1, experiment.teacher.generations):
        yield f"{experiment.name}-generation-{generation}"


def _with_runs(experiment: Experiment) -> Experiment:
    runs = {key: _run_of(key, pretrained) for key, pretrained in pretrained_names(experiment).items()}
    experiment = experiment.model_copy(update=runs)
    teachers = tuple(_run_of(_TEACHER, teacher) for teacher in experiment.teacher.run)
    student = _taught_by(experiment, teachers)
    for generation in range(1, experiment.teacher.generations):
        # One that learnt the validation rows, too, could teach none that is validated on them.
        teacher = student.model_copy(update={"train": student.train.model_copy(update={"refit": False})})
        console.say(f"teacher.generations: {generation} of {experiment.teacher.generations}")
        trained = find_or_train(teacher, f"{experiment.name}-generation-{generation}")
        student = _taught_by(experiment, (*teachers, str(trained)))
    return student


def _taught_by(experiment: Experiment, teachers: tuple[str, ...]) -> Experiment:
    teacher = experiment.teacher.model_copy(update={"run": teachers, "generations": 1})
    return experiment.model_copy(update={"teacher": teacher})


def _run_of(key: str, name: str) -> str:
    """Return the named run, or a finished run of the named experiment."""
    path = _config_of(name)
    if path is None:
        _say_shadowed(key, name)
        run = find_experiment(name)
        return name if run is None else str(run.parent)  # the same name as where the experiment is named
    pretrained = load_experiment(path)
    console.say(f"{key}: {name}, an experiment of task {pretrained.task}")
    return str(find_or_train(_with_runs(pretrained), pretrained.name, name))


def _named(experiment: Experiment) -> list[tuple[str, str]]:
    return [*pretrained_names(experiment).items(), *((_TEACHER, name) for name in experiment.teacher.run)]


def _config_of(name: str) -> Path | None:
    """Return the file of the experiment of that name; None for a run, which takes precedence, and for a model file."""
    is_config = Path(name).suffix in (".yaml", ".yml")
    if find_experiment(name) is not None or (is_model(Path(name)) and not is_config):
        return None
    return find_config(name)


def _say_shadowed(key: str, name: str) -> None:
    run = find_experiment(name)
    if run is not None and name in recipe_names() and differences(load_experiment(run), load_experiment(name)):
        console.say(f"{key}: {run.parent}, a run, whose settings are not those of the shipped experiment {name}")


def _dry_run(key: str, path: Path, experiment: Experiment, above: tuple[Path, ...]) -> PretrainedRun:
    """Return the run that training an experiment will leave, with random weights; raise what training would raise."""
    experiment = settle(experiment)
    check_machine(experiment)
    check_vectors(experiment)
    pretrained_runs, teachers = [], list[LoadedTeacher]()
    for inner, name in _named(experiment):
        config = _config_of(name)
        if config is not None:
            if config in above:
                raise UsageError(f"{inner}: {name} needs itself first", f"sentiment config show {config}")
            pretrained_runs.append(_dry_run(inner, config, load_experiment(config), (*above, config)))
        elif inner != _TEACHER:
            pretrained_runs.append(load_pretrained(inner, name))
        else:
            teachers.append(open_teacher(name))
    corpus = prepare_for(experiment)
    for teacher in teachers:
        check_teacher_labels(teacher.model.path, teacher.model.labels, corpus)
    for pretrained in pretrained_runs:
        if pretrained.key == _TEACHER:
            check_can_teach(pretrained.run, pretrained.experiment, pretrained.labels, corpus)
    check_rows(experiment, corpus)
    return dry_run_pretrained(key, path, experiment, corpus, [one for one in pretrained_runs if one.key != _TEACHER])


def find_or_train(experiment: Experiment, name: str, config: str | None = None) -> Path:
    """Return a finished run of an experiment on the current data, called `name`, or `name`-2, -3 …

    A finished run is reused, a stopped one is resumed; otherwise a new one is trained. Raises what `fit` raises, and
    UsageError where these processes cannot share the training; its hint trains `config` in one process.
    """
    experiment = settle_here(experiment)
    same = [run for run in runs_called(name) if not differences(run.experiment, experiment)]
    if not same:
        return _train(experiment, name, config)
    key = prepare_for(experiment).rows_key  # a resumed run would read its own data, even if that is out of date
    for run in same:
        if run.is_finished and run.data == key:
            console.say(f"{run.directory} is of the same experiment and data, and finished: it is not trained again")
            return run.directory
    for run in same:
        if not run.is_finished and run.data in (key, None):
            try:
                return resume(run.directory, experiment, ()).directory
            except (UsageError, DataError) as error:  # of another version, held by another process, or damaged
                console.say(f"{error}; a new run is trained")
    return _train(experiment, name, config)


def _train(experiment: Experiment, name: str, config: str | None) -> Path:
    check_shared(n_launched(), experiment, None if config is None else f"{experiment.command} {config}")
    return fit(experiment, name).directory


def runs_called(name: str) -> Iterator[KnownRun]:
    """Yield the runs whose names store.claim_directory makes from `name`, the last first, without damaged ones."""
    pattern = re.compile(rf"{re.escape(name)}(?:-(\d+))?")
    found = [(int(match[1] or 1), path) for path in runs_dir().glob("*") if (match := pattern.fullmatch(path.name))]
    for _, path in sorted(found, reverse=True):
        try:
            yield _look_at(path)
        except SentimentError:
            continue


def _look_at(run: Path) -> KnownRun:
    refuse_ensemble(run, "what is trained is one model")
    experiment = load_experiment(run / EXPERIMENT)
    if load_finished(run) is not None:
        return KnownRun(run, experiment, True, store.read_json(run / SUMMARY)["fingerprint"]["data"])
    checkpoint = newest_path(run)
    data = None if checkpoint is None else store.read_json(checkpoint / "state.json")["data"]
    return KnownRun(run, experiment, False, data)
