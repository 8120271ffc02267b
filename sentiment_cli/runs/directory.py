"""Runs on disk: find the run that a command names, list runs, and describe one."""

import difflib
import glob
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from sentiment_cli import console
from sentiment_cli.config.paths import BUNDLED, bundled_model, is_file, runs_dir, shown
from sentiment_cli.config.recipes import recipe_names
from sentiment_cli.errors import Change, MachineError, UsageError
from sentiment_cli.runs.files import CHECKPOINTS, EXPERIMENT, MODEL, SUMMARY, scores_paths
from sentiment_cli.runs.metric_table import HEADLINES, TOKEN_METRICS
from sentiment_cli.runs.records import read_scores, read_summary
from sentiment_cli.runs.seals import warn_edited
from sentiment_cli.storage import locks, store

STOPPED = ("unfinished", "interrupted", "diverged")
_TRAIN = "sentiment train"
_BUNDLED_SAID = f"{BUNDLED}, the model that comes with sentiment (English film reviews)"


@dataclass(frozen=True)
class RunEntry:
    """A run and its state from the summary; a killed run has no summary and is `unfinished`."""

    path: Path
    status: str
    source: str | None
    finished_at: float
    figure: str  # on validation, named; "" where there is none
    task: str = "classify"


class NoClassifierError(UsageError):
    """There is no finished run that classifies."""


def find_run(run: str | None, *, or_bundled: bool = False) -> Path:
    """Return where a model is: a run's directory, or a model by itself, packed or in a directory of its own.

    Without a name it is the newest finished run, on the sample last; where there is none and `or_bundled` is set, the
    model that comes with the package. Raises UsageError with the command to type where there is none. The chosen run's
    name goes to stderr.
    """
    if run is not None:
        path, said = find_model(run), ""
    else:
        try:
            path, said = _with_model(_newest()), ""
        except NoClassifierError as error:
            if not or_bundled or not is_file(bundled_model()):
                raise
            path, said = bundled_model(), f": {error}"
    console.say(f"run: {_BUNDLED_SAID if path == bundled_model() else path}{said}")
    return path


def find_model(run: str) -> Path:
    """Return where the model of that name is: a run, a model by itself, or else the one that comes with the package.

    Raises UsageError as `find_run` does.
    """
    if find_experiment(run) is None:
        if is_model(Path(run)):
            return Path(run)
        if run == BUNDLED and is_file(bundled_model()):
            return bundled_model()
    return _with_model(named_run(run))


def _with_model(path: Path) -> Path:
    if not is_run(path):
        raise UsageError(f"{path} holds no trained model", _how_to_resume(path))
    return path


def named_run(run: str) -> Path:
    """Return the directory of RUN: a path, or a name under the runs root.

    Raises UsageError with the nearest name, and for a model by itself, which answers and is no run.
    """
    experiment = find_experiment(run)
    if experiment is not None:
        return experiment.parent
    if is_model(Path(run)):
        raise UsageError(f"{run} is a model without its run, and this command needs the run", _ask(Path(run)))
    if run == BUNDLED and is_file(bundled_model()):
        raise UsageError(
            f"{run} is the model that comes with sentiment, and this command needs a run", f"sentiment train {BUNDLED}"
        )
    if os.path.isdir(run):  # noqa: PTH112 - says no, where Path.is_dir raises, to a name that none can have
        raise UsageError(f"{run} is not a run: it holds no experiment.yaml", "sentiment runs list")
    names = [known.path.name for known in all_runs()]
    said = f"there is no run {run!r} in {shown(runs_dir())}"
    if not names:
        raise UsageError(f"{said}, which has no runs yet", shlex.join(["sentiment", "train", *_recipe(run)]))
    near = difflib.get_close_matches(run, names, n=1)
    if near:
        meant = Change(words={run: near[0]}, otherwise="sentiment runs list")
        raise UsageError(f"{said}. Did you mean {near[0]!r}?", meant)
    raise UsageError(said, "sentiment runs list")


def _recipe(name: str) -> list[str]:
    return [name] if name in recipe_names() else []


def require_finished(path: Path, key: str = "") -> None:
    """Raise UsageError, starting with `key`, for a run whose training is not finished."""
    status = _load(path).status
    if status != "finished":
        raise UsageError(f"{key}{path} is {status}, not finished", _how_to_resume(path))


def _how_to_resume(path: Path) -> str:
    from sentiment_cli.config.loader import load_experiment  # which takes its time, and answers need none

    return f"{load_experiment(path / EXPERIMENT).command} --resume {shlex.quote(str(path))}"


def is_run(path: Path) -> bool:
    """Return whether this is the directory of a run with a model; its scores are stored there, too."""
    return (path / MODEL).is_dir()


def is_model(path: Path) -> bool:
    """Return whether this is a model without a run: a packed file, or a directory with a model only."""
    return is_file(path) or is_file(path / "model.json")


def members_of(run: Path) -> dict[str, float]:
    """Return the weight of each member of an ensemble, by its name; of another run nothing."""
    weights = read_summary(run).get("ensemble", {}).get("weights", {})
    return {name: float(weight) for name, weight in weights.items()}


def find_experiment(run: str) -> Path | None:
    """Return RUN/experiment.yaml where `run` is a run."""
    for path in (Path(run), runs_dir() / run):
        if is_file(path / EXPERIMENT):
            return path / EXPERIMENT
    return None


def all_runs() -> list[RunEntry]:
    """Return every run under the runs root, the newest last."""
    runs = [_load(path.parent) for path in runs_dir().glob(f"[!.]*/{EXPERIMENT}")]
    return sorted(runs, key=lambda run: (run.finished_at, run.path))


def stopped_run(beside: Path) -> Path | None:
    """Return the newest run of the same name, but for the number of a second one, that could be gone on with."""
    name = re.sub(r"-\d+$", "", beside.name)
    of_name = [path for path in beside.parent.glob(f"{glob.escape(name)}*/{EXPERIMENT}") if path.parent != beside]
    for path in sorted(of_name, key=lambda path: path.stat().st_mtime, reverse=True):
        is_of_name = re.fullmatch(rf"{re.escape(name)}(-\d+)?", path.parent.name)
        if is_of_name and _load(path.parent).status in STOPPED and not is_held(path.parent):
            return path.parent
    return None


def is_held(path: Path) -> bool:
    """Return whether a process is training the run now."""
    try:
        with locks.held(path, lambda said: None):
            return False
    except BlockingIOError:
        return True
    except OSError:  # where there are no locks, nobody knows
        return False


def freeable(run: RunEntry) -> int:
    """Return the bytes of checkpoints that a finished run needs no more."""
    return size_of(run.path / CHECKPOINTS) if run.status == "finished" else 0


def describe_run(path: Path) -> list[str]:
    """Return lines that describe a run: state, scores, seconds and versions."""
    warn_edited(path)
    status = _load(path).status
    lines, after = [f"run: {path}", f"state: {status}"], list[str]()
    summary = {} if status in ("unfinished", "damaged") else read_summary(path)
    if summary.get("valid"):
        scores = summary["valid"]
        written = [(metric.key, metric.write(scores)) for metric in TOKEN_METRICS.values()]
        found = [f"{key} {value}" for key, value in written if value]
        found += [f"n {scores['n']:,}"] if scores.get("n") is not None else []
        found += [f"cross-validated in {scores['folds']} folds"] if scores.get("folds") is not None else []
        lines.append(f"validation: {', '.join(found)}")
    if summary:
        after = ["seconds: " + ", ".join(f"{stage} {s:.1f}" for stage, s in summary.get("seconds", {}).items())]
        after.append(
            "versions: " + ", ".join(f"{key} {version}" for key, version in summary.get("versions", {}).items())
        )
    for file in scores_paths(path):
        scores = read_scores(file, _how_to_score(path, file))
        if "accuracy" not in scores:  # of pairs, not of a split
            continue
        low, high = scores["accuracy_ci95"]
        of_training = ", which it was trained on" if scores.get("trained_on") else ""
        reached = f"accuracy {scores['accuracy']:.2%} ({low:.2%} to {high:.2%})"
        lines.append(f"{file.stem}: {reached}, n {scores['n']:,}{of_training}")
    return lines + after


def _how_to_score(run: Path, file: Path) -> str:
    """Return the command that writes a damaged file of scores anew; of scores of own data a look at it."""
    if file.stem in ("test", "valid", "train"):
        return f"sentiment eval {shlex.quote(str(run))} --split {file.stem}"
    return shlex.join(["ls", "-l", str(file)])


def size_of(path: Path) -> int:
    """Return the bytes of all files under a directory."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def removable_run(run: str) -> Path:
    """Return the directory of a run under the runs root. Raises UsageError for one elsewhere."""
    path = named_run(run)
    if path.resolve().parent != runs_dir().resolve():
        raise UsageError(f"{path} is not in {runs_dir()}, so it is not removed", "sentiment runs list")
    return path if path.name not in ("", "..") else path.resolve()


def _load(path: Path) -> RunEntry:
    """Read a run's summary; one that cannot be understood makes its run `damaged`, and no other."""
    if not (path / SUMMARY).exists():
        return RunEntry(path, "unfinished", None, 0.0, "")
    try:
        summary = read_summary(path)
        scores, task = summary["valid"], summary.get("task", "classify")
        figure = f"{HEADLINES[task].title} {scores[HEADLINES[task].key]:{HEADLINES[task].format}}" if scores else ""
        return RunEntry(path, summary["status"], summary["source"], float(summary["finished_at"]), figure, task)
    except (store.IntegrityError, MachineError, KeyError, TypeError, ValueError) as error:
        console.warn(f"{path / SUMMARY} is damaged ({error}); the run counts only when it is named")
        return RunEntry(path, "damaged", None, 0.0, "")


def _ask(model: Path) -> str:
    return f'sentiment predict --run {shlex.quote(str(model))} "I just really loved the movie"'


def _newest() -> Path:
    runs = all_runs()
    finished = [run for run in runs if run.status == "finished" and run.task == "classify"]
    if not finished:
        stopped = [run for run in runs if run.status in STOPPED and run.task == "classify" and not is_held(run.path)]
        also = f"; {stopped[-1].path.name} was stopped before its end" if stopped else ""
        hint = _how_to_resume(stopped[-1].path) if stopped else _TRAIN
        raise NoClassifierError(f"there is no trained classifier in {shown(runs_dir())} yet{also}", hint)
    real = [run for run in finished if run.source != "sample"]
    if not real:
        console.say("there are only runs on the bundled sample, whose reviews are synthetic")
    return (real or finished)[-1].path
