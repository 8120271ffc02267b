"""Saved models: reading and writing one trained network, without torch, each file read on demand.

    RUN/model/  manifest.json  model.json  calibration.json  tokenizer.json  vocabulary.json
                graph.onnx  weights.safetensors

model.json holds the format, the labels, the experiment, the key of the training data, the reason if there is no graph,
and the sha256 of the other files, so that files of another run are detected whatever the manifest says.
calibration.json holds the temperature; models of star ratings, and models whose training was interrupted, have none.
The packed form (`runs.model_files`) has the weights only if there is no graph.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from tokenizers import Tokenizer

from sentiment_cli.data.batching.truncation import SavedTextLimits
from sentiment_cli.data.corpus.targets import TargetName, n_outputs
from sentiment_cli.data.tokens.saved_tokenizer import rebuild_tokenizer
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.runs.files import MODEL
from sentiment_cli.runs.model_files import ENSEMBLE, ModelFiles, open_model_files, pack
from sentiment_cli.storage import store

if TYPE_CHECKING:
    import torch

    from sentiment_cli.config.schema import Experiment
    from sentiment_cli.data.corpus.packed import Corpus

GRAPH, WEIGHTS = "graph.onnx", "weights.safetensors"
_FORMAT = 3
_MOST_TEMPERATURE = 1e6  # one is fitted from 0.05 to 20
# Format 2 added calibration.json, which a reader of format 1 would ignore; format 3 added the graph and the hashes.
_READABLE = (1, 2, 3)
_DATA_KEY = re.compile(r"[A-Za-z0-9-]+-[0-9a-f]{16}")  # as `data.cache` names what it keeps
_NO_GRAPH = "the run was trained by a version that made no graphs"


class Calibration(NamedTuple):
    """Temperature, with calibration error and log loss before and after scaling by it, and thresholds if fitted."""

    temperature: float
    ece_before: float
    ece_after: float
    loss_before: float
    loss_after: float
    thresholds: dict[str, float] | None = None


@dataclass(frozen=True)
class Artefact:
    """A trained network with all it needs to answer; a `SavedModel` has one or several.

    `path` is what was opened, `settings` the experiment's as plain values, `reading` those of them that say what is
    read of a row; `data_key` names the prepared corpus that it was trained on; `no_graph` says why there is no graph,
    None where there is one. `threshold_C` are the probabilities from which each label is given, where some were fitted.
    """

    path: Path
    labels: tuple[str, ...]
    data_key: str
    settings: dict[str, Any]
    target: TargetName
    reading: SavedTextLimits
    no_graph: str | None
    temperature: float
    files: ModelFiles
    threshold_C: tuple[float, ...] | None = None

    @property
    def has_weights(self) -> bool:
        return WEIGHTS in self.files.entries

    @property
    def n_logits(self) -> int:
        """How many numbers the model puts out per row."""
        return n_outputs(self.target, len(self.labels))

    def read(self, name: str) -> bytes:
        """Return the content of a file; raise IntegrityError if it differs from the manifest."""
        return self.files.read(name)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        place = self.files.place("vocabulary.json")
        try:
            return Vocabulary.from_json(store.parse_json(self.read("vocabulary.json"), place))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise store.IntegrityError(f"{place} is damaged: {error!r}") from error

    @cached_property
    def tokenizer(self) -> Tokenizer:
        place = self.files.place("tokenizer.json")
        data = self.read("tokenizer.json")
        try:
            return rebuild_tokenizer(data, self.vocabulary.entries, self.vocabulary.unknown_id, self.settings["text"])
        except DataError as error:
            raise store.IntegrityError(f"{place} {error}") from error


def open_artefact(path: Path, task: str | None = "classify") -> Artefact:
    """Open the model of a run's directory, a model's own directory, or one packed file.

    With `task` another kind of model is a UsageError. Raises IntegrityError for damage, for a format this version does
    not read, and for files of several models.
    """
    files = open_files(path)
    if ENSEMBLE in files.entries:
        show = f"sentiment runs show {shlex.quote(str(path))}"
        raise UsageError(f"{path} is an ensemble, and this command needs a single model", show)
    return read_artefact(path, files, task)


def open_files(path: Path) -> ModelFiles:
    """Open the files of the model of a run's directory, of a model's own directory, or of one packed file."""
    return open_model_files(path / MODEL if (path / MODEL).is_dir() else path)


def read_artefact(path: Path, files: ModelFiles, task: str | None = "classify") -> Artefact:
    """Return the model that these files are, those at `path` or of a part of it. Raises as `open_artefact` does."""
    place = files.place("model.json")
    about = store.parse_json(files.read("model.json"), place)
    try:
        if type(about["format"]) is not int or about["format"] not in _READABLE:
            known = ", ".join(map(str, _READABLE[:-1]))
            raise store.IntegrityError(
                f"{files.path} has format {about['format']!r}; this version reads {known} and {_READABLE[-1]}"
            )
        if about["format"] >= 3:
            check_files(files, about["files"])
        if task not in (None, own_task := about["experiment"].get("task", "classify")):
            raise UsageError(
                f"the task of {path} is {own_task}, and this command needs a model of task {task}",
                f"sentiment {'runs show' if own_task in ('vectors', 'regions') else 'generate'} {path}",
            )
        labels = about["labels"]
        least = 0 if about["experiment"].get("task") == "pairs" else 2  # pairs have none
        is_named = isinstance(labels, list) and all(type(label) is str for label in labels)
        if not is_named or len(set(labels)) < max(least, len(labels)):
            raise store.IntegrityError(f"{place}: the labels {labels!r:.200} are not two or more different names")
        if not _DATA_KEY.fullmatch(about["data_key"]):
            raise store.IntegrityError(f"{place}: data_key is {about['data_key']!r:.80}, no name of prepared data")
        target = about["experiment"]["data"].get("target", "label")
        if target not in get_args(TargetName):
            raise store.IntegrityError(f"{place}: data.target is {target!r:.40}, which this version does not know")
        return Artefact(
            path=path,
            labels=tuple(labels),
            data_key=about["data_key"],
            settings=about["experiment"],
            target=target,
            reading=SavedTextLimits.from_json(about["experiment"]["text"]),
            no_graph=None if GRAPH in files.entries else about.get("graph") or _NO_GRAPH,
            temperature=read_temperature(files),
            files=files,
            threshold_C=read_thresholds(files, labels),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise store.IntegrityError(f"{place} is damaged: {error!r}") from error


def experiment_of(artefact: Artefact) -> "Experiment":
    """Return the experiment of a model. Raises IntegrityError for invalid settings."""
    from pydantic import ValidationError  # slow, and answers need neither

    from sentiment_cli.config.loader import experiment_from_values

    try:
        return experiment_from_values(artefact.settings)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise store.IntegrityError(f"{artefact.files.place('model.json')} holds no experiment: {wrong}") from error


def save_artefact(
    run: Path,
    experiment: "Experiment",
    corpus: "Corpus",
    weights: "dict[str, torch.Tensor]",
    calibration: Calibration | None = None,
    graph: bytes | str = "none was made",
) -> None:
    """Write RUN/model/: weights without metadata, and `graph` or, in model.json, the reason for its absence."""
    import safetensors.torch

    from sentiment_cli.config.loader import experiment_values

    files = {
        "tokenizer.json": corpus.tokenizer_json,
        "vocabulary.json": store.dump_json(vars(corpus.vocabulary)),
        WEIGHTS: safetensors.torch.save(weights),
    }
    if calibration is not None:
        files["calibration.json"] = dump_calibration(calibration)
    if isinstance(graph, bytes):
        files[GRAPH] = graph
    about = {
        "format": _FORMAT,
        "labels": corpus.labels,
        "data_key": corpus.key,
        "graph": None if isinstance(graph, bytes) else graph,
        "files": hashes_of(files),
        "experiment": experiment_values(experiment),
    }
    with store.new_directory(run / MODEL) as draft:
        for name, data in {**files, "model.json": store.dump_json(about)}.items():
            draft.write(name, data)


def pack_artefact(artefact: Artefact, path: Path, graph: bytes | None = None) -> int:
    """Write a model as one file, which answers as the directory does, and return its size.

    It holds the graph (or another one of the same model, `graph`) and no weights; where there is none, the weights.
    """
    return pack(packed_files(artefact, graph), path)


def packed_files(artefact: Artefact, graph: bytes | None = None) -> dict[str, bytes]:
    """Return the files of a model's packed form."""
    names = artefact.files.entries.keys() - {"model.json"}
    if artefact.no_graph is None or graph is not None:
        names -= {WEIGHTS}
    files = {name: artefact.read(name) for name in names if name != GRAPH or graph is None}
    if graph is not None:
        files[GRAPH] = graph
    about = json.loads(artefact.read("model.json"))
    about |= {"format": _FORMAT, "graph": None if GRAPH in files else artefact.no_graph, "files": hashes_of(files)}
    return {**files, "model.json": store.dump_json(about)}


def hashes_of(files: dict[str, bytes]) -> dict[str, str]:
    """Return the sha256 of each file, by its name."""
    return {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}


def check_files(files: ModelFiles, of_model: dict[str, str], by: str = "model.json") -> None:
    """Raise IntegrityError where the files are others than those that model.json, or another, was written with."""
    found = {name: entry["sha256"] for name, entry in files.entries.items() if name != by}
    for name in sorted(found.keys() | of_model.keys()):
        if found.get(name) != of_model.get(name):
            raise store.IntegrityError(
                f"{files.path} holds the files of several models: {name} has sha256 {found.get(name)}, and the one "
                f"that {by} belongs to {of_model.get(name)}"
            )


def dump_calibration(calibration: Calibration) -> bytes:
    """Return calibration.json; without fitted thresholds as earlier versions wrote it."""
    return store.dump_json({name: value for name, value in calibration._asdict().items() if value is not None})


def read_thresholds(files: ModelFiles, labels: Sequence[str]) -> tuple[float, ...] | None:
    """Return the threshold of each label in calibration.json; None without. Raises IntegrityError for invalid ones."""
    if "calibration.json" not in files.entries:
        return None
    place = files.place("calibration.json")
    with store.damage(place):
        found = store.parse_json(files.read("calibration.json"), place).get("thresholds")
        if found is None:
            return None
        values = tuple(found[label] for label in labels)
    if len(found) != len(labels) or not all(type(value) is float and 0 < value < 1 for value in values):
        raise store.IntegrityError(f"{place}: the thresholds {found!r:.80} are not a probability for each label")
    return values


def read_temperature(files: ModelFiles) -> float:
    """Return the temperature in calibration.json, 1 without one. Raises IntegrityError for an invalid one."""
    if "calibration.json" not in files.entries:
        return 1.0
    place = files.place("calibration.json")
    about = store.parse_json(files.read("calibration.json"), place)
    with store.damage(place):
        temperature = about["temperature"]
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not is_number or not 1 / _MOST_TEMPERATURE <= temperature <= _MOST_TEMPERATURE:
        raise store.IntegrityError(
            f"{place}: the temperature is {temperature!r:.40}, no number above 0 between "
            f"{1 / _MOST_TEMPERATURE:g} and {_MOST_TEMPERATURE:g}"
        )
    return float(temperature)
