"""Finished models of one or several members: a single network, or an ensemble, and how its outputs are combined.

    RUN/model/  manifest.json  ensemble.json  calibration.json  1.model.json  1.graph.onnx  …  2.model.json  …

The output is the weighted sum of the members' log-odds, each divided by its member's temperature; with more than two
labels, of the logarithms of the probabilities. The ensemble has a temperature of its own. Members are complete models,
so their runs may be removed. ensemble.json holds the runs' names, the weights, and the sha256 of every other file.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.corpus.targets import TargetName, is_binary
from sentiment_cli.errors import UsageError
from sentiment_cli.runs.files import MODEL
from sentiment_cli.runs.model_files import ENSEMBLE, ModelFiles, pack
from sentiment_cli.runs.saved_model import (
    Artefact,
    Calibration,
    check_files,
    dump_calibration,
    hashes_of,
    open_files,
    packed_files,
    read_artefact,
    read_temperature,
    read_thresholds,
)
from sentiment_cli.storage import store

_FORMAT = 1
_MOST_WEIGHT = 1e6


class Member(NamedTuple):
    """A trained network of a model: its run's name, its files, and its weight in an ensemble."""

    name: str
    model: Artefact
    weight: float


@dataclass(frozen=True)
class SavedModel:
    """A finished model: the network of a run, or the networks of an ensemble, which share their labels.

    `path` is what was opened, `files` all files of the model; the temperature divides the output of `combined`.
    """

    path: Path
    members: tuple[Member, ...]
    temperature: float
    files: ModelFiles
    threshold_C: tuple[float, ...] | None = None

    @property
    def is_ensemble(self) -> bool:
        return ENSEMBLE in self.files.entries

    @property
    def models(self) -> list[Artefact]:
        return [member.model for member in self.members]

    @property
    def first(self) -> Artefact:
        return self.members[0].model

    @property
    def labels(self) -> tuple[str, ...]:
        return self.first.labels

    @property
    def target(self) -> TargetName:
        return self.first.target

    @property
    def n_logits(self) -> int:
        return self.first.n_logits

    @property
    def settings(self) -> dict[str, Any]:
        return self.first.settings

    def combined(self, outputs: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the output of rows, not divided by the temperature, from that of each member.

        The output of a single network is returned as it is.
        """
        if not self.is_ensemble:
            (output,) = outputs
            return output
        return combine(
            [output / member.model.temperature for output, member in zip(outputs, self.members, strict=True)],
            [member.weight for member in self.members],
            self.target,
        )


def combine(
    calibrated: Sequence[NDArray[np.float64]], weights: Sequence[float], target: TargetName = "label"
) -> NDArray[np.float64]:
    """Return the weighted sum of log-odds, or of the logarithms of the probabilities of labels that logit_NC say."""
    is_odds = calibrated[0].ndim == 1 or is_binary(target)
    total = np.zeros_like(calibrated[0], dtype=np.float64)
    for logits, weight in zip(calibrated, weights, strict=True):
        total += weight * (logits if is_odds else log_probabilities(logits))
    return total


def log_probabilities(logit_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithms of the softmax."""
    below_NC = logit_NC - logit_NC.max(axis=1, keepdims=True)
    found_NC: NDArray[np.float64] = below_NC - np.log(np.exp(below_NC).sum(axis=1, keepdims=True))
    return found_NC


def is_ensemble(path: Path) -> bool:
    """Return whether a run is an ensemble."""
    return (path / MODEL / ENSEMBLE).is_file()


def refuse_ensemble(run: Path, why: str) -> None:
    """Raise UsageError for an ensemble, with the command that builds it again."""
    if is_ensemble(run):
        names = " ".join(shlex.quote(member.name) for member in open_model(run).members)
        raise UsageError(f"{run} is an ensemble: {why}", f"sentiment ensemble {names}")


def open_model(path: Path, task: str | None = "classify") -> SavedModel:
    """Open a model: a single network or an ensemble, from a run, its own directory or a packed file.

    Raises IntegrityError for damage, and with `task` UsageError for a model of another task.
    """
    files = open_files(path)
    if ENSEMBLE in files.entries:
        return _open_ensemble(path, files)
    artefact = read_artefact(path, files, task)
    members = (Member(path.name, artefact, 1.0),)
    return SavedModel(path, members, artefact.temperature, files, artefact.threshold_C)


def save_ensemble(run: Path, members: Sequence[Member], calibration: Calibration | None = None) -> None:
    """Write RUN/model/ with a copy of each member."""
    files = {
        f"{i}.{name}": member.model.read(name)
        for i, member in enumerate(members, 1)
        for name in sorted(member.model.files.entries)
    }
    if calibration is not None:
        files["calibration.json"] = dump_calibration(calibration)
    with store.new_directory(run / MODEL) as draft:
        for name, data in {**files, ENSEMBLE: _about(members, files)}.items():
            draft.write(name, data)


def pack_model(model: SavedModel, path: Path) -> int:
    """Write a model as one file, which answers as the directory does, and return its size; as `pack_artefact`."""
    return pack(files_to_pack(model), path)


def files_to_pack(model: SavedModel) -> dict[str, bytes]:
    """Return the files of a model's packed form, those of an ensemble's members among them."""
    if not model.is_ensemble:
        return packed_files(model.first)
    files = {name: model.files.read(name) for name in model.files.entries if name == "calibration.json"}
    for i, member in enumerate(model.members, 1):
        files |= {f"{i}.{name}": data for name, data in packed_files(member.model).items()}
    return {**files, ENSEMBLE: _about(model.members, files)}


def _about(members: Sequence[Member], files: dict[str, bytes]) -> bytes:
    named = [{"name": member.name, "weight": member.weight} for member in members]
    return store.dump_json({"format": _FORMAT, "members": named, "files": hashes_of(files)})


def _open_ensemble(path: Path, files: ModelFiles) -> SavedModel:
    place = files.place(ENSEMBLE)
    about = store.parse_json(files.read(ENSEMBLE), place)
    try:
        if type(about["format"]) is not int or about["format"] != _FORMAT:
            raise store.IntegrityError(f"{place} has format {about['format']!r}; this version reads {_FORMAT}")
        check_files(files, about["files"], by=ENSEMBLE)
        names = [(member["name"], _weight(member["weight"], place)) for member in about["members"]]
        models = [read_artefact(path, part) for part in files.parts()]
        if len(names) != len(models):
            raise store.IntegrityError(f"{place} names {len(names)} members, and {files.path} holds {len(models)}")
        if not 0 < (total := sum(weight for _, weight in names)):
            raise store.IntegrityError(f"{place}: the weights of the members add up to {total}")
        for (name, _), model in zip(names, models, strict=True):
            if (model.labels, model.target) != (models[0].labels, models[0].target) or model.target == "stars":
                raise store.IntegrityError(
                    f"{place}: {name} has the labels {', '.join(model.labels)}, and {names[0][0]} "
                    f"{', '.join(models[0].labels)}"
                )
        members = tuple(Member(str(name), model, weight) for (name, weight), model in zip(names, models, strict=True))
        return SavedModel(path, members, read_temperature(files), files, read_thresholds(files, models[0].labels))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise store.IntegrityError(f"{place} is damaged: {error!r:.200}") from error


def _weight(value: Any, place: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_WEIGHT:
        raise store.IntegrityError(f"{place}: a weight is {value!r:.40}, no number from 0 on up to {_MOST_WEIGHT:g}")
    return float(value)
