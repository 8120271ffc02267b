"""Choosing the values of trials and which to prune, with Optuna: a function of the seed and of the trials before.

Optuna keeps nothing here: its study is built in memory from our own trials. Each draw is seeded by the seed and the
number of its trial, so a sweep that goes on chooses as one that was never stopped.
"""

import hashlib
import itertools
import random
import warnings
from collections.abc import Sequence
from typing import Any

from sentiment_cli.config.sweeps import Choices, SearchRange, Sweep
from sentiment_cli.errors import MachineError
from sentiment_cli.runs.metric_table import METRICS
from sentiment_cli.workflows.tuning.trials import Trial

_STARTUP_TRIALS, _WARMUP_EPOCHS = 5, 1  # of the median pruner
_FEW = 20  # trials below which importances say nothing


def import_optuna() -> Any:
    """Return Optuna, which need not be installed. Raises MachineError where it is not."""
    try:
        import optuna
    except ImportError:
        raise MachineError("sentiment tune needs Optuna", "pip install 'sentiment-cli[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def n_planned(sweep: Sweep) -> int:
    """Return how many trials a sweep has: as many as it says, or as its grid has points."""
    return len(grid_of(sweep)) if sweep.method == "grid" else sweep.trials


def grid_of(sweep: Sweep) -> list[dict[str, Any]]:
    """Return all points of a grid, each once, in an order that follows from the seed."""
    choices = [one for one in sweep.search.values() if isinstance(one, tuple) and not isinstance(one, SearchRange)]
    points = [dict(zip(sweep.search, values, strict=True)) for values in itertools.product(*choices)]
    random.Random(sweep.seed).shuffle(points)
    return points


def next_values(sweep: Sweep, number: int, trials: Sequence[Trial], *, is_alone: bool) -> dict[str, Any]:
    """Return the values of a trial; with others that run at the same time they are kept apart from theirs."""
    if sweep.method == "grid":
        return grid_of(sweep)[number]
    optuna = import_optuna()
    study = _study(sweep, trials)
    seed = int.from_bytes(hashlib.sha256(f"{sweep.seed} {number}".encode()).digest()[:4], "big")
    if sweep.method == "random":
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # constant_liar is called experimental
            study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=not is_alone)
    asked = study.ask(_distributions(sweep))
    return {key: _plain(asked.params[key], one) for key, one in sweep.search.items()}


def is_pruned(sweep: Sweep, trials: Sequence[Trial], number: int, epochs: Sequence[float]) -> bool:
    """Say whether a trial is worse, after these epochs, than the median of the trials before it that got so far."""
    if sweep.prune == "none" or len(epochs) <= _WARMUP_EPOCHS:
        return False
    ended = [one for one in trials if one.number != number and one.state == "complete" and one.epochs]
    if len(ended) < _STARTUP_TRIALS:
        return False
    optuna = import_optuna()
    study = _study(sweep, ended)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=_WARMUP_EPOCHS)
    asked = study.ask(_distributions(sweep))
    for epoch, value in enumerate(epochs, 1):
        asked.report(value, epoch)
    return bool(asked.should_prune())


def importances(sweep: Sweep, trials: Sequence[Trial]) -> dict[str, float]:
    """Return how much each setting mattered, the most important first; nothing of few trials or one setting."""
    complete = [one for one in trials if one.state == "complete"]
    if len(complete) < _FEW or len(sweep.search) < 2:
        return {}
    optuna = import_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the evaluator is called experimental
        found = optuna.importance.get_param_importances(
            _study(sweep, complete), evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    return {key: float(value) for key, value in found.items()}


def best_of(sweep: Sweep, trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the best score, of equals the first."""
    complete = [one for one in trials if one.state == "complete" and one.score is not None]
    return max(complete, key=lambda one: METRICS[sweep.monitor].gain(one.score), default=None)


def _study(sweep: Sweep, trials: Sequence[Trial]) -> Any:
    optuna = import_optuna()
    higher = METRICS[sweep.monitor].better == "higher"
    study = optuna.create_study(direction="maximize" if higher else "minimize")
    states = optuna.trial.TrialState
    names = {"complete": states.COMPLETE, "pruned": states.PRUNED, "diverged": states.FAIL, "running": states.RUNNING}
    distributions = _distributions(sweep)
    for one in trials:
        params = {key: _named(one.values[key], sweep.search[key]) for key in sweep.search}
        study.add_trial(
            optuna.trial.create_trial(
                state=names[one.state],
                value=one.score if one.state == "complete" else None,
                params=params,
                distributions=distributions,
                intermediate_values=dict(enumerate(one.epochs, 1)),
            )
        )
    return study


def _distributions(sweep: Sweep) -> dict[str, Any]:
    optuna = import_optuna()
    found: dict[str, Any] = {}
    for key, one in sweep.search.items():
        if not isinstance(one, SearchRange):
            found[key] = optuna.distributions.CategoricalDistribution(list(map(repr, one)))
        elif one.is_whole:
            found[key] = optuna.distributions.IntDistribution(int(one.low), int(one.high), log=one.is_log)
        else:
            found[key] = optuna.distributions.FloatDistribution(one.low, one.high, log=one.is_log)
    return found


def _named(value: Any, one: SearchRange | Choices) -> Any:
    """Return a choice as Optuna has it: by its name, because Optuna takes no lists."""
    return value if isinstance(one, SearchRange) else repr(value)


def _plain(value: Any, one: SearchRange | Choices) -> Any:
    if isinstance(one, SearchRange):
        return value
    return next(each for each in one if repr(each) == value)
