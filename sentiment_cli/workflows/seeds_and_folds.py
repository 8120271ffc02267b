"""Train an experiment several times: with several seeds, on the folds of cross-validation, or to reproduce a run."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sentiment_cli import console
from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.schema import LARGEST_SEED, Experiment
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.runs.directory import require_finished
from sentiment_cli.runs.files import EXPERIMENT, METRICS_LOG, SUMMARY
from sentiment_cli.storage import store
from sentiment_cli.workflows.finish import Finished
from sentiment_cli.workflows.train import fit

_TIMES = ("seconds", "tokens_per_second")


class Spread(NamedTuple):
    """Mean and sample standard deviation over seeds or folds."""

    mean: float
    std: float


class Repetition(NamedTuple):
    """A reproduced run: its directory, whether weights and metrics are the same, and the differences found."""

    directory: Path
    is_same: bool
    differences: list[tuple[str, Any, Any]]


def fit_seeds(experiment: Experiment, n_seeds: int, name: str | None) -> list[Finished]:
    """Train with this seed and the following ones, one run each. Raises UsageError where a seed is too large."""
    last = experiment.seed + n_seeds - 1
    if last > LARGEST_SEED:
        raise UsageError(
            f"seed {last:,} would be the last of them, and the largest is {LARGEST_SEED:,}", Change("--set", "seed=0")
        )
    finished: list[Finished] = []
    for seed in range(experiment.seed, experiment.seed + n_seeds):
        console.say(f"seed {seed}, {len(finished) + 1} of {n_seeds}")
        one = experiment.model_copy(update={"seed": seed})
        finished.append(fit(one, seed_name(name or experiment.name, seed)))
    return finished


def fit_folds(experiment: Experiment, n_folds: int, name: str | None) -> list[Finished]:
    """Train one run per fold, which holds that fold out for validation; groups follow data.valid.by."""
    finished: list[Finished] = []
    for fold, one in enumerate(fold_experiments(experiment, n_folds), 1):
        console.say(f"fold {fold} of {n_folds}")
        finished.append(fit(one, fold_name(name or experiment.name, fold)))
    return finished


def fold_experiments(experiment: Experiment, n_folds: int) -> list[Experiment]:
    """Return one experiment per fold, which holds that fold out for validation."""
    experiments = []
    for fold in range(1, n_folds + 1):
        valid = experiment.data.valid.model_copy(update={"folds": n_folds, "fold": fold})
        data = experiment.data.model_copy(update={"valid": valid})
        experiments.append(experiment.model_copy(update={"data": data}))
    return experiments


def seed_name(name: str, seed: int) -> str:
    """Return the name of the run of a seed."""
    return f"{name}-seed{seed}"


def fold_name(name: str, fold: int) -> str:
    """Return the name of the run of a fold."""
    return f"{name}-fold-{fold}"


def spread(values: Sequence[float]) -> Spread:
    """Return the mean and the sample standard deviation of at least two values."""
    return Spread(statistics.fmean(values), statistics.stdev(values))


def reproduce(run: Path) -> Repetition:
    """Train the experiment of a finished run again, in a new run, and compare weights, scores and metrics.

    Raises UsageError for a run that is not finished.
    """
    require_finished(run)
    before, rows, experiment = _summary(run), _metrics(run), load_experiment(run / EXPERIMENT)
    again = fit(experiment, f"{run.resolve().name[:58]}-again").directory
    old, new = before.get("fingerprint", {}), _summary(again)["fingerprint"]
    keys = dict.fromkeys([*old, *new])
    found = [(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]
    is_same = old.get("weights") == new["weights"] and before["valid"] == _summary(again)["valid"]
    if rows != _metrics(again):
        found.append((METRICS_LOG, "one course", "another"))
        is_same = False
    return Repetition(again, is_same, found)


def _summary(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = store.read_json(run / SUMMARY)
    return summary


def _metrics(run: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl without times."""
    with store.damage(run / METRICS_LOG):
        rows = [json.loads(line) for line in store.read_file(run / METRICS_LOG).splitlines()]
        return [{key: value for key, value in row.items() if key not in _TIMES} for row in rows]
