"""Which models a page can hold, and why not the others."""

import shlex
from pathlib import Path
from typing import Any

from sentiment_cli.errors import UsageError
from sentiment_cli.inference.explain.linear_weights import has_ngram_weights
from sentiment_cli.runs.ensemble_model import SavedModel
from sentiment_cli.runs.saved_model import Artefact

CELLS = ("lstm", "gru", "rnn", "rnn-relu")
_PLAIN = {  # settings of a recurrent encoder that only these values of are computed in a page
    "encoder.skip": "none",
    "encoder.direction_maps": False,
    "encoder.chop": None,
    "embedding.ngrams": 1,
    "context": "none",
    "head": "pooled",
    "regions.use": "none",
}


def check_model(model: SavedModel) -> Artefact:
    """Return the network of a model; raise UsageError with the reason for one that a page cannot hold."""
    if model.is_ensemble:
        raise refusal(model.path, "it is an ensemble, and a page holds one model")
    if model.target not in ("label", "stars"):
        raise refusal(model.path, f"data.target is {model.target}, which a page does not compute")
    if model.threshold_C is not None:
        raise refusal(model.path, "its labels have thresholds, which a page does not compare")
    settings = model.settings["model"]
    if not (has_ngram_weights(model.first) if settings["kind"] == "linear" else model.first.has_weights):
        raise refusal(model.path, "it is packed without weights; a page is made from a run")
    if settings["kind"] == "linear":
        return model.first
    if settings["kind"] != "recurrent":
        raise refusal(model.path, f"model.kind is {settings['kind']}, and a page computes linear and recurrent ones")
    if (cell := settings["encoder"]["cell"]) not in CELLS:
        raise refusal(model.path, f"model.encoder.cell is {cell}, and a page computes {', '.join(CELLS)}")
    for name, plain in _PLAIN.items():
        value: Any = settings
        for key in name.split("."):
            value = value.get(key, plain) if isinstance(value, dict) else plain
        if value != plain:
            raise refusal(model.path, f"model.{name} is {value}, which a page does not compute")
    return model.first


def refusal(model: Path, why: str) -> UsageError:
    """Return the error for a model that a page cannot hold, with the command that takes it out of the tool."""
    path = shlex.quote(str(model))
    return UsageError(f"{model} cannot be a page: {why}", f"sentiment export {path} --pack {_name(model)}.model")


def _name(model: Path) -> str:
    return shlex.quote(model.resolve().name.partition(".")[0])
