"""A sweep: one coordinator chooses the values of trials, trains each as a run of its own, and prunes those that lag.

    runs/NAME/  sweep.json  base.yaml  trials.jsonl  trials.csv  best.yaml  trials/trial-0000/ …

The same command continues a sweep that was stopped. Finished trials are kept, unfinished ones are resumed, and further
trials get the values that they would have had without the stop.
"""

import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiment_cli import console
from sentiment_cli.config.loader import experiment_values, experiment_yaml, inline_yaml, load_experiment
from sentiment_cli.config.sweeps import Sweep, load_sweep
from sentiment_cli.config.yaml_text import MAX_BYTES
from sentiment_cli.errors import Change, DataError, InterruptedRun, MachineError, UsageError
from sentiment_cli.runs.metric_table import METRICS
from sentiment_cli.storage import store
from sentiment_cli.storage.holding import holding
from sentiment_cli.workflows.tuning.children import (
    PROGRAM,
    Child,
    epochs_of,
    is_begun,
    score_of,
    values_of,
    wait_until_free,
)
from sentiment_cli.workflows.tuning.choosing import best_of, import_optuna, is_pruned, n_planned, next_values
from sentiment_cli.workflows.tuning.trials import TRIALS, Trial, read_trials, write_table, write_trial

BASE, BEST, _ABOUT = "base.yaml", "best.yaml", "sweep.json"
_TRIES = 3
_SECONDS_BETWEEN_LOOKS = 0.1
_DIVERGED, _MACHINE, _INTERRUPTED, _KILLED = 5, 4, (130, 143, 129), 137


def read_sweep(path: Path, overrides: list[str]) -> Sweep:
    """Load the sweep that a command names. Raises UsageError where there is no such file."""
    try:
        data = store.read_named(path, MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{path} is not there: a sweep is a YAML file", "sentiment tune --help") from None
    return load_sweep(path, data, overrides)


def run_sweep(
    sweep: Sweep, directory: Path, *, jobs: int = 1, until: float | None = None, program: Sequence[str] = PROGRAM
) -> list[Trial]:
    """Train the trials of a sweep that are not finished, and return all; none begins after `until`, a monotonic time.

    Raises UsageError for a directory of another sweep, and what ends a trial for a reason that the others share.
    """
    if sweep.method != "grid" or sweep.prune != "none":
        import_optuna()
    with holding(directory, console.say, Change("--name", f"{directory.name}-2")):
        _check_same(sweep, directory)
        settings: list[str] = []
        if jobs > 1 and sweep.experiment.train.threads is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            settings.append(f"train.threads={max(1, cores // jobs)}")
        coordinator = _Coordinator(sweep, directory, jobs, until, settings, program)
        try:
            coordinator.work()
        except KeyboardInterrupt:
            coordinator.stop()
            console.say(f"interrupted: the trials are in {directory}, and the same command continues")
            raise
        except BaseException:
            coordinator.stop()
            raise
        write_best(sweep, directory, coordinator.trials)
        return coordinator.trials


def write_best(sweep: Sweep, directory: Path, trials: Sequence[Trial]) -> Path | None:
    """Write the experiment of the best trial; return its path, None where no trial has finished."""
    best = best_of(sweep, trials)
    if best is None or best.score is None:
        return None
    pairs = [f"{key}={inline_yaml(value)}" for key, value in best.values.items()]
    found = load_experiment(directory / BASE, [*pairs, f"name={f'{directory.name[:58]}-best'}"])
    metric = METRICS[sweep.monitor]
    n = sum(one.state == "complete" for one in trials)
    head = (
        f"# The best of {n} finished trials of {directory.name}: {metric.title} {best.score:{metric.format}} on "
        f"validation in trial {best.number}.\n# Of many trials the best is flattered: it was chosen on these rows.\n"
    )
    store.write_file(directory / BEST, head.encode() + experiment_yaml(found))
    return directory / BEST


def _check_same(sweep: Sweep, directory: Path) -> None:
    """Keep what the sweep is, or raise UsageError where another one was begun here."""
    about = {"experiment": experiment_values(sweep.experiment), **sweep.identity()}
    path = directory / _ABOUT
    if store.is_there(path):
        before = store.read_json(path)
        changed = [
            key for key, value in store.parse_json(store.dump_json(about), path).items() if before.get(key) != value
        ]
        if changed:
            raise UsageError(
                f"{directory} is a sweep with another {' and '.join(changed)}",
                Change("--name", store.free_path(directory).name),
            )
    store.write_file(directory / BASE, experiment_yaml(sweep.experiment))
    store.write_file(path, store.dump_json(about))


class _Coordinator:
    """The state of a sweep while this process works on it."""

    def __init__(
        self,
        sweep: Sweep,
        directory: Path,
        jobs: int,
        until: float | None,
        settings: Sequence[str],
        program: Sequence[str],
    ) -> None:
        self._sweep, self._directory, self._jobs, self._until = sweep, directory, jobs, until
        self._settings, self._program = settings, program
        self.trials = read_trials(directory)
        if [one.number for one in self.trials] != list(range(len(self.trials))):
            raise store.IntegrityError(f"{directory} lacks trials in between: the numbers have gaps")
        self._children: list[Child] = []
        self._tries: dict[int, int] = {}

    def work(self) -> None:
        """Train until all trials have ended."""
        waiting = [one for one in self.trials if one.state == "running"]
        n = n_planned(self._sweep)
        while True:
            is_late = self._until is not None and time.monotonic() > self._until
            while len(self._children) < self._jobs and not is_late:
                if waiting:
                    self._begin(waiting.pop(0))
                elif len(self.trials) < n:
                    self._begin(self._new_trial())
                else:
                    break
            if not self._children:
                break
            for child in list(self._children):
                self._look_at(child)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        write_table(self._directory, self.trials, self._sweep.monitor)

    def stop(self) -> None:
        """Stop all children, each of which saves a checkpoint."""
        for child in self._children:
            child.stop()
        for child in self._children:
            child.wait()

    def _new_trial(self) -> Trial:
        number = len(self.trials)
        trial = Trial(number, {})
        run = self._run(trial)
        if is_begun(run):  # its line was cut off
            trial.values = values_of(run, list(self._sweep.search))
        else:
            trial.values = next_values(self._sweep, number, self.trials, is_alone=self._jobs == 1)
        self.trials.append(trial)
        write_trial(self._directory, trial)
        return trial

    def _begin(self, trial: Trial) -> None:
        run = self._run(trial)
        if is_begun(run):
            wait_until_free(run, console.say)
            if self._conclude(trial, score_of(run, self._sweep.monitor), 0.0):
                return
        elif store.is_there(run):  # claimed, and nothing written
            store.remove_directory(run)
        self._children.append(Child(run, trial, self._directory / BASE, self._settings, self._program))

    def _look_at(self, child: Child) -> None:
        trial, code = child.trial, child.code()
        if code is None:
            if not child.asked_to_stop and self._n_until_pruned(trial) is not None:
                child.stop()
            return
        self._children.remove(child)
        score = score_of(child.run, self._sweep.monitor)
        if (code == 0 or child.asked_to_stop) and self._conclude(trial, score, child.seconds):
            return
        if code == _DIVERGED:
            trial.state, trial.epochs = "diverged", epochs_of(child.run, self._sweep.monitor)
            self._end(trial, child.seconds)
            return
        self._tries[trial.number] = self._tries.get(trial.number, 0) + 1
        if code in (_MACHINE, _KILLED) and self._tries[trial.number] < _TRIES:
            console.warn(f"trial {trial.number} ended with code {code} and is resumed: {child.said().splitlines()[:1]}")
            self._begin(trial)
            return
        raise self._error(trial, code, child.said())

    def _conclude(self, trial: Trial, score: float | None, seconds: float) -> bool:
        """End a trial that is finished or pruned, as its run's files say; return whether it is."""
        n = self._n_until_pruned(trial)
        if n is None and score is None:
            return False
        epochs = epochs_of(self._run(trial), self._sweep.monitor)
        trial.state, trial.score, trial.epochs = (
            ("complete", score, epochs) if n is None else ("pruned", None, epochs[:n])
        )
        self._end(trial, seconds)
        return True

    def _n_until_pruned(self, trial: Trial) -> int | None:
        """Return after how many epochs a trial is pruned: a function of its metrics, however far its child has come."""
        epochs = epochs_of(self._run(trial), self._sweep.monitor)
        for n in range(1, len(epochs) + 1):
            if is_pruned(self._sweep, self.trials, trial.number, epochs[:n]):
                return n
        return None

    def _end(self, trial: Trial, seconds: float) -> None:
        trial.seconds += seconds
        write_trial(self._directory, trial)
        write_table(self._directory, self.trials, self._sweep.monitor)
        metric, best = METRICS[self._sweep.monitor], best_of(self._sweep, self.trials)
        said = trial.state if trial.score is None else f"{metric.title} {trial.score:{metric.format}}"
        values = ", ".join(f"{key}={shown_value(value)}" for key, value in trial.values.items())
        more = "" if best is None else f" (best {best.score:{metric.format}}, trial {best.number})"
        console.say(f"trial {trial.number + 1} of {n_planned(self._sweep)}: {values}: {said}{more}")

    def _run(self, trial: Trial) -> Path:
        return self._directory / TRIALS / trial.name

    def _error(self, trial: Trial, code: int, said: str) -> Exception:
        words = ["sentiment", "train", str(self._directory / BASE)]
        words += [word for key, value in trial.values.items() for word in ("--set", f"{key}={inline_yaml(value)}")]
        message, hint = f"trial {trial.number} ended with code {code}: {said}", shlex.join(words)
        if code in _INTERRUPTED:
            return InterruptedRun(f"trial {trial.number} was stopped; the same command continues", None, code - 128)
        kinds: dict[int, Any] = {2: UsageError, 3: DataError, _MACHINE: MachineError, _KILLED: MachineError}
        return kinds[code](message, hint) if code in kinds else RuntimeError(message)


def shown_value(value: Any) -> str:
    """Return a value as a table shows it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
