"""Building an ensemble from finished runs: weights, temperature, scores and run directory."""

import contextlib
import glob
import json
import platform
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sentiment_cli
from sentiment_cli import console
from sentiment_cli.config.loader import experiment_from_values, experiment_yaml
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.data.corpus.packed import open_corpus
from sentiment_cli.errors import MachineError, UsageError
from sentiment_cli.evaluation.calibration import calibrate, measure_calibration
from sentiment_cli.evaluation.metrics import Scores
from sentiment_cli.evaluation.stacking import Weighing, judge_folds, weigh
from sentiment_cli.evaluation.target_scores import Truth, score_outputs
from sentiment_cli.evaluation.thresholds import fit_thresholds
from sentiment_cli.runs.directory import find_model, is_run
from sentiment_cli.runs.ensemble_model import Member, SavedModel, combine, open_model, save_ensemble
from sentiment_cli.runs.files import EXPERIMENT, MODEL, SUMMARY
from sentiment_cli.runs.known_rows import KnownRows, read_known, write_known
from sentiment_cli.runs.predictions import ValidationOutputs, load_validation
from sentiment_cli.runs.records import read_summary
from sentiment_cli.runs.saved_model import Artefact
from sentiment_cli.runs.seals import OF_A_FINISHED_RUN, seal_files, write_result
from sentiment_cli.storage import locks, store

_MAKING = ".making"  # in the directory of a run that is not whole yet


@dataclass(frozen=True)
class Ensembled:
    """An ensemble that was made: its directory, and each member's weight and scores on validation.

    `valid` are the ensemble's scores there: each fold's by weights and temperature of the other folds' rows. Without
    validation rows that all members kept, and of rows of a single group, there are none.
    """

    directory: Path
    weights: dict[str, float]
    valid: Scores | None
    members: dict[str, Scores]

    def to_json(self) -> dict[str, Any]:
        """Return all of it, scores as `eval` gives them."""
        return {
            "run": str(self.directory),
            "weights": self.weights,
            "valid": None if self.valid is None else self.valid.to_json(),
            "members": {name: scores.to_json() for name, scores in self.members.items()},
        }


def make_ensemble(runs: Sequence[str], name: str | None = None, weighing: Weighing = "fitted") -> Ensembled:
    """Make a run of the models of some runs.

    Raises UsageError for members that do not go together, with what differs and what to type.
    """
    began, name = time.monotonic(), name or "ensemble"
    store.check_name(name)
    if len(runs) < 2:
        raise UsageError(f"an ensemble is of two members at least, and {', '.join(runs)} is one", "sentiment runs list")
    paths = [find_model(run) for run in runs]
    models = [_open_member(path) for path in paths]
    _check_same(paths, models)
    names = _names(paths)
    kept = find_kept(paths, models, weighing, _equal(paths))
    weight_K = np.full(len(models), 1 / len(models))
    calibration, valid, scores = None, None, dict[str, Scores]()
    if kept:
        rows = kept[0]
        logits = [one.logits / model.temperature for one, model in zip(kept, models, strict=True)]
        weight_K = weigh(logits, rows, weighing)
        joined = combine(logits, weight_K.tolist(), rows.target)
        calibration = calibrate(*rows._replace(logits=joined).as_binary())
        if models[0].settings["train"].get("thresholds") == "fitted":
            fitted = fit_thresholds(rows, joined / calibration.temperature)
            calibration = calibration._replace(thresholds=fitted)
        judged = judge_folds(logits, rows, weighing)
        valid = None if judged is None else _score(judged, rows)
        scores = {name: _score(of_member, rows) for name, of_member in zip(names, logits, strict=True)}
    members = [Member(*one) for one in zip(names, [one.first for one in models], weight_K.tolist(), strict=True)]
    with _new_run(name) as run:
        save_ensemble(run, members, calibration)
        _write_known(run, paths, models)
        made = Ensembled(run, dict(zip(names, weight_K.tolist(), strict=True)), valid, scores)
        _write_about(made, name, models[0].first, weighing, time.monotonic() - began)
    return made


@contextlib.contextmanager
def _new_run(name: str) -> Iterator[Path]:
    """Yield the directory of a new run; remove it if the block fails.

    One that a killed process was making has a mark in it, and nobody holds it: it goes when the next one is made.
    """
    for path in runs_dir().glob(f"{glob.escape(name)}*/{_MAKING}"):
        with contextlib.suppress(OSError), locks.held(path.parent, console.say):
            store.remove_directory(path.parent)
    run = store.claim_directory(runs_dir(), name)
    with contextlib.ExitStack() as holding:
        with contextlib.suppress(OSError):  # where there are no locks
            holding.enter_context(locks.held(run, console.say))
        try:
            store.append_line(run / _MAKING, "")
            yield run
        except BaseException:
            with contextlib.suppress(MachineError):
                store.remove_directory(run)
            raise
        store.remove_file(run / _MAKING)


def _write_known(run: Path, paths: Sequence[Path], models: Sequence[SavedModel]) -> None:
    """Write the known rows of the ensemble: those of its members."""
    found = [read_known(path, model) for path, model in zip(paths, models, strict=True)]
    for path, known in zip(paths, found, strict=True):
        if known is None:
            console.say(f"which rows {path} was trained on is not known here, so scores cannot leave them out")
    members = [known for known in found if known is not None]
    if not members:
        return
    learnt, valid, test = (np.unique(np.concatenate(hashes)) for hashes in zip(*members, strict=True))
    # A member that was trained on its validation rows too, by train.refit, keeps its outputs of them from before.
    first = np.unique(np.concatenate([known.learnt[~np.isin(known.learnt, known.valid)] for known in members]))
    for name, held, learnt_before, too_good in (
        ("valid", valid, first, "weights and validation scores"),
        ("test", test, learnt, "test scores"),
    ):
        own = [(getattr(known, name), known.learnt) for known in members]  # what a member repeats itself is no news
        foreign_N = np.concatenate([held_N[~np.isin(held_N, learnt_M)] for held_N, learnt_M in own])
        if n_known := int(np.isin(np.unique(foreign_N), learnt_before).sum()):
            console.warn(
                f"members have learnt the labels of {n_known:,} of the {len(held):,} {name} rows of others: {too_good} "
                "are too good"
            )
    write_known(run, KnownRows(learnt, valid, test))


def _open_member(path: Path) -> SavedModel:
    model = open_model(path)
    if model.is_ensemble:
        names = " ".join(shlex.quote(member.name) for member in model.members)
        raise UsageError(f"{path} is an ensemble itself; name its members instead", f"sentiment ensemble {names}")
    if model.target == "stars":
        raise UsageError(f"{path} gives star ratings, and an ensemble is of probabilities", "sentiment runs list")
    has_summary = is_run(path) and store.is_there(path / SUMMARY)
    status = read_summary(path)["status"] if has_summary else "finished"
    if status != "finished":
        raise UsageError(f"{path} is {status}, not finished", f"sentiment train --resume {shlex.quote(str(path))}")
    return model


def _check_same(paths: Sequence[Path], models: Sequence[SavedModel]) -> None:
    """Raise UsageError for a repeated member, or one with other labels than the first."""
    for i, (path, model) in enumerate(zip(paths, models, strict=True)):
        if any(path.samefile(earlier) for earlier in paths[:i]):
            raise UsageError(f"{path} is given twice", "sentiment runs list")
        if model.target != models[0].target:
            raise UsageError(
                f"{paths[0]} learnt data.target {models[0].target}, and {path} {model.target}; the members of an "
                "ensemble have the same target",
                "sentiment runs list",
            )
        if model.labels != models[0].labels:
            ours, theirs = (", ".join(one.labels) for one in (models[0], model))
            raise UsageError(
                f"{paths[0]} tells {ours} apart, and {path} {theirs}; the members of an ensemble have the same labels",
                "sentiment runs list",
            )


def find_kept(
    paths: Sequence[Path], models: Sequence[SavedModel], weighing: Weighing, hint: str
) -> list[ValidationOutputs]:
    """Return the members' validation outputs, in the row order of the first member.

    Where they have not all kept some, or not of the same rows, nothing is returned for equal weights, and for fitted
    ones UsageError raised with the hint.
    """
    kept, problem = list[ValidationOutputs](), None
    for path, model in zip(paths, models, strict=True):
        found = load_validation(path) if is_run(path) else None
        if found is None:
            why = "was trained by a version that kept none" if is_run(path) else "is a model without its run"
            problem = f"there are no validation outputs of {path}, which {why}"
            break
        if found.labels != model.labels or not _is_of(found, model):
            raise store.IntegrityError(f"{path}: the validation outputs kept in it are not those of its model")
        found = found._replace(texts=_texts_of(found, model))
        first = kept[0] if kept else found
        if found.texts != first.texts:
            problem = f"{paths[0]} and {path} were trained on different data, so their validation rows are not the same"
            break
        if set(found.ids) != set(first.ids):
            n_both = len(set(found.ids) & set(first.ids))
            ours, theirs = (one.settings["data"]["valid"] for one in (models[0], model))
            said = [
                f"data.valid.{key} is {ours[key]} and {theirs.get(key)}" for key in ours if ours[key] != theirs.get(key)
            ]
            problem = (
                f"{paths[0]} was validated on {len(first.ids):,} rows and {path} on {len(found.ids):,}, {n_both:,} of "
                f"them the same{': ' if said else ''}{', '.join(said)}"
            )
            break
        kept.append(found.of_rows(first.ids))
    if problem is None:
        return kept
    if weighing == "fitted":
        raise UsageError(f"{problem}; weights are fitted on rows that no member was trained on", hint)
    console.warn(f"{problem}; the ensemble has no validation scores, and no temperature of its own")
    return []


def _texts_of(kept: ValidationOutputs, model: SavedModel) -> str:
    """Return the fingerprint of the data of validation rows: stored, from the cache, or else the key of the data.

    Ids say too little: in a table they are the numbers of the rows.
    """
    corpus = open_corpus(model.first.data_key, ()) if kept.texts is None else None
    return kept.texts or (model.first.data_key if corpus is None else corpus.texts)


def _is_of(kept: ValidationOutputs, model: SavedModel) -> bool:
    """Return whether the model's calibration was measured on these outputs."""
    place = model.files.place("calibration.json")
    with store.damage(place):
        about = store.parse_json(model.files.read("calibration.json"), place)
        loss_before = float(about["loss_before"])
    found = measure_calibration(*kept.as_binary(), 1.0)
    return abs(found.loss_before - loss_before) < 1e-9 * max(1.0, loss_before)


def _equal(paths: Sequence[Path]) -> str:
    return f"sentiment ensemble {' '.join(shlex.quote(str(path)) for path in paths)} --weights equal"


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the names of the runs, with a number where an earlier one has the same."""
    names: list[str] = []
    for path in paths:
        name, n = path.resolve().name, 2
        while name in names:
            name, n = f"{path.resolve().name} ({n})", n + 1
        names.append(name)
    return names


def _score(output: NDArray[np.float64], rows: ValidationOutputs) -> Scores:
    return score_outputs(output, Truth(rows.label_N, None, rows.sets_KC), rows.labels, rows.target)


def _write_about(made: Ensembled, name: str, first: Artefact, weighing: Weighing, seconds: float) -> None:
    """Write the summary and, last, the configuration (of the first member), which makes the directory a run."""
    members = {name: scores.to_json() for name, scores in made.members.items()}
    summary: dict[str, Any] = {
        "status": "finished",
        "task": "classify",
        "source": first.settings["data"]["source"],
        "finished_at": time.time(),
        "best_epoch": None,
        "refit_steps": None,
        "valid": None if made.valid is None else made.valid.to_json(),
        "seconds": {"ensemble": seconds},
        "tokens_per_second": None,
        "versions": {"sentiment": sentiment_cli.__version__, "python": platform.python_version()},
        "fingerprint": {"data": first.data_key, "model": store.sha256_of(made.directory / MODEL / store.MANIFEST)},
        "ensemble": {"weighing": weighing, "weights": made.weights, "members": members},
    }
    write_result(made.directory, SUMMARY, store.dump_json(summary))
    said = f"# An ensemble of {json.dumps(list(made.weights))}; these are the settings of the first.\n"
    settings = experiment_yaml(experiment_from_values({**first.settings, "name": name}))
    write_result(made.directory, EXPERIMENT, said.encode() + settings)
    seal_files(made.directory, OF_A_FINISHED_RUN)
