"""What a finished model is on disk, and how it comes back.

    RUN/model/  weights.safetensors  tokenizer.json  vocabulary.json  model.json  calibration.json  manifest.json

model.json holds the format, the labels, the experiment, and the key of the data it was trained on. calibration.json
holds the temperature; a model of star ratings, and one whose training was cut short, has none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from tokenizers import Tokenizer

from sentiment_cli import store
from sentiment_cli.config.loader import experiment_from_values, experiment_values
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus import Corpus
from sentiment_cli.data.vocabulary import Vocabulary
from sentiment_cli.models.classifier import AnyClassifier, build_classifier

_FORMAT = 2
_READABLE = (1, 2)  # 1 is 2 without calibration.json, which whoever reads 1 alone would pass over


class Calibration(NamedTuple):
    """What logits are divided by, and calibration error and log loss without and with it on the rows that it is of."""

    temperature: float
    ece_before: float
    ece_after: float
    loss_before: float
    loss_after: float


@dataclass(frozen=True)
class Artefact:
    """A finished model with all it needs to answer; `data_key` names the prepared corpus it was trained on."""

    experiment: Experiment
    labels: tuple[str, ...]
    data_key: str
    vocabulary: Vocabulary
    tokenizer: Tokenizer
    model: AnyClassifier
    temperature: float = 1.0


def save_artefact(
    run: Path,
    experiment: Experiment,
    corpus: Corpus,
    weights: dict[str, torch.Tensor],
    calibration: Calibration | None = None,
) -> None:
    """Write RUN/model/: tensors alone in the weights file, everything else as JSON."""
    about = {
        "format": _FORMAT,
        "labels": corpus.labels,
        "data_key": corpus.key,
        "experiment": experiment_values(experiment),
    }
    with store.new_directory(run / "model") as draft:
        draft.write("weights.safetensors", safetensors.torch.save(weights))
        draft.write("tokenizer.json", corpus.tokenizer_json)
        draft.write("vocabulary.json", store.dump_json(vars(corpus.vocabulary)))
        draft.write("model.json", store.dump_json(about))
        if calibration is not None:
            draft.write("calibration.json", store.dump_json(calibration._asdict()))


def load_artefact(run: Path) -> Artefact:
    """Read RUN/model/ after checking every file's hash; the model comes back on the CPU, in evaluation mode.

    Raises IntegrityError for damage, and for a format this version does not read.
    """
    directory = store.open_directory(run / "model")
    about = store.read_json(directory / "model.json")
    if about["format"] not in _READABLE:
        known = " and ".join(map(str, _READABLE))
        raise store.IntegrityError(f"{directory} has format {about['format']}; this version reads {known}")
    experiment = experiment_from_values(about["experiment"])
    vocabulary = Vocabulary.from_json(store.read_json(directory / "vocabulary.json"))
    labels = tuple(about["labels"])
    with torch.device("meta"):  # no time on random weights that are replaced at once
        model = build_classifier(experiment, vocabulary, len(labels))
    weights = safetensors.torch.load((directory / "weights.safetensors").read_bytes())
    model.load_state_dict(weights, strict=True, assign=True)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    path = directory / "calibration.json"
    temperature = float(store.read_json(path)["temperature"]) if path.exists() else 1.0
    return Artefact(experiment, labels, about["data_key"], vocabulary, tokenizer, model.eval(), temperature)
