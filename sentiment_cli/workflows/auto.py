"""Train what suits the data: the linear model, a network and their ensemble, of which validation keeps one.

The candidates are runs of their own until the end: RUNS/NAME-candidate-linear, RUNS/NAME-candidate-gru. Finished or
interrupted ones are found again by the same command. What is kept becomes RUNS/NAME, and the others lie in its
candidates/, where neither `runs list` nor the search for the newest run sees them.
"""

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sentiment_cli import console
from sentiment_cli.config.loader import differences
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.fit_settings import (
    FEW_ROWS,
    cross_validate_few,
    read_facts,
    settle,
    with_characters,
)
from sentiment_cli.data.corpus.targets import is_unbalanced
from sentiment_cli.errors import InterruptedRun
from sentiment_cli.evaluation.ensembling import make_ensemble
from sentiment_cli.evaluation.metrics import Scores
from sentiment_cli.runs.directory import is_run, members_of
from sentiment_cli.runs.files import MODEL, SUMMARY
from sentiment_cli.runs.records import read_calibration, read_summary
from sentiment_cli.storage import store
from sentiment_cli.workflows.dependencies import find_or_train, resolve_dependencies, runs_called
from sentiment_cli.workflows.finish import load_finished
from sentiment_cli.workflows.profile import profile_steps
from sentiment_cli.workflows.train import fit
from sentiment_cli.workflows.tried import COMBINED, AutoRun, Tried, print_tried

CANDIDATES, TRIED = "candidates", "tried.json"
_CHARACTERS = "characters"
_LONGEST_NAME = 40  # before "-candidate-transformer": 64 characters in all
_LEAST_EPOCHS = 3
# Validation chose a network's epoch, so its log loss there is too low; alone it is kept only by this margin.
_OPTIMISM = 0.05
# Of few rows with balanced labels, the cross-validated log loss of linear has to be lower than that of characters by
# this share, over the square root of their number (docs/training.md).
_DOUBT = 0.7
_PADDING = 1.2  # padding and validation, times the tokens of the training rows


def train_auto(candidates: Mapping[str, Experiment], name: str, time_s: float | None = None) -> AutoRun:
    """Train each candidate and the ensemble of them, and keep the one with the lowest log loss on validation.

    Of fewer than 2,000 training rows linear models are cross-validated instead. With a time limit that leaves no room
    for a network, only the linear model is trained. Raises InterruptedRun after a signal; the same call then continues.
    """
    began = time.monotonic()
    store.check_name(name)
    if (filed := _filed_late(name)) is not None:
        return filed
    experiments = _for_size(candidates)
    if len(experiments) == 1:
        return _train_alone(*experiments.popitem(), name, time_s, began)
    runs: dict[str, Path] = {}
    try:
        for candidate, experiment in experiments.items():
            limited = _limited(experiment, _candidate(name, candidate), time_s, began)
            if limited is not None:
                settled = settle(resolve_dependencies(limited, _candidate(name, candidate)), is_said=True)
                runs[candidate] = find_or_train(settled, _candidate(name, candidate))
    except InterruptedRun as error:
        said = f"{error}; the same command continues with what is missing"
        raise InterruptedRun(said, error.hint, error.exit_code - 128) from None
    return _keep_best(runs, name, began)


def train_one_model(model: str, experiment: Experiment, name: str, time_s: float | None = None) -> AutoRun:
    """Train one model with settings that follow from the data, within a time limit where there is one."""
    store.check_name(name)
    return _train_alone(model, experiment, name, time_s, time.monotonic())


def _for_size(candidates: Mapping[str, Experiment]) -> dict[str, Experiment]:
    """Return the candidates that the number of training rows suits: for few, linear models, cross-validated."""
    n_rows = read_facts(next(iter(candidates.values())).data).n_rows
    linear = {name: experiment for name, experiment in candidates.items() if experiment.model.kind == "linear"}
    if n_rows >= FEW_ROWS or not linear:
        return dict(candidates)
    console.say(f"{n_rows:,} training rows are few for a network, so linear models are trained")
    ((name, experiment),) = linear.items()
    crossed = cross_validate_few(experiment)
    characters = with_characters(crossed) if crossed.train.folds is not None else None
    return {name: crossed} if characters is None else {name: crossed, _CHARACTERS: characters}


def _train_alone(model: str, experiment: Experiment, name: str, time_s: float | None, began: float) -> AutoRun:
    limited = _limited(cross_validate_few(experiment), name, time_s, began, is_alone=True)
    assert limited is not None
    finished = fit(resolve_dependencies(limited, name), name)
    scores = finished.scores
    assert isinstance(scores, Scores)
    seconds = time.monotonic() - began
    return AutoRun(finished.directory, model, scores, (Tried(model, scores, sum(finished.seconds.values())),), seconds)


def _candidate(name: str, candidate: str) -> str:
    return f"{name[:_LONGEST_NAME]}-candidate-{candidate}"


def _limited(
    experiment: Experiment, name: str, time_s: float | None, began: float, *, is_alone: bool = False
) -> Experiment | None:
    """Return a network's experiment with epochs that fit the time that is left; None where too few do.

    A candidate of an interrupted command keeps its epochs: another measurement would choose others.
    """
    if time_s is None or experiment.model.kind == "linear":
        return experiment
    chosen = settle(experiment)
    for run in () if is_alone else runs_called(name):
        if [key for key, *_ in differences(run.experiment, chosen)] in ([], ["train.epochs"]):
            console.say(f"train.epochs {run.experiment.train.epochs}: those that {run.directory} was begun with")
            return _with_epochs(chosen, run.experiment.train.epochs)
    assert chosen.train.epochs is not None
    rate = profile_steps(chosen).tokens_per_second
    facts = read_facts(chosen.data)
    per_epoch_s = _PADDING * facts.n_rows * min(facts.tokens, chosen.text.max_tokens or math.inf) / rate
    left_s = time_s - (time.monotonic() - began)
    epochs = min(chosen.train.epochs, int(left_s / per_epoch_s))
    measured = f"{rate:,.0f} tokens/s, {per_epoch_s:.1f} s per epoch, {max(0.0, left_s):.0f} s left"
    if epochs < min(_LEAST_EPOCHS, chosen.train.epochs):
        if not is_alone:
            console.say(f"--time leaves no room for a network: {measured}")
            return None
        console.warn(f"--time is too short: {measured}; one epoch is trained")
        epochs = max(1, epochs)
    console.say(f"chosen: train.epochs {epochs}: --time, {measured}")
    return _with_epochs(chosen, epochs)


def _with_epochs(experiment: Experiment, epochs: int | None) -> Experiment:
    return experiment.model_copy(update={"train": experiment.train.model_copy(update={"epochs": epochs})})


def _keep_best(runs: Mapping[str, Path], name: str, began: float) -> AutoRun:
    """Make the ensemble, compare, say what was tried, and give the kept run its name."""
    seconds = {candidate: _seconds_of(run) for candidate, run in runs.items()}
    if len(runs) == 1:
        ((kept, run),) = runs.items()
        finished = load_finished(run)
        assert finished is not None
        assert isinstance(finished.scores, Scores)
        tried = [Tried(kept, finished.scores, seconds[kept])]
        return _finish(_file_single(run, {}, name), kept, finished.scores, tried, began)
    if all(_folds_of(run) is not None for run in runs.values()):
        return _keep_crossed(runs, name, began)
    made = make_ensemble([str(run) for run in runs.values()], name)
    # Members are calibrated on all validation rows, the ensemble on other folds than those it is scored on.
    tried = [
        Tried(candidate, scores, seconds[candidate], made.weights[member])
        for candidate, (member, scores) in zip(runs, made.members.items(), strict=True)
    ]
    best = min(tried, key=_fair_loss)
    ensemble_s = sum(seconds.values())
    ensemble = None if made.valid is None else Tried(COMBINED, made.valid, ensemble_s)
    rows = [*tried] if ensemble is None else [*tried, ensemble]
    print_tried(rows)
    if ensemble is not None and ensemble.loss < _fair_loss(best):
        chosen = "" if best.loss == _fair_loss(best) else f", whose epoch these rows chose (+{_OPTIMISM:.0%})"
        console.say(
            f"kept: the ensemble; its log loss {ensemble.loss:.4f}, cross-validated, is lower than the best member's, "
            f"{best.loss:.4f} of {best.name}{chosen}"
        )
        _file_members(runs, made.directory)
        return _finish(made.directory, COMBINED, ensemble.scores, rows, began)
    why = "could not be scored" if ensemble is None else f"has {ensemble.loss:.4f}, cross-validated"
    console.say(f"kept: {best.name}; its log loss is {best.loss:.4f}, and the ensemble {why}")
    store.remove_directory(made.directory)
    others = {candidate: run for candidate, run in runs.items() if candidate != best.name}
    return _finish(_file_single(runs[best.name], others, name), best.name, best.scores, rows, began)


def _keep_crossed(runs: Mapping[str, Path], name: str, began: float) -> AutoRun:
    """Keep the better run by cross-validation, calibrated."""
    tried = []
    for candidate, run in runs.items():
        finished, calibration = load_finished(run), read_calibration(run / MODEL / "calibration.json")
        assert finished is not None
        assert isinstance(finished.scores, Scores)
        assert calibration is not None
        scores = replace(finished.scores, loss=calibration["loss_after"])
        tried.append(Tried(candidate, scores, sum(finished.seconds.values())))
    print_tried(tried)
    best, why = _best_of_few(tried)
    console.say(f"kept: {best.name}; {why}")
    others = {candidate: run for candidate, run in runs.items() if candidate != best.name}
    return _finish(_file_single(runs[best.name], others, name), best.name, best.scores, tried, began)


def _best_of_few(tried: Sequence[Tried]) -> tuple[Tried, str]:
    """Return the candidate with the lowest log loss and why it is kept; characters where another's is hardly lower."""
    best = min(tried, key=lambda one: one.loss)
    why = f"its log loss by cross-validation, {best.loss:.4f}, is the lowest"
    characters = next((one for one in tried if one.name == _CHARACTERS), best)
    n_rows = characters.scores.n
    doubt = 0.0 if is_unbalanced([sum(row) for row in characters.scores.confusion]) else _DOUBT / math.sqrt(n_rows)
    if best is characters or best.loss < characters.loss * (1 - doubt):
        return best, why
    why = f"the log loss of {best.name}, {best.loss:.4f}, is not lower than its {characters.loss:.4f} by {doubt:.1%}"
    return characters, f"{why}; of {n_rows:,} rows, smaller differences may be chance"


def _folds_of(run: Path) -> int | None:
    finished = load_finished(run)
    return finished.scores.folds if finished is not None and isinstance(finished.scores, Scores) else None


def _fair_loss(one: Tried) -> float:
    """Return a member's log loss as it counts against an ensemble's, which is cross-validated."""
    return one.loss if one.name == "linear" else one.loss * (1 + _OPTIMISM)


def _seconds_of(run: Path) -> float:
    finished = load_finished(run)
    return 0.0 if finished is None else sum(finished.seconds.values())


def _file_members(runs: Mapping[str, Path], run: Path) -> None:
    for candidate, path in runs.items():
        store.move_directory(path, run / CANDIDATES / candidate)


def _file_single(run: Path, others: Mapping[str, Path], name: str) -> Path:
    """Move the other candidates into a run, and give the run its name."""
    _file_members(others, run)
    target = store.claim_directory(runs_dir(), name)
    store.move_directory(run, target)
    return target


def _finish(directory: Path, kept: str, scores: Scores | None, tried: Sequence[Tried], began: float) -> AutoRun:
    made = AutoRun(directory, kept, scores, tuple(tried), time.monotonic() - began)
    store.write_file(directory / CANDIDATES / TRIED, store.dump_json(made.to_json()))
    return made


def _filed_late(name: str) -> AutoRun | None:
    """Finish what a killed process left: an ensemble whose members were not moved into it yet."""
    prefix = _candidate(name, "")
    for run in runs_dir().glob(f"{name}*"):
        if not re.fullmatch(rf"{re.escape(name)}(-\d+)?", run.name) or (run / CANDIDATES / TRIED).exists():
            continue
        made_at, members = _finished_at(run), members_of(run) if _finished_at(run) else {}
        waiting = {
            member.removeprefix(prefix): runs_dir() / member
            for member in members
            if member.startswith(prefix) and 0 < _finished_at(runs_dir() / member) <= made_at
        }
        if waiting:
            console.say(f"{run} is an ensemble that an earlier command made; its candidates are moved into it")
            _file_members(waiting, run)
            finished = load_finished(run)
            scores = None if finished is None or not isinstance(finished.scores, Scores) else finished.scores
            return _finish(run, COMBINED, scores, [], time.monotonic())
    return None


def _finished_at(run: Path) -> float:
    """Return when a run was finished, 0 for one that is not, or is none."""
    if not (is_run(run) and (run / SUMMARY).exists()):
        return 0.0
    summary = read_summary(run)
    return float(summary["finished_at"]) if summary["status"] == "finished" else 0.0
